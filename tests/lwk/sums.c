/*
 * One thread computes while the other waits for the end of its input. Prints for how long the first made no progress at most, in
 * milliseconds, and how long it computed.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static atomic_int over;
static double longest, whole;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void *compute(void *unused)
{
    double start = now(), last = start;

    while (!atomic_load(&over)) {
        for (volatile int work = 0; work < 10000; work++)
            ;
        double time = now();
        if (time - last > longest)
            longest = time - last;
        last = time;
    }
    whole = last - start;
    return unused;
}

int main(void)
{
    pthread_t computing;
    char byte;

    pthread_create(&computing, NULL, compute, NULL);
    printf("begin\n");
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    atomic_store(&over, 1);
    pthread_join(computing, NULL);
    printf("%.0f %.0f\n", longest, whole);
    return 0;
}
