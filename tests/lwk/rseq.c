/* Restartable sequences: the C library registers them, the number of the processor is right, a signal ends a sequence. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/rseq.h>
#include <sys/time.h>
#include <unistd.h>

static struct rseq *own(void)
{
    return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static volatile sig_atomic_t handled;

static void count(int signal) { handled = signal; }

/* Stays in a sequence until it is made to leave it. What the sequence did before is returned. */
static long stay(struct rseq *rseq)
{
    long turns = 0;

    __asm__ volatile goto(
        ".pushsection __rseq_cs, \"aw\"\n\t"
        ".balign 32\n"
        "3:\n\t"
        ".long 0, 0\n\t"
        ".quad 1f, 2f - 1f, 4f\n\t"
        ".popsection\n\t"
        "leaq 3b(%%rip), %%rax\n\t"
        "movq %%rax, %[sequence]\n"
        "1:\n\t"
        "incq %[turns]\n\t"
        "jmp 1b\n"
        "2:\n\t"
        ".pushsection __rseq_failure, \"ax\"\n\t"
        ".byte 0x0f, 0xb9, 0x3d\n\t"
        ".long %c[signature]\n"
        "4:\n\t"
        "jmp %l[left]\n\t"
        ".popsection\n\t"
        :
        : [sequence] "m"(rseq->rseq_cs), [turns] "m"(turns), [signature] "i"(RSEQ_SIG)
        : "rax", "memory", "cc"
        : left);
    return -1;
left:
    return turns;
}

static void *place(void *name)
{
    unsigned here = 0;

    getcpu(&here, NULL);
    printf("%s: %s\n", (char *)name, own()->cpu_id == here && own()->cpu_id_start == here ? "right" : "wrong");
    return NULL;
}

int main(void)
{
    struct itimerval soon = {.it_value.tv_usec = 20000};
    pthread_t thread;
    cpu_set_t all, one;

    printf("%s\n", (int)own()->cpu_id >= 0 ? "registered" : "not registered");
    place("first");
    pthread_create(&thread, NULL, place, "second");
    pthread_join(thread, NULL);

    sched_getaffinity(0, sizeof all, &all);
    for (int cpu = 0, left = 2; cpu < CPU_SETSIZE && left; cpu++) {
        if (!CPU_ISSET(cpu, &all))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        printf("moved: %s\n", (int)own()->cpu_id == cpu ? "right" : "wrong");
        left--;
    }

    signal(SIGALRM, count);
    setitimer(ITIMER_REAL, &soon, NULL);
    long turns;
    do /* Linux ends sequences when it gives the processor to somebody else, too. */
        turns = stay(own());
    while (turns > 0 && !handled);
    printf("signal %d, %s, sequence %s\n", (int)handled, turns > 0 ? "it ran" : "it did not run",
           own()->rseq_cs ? "still there" : "left");
    return 0;
}
