/*
 * Reads and writes whose buffers are mappings of a file that nobody has touched: as many bytes as asked for, and the right ones.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define BYTES ((size_t)6 << 20)
#define HALF (BYTES / 2)

static const char *const kinds[] = { "private", "shared", "anonymous" };
static unsigned char *model;

static unsigned char *mapping(int kind)
{
    int flags[] = { MAP_PRIVATE, MAP_SHARED, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE };
    int fd = kind == 2 ? -1 : open("buffers.in", O_RDWR);
    void *at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, flags[kind], fd, 0);
    if (at == MAP_FAILED)
        exit(1);
    if (fd >= 0)
        close(fd);
    return at;
}

static size_t drained;

static void *drain(void *fd)
{
    static char part[1 << 16];
    ssize_t got;
    drained = 0;
    while ((got = read(*(int *)fd, part, sizeof part)) > 0)
        drained += got;
    return NULL;
}

static void writes(int kind)
{
    int ends[2], out = open("buffers.out", O_RDWR | O_CREAT | O_TRUNC, 0600), memory = memfd_create("m", 0);
    unsigned char *at, *back = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, out, 0);
    pthread_t thread;

    printf("%s: write %zd", kinds[kind], write(out, mapping(kind), BYTES));
    printf(" %s", kind == 2 || !memcmp(back, model, BYTES) ? "right" : "wrong");
    printf(", pwrite %zd", pwrite(out, mapping(kind), BYTES, 0));
    at = mapping(kind);
    struct iovec parts[] = { { at, HALF - 5 }, { at + HALF - 5, HALF + 5 } };
    printf(", writev %zd", writev(out, parts, 2));
    printf(", memory %zd", write(memory, mapping(kind), BYTES));
    if (pipe(ends))
        exit(1);
    pthread_create(&thread, NULL, drain, &ends[0]);
    printf(", pipe %zd", write(ends[1], mapping(kind), BYTES));
    close(ends[1]);
    pthread_join(thread, NULL);
    close(ends[0]);
    printf(" %zu", drained);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        exit(1);
    pthread_create(&thread, NULL, drain, &ends[0]);
    printf(", send %zd", send(ends[1], mapping(kind), BYTES, 0));
    close(ends[1]);
    pthread_join(thread, NULL);
    close(ends[0]);
    printf(" %zu\n", drained);
    munmap(back, BYTES);
    close(out);
    close(memory);
}

static void reads(int kind)
{
    int ends[2], in = open("buffers.other", O_RDONLY), zero = open("/dev/zero", O_RDONLY);
    unsigned char *at = mapping(kind);

    printf("%s: read %zd", kinds[kind], read(in, at, BYTES));
    printf(" %s", at[0] == 3 && !memcmp(at, at + 1, BYTES - 1) ? "right" : "wrong");
    printf(", pread %zd", pread(in, mapping(kind), BYTES, 0));
    at = mapping(kind);
    struct iovec parts[] = { { at, HALF - 5 }, { at + HALF - 5, HALF + 5 } };
    lseek(in, 0, SEEK_SET);
    printf(", readv %zd", readv(in, parts, 2));
    printf(", zeros %zd", read(zero, mapping(kind), BYTES));
    if (pipe(ends) || write(ends[1], model, 60000) != 60000)
        exit(1);
    at = mapping(kind) + 4000;
    printf(", pipe %zd", read(ends[0], at, HALF));
    printf(" %d", memcmp(at, model, 60000));
    close(ends[0]);
    close(ends[1]);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) || send(ends[0], model, 60000, 0) != 60000)
        exit(1);
    at = mapping(kind) + 4000;
    printf(", packet %zd", recv(ends[1], at, HALF, 0));
    printf(" %d\n", memcmp(at, model, 60000));
    close(ends[0]);
    close(ends[1]);
    close(in);
    close(zero);
}

static void file(const char *path, const void *bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (write(fd, bytes, BYTES) != (ssize_t)BYTES)
        exit(1);
    close(fd);
}

int main(void)
{
    model = malloc(BYTES);
    memset(model, 3, BYTES);
    file("buffers.other", model);
    for (size_t i = 0; i < BYTES; i++)
        model[i] = i % 251;
    for (int kind = 0; kind < 3; kind++) {
        file("buffers.in", model);
        writes(kind);
        reads(kind);
    }
    return 0;
}
