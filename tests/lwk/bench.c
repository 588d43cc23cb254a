/*
 * What a program sees of its kernel's speed: one line "NAME NANOSECONDS COUNT" for each measurement, the least of some rounds.
 * The same binary runs on the node and in a Linux guest.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int rounds = 5;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static void measure(const char *name, void (*work)(long), long count)
{
    double least = 1e30;
    for (int round = 0; round < rounds; round++) {
        double start = now();
        work(count);
        double each = (now() - start) / count;
        if (each < least)
            least = each;
    }
    printf("%s %.1f %ld\n", name, least, count);
    fflush(stdout);
}

static void bench_getpid(long count)
{
    while (count--)
        syscall(SYS_getpid);
}

static void bench_clock(long count)
{
    struct timespec time;
    while (count--)
        clock_gettime(CLOCK_MONOTONIC, &time);
}

static void bench_mmap(long count)
{
    const size_t size = 64 << 20;
    while (count--) {
        char *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (size_t at = 0; at < size; at += 4096)
            block[at] = 1;
        munmap(block, size);
    }
}

static atomic_int ball;

static void futex(atomic_int *word, int operation, int value)
{
    syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void play(int side, long count)
{
    while (count--) {
        while (atomic_load(&ball) != side)
            futex(&ball, FUTEX_WAIT, !side);
        atomic_store(&ball, !side);
        futex(&ball, FUTEX_WAKE, 1);
    }
}

static void *other_side(void *count)
{
    play(1, (long)count);
    return NULL;
}

static void bench_futex(long count)
{
    pthread_t other;
    pthread_create(&other, NULL, other_side, (void *)count);
    play(0, count);
    pthread_join(other, NULL);
}

static void *nothing(void *unused) { return unused; }

static void bench_thread(long count)
{
    while (count--) {
        pthread_t thread;
        pthread_create(&thread, NULL, nothing, NULL);
        pthread_join(thread, NULL);
    }
}

static int file;
static char *buffer;
static size_t piece;

static void bench_write(long count)
{
    while (count--)
        if (pwrite(file, buffer, piece, 0) != (ssize_t)piece)
            abort();
}

static void bench_read(long count)
{
    while (count--)
        if (pread(file, buffer, piece, 0) != (ssize_t)piece)
            abort();
}

enum { N = 1 << 20 };
static double *a, *b, *c;

static void bench_triad(long count)
{
    while (count--)
#pragma omp parallel for
        for (long i = 0; i < N; i++)
            a[i] = b[i] + 3.0 * c[i];
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all";
    int all = !strcmp(what, "all");

    if (argc > 2)
        rounds = atoi(argv[2]);
    if (all || !strcmp(what, "local")) {
        measure("getpid", bench_getpid, 20000);
        measure("clock_gettime", bench_clock, 20000);
        measure("mmap64M", bench_mmap, 2);
        measure("futex", bench_futex, 1000);
        measure("thread", bench_thread, 100);
    }
    if (all || !strcmp(what, "triad")) {
        a = malloc(N * sizeof *a);
        b = malloc(N * sizeof *b);
        c = malloc(N * sizeof *c);
        for (long i = 0; i < N; i++) {
            b[i] = i;
            c[i] = -i;
        }
        measure("triad", bench_triad, 5);
    }
    if (all || !strcmp(what, "files")) {
        file = open("bench.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600);
        buffer = malloc(1 << 20);
        memset(buffer, 1, 1 << 20);
        for (piece = 4096; piece <= 1 << 20; piece <<= 8) {
            char name[32];
            long count = piece == 4096 ? 500 : 20;
            snprintf(name, sizeof name, "write%zu", piece);
            measure(name, bench_write, count);
            snprintf(name, sizeof name, "read%zu", piece);
            measure(name, bench_read, count);
        }
        unlink("bench.tmp");
    }
    return 0;
}
