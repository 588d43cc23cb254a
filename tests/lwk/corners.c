/*
 * Corners of system calls: a table of files that a child shares and then does not, a memory file that is opened once more and
 * cut, what a timer's overruns are told of, pipes that are asked for positions, sets of nodes, and what the dead are asked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* close_range(2) came with Linux 5.9: older headers lack it. */
#define NR_CLOSE_RANGE 436
#define UNSHARE 2

static int is_open(int fd) { return fcntl(fd, F_GETFD) != -1; }

/* A child with the table of its parent closes descriptors: for both, or only for itself. */
static void close_in_child(unsigned flags)
{
    int fd = open("/dev/null", O_RDONLY);
    pid_t child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        long done = syscall(NR_CLOSE_RANGE, fd, fd, flags);
        _exit(done == 0 && !is_open(fd) ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    printf("close_range %u: child %d, open for its parent: %d\n", flags, status, is_open(fd));
    close(fd);
}

static void cut_memory_file(void)
{
    int fd = memfd_create("corner", MFD_ALLOW_SEALING);
    char path[64];
    struct stat stat;
    if (write(fd, "content", 7) != 7)
        perror("write");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    close(open(path, O_RDWR));
    fstat(fd, &stat);
    printf("memory file: %ld bytes", (long)stat.st_size);
    close(open(path, O_RDWR | O_TRUNC));
    fstat(fd, &stat);
    printf(", then %ld\n", (long)stat.st_size);
    /* Who may not write may not seal. */
    int reader = open(path, O_RDONLY);
    int sealed = fcntl(reader, F_ADD_SEALS, F_SEAL_SHRINK);
    printf("sealed by a reader: %d %s", sealed, strerror(errno));
    printf(", by a writer: %d\n", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    close(reader);
    close(fd);
}

static timer_t timer;
static volatile sig_atomic_t handled, first;

static void count(int signal)
{
    /* Off, or nothing else would happen. */
    static const struct itimerspec off;
    (void)signal;
    if (!handled++)
        first = timer_getoverrun(timer);
    timer_settime(timer, 0, &off, NULL);
}

/* A timer whose first expiration is long past has missed more of them than can be told: its first signal says so. */
static void missed_expirations(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    struct itimerspec spec = { .it_interval = { 0, 1 } };
    signal(SIGUSR1, count);
    timer_create(CLOCK_REALTIME, &event, &timer);
    clock_gettime(CLOCK_REALTIME, &spec.it_value);
    spec.it_value.tv_sec -= 10;
    timer_settime(timer, TIMER_ABSTIME, &spec, NULL);
    while (!handled)
        ;
    timer_delete(timer);
    printf("overruns capped: %d\n", first == INT_MAX);

    /* The signal that waits counts, and telling of it is of the one that was taken. */
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    event.sigev_signo = SIGUSR2;
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    struct itimerspec fast = { .it_value = { 0, 1000000 }, .it_interval = { 0, 1000000 } };
    timer_settime(timer, 0, &fast, NULL);
    usleep(30000);
    sigwaitinfo(&set, &info);
    int told = timer_getoverrun(timer);
    usleep(30000);
    printf("overruns of the signal that was taken: %d %d\n", info.si_overrun > 5, told >= info.si_overrun);
    printf("and of no later one: %d\n", timer_getoverrun(timer) == told);
    timer_delete(timer);
}

/* A pipe has no positions, whichever end is asked for one. */
static void positions_of_a_pipe(void)
{
    int ends[2], path = open("/", O_PATH);
    char byte = 0;
    struct iovec part = { &byte, 1 };
    if (pipe(ends))
        return;
    for (int i = 0; i < 3; i++) {
        int fd = i < 2 ? ends[i] : path;
        printf("a pipe's positions:");
        printf(" %d", pread(fd, &byte, 1, 0) < 0 ? errno : 0);
        printf(" %d", pwrite(fd, &byte, 1, 0) < 0 ? errno : 0);
        printf(" %d", preadv(fd, &part, 1, 0) < 0 ? errno : 0);
        printf(" %d\n", pwritev(fd, &part, 1, 0) < 0 ? errno : 0);
        close(fd);
    }
}

/* A set of nodes is as long as its caller says, and Linux counts one bit less than that. */
static void set_of_nodes(void)
{
    static const unsigned long bits[] = { 0, 1, 2, 64, 65, 66, 129, 130, 1025, 1026, 32769, 32770 };
    static unsigned char set[8192];
    for (unsigned i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        int len = sizeof set;
        memset(set, 0xee, sizeof set);
        long done = syscall(SYS_get_mempolicy, NULL, set, bits[i], NULL, 0);
        int error = done ? errno : 0;
        while (len > 0 && set[len - 1] == 0xee)
            len--;
        printf("set of %ld nodes: %d, %d bytes\n", (long)bits[i], error, len);
    }
}

/* What can be asked of a process that has ended and was not waited for. */
static void ask_the_dead(void)
{
    cpu_set_t set;
    struct sched_param param;
    struct rlimit limit;
    siginfo_t info;
    int own = getpriority(PRIO_PROCESS, 0);
    pid_t child = fork();
    if (child == 0) {
        setpriority(PRIO_PROCESS, 0, own + 3);
        _exit(0);
    }
    waitid(P_PID, child, &info, WEXITED | WNOWAIT);
    for (int there = 1; there >= 0; there--) {
        sched_getaffinity(0, sizeof set, &set);
        printf("of the dead: affinity %d", sched_getaffinity(child, sizeof set, &set) ? errno : 0);
        printf(" %d", sched_setaffinity(child, sizeof set, &set) ? errno : 0);
        printf(", scheduler %d", sched_getscheduler(child) < 0 ? errno : 0);
        printf(", parameters %d", sched_getparam(child, &param) ? errno : 0);
        errno = 0;
        int nice = getpriority(PRIO_PROCESS, child);
        printf(", priority %d %d", errno ? nice : nice - own, errno);
        printf(", limit %d\n", prlimit(child, RLIMIT_CPU, NULL, &limit) ? errno : 0);
        waitpid(child, NULL, 0);
    }
}

int main(void)
{
    set_of_nodes();
    ask_the_dead();
    positions_of_a_pipe();
    close_in_child(0);
    close_in_child(UNSHARE);
    cut_memory_file();
    missed_expirations();
    return 0;
}
