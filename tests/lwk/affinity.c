/* A thread that may not stay on its processor has left it when sched_setaffinity returns. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static atomic_int seen, rounds, done, tid;

static void *run(void *unused)
{
    (void)unused;
    tid = gettid();
    while (!done) {
        seen = sched_getcpu();
        rounds++;
        sched_yield();
    }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    int wrong = 0;

    pthread_create(&thread, NULL, run, NULL);
    while (!tid)
        sched_yield();
    for (int i = 0; i < 200; i++) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(i % 2, &set);
        if (sched_setaffinity(tid, sizeof set, &set)) {
            perror("sched_setaffinity");
            return 1;
        }
        /* The round that was under way may tell of before. */
        for (int start = rounds; rounds < start + 2;)
            sched_yield();
        wrong += seen != i % 2;
    }
    done = 1;
    pthread_join(thread, NULL);
    printf("%d of 200 times on another processor\n", wrong);
    return 0;
}
