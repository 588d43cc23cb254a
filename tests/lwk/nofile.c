/* As many files as RLIMIT_NOFILE says, soft and hard limit being the same. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int fill(void)
{
    int last = -1;

    for (int fd; (fd = open("/etc/passwd", O_RDONLY)) >= 0;)
        last = fd;
    return last;
}

int main(void)
{
    int last = fill();

    printf("the last one is %d, then: %s\n", last, strerror(errno));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(last);
        printf("child: %d\n", fill());
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return 0;
}
