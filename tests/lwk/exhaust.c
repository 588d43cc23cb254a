/*
 * exhaust KIND [KIB]: takes all memory that programs can have but so many KiB, or leaves it alone without a number, and then makes
 * the kernel keep whatever a program can make it keep, until a call fails or there are MOST of the kind. Prints how many there were,
 * and why there are no more. What others would find afterwards it removes.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096L
#define MOST 400000L
#define FILES 20000
#define SHM "/dev/shm"

static char block[8 << 20];

static long free_kib(void)
{
    struct sysinfo info;
    sysinfo(&info);
    return (long)(info.freeram * info.mem_unit) >> 10;
}

static void fill(long kib)
{
    for (;;) {
        long left = (free_kib() - kib) << 10;
        if (left < PAGE)
            return;
        size_t len = (size_t)(left > (4 << 20) ? left / 2 : left) & ~(PAGE - 1);
        char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED)
            return;
        madvise(at, len, MADV_NOHUGEPAGE);
        for (size_t i = 0; i < len; i += PAGE)
            at[i] = 1;
    }
}

/* Writes until nothing more goes in. */
static int full(int fd, size_t piece)
{
    while (write(fd, block, piece) >= 0)
        ;
    return errno == EAGAIN ? 0 : -1;
}

static int pipes(void)
{
    int ends[2];
    if (pipe2(ends, O_NONBLOCK) < 0)
        return -1;
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    return full(ends[1], 65536);
}

static int packets(void)
{
    int ends[2];
    if (pipe2(ends, O_NONBLOCK | O_DIRECT) < 0)
        return -1;
    return full(ends[1], 1);
}

static int streams(void)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0)
        return -1;
    return full(ends[1], 65536);
}

static int datagrams(void)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends) < 0)
        return -1;
    return full(ends[1], 1);
}

/* Descriptors on their way. */
static int passed(void)
{
    int ends[2], fd = open("/dev/null", O_RDONLY);
    if (fd < 0 || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends) < 0)
        return -1;
    char control[CMSG_SPACE(250 * sizeof(int))] = { 0 };
    struct iovec part = { block, 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(250 * sizeof(int));
    for (int i = 0; i < 250; i++)
        memcpy(CMSG_DATA(head) + i * sizeof fd, &fd, sizeof fd);
    while (sendmsg(ends[1], &message, 0) >= 0)
        ;
    int why = errno;
    close(fd);
    errno = why;
    return why == EAGAIN || why == ETOOMANYREFS ? 0 : -1;
}

/* Sockets with names, each with those that want to be accepted. */
static int names(void)
{
    static int number;
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    socklen_t len = offsetof(struct sockaddr_un, sun_path) + 1 + sprintf(name.sun_path + 1, "%080d", number++);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, len) < 0 || listen(fd, 100) < 0)
        return -1;
    for (int i = 0; i < 100; i++) {
        int other = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (other < 0 || connect(other, (struct sockaddr *)&name, len) < 0)
            return other >= 0 && errno == EAGAIN ? 0 : -1;
    }
    return 0;
}

