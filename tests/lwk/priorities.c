/* What a program may say of its priority, of others', and of processes that are not there. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Larger than any pid of Linux. */
#define NOBODY (1 << 30)

static void show(const char *what, long result)
{
    printf("%s: %ld %s\n", what, result, result == -1 ? strerror(errno) : "");
}

static long nice_of(int which, id_t who)
{
    errno = 0;
    long result = getpriority(which, who);
    return errno ? -1000 - errno : result;
}

static void nice_values(void)
{
    show("set 5", setpriority(PRIO_PROCESS, 0, 5));
    show("process", nice_of(PRIO_PROCESS, 0));
    show("by pid", nice_of(PRIO_PROCESS, getpid()));
    show("beyond", setpriority(PRIO_PROCESS, 0, 100));
    show("clamped", nice_of(PRIO_PROCESS, 0));
    show("which", setpriority(-1, 0, 1));
    show("which of get", nice_of(7, 0));
    show("nobody", setpriority(PRIO_PROCESS, NOBODY, 1));
    show("nobody of get", nice_of(PRIO_PROCESS, NOBODY));
    show("no group", setpriority(PRIO_PGRP, NOBODY, 1));
    show("no user", nice_of(PRIO_USER, 4000000));
    int priority, value;
    FILE *file = fopen("/proc/self/stat", "r");
    if (file && fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %d %d",
                       &priority, &value) == 2)
        printf("stat: %d %d\n", priority, value);
    if (file)
        fclose(file);
}

static void policies(void)
{
    struct sched_param param = { .sched_priority = 0 }, high = { .sched_priority = 50 };
    show("batch", sched_setscheduler(0, SCHED_BATCH, &param));
    show("policy", sched_getscheduler(0));
    show("priority of batch", sched_setparam(0, &high));
    show("no parameter", sched_setparam(0, NULL));
    show("nowhere for it", sched_getparam(0, NULL));
    show("negative", sched_setscheduler(-1, SCHED_OTHER, &param));
    show("unknown", sched_setscheduler(0, 99, &param));
    show("bad address", syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, -1L));
    show("nobody", sched_setscheduler(NOBODY, SCHED_OTHER, &param));
    show("no attributes", syscall(SYS_sched_setattr, 0, NULL, 0));
    show("no room", syscall(SYS_sched_getattr, 0, NULL, 48, 0));
}

/* Whoever is not the superuser gets nicer, and no way back. */
static void unprivileged(void)
{
    struct sched_param high = { .sched_priority = 50 };
    cpu_set_t cpus;
    sched_getaffinity(0, sizeof cpus, &cpus);
    if (setresuid(65534, 65534, 65534))
        perror("setresuid");
    show("nicer", setpriority(PRIO_PROCESS, 0, 19));
    show("less nice", setpriority(PRIO_PROCESS, 0, 0));
    show("real time", sched_setscheduler(0, SCHED_FIFO, &high));
    show("of the parent", setpriority(PRIO_PROCESS, getppid(), 19));
    show("where the parent runs", sched_setaffinity(getppid(), sizeof cpus, &cpus));
}

static void others(void)
{
    show("group of nobody", getpgid(NOBODY));
    show("session of nobody", getsid(NOBODY));
    show("group of -1", getpgid(-1));
    show("a parent has a group", getpgid(getppid()) > 0);
}

static void pairs(void)
{
    static const struct { int family, type, protocol; } wrong[] = {
        { 0, SOCK_STREAM, 0 },       { AF_INET, 75, 0 },          { AF_INET, SOCK_DGRAM, 17 },
        { AF_INET, SOCK_DGRAM, 6 },  { AF_INET, SOCK_STREAM, 6 }, { AF_INET, SOCK_STREAM, 1 },
        { AF_UNIX, SOCK_STREAM, 9 }, { 100, SOCK_STREAM, 0 },
    };
    int fds[2];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        errno = 0;
        int result = socketpair(wrong[i].family, wrong[i].type, wrong[i].protocol, fds);
        printf("pair %zu: %d %d\n", i, result, errno);
    }
}

int main(void)
{
    nice_values();
    policies();
    prctl(PR_SET_TIMERSLACK, 70000);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        show("nice of the parent", nice_of(PRIO_PROCESS, 0));
        prctl(PR_SET_TIMERSLACK, 1000);
        prctl(PR_SET_TIMERSLACK, 0);
        show("slack of the parent", prctl(PR_GET_TIMERSLACK));
        unprivileged();
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    others();
    pairs();
    printf("ended %d\n", status);
    return 0;
}
