/* Signals that are read: what is told, waiting for them, other sets, children and threads. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fd;

static void show(const char *what)
{
    struct signalfd_siginfo all[4];
    ssize_t got = read(fd, all, sizeof all);

    if (got < 0) {
        printf("%s: %s\n", what, strerror(errno));
        return;
    }
    for (unsigned i = 0; i < got / sizeof *all; i++) {
        struct signalfd_siginfo *one = all + i;
        const char *who = one->ssi_pid == (unsigned)getpid() ? "me" : one->ssi_pid ? "other" : "nobody";

        printf("%s: %u errno %d code %d from %s uid %d value %d %lx status %d overrun %u tid %u addr %lx\n", what,
               one->ssi_signo, one->ssi_errno, one->ssi_code, who, one->ssi_uid == getuid(), one->ssi_int,
               (unsigned long)one->ssi_ptr, one->ssi_status, one->ssi_overrun, one->ssi_tid,
               (unsigned long)one->ssi_addr);
    }
}

static int ready(int timeout)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int count = poll(&item, 1, timeout);

    return count * 1000 + item.revents;
}

static void *send_late(void *process)
{
    struct timespec moment = {.tv_nsec = 20000000};

    nanosleep(&moment, NULL);
    if (process)
        kill(getpid(), SIGUSR2);
    return NULL;
}

static void *own_signals(void *unused)
{
    (void)unused;
    pthread_kill(pthread_self(), SIGUSR1);
    printf("thread: ready %d\n", ready(0));
    show("thread");
    return NULL;
}

static void refusals(sigset_t *set)
{
    char small[127];
    int pipes[2];

    printf("flags: %d", signalfd(-1, set, 1));
    printf(" %s\n", strerror(errno));
    printf("size: %ld", syscall(SYS_signalfd4, -1, set, 4, 0));
    printf(" %s\n", strerror(errno));
    printf("closed: %d", signalfd(99, set, 0));
    printf(" %s\n", strerror(errno));
    if (pipe(pipes))
        exit(1);
    printf("pipe: %d", signalfd(pipes[0], set, 0));
    printf(" %s\n", strerror(errno));
    close(pipes[0]);
    close(pipes[1]);
    printf("small: %zd", read(fd, small, sizeof small));
    printf(" %s\n", strerror(errno));
    printf("write: %zd", write(fd, small, sizeof small));
    printf(" %s\n", strerror(errno));
    printf("null: %ld", syscall(SYS_signalfd4, -1, NULL, 8, 0));
    printf(" %s\n", strerror(errno));
}

int main(void)
{
    sigset_t set, other;
    pthread_t thread;
    char path[64], link[64] = "";
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 7}, got;
    timer_t timer;
    struct sigevent expiry = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1,
                              .sigev_value.sival_int = 321};
    struct itimerspec soon = {.it_value.tv_nsec = 1000000};

    sigemptyset(&set);
    for (int number = SIGRTMIN; number < SIGRTMIN + 3; number++)
        sigaddset(&set, number);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    printf("flags: %o %d\n", fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), fcntl(fd, F_GETFD));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (readlink(path, link, sizeof link - 1) > 0)
        printf("%s\n", link);
    refusals(&set);

    show("nothing");
    printf("ready: %d\n", ready(0));
    sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_ptr = (void *)0x123456789abcUL});
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 5});
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 6});
    kill(getpid(), SIGUSR2);
    raise(SIGUSR1);
    raise(SIGUSR1);
    printf("ready: %d\n", ready(0));
    show("first");
    show("second");
    show("third");

    /* A child's end, and a timer's. */
    pid_t child = fork();
    if (child == 0)
        _exit(7);
    printf("child: ready %d\n", ready(-1));
    show("child");
    waitpid(child, NULL, 0);
    timer_create(CLOCK_MONOTONIC, &expiry, &timer);
    timer_settime(timer, 0, &soon, NULL);
    printf("timer: ready %d\n", ready(-1));
    show("timer");

    /* Others wait, too. */
    int poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    printf("epoll: %d", epoll_wait(poller, &got, 1, 0));
    pthread_create(&thread, NULL, send_late, &set);
    printf(" %d", epoll_wait(poller, &got, 1, -1));
    printf(" %x %u\n", got.events, got.data.u32);
    pthread_join(thread, NULL);
    show("late");
    printf("epoll: %d\n", epoll_wait(poller, &got, 1, 0));
    fcntl(fd, F_SETFL, 0);
    pthread_create(&thread, NULL, send_late, &set);
    show("waited");
    pthread_join(thread, NULL);
    fcntl(fd, F_SETFL, O_NONBLOCK);

    /* Each thread has its own. */
    raise(SIGUSR1);
    pthread_create(&thread, NULL, own_signals, NULL);
    pthread_join(thread, NULL);
    show("main");
    raise(SIGUSR1);
    kill(getpid(), SIGUSR2);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        printf("child: ready %d\n", ready(0));
        show("of the child");
        raise(SIGUSR2);
        show("of the child");
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    show("of the parent");

    /* Another set. */
    sigemptyset(&other);
    sigaddset(&other, SIGUSR2);
    sigaddset(&other, SIGKILL);
    printf("same: %d\n", signalfd(fd, &other, 0) == fd);
    raise(SIGUSR1);
    show("other");
    raise(SIGUSR2);
    show("other");
    signalfd(fd, &set, 0);
    show("again");
    return 0;
}
