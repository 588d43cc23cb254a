/*
 * Record locks on a file of the host: processes that wait for each other in a circle, and those that do not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int file;

static int lock(int command, int type, int byte)
{
    struct flock flock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
    return fcntl(file, command, &flock) ? errno : 0;
}

/* Each of a circle has a byte and wants that of the next one; the last to want it is told. */
static void circle(int count)
{
    pid_t children[8];
    int ready[2], status;
    char byte;
    if (pipe(ready))
        return;
    for (int i = 0; i < count; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            int had = lock(F_SETLKW, F_WRLCK, i);
            if (write(ready[1], "x", 1) != 1)
                _exit(9);
            usleep(500000 + i * 200000);
            int got = lock(F_SETLKW, F_WRLCK, (i + 1) % count);
            _exit(had ? 8 : got == EDEADLK ? 1 : got ? 2 : 0);
        }
    }
    for (int i = 0; i < count; i++)
        if (read(ready[0], &byte, 1) != 1)
            perror("read");
    printf("circle of %d:", count);
    for (int i = 0; i < count; i++) {
        waitpid(children[i], &status, 0);
        printf(" %d", status >> 8);
    }
    printf("\n");
    close(ready[0]);
    close(ready[1]);
}

static void nothing(int signal) { (void)signal; }

/* Whoever has the lock does not wait for one. */
static void no_circle(void)
{
    int ready[2], status;
    char byte;
    if (pipe(ready))
        return;
    pid_t child = fork();
    if (child == 0) {
        lock(F_SETLKW, F_WRLCK, 0);
        if (write(ready[1], "x", 1) != 1)
            _exit(9);
        usleep(1500000);
        _exit(lock(F_SETLKW, F_UNLCK, 0));
    }
    if (read(ready[0], &byte, 1) != 1)
        perror("read");
    printf("at once: %d", lock(F_SETLK, F_WRLCK, 0) == EAGAIN);
    struct sigaction action = { .sa_handler = nothing };
    sigaction(SIGALRM, &action, NULL);
    alarm(1);
    printf(", until a signal: %d", lock(F_SETLKW, F_WRLCK, 0) == EINTR);
    printf(", until it is free: %d\n", lock(F_SETLKW, F_WRLCK, 0));
    waitpid(child, &status, 0);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
    char name[] = "/tmp/lwk-locks-XXXXXX";
    setvbuf(stdout, NULL, _IONBF, 0);
    file = mkstemp(name);
    unlink(name);
    no_circle();
    lock(F_SETLK, F_UNLCK, 0);
    circle(2);
    circle(3);
    return 0;
}
