/* Timers of a nanosecond: everything expires many times, nothing stands still. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { TIMERS = 50 };

int main(void)
{
    struct itimerspec nanosecond = { { 0, 1 }, { 0, 1 } };
    struct itimerval microsecond = { { 0, 1 }, { 0, 1 } };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    struct timespec start, now;
    uint64_t expired = 0, count;
    sigset_t both, waiting;

    /* Handlers would leave the program no time. */
    sigemptyset(&both);
    sigaddset(&both, SIGALRM);
    sigaddset(&both, SIGUSR1);
    sigprocmask(SIG_BLOCK, &both, NULL);
    for (int i = 0; i < TIMERS; i++) {
        timer_t timer;
        if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &nanosecond, NULL))
            return 1;
    }
    if (setitimer(ITIMER_REAL, &microsecond, NULL))
        return 2;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (fd < 0 || timerfd_settime(fd, 0, &nanosecond, NULL))
        return 3;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        struct pollfd wanted = { fd, POLLIN, 0 };
        poll(&wanted, 1, 1000);
        if (read(fd, &count, sizeof count) == sizeof count)
            expired += count;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < 2);
    long passed = (now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec;
    sigpending(&waiting);
    printf("alarms %s, ", sigismember(&waiting, SIGALRM) ? "came" : "missing");
    printf("ticks %s, ", sigismember(&waiting, SIGUSR1) ? "came" : "missing");
    printf("expirations %s\n", expired > (uint64_t)passed / 10 * 9 ? "counted" : "lost");
    return 0;
}
