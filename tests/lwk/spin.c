/* Threads that do not wait for anything, more of them than processors. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile long count;

static void *computes(void *unused)
{
    for (;;)
        count++;
    return unused;
}

static void *asks(void *unused)
{
    for (;;)
        syscall(SYS_getppid);
    return unused;
}

static void *asks_quickly(void *unused)
{
    for (;;)
        syscall(SYS_getpid);
    return unused;
}

int main(void)
{
    void *(*work[])(void *) = { computes, computes, asks, asks_quickly };

    for (size_t i = 0; i < sizeof work / sizeof *work; i++) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, work[i], NULL);
        if (error) {
            printf("pthread_create: %s\n", strerror(error));
            return 1;
        }
    }
    puts("all of them");
    fflush(stdout);
    sleep(8);
    puts("enough");
    return 0;
}
