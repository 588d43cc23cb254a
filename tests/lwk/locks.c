/*
 * Record locks on a file of the host and on one in memory: processes that wait for each other in a circle, and those that do not.
 * On the one in memory, which a node keeps itself, also all else that is known of locks: ranges, what ends them, those of open
 * descriptions, flock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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

/* What another process gets now: 0, or the number of the error. */
static int other(int command, int type, int byte)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(lock(command, type, byte));
    waitpid(child, &status, 0);
    return status >> 8;
}

static int range(int command, int type, int whence, off_t start, off_t len)
{
    struct flock flock = { .l_type = type, .l_whence = whence, .l_start = start, .l_len = len };
    return fcntl(file, command, &flock) ? errno : 0;
}

/* Which bytes of the first ten are another's: readable 'r', or not at all 'w'. */
static void show(const char *what)
{
    char bytes[11] = "";
    int status, ends[2];
    if (pipe(ends))
        return;
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 10; i++)
            bytes[i] = !lock(F_SETLK, F_WRLCK, i) ? '.' : !lock(F_SETLK, F_RDLCK, i) ? 'r' : 'w';
        _exit(write(ends[1], bytes, 10) != 10);
    }
    waitpid(child, &status, 0);
    if (read(ends[0], bytes, 10) != 10)
        perror("read");
    close(ends[0]);
    close(ends[1]);
    printf("%s: %s\n", what, bytes);
}

static void ranges(void)
{
    range(F_SETLK, F_RDLCK, SEEK_SET, 1, 8);
    show("read");
    range(F_SETLK, F_WRLCK, SEEK_SET, 3, 2);
    show("written inside");
    range(F_SETLK, F_UNLCK, SEEK_SET, 6, 1);
    show("split");
    if (ftruncate(file, 10) || lseek(file, 4, SEEK_SET) != 4)
        perror("file");
    range(F_SETLK, F_UNLCK, SEEK_SET, 0, 0);
    range(F_SETLK, F_WRLCK, SEEK_CUR, -1, 2);
    range(F_SETLK, F_WRLCK, SEEK_END, 0, -2);
    show("from elsewhere");
    printf("refused: %d", range(F_SETLK, F_WRLCK, SEEK_SET, -1, 1) == EINVAL);
    printf(" %d", range(F_SETLK, F_WRLCK, SEEK_SET, 1, -2) == EINVAL);
    printf(" %d", range(F_SETLK, F_WRLCK, SEEK_SET, 2, 0x7fffffffffffffff) == EOVERFLOW);
    printf(" %d", range(F_SETLK, F_WRLCK, 9, 0, 1) == EINVAL);
    printf(" %d\n", range(F_SETLK, 9, SEEK_SET, 0, 1) == EINVAL);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        struct flock flock = { .l_type = F_RDLCK, .l_whence = SEEK_CUR, .l_start = 0, .l_len = 1, .l_pid = 5 };
        fcntl(file, F_GETLK, &flock);
        printf("asked: %d %d %d %d %d\n", flock.l_type == F_WRLCK, flock.l_whence, (int)flock.l_start,
            (int)flock.l_len, flock.l_pid == parent);
        struct flock none = { .l_type = F_RDLCK, .l_whence = SEEK_CUR, .l_start = 1, .l_len = 1, .l_pid = 5 };
        fcntl(file, F_GETLK, &none);
        printf("asked: %d %d %d %d %d\n", none.l_type == F_UNLCK, none.l_whence, (int)none.l_start,
            (int)none.l_len, none.l_pid);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

/* Any descriptor that is closed ends the locks of the process. */
static void ends(const char *name)
{
    int number = open(name, O_RDONLY);
    lock(F_SETLK, F_WRLCK, 0);
    int before = other(F_SETLK, F_WRLCK, 0);
    close(number);
    printf("closed: %d %d\n", before == EAGAIN, other(F_SETLK, F_WRLCK, 0));
    lock(F_SETLK, F_WRLCK, 0);
    number = dup(file);
    before = other(F_SETLK, F_WRLCK, 0);
    if (dup2(0, number) != number)
        perror("dup2");
    printf("replaced: %d %d\n", before == EAGAIN, other(F_SETLK, F_WRLCK, 0));
    close(number);
    number = open(name, O_RDONLY);
    struct flock writes = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
    printf("only read: %d\n", fcntl(number, F_SETLK, &writes) && errno == EBADF);
    close(number);
}

/* Open descriptions have locks of their own, which a child shares. */
static void descriptions(const char *name)
{
    int first = file, second = open(name, O_RDWR);
    printf("own: %d", lock(F_OFD_SETLK, F_WRLCK, 0));
    printf(", the process: %d", lock(F_SETLK, F_RDLCK, 0) == EAGAIN);
    printf(", a child: %d", other(F_OFD_SETLK, F_WRLCK, 0));
    file = second;
    printf(", another: %d", lock(F_OFD_SETLK, F_RDLCK, 0) == EAGAIN);
    struct flock asked = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
    fcntl(second, F_GETLK, &asked);
    printf(", whose: %d", asked.l_pid);
    asked = (struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1, .l_pid = 1 };
    printf(", with a process: %d\n", fcntl(second, F_OFD_SETLK, &asked) && errno == EINVAL);
    file = first;
    lock(F_OFD_SETLK, F_UNLCK, 0);
    lock(F_SETLK, F_UNLCK, 0);

    printf("flock: %d", flock(first, LOCK_SH));
    printf(" %d", flock(second, LOCK_SH | LOCK_NB));
    printf(" %d", flock(first, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK);
    flock(second, LOCK_UN);
    printf(" %d", flock(first, LOCK_EX | LOCK_NB));
    printf(" %d", flock(second, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK);
    printf(" %d", flock(second, LOCK_NB) && errno == EINVAL);
    int ready[2];
    char byte;
    if (pipe(ready))
        return;
    pid_t child = fork();
    if (child == 0) {
        if (write(ready[1], "x", 1) != 1)
            _exit(9);
        usleep(300000);
        _exit(flock(first, LOCK_UN));
    }
    if (read(ready[0], &byte, 1) != 1)
        perror("read");
    printf(", until a child unlocks: %d\n", flock(second, LOCK_EX));
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    /* The last descriptor that is closed ends it. */
    int twin = dup(second);
    close(second);
    int held = flock(first, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    close(twin);
    printf("the last one: %d %d\n", held, flock(first, LOCK_EX | LOCK_NB));
}

static void waits(void)
{
    no_circle();
    lock(F_SETLK, F_UNLCK, 0);
    circle(2);
    circle(3);
}

int main(void)
{
    char host[] = "/tmp/lwk-locks-XXXXXX", memory[] = "/dev/shm/lwk-locks-XXXXXX";
    setvbuf(stdout, NULL, _IONBF, 0);
    file = mkstemp(host);
    unlink(host);
    waits();
    close(file);
    file = mkstemp(memory);
    waits();
    ranges();
    ends(memory);
    descriptions(memory);
    unlink(memory);
    return 0;
}
