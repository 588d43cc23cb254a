/*
 * System V shared memory as ipcs(1) sees it, and removed segments. With `leave` and a number: makes segments of so many MiB until
 * there are no more, or 100, fills them and leaves them behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#define SHM_STAT_ANY_NR 15
/* Most segments that are left. */
#define MOST 100

/* The words of the row of a segment in /proc/sysvipc/shm. */
static int row(int id, long *size, long *attached, unsigned *mode)
{
    char line[512];
    FILE *list = fopen("/proc/sysvipc/shm", "r");
    int found = 0;
    while (list && fgets(line, sizeof line, list)) {
        int key, its;
        if (sscanf(line, "%d %d %o %ld %*d %*d %ld", &key, &its, mode, size, attached) == 5 && its == id)
            found = 1;
        if (found)
            break;
    }
    if (list)
        fclose(list);
    return found;
}

static void told(const char *when, int id)
{
    long size = 0, attached = 0;
    unsigned mode = 0;
    int found = row(id, &size, &attached, &mode);
    if (found)
        printf("%s: %ld bytes, attached %ld times, mode %o\n", when, size, attached, mode);
    else
        printf("%s: not listed\n", when);
}

static void listed(void)
{
    struct shmid_ds state;
    int id = shmget(IPC_PRIVATE, 5000, IPC_CREAT | 0640);
    told("made", id);
    char *at = shmat(id, NULL, 0);
    told("attached", id);
    int same = shmctl(id, SHM_STAT_ANY_NR, &state) == id;
    printf("by identifier: %d %ld\n", same, (long)state.shm_segsz);
    printf("shown again: %d\n", remap_file_pages(at, 4096, 0, 0, 0));
    shmctl(id, IPC_RMID, NULL);
    told("removed", id);
    shmdt(at);
    told("detached", id);
}

/* Of the last attach of a removed segment nothing can be shown again. */
static void gone(void)
{
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    char *at = shmat(id, NULL, 0);
    shmctl(id, IPC_RMID, NULL);
    int result = remap_file_pages(at, 4096, 0, 0, 0);
    printf("shown again: %d %s\n", result, result ? strerror(errno) : "");
    told("gone", id);
}

static int leave(long mib)
{
    size_t size = (size_t)mib << 20;
    for (int count = 0; count < MOST; count++) {
        int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
        if (id < 0) {
            printf("%d segments: %s\n", count, strerror(errno));
            return 0;
        }
        char *at = shmat(id, NULL, 0);
        if (at == (char *)-1)
            return 1;
        memset(at, 1, size);
        shmdt(at);
    }
    printf("%d segments\n", MOST);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "leave") == 0)
        return leave(atol(argv[2]));
    listed();
    gone();
    return 0;
}
