/*
 * What a program sees of its kernel's speed. `bench NAME ROUNDS` prints the nanoseconds that one of NAME takes, in the fastest of
 * the rounds. The same binary runs on the node and in a Linux guest.
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

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
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

static void begin(pthread_t *thread, void *(*work)(void *), void *argument)
{
    int error = pthread_create(thread, NULL, work, argument);
    if (error) {
        fprintf(stderr, "pthread_create: %s\n", strerror(error));
        exit(1);
    }
}

static void bench_futex(long count)
{
    pthread_t other;
    begin(&other, other_side, (void *)count);
    play(0, count);
    pthread_join(other, NULL);
}

static void *nothing(void *unused) { return unused; }

static void bench_thread(long count)
{
    while (count--) {
        pthread_t thread;
        begin(&thread, nothing, NULL);
        pthread_join(thread, NULL);
    }
}

static int file;
static char *buffer;
static size_t piece;

static void open_file(size_t size)
{
    piece = size;
    file = open("bench.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600);
    buffer = malloc(piece);
    memset(buffer, 1, piece);
    if (pwrite(file, buffer, piece, 0) != (ssize_t)piece)
        abort();
    unlink("bench.tmp");
}

static void few_bytes(void) { open_file(64); }
static void small_file(void) { open_file(4096); }
static void large_file(void) { open_file(1 << 20); }

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

static void make_vectors(void)
{
    a = malloc(N * sizeof *a);
    b = malloc(N * sizeof *b);
    c = malloc(N * sizeof *c);
    for (long i = 0; i < N; i++) {
        b[i] = i;
        c[i] = -i;
    }
}

static void bench_triad(long count)
{
    while (count--)
#pragma omp parallel for
        for (long i = 0; i < N; i++)
            a[i] = b[i] + 3.0 * c[i];
}

static const struct {
    const char *name;
    void (*prepare)(void);
    void (*work)(long);
    long count;
} all[] = {
    { "getpid", NULL, bench_getpid, 20000 },
    { "clock_gettime", NULL, bench_clock, 20000 },
    { "mmap64M", NULL, bench_mmap, 1 },
    { "futex", NULL, bench_futex, 500 },
    { "thread", NULL, bench_thread, 50 },
    { "triad", make_vectors, bench_triad, 3 },
    { "write64", few_bytes, bench_write, 200 },
    { "read64", few_bytes, bench_read, 200 },
    { "write4K", small_file, bench_write, 200 },
    { "read4K", small_file, bench_read, 200 },
    { "write1M", large_file, bench_write, 10 },
    { "read1M", large_file, bench_read, 10 },
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 3 && i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].name, argv[1]))
            continue;
        if (all[i].prepare)
            all[i].prepare();
        double least = 1e30;
        for (int rounds = atoi(argv[2]); rounds > 0; rounds--) {
            double start = now();
            all[i].work(all[i].count);
            double each = (now() - start) / all[i].count;
            if (each < least)
                least = each;
        }
        printf("%.1f\n", least);
        return 0;
    }
    fprintf(stderr, "usage: bench NAME ROUNDS\n");
    return 2;
}
