/* A triad as STREAM has it, reductions, schedules, tasks and nested locks. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 2000000 };
static double a[N], b[N], c[N];

static long fib(int n)
{
    long x, y;
    if (n < 2)
        return n;
    if (n < 12)
        return fib(n - 1) + fib(n - 2);
#pragma omp task shared(x)
    x = fib(n - 1);
#pragma omp task shared(y)
    y = fib(n - 2);
#pragma omp taskwait
    return x + y;
}

int main(void)
{
    double sum = 0;
    long count = 0, hits = 0, answer = 0;

#pragma omp parallel for
    for (long i = 0; i < N; i++) {
        a[i] = 0;
        b[i] = i * 0.5;
        c[i] = N - i;
    }
    for (int round = 0; round < 5; round++) {
#pragma omp parallel for
        for (long i = 0; i < N; i++)
            a[i] = b[i] + 3.0 * c[i] + a[i] * 0.25;
    }
#pragma omp parallel for reduction(+ : sum) schedule(dynamic, 1000)
    for (long i = 0; i < N; i++)
        sum += floor(a[i]);
#pragma omp parallel for reduction(+ : count) schedule(guided)
    for (long i = 0; i < N; i++)
        count += i % 7 == 0;
#pragma omp parallel
    {
#pragma omp critical
        hits++;
#pragma omp barrier
#pragma omp single
        answer = fib(20);
    }
    printf("triad %.0f, count %ld, one critical each: %s, fib %ld\n", sum, count,
           hits == omp_get_max_threads() ? "yes" : "no", answer);
    return 0;
}
