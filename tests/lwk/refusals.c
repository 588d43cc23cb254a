/* What memory that is sealed, timers, barriers and prctl refuse. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SIZE 8192

static void show(const char *what, long result)
{
    printf("%s: %ld %s\n", what, result, result == -1 ? strerror(errno) : "");
}

static void *map(int fd, int protection, int flags)
{
    return mmap(NULL, SIZE, protection, flags, fd, 0);
}

static void seals(void)
{
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
    if (ftruncate(fd, SIZE))
        perror("ftruncate");
    char *shared = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
    strcpy(shared, "kept");
    show("while it is mapped", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    munmap(shared, SIZE);
    char *private = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    show("while it is private", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    private[0] = 'K';
    show("write", write(fd, "x", 1));
    show("shared", map(fd, PROT_READ | PROT_WRITE, MAP_SHARED) == MAP_FAILED ? -1 : 0);
    char *again = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    printf("%s %s\n", private, again);
    show("no large pages, no size of them", memfd_create("name", 1U << 31));
    close(fd);
}

static void timers(void)
{
    struct sigevent event = { .sigev_signo = SIGALRM, .sigev_notify = SIGEV_THREAD };
    int timer;
    show("notice by a thread", syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer));
    show("no time", syscall(SYS_timer_settime, timer, 0, NULL, NULL));
    event.sigev_notify = 99;
    show("unknown notice", syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer));
}

static void barriers(void)
{
    show("not registered", syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0));
    show("register", syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0));
    show("registered", syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0));
}

int main(void)
{
    seals();
    timers();
    barriers();
    if (setresuid(65534, 65534, 65534))
        perror("setresuid");
    show("secure bits", prctl(PR_GET_SECUREBITS));
    show("set them", prctl(PR_SET_SECUREBITS, 0));
    show("drop", prctl(PR_CAPBSET_DROP, 1));
    return 0;
}
