/*
 * What is read of /proc by a descriptor that stays open: the text is made anew when it is read from its beginning, by read(2) or
 * pread(2), and stays as it is for whoever goes on from the middle.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB (1L << 20)

static char text[1 << 20];

/* The whole file, from its beginning. */
static char *whole(int fd)
{
    size_t len = 0;
    ssize_t got;
    lseek(fd, 0, SEEK_SET);
    while (len < sizeof text - 1 && (got = read(fd, text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)got;
    text[len] = 0;
    return text;
}

/* The same with positions that the caller gives. */
static char *placed(int fd)
{
    size_t len = 0;
    ssize_t got;
    while (len < sizeof text - 1 && (got = pread(fd, text + len, 100, (off_t)len)) > 0)
        len += (size_t)got;
    text[len] = 0;
    return text;
}

static int has(const char *text, void *at)
{
    char line[32];
    snprintf(line, sizeof line, "%lx-", (unsigned long)at);
    return strstr(text, line) != NULL;
}

static void maps(void)
{
    int fd = open("/proc/self/maps", O_RDONLY);
    printf("maps before: %d", whole(fd)[0] != 0);
    void *at = mmap(NULL, MIB, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    printf(", mapped: %d", has(whole(fd), at));
    printf(", by pread: %d", has(placed(fd), at));
    munmap(at, MIB);
    printf(", unmapped: %d %d\n", has(whole(fd), at), has(placed(fd), at));
    close(fd);
    /* What was mapped before the first read is there. */
    fd = open("/proc/self/maps", O_RDONLY);
    at = mmap(NULL, MIB, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    printf("mapped after open: %d\n", has(whole(fd), at));
    munmap(at, MIB);
    close(fd);
}

static long field(char *text, const char *name, int base)
{
    char *found = strstr(text, name);
    return found ? strtol(found + strlen(name), NULL, base) : -1;
}

static void status(void)
{
    int fd = open("/proc/self/status", O_RDONLY);
    umask(022);
    printf("umask: %lo", field(whole(fd), "Umask:\t", 8));
    umask(077);
    printf(" %lo", field(whole(fd), "Umask:\t", 8));
    umask(027);
    printf(" %lo\n", field(placed(fd), "Umask:\t", 8));
    close(fd);

    fd = open("/proc/self/statm", O_RDONLY);
    long before = atol(whole(fd));
    void *at = mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long after = atol(whole(fd));
    printf("statm grew by its mapping: %d\n", after - before >= 64 * MIB / 4096);
    munmap(at, 64 * MIB);
    close(fd);
}

/* In hundredths of a second. */
static long up(int fd)
{
    double seconds = atof(whole(fd));
    return (long)(seconds * 100);
}

static void times(void)
{
    struct timespec pause = { 0, 100000000 };
    int uptime = open("/proc/uptime", O_RDONLY), own = open("/proc/self/stat", O_RDONLY);
    long first = up(uptime);
    nanosleep(&pause, NULL);
    long passed = up(uptime) - first;
    printf("uptime goes on: %d\n", passed >= 9 && passed < 10000);

    long user = 0, system = 0;
    for (int turn = 0; turn < 100000 && user + system < 3; turn++) {
        char *rest = strrchr(whole(own), ')');
        sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system);
    }
    printf("its own time goes on: %d\n", user + system >= 3);
    close(uptime);
    close(own);
}

static void node(void)
{
    int fd = open("/proc/stat", O_RDONLY);
    const char *names[] = { "intr ", "ctxt ", "btime ", "processes ", "procs_running ", "procs_blocked " };
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        printf("%s%d ", names[n], field(whole(fd), names[n], 10) >= 0);
    struct timespec pause = { 0, 1000000 };
    long before = field(whole(fd), "ctxt ", 10);
    for (int n = 0; n < 10; n++)
        nanosleep(&pause, NULL);
    printf("\nswitches are counted: %d\n", field(whole(fd), "ctxt ", 10) >= before + 10);
    close(fd);
    fd = open("/proc/vmstat", O_RDONLY);
    const char *pages[] = { "nr_free_pages ", "pgpgin ", "pgpgout ", "pswpin ", "pswpout ", "pgfault " };
    for (size_t n = 0; n < sizeof pages / sizeof *pages; n++)
        printf("%s%d ", pages[n], field(whole(fd), pages[n], 10) >= 0);
    printf("\n");
    close(fd);
}

int main(void)
{
    maps();
    status();
    times();
    node();
    return 0;
}
