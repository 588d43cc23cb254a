/* Limits of files in memory, files without a name, links below /proc. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t exceeded;
static char data[20000];

static void note(int signal)
{
    (void)signal;
    exceeded++;
}

static void show(const char *what, long result)
{
    printf("%s: %ld %s, SIGXFSZ %d\n", what, result, result < 0 ? strerror(errno) : "", (int)exceeded);
    exceeded = 0;
}

static void limited(const char *name, int fd)
{
    struct stat stat;

    printf("%s\n", name);
    show("write", write(fd, data, sizeof data));
    show("write more", write(fd, data, 1));
    show("write nothing", write(fd, data, 0));
    show("pwrite inside", pwrite(fd, data, 100, 9950));
    show("pwrite beyond", pwrite(fd, data, 100, 15000));
    show("ftruncate", ftruncate(fd, 10001));
    show("ftruncate less", ftruncate(fd, 5000));
    show("posix_fallocate", posix_fallocate(fd, 0, 10001));
    fstat(fd, &stat);
    printf("size %ld\n", (long)stat.st_size);
    close(fd);
}

static long open_how(const char *path, unsigned long flags, unsigned long resolve)
{
    struct open_how how = {.flags = flags, .resolve = resolve};
    long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);

    if (fd >= 0)
        close(fd);
    return fd < 0 ? -1 : 0;
}

static void forks(rlim_t limit)
{
    struct rlimit size = {limit, RLIM_INFINITY};
    int status = -1;

    setrlimit(RLIMIT_FSIZE, &size);
    pid_t child = fork();
    if (child == 0)
        _exit(5);
    if (child < 0)
        perror("fork");
    waitpid(child, &status, 0);
    printf("a child with a limit of %lu: %d\n", (unsigned long)limit, WEXITSTATUS(status));
    fflush(stdout);
}

int main(void)
{
    struct rlimit size = {10000, RLIM_INFINITY};
    char path[64], found[8] = "";
    int fd;

    signal(SIGXFSZ, note);
    setrlimit(RLIMIT_FSIZE, &size);
    fd = open("/dev/shm/lwk-files-test", O_RDWR | O_CREAT | O_TRUNC, 0600);
    limited("shared memory", fd);
    show("truncate", truncate("/dev/shm/lwk-files-test", 10001));
    unlink("/dev/shm/lwk-files-test");
    limited("memfd", memfd_create("limited", 0));
    limited("file", open("limited", O_RDWR | O_CREAT | O_TRUNC, 0600));
    unlink("limited");
    fflush(stdout);
    forks(100);
    forks(0);
    size.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &size);

    /* A file without a name gets one, in either way. */
    for (int way = 0; way < 3; way++) {
        fd = open(".", O_TMPFILE | O_RDWR, 0600);
        if (fd < 0 || write(fd, "content", 7) != 7)
            return 1;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        unlink("named");
        if (way == 0)
            show("by its link", linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
        else if (way == 1)
            show("by itself", linkat(fd, "", AT_FDCWD, "named", AT_EMPTY_PATH));
        else
            show("the link", linkat(AT_FDCWD, path, AT_FDCWD, "named", 0));
        close(fd);
        fd = open("named", O_RDONLY);
        printf("%zd %s\n", fd < 0 ? -1 : read(fd, found, 7), found);
        close(fd);
    }
    unlink("named");
    for (int way = 0; way < 3; way++) {
        struct stat stat;

        fd = open("/dev/shm", O_TMPFILE | O_RDWR | (way == 2 ? O_EXCL : 0), 0600);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (way == 1)
            show("shared, by itself", linkat(fd, "", AT_FDCWD, "/dev/shm/lwk-named", AT_EMPTY_PATH));
        else
            show("shared", linkat(AT_FDCWD, path, AT_FDCWD, "/dev/shm/lwk-named", AT_SYMLINK_FOLLOW));
        fstat(fd, &stat);
        printf("%u links, there %d\n", (unsigned)stat.st_nlink, access("/dev/shm/lwk-named", F_OK));
        show("elsewhere", linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
        unlink("/dev/shm/lwk-named");
        close(fd);
    }
    show("no path", linkat(AT_FDCWD, "", AT_FDCWD, "named", 0));
    show("flags", linkat(AT_FDCWD, "x", AT_FDCWD, "named", 1));
    fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    show("exclusive", linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    close(fd);

    /* Links below /proc that lead to objects. */
    show("exe", open_how("/proc/self/exe", O_RDONLY, 0));
    show("exe, no magic", open_how("/proc/self/exe", O_RDONLY, RESOLVE_NO_MAGICLINKS));
    show("cwd, no magic", open_how("/proc/self/cwd/.", O_RDONLY, RESOLVE_NO_MAGICLINKS));
    fd = open("/etc/passwd", O_RDONLY);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    show("fd", open_how(path, O_RDONLY, 0));
    show("fd, no magic", open_how(path, O_RDONLY, RESOLVE_NO_MAGICLINKS));
    show("self, no magic", open_how("/proc/self/status", O_RDONLY, RESOLVE_NO_MAGICLINKS));
    show("file, no magic", open_how("/etc/passwd", O_RDONLY, RESOLVE_NO_MAGICLINKS));
    return 0;
}
