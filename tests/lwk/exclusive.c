/*
 * EPOLLEXCLUSIVE: of processes that wait for one pipe, each in a set of its own, an event wakes one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef EPOLLEXCLUSIVE
#define EPOLLEXCLUSIVE (1u << 28)
#endif
#define WAITERS 4

static int control(int set, int operation, int fd, unsigned events)
{
    struct epoll_event event = { .events = events };
    return epoll_ctl(set, operation, fd, &event) ? errno : 0;
}

static void wakes(const char *what, unsigned more)
{
    int work[2], woken[2];
    char byte;
    if (pipe(work) || pipe(woken))
        return;
    for (int i = 0; i < WAITERS; i++) {
        if (fork() == 0) {
            struct epoll_event event;
            int set = epoll_create1(0);
            control(set, EPOLL_CTL_ADD, work[0], EPOLLIN | EPOLLET | more);
            if (epoll_wait(set, &event, 1, 10000) == 1 && write(woken[1], "x", 1) != 1)
                _exit(1);
            _exit(0);
        }
    }
    usleep(700000);
    /* Who was woken tells; the others are woken by what follows. */
    printf("%s:", what);
    for (int round = 0; round < WAITERS; round++) {
        int count = 0;
        struct epoll_event event;
        int set = epoll_create1(0);
        if (write(work[1], "y", 1) != 1)
            perror("write");
        control(set, EPOLL_CTL_ADD, woken[0], EPOLLIN);
        while (epoll_wait(set, &event, 1, 400) == 1 && read(woken[0], &byte, 1) == 1)
            count++;
        printf(" %d", count);
        close(set);
    }
    printf("\n");
    while (wait(NULL) > 0)
        ;
    close(work[0]);
    close(work[1]);
    close(woken[0]);
    close(woken[1]);
}

int main(void)
{
    int set = epoll_create1(0), inner = epoll_create1(0), ends[2];
    setvbuf(stdout, NULL, _IONBF, 0);
    if (pipe(ends))
        return 1;
    printf("refused: %d", control(set, EPOLL_CTL_ADD, inner, EPOLLIN | EPOLLEXCLUSIVE));
    printf(" %d", control(set, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLONESHOT | EPOLLEXCLUSIVE));
    printf(" %d", control(set, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLPRI | EPOLLEXCLUSIVE));
    printf(", taken: %d", control(set, EPOLL_CTL_ADD, ends[0], EPOLLIN | EPOLLET | EPOLLEXCLUSIVE));
    printf(", not changed: %d", control(set, EPOLL_CTL_MOD, ends[0], EPOLLIN));
    printf(", removed: %d", control(set, EPOLL_CTL_DEL, ends[0], 0));
    control(set, EPOLL_CTL_ADD, ends[0], EPOLLIN);
    printf(", not made so: %d\n", control(set, EPOLL_CTL_MOD, ends[0], EPOLLIN | EPOLLEXCLUSIVE));
    wakes("exclusive", EPOLLEXCLUSIVE);
    wakes("all", 0);
    return 0;
}
