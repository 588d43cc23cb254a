/* Threads that open files at the same time: each gets a number of its own, for its own file. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 100 };

static pthread_barrier_t barrier;
static ino_t files[THREADS];
static int wrong[THREADS];

static void name_of(char *name, long number) { sprintf(name, "opens.%ld", number); }

static void *opens(void *value)
{
    long number = (long)value;
    char name[32];
    name_of(name, number);
    for (int round = 0; round < ROUNDS; round++) {
        struct stat stat;
        pthread_barrier_wait(&barrier);
        int fd = open(name, O_RDONLY);
        /* Whoever got the same number closes it no earlier than everybody has one. */
        pthread_barrier_wait(&barrier);
        wrong[number] += fstat(fd, &stat) != 0 || stat.st_ino != files[number];
        pthread_barrier_wait(&barrier);
        wrong[number] += close(fd) != 0;
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    int sum = 0;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (long number = 0; number < THREADS; number++) {
        char name[32];
        struct stat stat;
        name_of(name, number);
        int fd = open(name, O_WRONLY | O_CREAT, 0600);
        fstat(fd, &stat);
        close(fd);
        files[number] = stat.st_ino;
    }
    for (long number = 1; number < THREADS; number++)
        if (pthread_create(&threads[number], NULL, opens, (void *)number)) {
            puts("pthread_create");
            return 1;
        }
    opens((void *)0);
    for (long number = 0; number < THREADS; number++) {
        char name[32];
        if (number)
            pthread_join(threads[number], NULL);
        sum += wrong[number];
        name_of(name, number);
        unlink(name);
    }
    printf("%d opened wrongly\n", sum);
    return sum != 0;
}