/* A mapping of which every other page is another area, without pages. */
static char *many(void)
{
    static char *at;
    if (!at)
        at = mmap(NULL, PAGE * MOST * 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at;
}

static int areas(void)
{
    static long next;
    next += 2;
    return many() == MAP_FAILED ? -1 : mprotect(many() + next * PAGE, PAGE, PROT_READ);
}

static int holes(void)
{
    static long next;
    next += 2;
    return many() == MAP_FAILED ? -1 : munmap(many() + next * PAGE, PAGE);
}

/* All areas that there may be, and their text over and over again. */
static int texts(void)
{
    static int ready;
    while (!ready && areas() == 0)
        ;
    ready = 1;
    int fd = open("/proc/self/smaps", O_RDONLY);
    if (fd < 0)
        return -1;
    long got, sum = 0;
    while ((got = read(fd, block, sizeof block)) > 0)
        sum += got;
    return got < 0 || sum == 0 ? -1 : 0;
}

/* Which pages are there: of far more than there could be. The answer goes as far as there is room for it. */
static int cores(void)
{
    size_t all = 1UL << 44, some = 16 * PAGE;
    char *at = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *answer = mmap(NULL, 2 * some, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED || answer == MAP_FAILED || munmap(answer + some, some) < 0)
        return -1;
    if (mincore(at, all, (unsigned char *)answer) == 0)
        errno = 0;
    return -1;
}

static int tables(void)
{
    static unsigned long at = 1UL << 40;
    char *got = mmap((void *)at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    at += 1UL << 30;
    return got == MAP_FAILED || *(volatile char *)got ? -1 : 0;
}

static int sems(void)
{
    return semget(IPC_PRIVATE, 250, IPC_CREAT | 0600) < 0 ? -1 : 0;
}

static int messages(void)
{
    static struct { long type; char text[8000]; } message = { 1, "" };
    int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    if (id < 0)
        return -1;
    while (msgsnd(id, &message, sizeof message.text, IPC_NOWAIT) == 0)
        ;
    return errno == EAGAIN ? 0 : -1;
}

static int empties(void)
{
    struct { long type; } message = { 1 };
    int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    if (id < 0)
        return -1;
    while (msgsnd(id, &message, 0, IPC_NOWAIT) == 0)
        ;
    return errno == EAGAIN ? 0 : -1;
}

static int segments(void)
{
    return shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600) < 0 ? -1 : 0;
}

static int timers(void)
{
    timer_t timer;
    struct sigevent event = { .sigev_notify = SIGEV_NONE };
    return timer_create(CLOCK_MONOTONIC, &event, &timer);
}

static int signals(void)
{
    union sigval value = { 0 };
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return sigqueue(getpid(), SIGRTMIN, value);
}

static char name[300];

static const char *next_name(void)
{
    static long number;
    snprintf(name, sizeof name, SHM "/%0240ld", number++);
    return name;
}

static int files(void)
{
    int fd = open(next_name(), O_CREAT | O_WRONLY, 0600);
    return fd < 0 ? -1 : close(fd);
}

static int links(void)
{
    static char target[4001];
    memset(target, 'x', 4000);
    return symlink(target, next_name());
}

static int folders(void)
{
    return mkdir(next_name(), 0700);
}

static int memories(void)
{
    int fd = memfd_create("a name of some length, as long as names of that kind are", 0);
    return fd < 0 ? -1 : ftruncate(fd, 1L << 40);
}

/* One page in every 2 MiB. */
static int pages(void)
{
    static int fd = -1;
    static long at;
    if (fd < 0 && (fd = memfd_create("pages", 0)) < 0)
        return -1;
    at += 2L << 20;
    return pwrite(fd, "x", 1, at) == 1 ? 0 : -1;
}

static int epolls(void)
{
    static int epoll = -1, first;
    struct epoll_event event = { EPOLLIN, { 0 } };
    if (epoll < 0) {
        epoll = epoll_create1(0);
        first = eventfd(0, 0);
    }
    int fd = dup(first);
    if (fd >= 0)
        return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    /* The next set, with all of them again. */
    int next = epoll_create1(0);
    if (next < 0)
        return -1;
    epoll = next;
    for (int i = first + 1; i < FILES; i++)
        if (i != epoll)
            close(i);
    return 0;
}

static int events(void)
{
    return eventfd(0, 0) < 0 ? -1 : 0;
}

static int alarms(void)
{
    struct itimerspec when = { { 100, 0 }, { 100, 0 } };
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    return fd < 0 ? -1 : timerfd_settime(fd, 0, &when, NULL);
}

/* Not kept, but large: to a file of the host and back. It works, however little there is. */
static int calls(void)
{
    static int fd = -1, times;
    if (fd < 0 && (fd = open("exhaust.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600)) < 0)
        return -1;
    unlink("exhaust.tmp");
    block[times] = times;
    if (pwrite(fd, block, sizeof block, 0) != sizeof block)
        return -1;
    memset(block, 0, times + 1);
    if (pread(fd, block, sizeof block, 0) != sizeof block)
        return -1;
    errno = 0;
    return block[times] == (char)times && ++times < 10 ? 0 : -1;
}

static int children(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
        _exit(0);
    }
    return pid < 0 ? -1 : 0;
}

static const struct { const char *name; int (*one)(void); } KINDS[] = {
    { "pipes", pipes }, { "packets", packets }, { "streams", streams }, { "datagrams", datagrams }, { "passed", passed },
    { "names", names }, { "areas", areas }, { "holes", holes }, { "texts", texts }, { "cores", cores }, { "tables", tables },
    { "sems", sems }, { "messages", messages }, { "empties", empties }, { "segments", segments }, { "timers", timers },
    { "signals", signals }, { "files", files }, { "links", links }, { "folders", folders }, { "memories", memories },
    { "pages", pages }, { "epolls", epolls }, { "events", events }, { "alarms", alarms }, { "calls", calls },
    { "children", children },
};

/* Identifiers in a list of /proc/sysvipc. */
static void remove_all(const char *list, void (*one)(int))
{
    int key, id;
    char line[512];
    FILE *file = fopen(list, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%d %d", &key, &id) == 2)
            one(id);
    if (file)
        fclose(file);
}

static void remove_set(int id)
{
    semctl(id, 0, IPC_RMID);
}

static void remove_queue(int id)
{
    msgctl(id, IPC_RMID, NULL);
}

static void remove_segment(int id)
{
    shmctl(id, IPC_RMID, NULL);
}

static void clean(void)
{
    remove_all("/proc/sysvipc/sem", remove_set);
    remove_all("/proc/sysvipc/msg", remove_queue);
    remove_all("/proc/sysvipc/shm", remove_segment);
    DIR *folder = opendir(SHM);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.') {
            snprintf(name, sizeof name, SHM "/%s", entry->d_name);
            remove(name);
        }
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    const char *kind = argc > 1 ? argv[1] : "";
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < FILES ? limit.rlim_max : FILES;
    setrlimit(RLIMIT_NOFILE, &limit);
    memset(block, 1, sizeof block);
    if (strcmp(kind, "clean") == 0) {
        clean();
        printf("%ld\n", free_kib());
        return 0;
    }
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (strcmp(kind, KINDS[i].name) != 0)
            continue;
        if (argc > 2)
            fill(atol(argv[2]));
        long count = 0;
        while (count < MOST && KINDS[i].one() == 0)
            count++;
        printf("%s: %ld, %s\n", kind, count, count < MOST ? strerror(errno) : "enough");
        return 0;
    }
    return 2;
}
