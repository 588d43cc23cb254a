// Counts for ever: one thread without the kernel's help, and the first one with a line for each step.
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *count(void *unused)
{
    (void)unused;
    for (volatile unsigned long number = 0;; number++)
        ;
    return NULL;
}

int main(void)
{
    pthread_t counter;
    if (pthread_create(&counter, NULL, count, NULL) != 0)
        return 2;
    for (unsigned number = 0;; number++) {
        for (volatile unsigned step = 0; step < 5000000; step++)
            ;
        char line[16];
        int length = snprintf(line, sizeof line, "%u\n", number);
        if (write(1, line, length) != length)
            return 1;
    }
}
