/* Where memory lies on a machine with two NUMA nodes: the first argument says what is tried. Without libnuma: system calls only. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/mempolicy.h */
enum { DEFAULT, PREFERRED, BIND, INTERLEAVE };
enum { F_NODE = 1, F_ADDR = 2, F_MEMS_ALLOWED = 4 };

#define MIB (1ul << 20)
#define LARGE (2 * MIB)
#define BITS 64ul

static void fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static char *map(size_t len, int more)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | more;
    char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

static void bind_range(char *at, size_t len, int mode, unsigned long nodes)
{
    if (syscall(SYS_mbind, at, len, mode, &nodes, BITS + 1, 0))
        fail("mbind");
}

static void prefer(int mode, unsigned long nodes)
{
    if (syscall(SYS_set_mempolicy, mode, &nodes, nodes ? BITS + 1 : 0))
        fail("set_mempolicy");
}

static int node_of(const char *at)
{
    int node = -1;
    if (syscall(SYS_get_mempolicy, &node, NULL, 0, at, F_NODE | F_ADDR))
        fail("get_mempolicy");
    return node;
}

/* Writes to every page and counts them by node, in KiB. */
static void touch(char *at, size_t len, unsigned long of[2])
{
    for (size_t page = 0; page < len; page += 4096) {
        at[page] = 1;
        of[node_of(at + page) & 1] += 4;
    }
}

static void tell(const char *what, char *at, size_t len)
{
    unsigned long of[2] = {0, 0};
    touch(at, len, of);
    printf("%s: %lu KiB on node 0, %lu KiB on node 1\n", what, of[0], of[1]);
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        fail("sched_setaffinity");
}

static void own_memory(int cpu)
{
    pin(cpu);
    unsigned now, node;
    if (syscall(SYS_getcpu, &now, &node, NULL))
        fail("getcpu");
    char what[64];
    snprintf(what, sizeof what, "cpu %u of node %u", now, node);
    tell(what, map(2 * LARGE, 0), 2 * LARGE);
}

static void *thread(void *cpu)
{
    own_memory((int)(long)cpu);
    return NULL;
}

/* Memory of one mapping lies where the thread is that touches it. */
static void first_touch(int cpus)
{
    for (long cpu = 1; cpu < cpus; cpu++) {
        pthread_t other;
        if (pthread_create(&other, NULL, thread, (void *)cpu))
            fail("pthread_create");
        pthread_join(other, NULL);
    }
    /* Last: threads inherit where their maker may run. */
    own_memory(0);
}

static void lines_with(const char *file, const char *word)
{
    char line[512];
    FILE *open = fopen(file, "r");
    if (!open)
        fail(file);
    while (fgets(line, sizeof line, open))
        if (strstr(line, word))
            printf("%s: %s", file, line);
    fclose(open);
}

static void policies(void)
{
    unsigned long allowed = 0;
    pin(0);
    if (syscall(SYS_get_mempolicy, NULL, &allowed, BITS, NULL, F_MEMS_ALLOWED))
        fail("get_mempolicy");
    printf("allowed: %lx\n", allowed);

    char *bound = map(4 * LARGE, MAP_NORESERVE);
    bind_range(bound, 4 * LARGE, BIND, 2);
    tell("bind to 1", bound, 4 * LARGE);
    lines_with("/proc/self/numa_maps", "bind:1");

    char *turns = map(8 * LARGE, MAP_NORESERVE);
    bind_range(turns, 8 * LARGE, INTERLEAVE, 3);
    tell("interleave", turns, 8 * LARGE);

    prefer(PREFERRED, 2);
    tell("preferred 1", map(2 * LARGE, 0), 2 * LARGE);
    /* A small mapping has small pages. */
    tell("preferred 1, small", map(5 * 4096, 0), 5 * 4096);
    prefer(PREFERRED, 1);
    tell("preferred 0", map(2 * LARGE, 0), 2 * LARGE);
    prefer(DEFAULT, 0);
    tell("default", map(LARGE, 0), LARGE);

    unsigned long nobody = 4;
    long answer = syscall(SYS_set_mempolicy, BIND, &nobody, BITS + 1);
    printf("bind to 2: %s\n", answer ? strerror(errno) : "done");

    char *page = map(4096, 0);
    page[0] = 7;
    int from = node_of(page), to = 1 - from, status = -1;
    void *pages[] = {page};
    if (syscall(SYS_move_pages, 0, 1ul, pages, &to, &status, 2))
        fail("move_pages");
    printf("moved: %d, %d to %d, %d\n", status == to, from, node_of(page), page[0]);
}

/* What was demanded of node 1 is not taken from another. */
static void demand(size_t mib)
{
    prefer(BIND, 2);
    char *at = map(mib * MIB, MAP_HUGETLB);
    if (!at)
        printf("huge: %s\n", strerror(errno));
    else
        tell("huge", at, mib * MIB);
}

/* Uses node 1 up, with a policy that has to stay there or with one that may go on elsewhere. */
static void use_up(int mode, size_t mib)
{
    unsigned long of[2] = {0, 0};
    char *at = map(mib * MIB, MAP_NORESERVE);
    bind_range(at, mib * MIB, mode, 2);
    for (size_t done = 0; done < mib; done += 2) {
        for (size_t page = 0; page < LARGE; page += 4096)
            at[done * MIB + page] = 1;
        of[node_of(at + done * MIB) & 1] += 2;
        if (done % 32 == 30) {
            printf("%lu MiB on node 0, %lu MiB on node 1\n", of[0], of[1]);
            fflush(stdout);
        }
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int number = argc > 2 ? atoi(argv[2]) : 0;
    if (!strcmp(what, "touch"))
        first_touch(number);
    else if (!strcmp(what, "policies"))
        policies();
    else if (!strcmp(what, "demand"))
        demand(number);
    else if (!strcmp(what, "bind"))
        use_up(BIND, number);
    else if (!strcmp(what, "prefer"))
        use_up(PREFERRED, number);
    else
        return 2;
    return 0;
}
