/* Signals and timers: masks, queues, alternate stacks, interrupted calls, waits, intervals. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t count, last, value, on_stack;
static char stack[64 << 10];

static void note(int number) { last = number; count++; }

static void note_value(int number, siginfo_t *info, void *context)
{
    (void)context;
    char here;
    last = number;
    value = info->si_value.sival_int;
    on_stack = &here >= stack && &here < stack + sizeof stack;
    count++;
}

static void handle(int number, int flags)
{
    struct sigaction action = {.sa_flags = flags};

    if (flags & SA_SIGINFO)
        action.sa_sigaction = note_value;
    else
        action.sa_handler = note;
    sigaction(number, &action, NULL);
}

int main(void)
{
    sigset_t set, pending;
    double eighth = 0.125;

    handle(SIGUSR1, 0);
    raise(SIGUSR1);
    printf("raised: %d %d, and %.3f\n", (int)last, (int)count, eighth * 3);

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    raise(SIGUSR1);
    handle(SIGRTMIN, SA_SIGINFO);
    for (int i = 1; i <= 3; i++)
        sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i * 10});
    sigpending(&pending);
    printf("pending: %d %d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGRTMIN));
    siginfo_t info;
    int got = sigwaitinfo(&set, &info);
    printf("waited for %s\n", got == SIGUSR1 ? "USR1" : "another");
    got = sigwaitinfo(&set, &info);
    printf("waited for a real-time signal: %d, value %d\n", got == SIGRTMIN, info.si_value.sival_int);
    count = 0;
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    printf("delivered: %d, the last with %d\n", (int)count, (int)value);
    struct timespec none = {0, 10000000};
    got = sigtimedwait(&set, NULL, &none);
    printf("nothing more: %s\n", got < 0 ? strerror(errno) : "?");

    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternate, NULL);
    handle(SIGUSR2, SA_SIGINFO | SA_ONSTACK);
    sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 77});
    printf("on the alternate stack: %d, value %d\n", (int)on_stack, (int)value);

    int ends[2];
    char byte;
    pipe(ends);
    handle(SIGALRM, 0);
    struct itimerval soon = {.it_value = {0, 30000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    int result = read(ends[0], &byte, 1);
    printf("interrupted read: %s\n", result < 0 ? strerror(errno) : "?");
    handle(SIGALRM, SA_RESTART);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        usleep(80000);
        write(ends[1], "x", 1);
        _exit(0);
    }
    setitimer(ITIMER_REAL, &soon, NULL);
    result = read(ends[0], &byte, 1);
    printf("restarted read: %d\n", result);
    waitpid(child, NULL, 0);

    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 5};
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    struct itimerspec interval = {{0, 5000000}, {0, 5000000}};
    count = 0;
    timer_settime(timer, 0, &interval, NULL);
    while (count < 5)
        pause();
    timer_delete(timer);
    printf("interval timer: at least 5 times, value %d\n", (int)value);

    struct timespec before, after, span = {0, 50000000};
    clock_gettime(CLOCK_MONOTONIC, &before);
    clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    long slept = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    printf("slept long enough: %s\n", slept >= 49 ? "yes" : "no");

    sigset_t wait_mask;
    sigfillset(&wait_mask);
    sigdelset(&wait_mask, SIGALRM);
    handle(SIGALRM, 0);
    setitimer(ITIMER_REAL, &soon, NULL);
    sigsuspend(&wait_mask);
    printf("suspended until %s\n", last == SIGALRM ? "SIGALRM" : "another");

    fflush(stdout);
    child = fork();
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        for (;;)
            pause();
    }
    int status;
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    printf("stopped: %d\n", WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    kill(child, SIGCONT);
    waitpid(child, &status, WCONTINUED);
    printf("continued: %d\n", WIFCONTINUED(status));
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    printf("ended by %s\n", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "?");
    return 0;
}
