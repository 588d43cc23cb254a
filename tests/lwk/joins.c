/* One thread after the other, and one child after the other, where there is room for one at a time. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *pass(void *value) { return value; }

int main(void)
{
    for (long round = 0; round < 1000; round++) {
        pthread_t thread;
        void *result;
        int error = pthread_create(&thread, NULL, pass, (void *)round);
        if (error) {
            printf("pthread_create after %ld: %s\n", round, strerror(error));
            return 1;
        }
        pthread_join(thread, &result);
        if ((long)result != round)
            return 2;
    }
    for (int round = 0; round < 50; round++) {
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(round);
        if (child < 0) {
            perror("fork");
            return 3;
        }
        if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != round)
            return 4;
    }
    puts("all of them");
    return 0;
}
