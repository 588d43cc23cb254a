/* Trees of processes: fork, exec, wait, pipes between them, popen, system, orphans, groups. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int tree(int depth)
{
    if (depth == 0)
        return 1;
    int sum = 1;
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(tree(depth - 1));
        int status;
        waitpid(child, &status, 0);
        sum += WEXITSTATUS(status);
    }
    return sum;
}

static volatile sig_atomic_t told;

static void tell(int signal)
{
    told += signal == SIGCHLD;
}

/* The signal that tells of a child's end interrupts no wait for that child, and was handled when the wait is over. */
static int broken_waits(void)
{
    struct sigaction action = { .sa_handler = tell }, before;
    int broken = 0;
    sigaction(SIGCHLD, &action, &before);
    for (int i = 1; i <= 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            usleep(3000);
            _exit(0);
        }
        broken += waitpid(child, NULL, 0) != child || told != i;
    }
    sigaction(SIGCHLD, &before, NULL);
    return broken;
}

/* A child in a group of its own, made by its parent, and a child of that: both get a signal for the group. */
static int signals_of_a_group(void)
{
    int begin[2], ready[2], status;
    char byte;
    pipe(begin);
    pipe(ready);
    pid_t leader = fork();
    if (leader == 0) {
        read(begin[0], &byte, 1);
        pid_t member = fork();
        if (member == 0) {
            write(ready[1], "m", 1);
            for (;;)
                pause();
        }
        for (;;)
            pause();
    }
    int made = setpgid(leader, leader) == 0;
    write(begin[1], "b", 1);
    read(ready[0], &byte, 1);
    close(ready[1]);
    int sent = kill(-leader, SIGTERM) == 0;
    waitpid(leader, &status, 0);
    /* Only the member's end closes the last other end. */
    int over = read(ready[0], &byte, 1) == 0;
    close(ready[0]);
    close(begin[0]);
    close(begin[1]);
    return made + 2 * sent + 4 * (WTERMSIG(status) == SIGTERM) + 8 * over;
}

int main(int argc, char **argv)
{
    int status, ends[2];
    char text[256] = "";

    if (argc > 1 && !strcmp(argv[1], "child")) {
        printf("child: %s, %s\n", argv[2], getenv("TREE") ? getenv("TREE") : "(none)");
        return 7;
    }
    printf("tree: %d\n", tree(3));
    fflush(stdout);

    pipe(ends);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        setenv("TREE", "oak", 1);
        execl("/proc/self/exe", argv[0], "child", "by exec", NULL);
        _exit(127);
    }
    close(ends[1]);
    ssize_t len = 0, got;
    while ((got = read(ends[0], text + len, sizeof text - 1 - len)) > 0)
        len += got;
    close(ends[0]);
    waitpid(child, &status, 0);
    printf("exec: %d, %s", WEXITSTATUS(status), text);

    int file = open("offset.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600);
    write(file, "0123456789", 10);
    lseek(file, 2, SEEK_SET);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        char two[2];
        read(file, two, 2);
        _exit(two[0] == '2');
    }
    waitpid(child, &status, 0);
    char next;
    read(file, &next, 1);
    printf("shared offset: child %d, then %c\n", WEXITSTATUS(status), next);
    close(file);
    unlink("offset.tmp");

    FILE *stream = popen("echo from popen; exit 3", "r");
    while (stream && fgets(text, sizeof text, stream))
        printf("popen: %s", text);
    status = stream ? pclose(stream) : -1;
    printf("pclose: %d\n", WEXITSTATUS(status));
    fflush(stdout);
    status = system("test -d / && exit 5");
    printf("system: %d\n", WEXITSTATUS(status));

    char *words[] = {argv[0], "child", "by posix_spawn", NULL};
    fflush(stdout);
    int error = posix_spawn(&child, "/proc/self/exe", NULL, NULL, words, environ);
    waitpid(child, &status, 0);
    printf("posix_spawn: %s, %d\n", strerror(error), WEXITSTATUS(status));
    error = posix_spawn(&child, "/no/such/program", NULL, NULL, words, environ);
    printf("posix_spawn: %s\n", strerror(error));

    fflush(stdout);
    child = fork();
    if (child == 0)
        raise(SIGKILL);
    siginfo_t info = {0};
    waitid(P_PID, child, &info, WEXITED | WNOWAIT);
    printf("waitid: %d %d\n", info.si_code == CLD_KILLED, info.si_status);
    printf("again: %d\n", waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGKILL);
    printf("none left: %s\n", wait(NULL) < 0 ? strerror(errno) : "?");

    printf("waits that the child's own signal broke off: %d\n", broken_waits());
    printf("signals of a group: %d\n", signals_of_a_group());

    pipe(ends);
    child = fork();
    if (child == 0) {
        if (fork() == 0) {
            while (getppid() == getpid())
                ;
            usleep(50000);
            write(ends[1], "o", 1);
            _exit(0);
        }
        _exit(0);
    }
    waitpid(child, NULL, 0);
    printf("orphan: %d\n", read(ends[0], &next, 1) == 1 && next == 'o');
    child = fork();
    if (child == 0) {
        setpgid(0, 0);
        _exit(getpgrp() == getpid());
    }
    waitpid(child, &status, 0);
    printf("group: %d\n", WEXITSTATUS(status));
    return 0;
}
