/*
 * Calls for who looks at them: known numbers of known calls, some with errors, some that go to the host, in two processes and two
 * threads. `watched FILE`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *other(void *unused)
{
    for (int i = 0; i < 5; i++)
        syscall(SYS_getppid);
    return unused;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    for (int i = 0; i < 100; i++)
        syscall(SYS_getpid);
    int file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || pwrite(file, "seen\n", 5, 0) != 5)
        return 3;
    char back[64];
    if (pread(file, back, sizeof back, 0) != 5 || memcmp(back, "seen\n", 5))
        return 4;
    for (int i = 0; i < 3; i++)
        if (open("/there/is/no such file", O_RDONLY) != -1 || errno != ENOENT)
            return 5;
    pthread_t thread;
    if (pthread_create(&thread, NULL, other, NULL) || pthread_join(thread, NULL))
        return 6;
    int child = fork();
    if (!child) {
        syscall(SYS_getuid);
        _exit(7);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
        return 8;
    puts("done");
    /* As ls and cat do: what is said of the process at its end must not depend on it. */
    close(2);
    return 0;
}
