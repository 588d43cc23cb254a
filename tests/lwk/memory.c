/* Memory as programs map it: growth, holes, protections, moves, copies after fork, large blocks. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile uintptr_t where;
static volatile int code;

static void fault(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    where = (uintptr_t)info->si_addr;
    code = info->si_code;
    siglongjmp(back, 1);
}

static void probe(const char *what, volatile char *at, int write)
{
    if (sigsetjmp(back, 1)) {
        printf("%s: fault at the address: %s, code %d\n", what, where == (uintptr_t)at ? "yes" : "no", code);
        return;
    }
    if (write)
        *at = 1;
    else
        (void)*at;
    printf("%s: works\n", what);
}

int main(void)
{
    const size_t page = 4096, large = 8 << 20;
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};

    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);

    char *block = mmap(NULL, large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < large; i += page)
        if (block[i] != 0)
            printf("not zero\n");
    memset(block, 7, large);
    munmap(block + 3 * page, page);
    probe("hole", block + 3 * page, 0);
    probe("before the hole", block + 3 * page - 1, 1);
    probe("behind the hole", block + 4 * page, 1);
    mprotect(block + 10 * page, 2 * page, PROT_READ);
    probe("read only, read", block + 10 * page, 0);
    probe("read only, write", block + 11 * page, 1);
    mprotect(block + 10 * page, 2 * page, PROT_NONE);
    probe("no access", block + 10 * page, 0);
    mprotect(block + 10 * page, 2 * page, PROT_READ | PROT_WRITE);
    printf("content kept: %d\n", block[10 * page]);
    probe("null", NULL, 0);

    char *moved = mremap(block + (4 << 20), 1 << 20, 6 << 20, MREMAP_MAYMOVE);
    printf("moved: %d then %d\n", moved[(1 << 20) - 1], moved[1 << 20]);
    madvise(moved, 1 << 20, MADV_DONTNEED);
    printf("forgotten: %d\n", moved[0]);

    char *shared = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *own = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    own[0] = 1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        shared[0] = 5;
        own[0] = 9;
        _exit(own[0]);
    }
    int status;
    waitpid(child, &status, 0);
    printf("child %d, shared %d, own %d\n", WEXITSTATUS(status), shared[0], own[0]);

    char *fixed = mmap(block, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    printf("occupied: %s\n", fixed == MAP_FAILED ? strerror(errno) : "no");
    printf("bad length: %s\n", mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? strerror(errno) : "no");
    printf("unaligned: %s\n", munmap(block + 1, page) ? strerror(errno) : "no");

    char *start = sbrk(0);
    printf("brk grows: %s\n", sbrk(1 << 20) == start && memset(start, 3, 1 << 20) == start ? "yes" : "no");
    void *blocks[200];
    unsigned long sum = 0;
    for (int i = 0; i < 200; i++) {
        blocks[i] = malloc(1 + i * 5003);
        memset(blocks[i], i, 1 + i * 5003);
    }
    for (int i = 0; i < 200; i++) {
        sum += ((unsigned char *)blocks[i])[i * 5003];
        free(blocks[i]);
    }
    printf("malloc: %lu\n", sum);
    return 0;
}
