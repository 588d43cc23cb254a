/*
 * System calls at random, with arguments that are mostly wrong and sometimes right, by children that come to all kinds of ends.
 * Arguments: seconds, seed. Only calls that the node serves itself, and pipes, sockets and memory of its own: what the host does
 * with nonsense is Linux's business.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const int calls[] = {
    /* memory */ 9, 10, 11, 12, 25, 26, 27, 28, 29, 30, 31, 67, 149, 150, 151, 152, 216, 237, 238, 239, 279, 310, 311, 325, 329,
    /* descriptors */ 0, 1, 3, 5, 7, 8, 17, 18, 19, 20, 22, 23, 32, 33, 53, 72, 213, 232, 233, 270, 271, 281, 283, 284, 286, 287,
    290, 291, 292, 293, 295, 296, 319, 436,
    /* processes and threads */ 24, 39, 56, 57, 58, 61, 102, 104, 107, 108, 110, 111, 118, 120, 186, 202, 203, 204, 218, 247, 273,
    274, 309, 324, 435,
    /* signals */ 13, 14, 15, 34, 127, 128, 130, 131, 200, 234,
    /* time */ 35, 36, 37, 38, 96, 100, 201, 222, 223, 224, 225, 226, 228, 229, 230,
    /* the rest */ 63, 97, 98, 99, 125, 126, 135, 140, 141, 142, 143, 144, 145, 146, 147, 148, 157, 158, 302, 314, 315, 318, 331,
    /* none at all */ 101, 154, 175, 333, 336, 400, 451, 512, 1000, 0x40000000, -1,
};

static uint64_t state;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static uint64_t argument(char *block)
{
    uint64_t value = next();

    switch (value % 12) {
    case 0: return 0;
    case 1: return value >> 60;
    case 2: return (uint64_t)(block + (value >> 8) % (64 << 10));
    case 3: return (uint64_t)block & ~4095ul;
    case 4: return 4096ul << (value >> 8) % 20;
    case 5: return -(uint64_t)(value >> 59);
    case 6: return (uint64_t)argument;
    case 7: return 0xffff800000000000ul + (value >> 20);
    case 8: return 0x7fffffffe000ul + (value >> 50);
    case 9: return 1ul << (value >> 8) % 64;
    case 10: return (value >> 8) % 300;
    default: return value;
    }
}

static void child(void)
{
    char *block = mmap(NULL, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    /* Nothing of the launcher's, and an end in any case. */
    time_t end = time(NULL) + 2;
    syscall(SYS_close_range, 0, ~0u, 0);
    alarm(2);
    for (int i = 0; i < 64 << 10; i += 8)
        *(uint64_t *)(block + i) = next();
    for (;;) {
        uint64_t a[6];
        long number = calls[next() % (sizeof calls / sizeof *calls)];
        for (int i = 0; i < 6; i++)
            a[i] = argument(block);
        /* Its end must stay where it is. */
        if (number == SYS_alarm || (number == SYS_setitimer && a[0] == ITIMER_REAL))
            continue;
        if (number == SYS_rt_sigaction && (a[0] == SIGALRM || a[0] == SIGKILL))
            continue;
        long done = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        /* A child does not inherit the alarm of its parent; and who blocks the signal looks at the time. */
        time_t now = time(NULL);
        if (now > end)
            _exit(0);
        if (done == 0 && (number == SYS_fork || number == SYS_vfork || number == SYS_clone || number == SYS_clone3))
            alarm(now < end ? end - now : 1);
    }
}

int main(int argc, char **argv)
{
    time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    long children = 0;
    time_t last = time(NULL);

    while (time(NULL) < end) {
        pid_t pid = fork();
        if (pid < 0) {
            /* Families of children have all places now and then, and are gone after a while. */
            if (time(NULL) > last + 10) {
                perror("fork");
                return 1;
            }
            usleep(50000);
            while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
            continue;
        }
        last = time(NULL);
        if (pid == 0) {
            state = (seed + children) * 0x9e3779b97f4a7c15ul | 1;
            child();
        }
        /* Calls of its own may have left children to this one. */
        int status;
        while (waitpid(pid, &status, 0) != pid)
            ;
        while (waitpid(-1, &status, WNOHANG) > 0)
            ;
        children++;
    }
    printf("%ld children\n", children);
    return 0;
}
