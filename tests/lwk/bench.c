/*
 * What a program sees of its kernel's speed. `bench NAME ROUNDS` prints the nanoseconds that one of NAME takes, in the median of
 * the rounds. The same binary runs on the node and in a Linux guest.
 *
 * `bench NAME ROUNDS ADDRESS PORT` leaves reads and writes to a server there: what a program does whose kernel has no host that
 * does them. A request is a `struct request`, then what is to be written; an answer what pread or pwrite returned as 64 bits, then
 * what was read.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
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

static int server = -1;

static void dial(const char *address, const char *port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
    int one = 1;
    server = socket(AF_INET, SOCK_STREAM, 0);
    if (inet_aton(address, &to.sin_addr) && !connect(server, (struct sockaddr *)&to, sizeof to) &&
        !setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
        return;
    perror(address);
    exit(1);
}

static void take(void *into, size_t length)
{
    if (recv(server, into, length, MSG_WAITALL) != (ssize_t)length)
        abort();
}

enum { READ, WRITE };

static ssize_t ask(uint32_t operation, uint32_t length, uint64_t offset)
{
    struct request {
        uint32_t operation, length;
        uint64_t offset;
    } request = { operation, length, offset };
    struct iovec parts[] = { { &request, sizeof request }, { buffer, operation == WRITE ? length : 0 } };
    int64_t result;
    /* A blocking socket takes all of it. */
    if (writev(server, parts, 2) != (ssize_t)(parts[0].iov_len + parts[1].iov_len))
        abort();
    take(&result, sizeof result);
    if (operation == READ && result > 0)
        take(buffer, result);
    return result;
}

static void bench_write(long count)
{
    while (count--)
        if ((server < 0 ? pwrite(file, buffer, piece, 0) : ask(WRITE, piece, 0)) != (ssize_t)piece)
            abort();
}

static void bench_read(long count)
{
    while (count--)
        if ((server < 0 ? pread(file, buffer, piece, 0) : ask(READ, piece, 0)) != (ssize_t)piece)
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
    { "write64", few_bytes, bench_write, 50 },
    { "read64", few_bytes, bench_read, 50 },
    { "write4K", small_file, bench_write, 50 },
    { "read4K", small_file, bench_read, 50 },
    { "write1M", large_file, bench_write, 5 },
    { "read1M", large_file, bench_read, 5 },
};

static int order(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    enum { MOST = 1000 };
    static double each[MOST];
    int rounds = argc == 3 || argc == 5 ? atoi(argv[2]) : 0;
    for (size_t i = 0; rounds > 0 && rounds <= MOST && i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].name, argv[1]))
            continue;
        if (all[i].prepare)
            all[i].prepare();
        if (argc == 5)
            dial(argv[3], argv[4]);
        for (int round = 0; round < rounds; round++) {
            double start = now();
            all[i].work(all[i].count);
            each[round] = (now() - start) / all[i].count;
        }
        qsort(each, rounds, sizeof *each, order);
        printf("%.1f\n", each[rounds / 2]);
        return 0;
    }
    fprintf(stderr, "usage: bench NAME ROUNDS [ADDRESS PORT]\n");
    return 2;
}
