/*
 * Fixed work quanta: the same work again and again, each time measured. Its argument is the number of quanta. It says when it
 * begins; the other line is what the whole took and the longest quantum beside the shortest.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>

int main(int argc, char **argv)
{
    long quanta = argc > 1 ? atol(argv[1]) : 1000;
    unsigned long least = ~0ul, most = 0;
    struct timespec start, end;

    printf("begin\n");
    fflush(stdout);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long quantum = 0; quantum < quanta; quantum++) {
        unsigned long before = __rdtsc();
        for (volatile int work = 0; work < 100000; work++)
            ;
        unsigned long took = __rdtsc() - before;
        if (took < least)
            least = took;
        if (took > most)
            most = took;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%ld quanta in %.3f s, least %lu, most %lu ticks\n", quanta,
           end.tv_sec - start.tv_sec + (end.tv_nsec - start.tv_nsec) / 1e9, least, most);
    return 0;
}
