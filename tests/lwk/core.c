/* Crashes in a function of a function: the process itself, a thread of it, or its child. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int calls;

__attribute__((noinline)) static int innermost(volatile int *where, int depth)
{
    calls += depth;
    *where = calls;
    return *where + depth;
}

__attribute__((noinline)) static int deeper(volatile int *where, int depth)
{
    int below = depth > 2 ? innermost(where, depth) : deeper(where, depth + 1);
    return below + 1;
}

static void *in_a_thread(void *nothing)
{
    (void)nothing;
    deeper((volatile int *)0x123456789, 0);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *who = argc > 1 ? argv[1] : "";

    if (!strcmp(who, "child")) {
        pid_t child = fork();
        int status = 0;
        if (child == 0)
            return deeper((volatile int *)0x123456789, 0) == 7;
        if (waitpid(child, &status, 0) != child)
            return 3;
        printf("%d: signal %d, core file %d\n", child, WTERMSIG(status), !!WCOREDUMP(status));
        return 0;
    }
    if (!strcmp(who, "thread")) {
        pthread_t thread;
        pthread_create(&thread, NULL, in_a_thread, NULL);
        pthread_join(thread, NULL);
    }
    return deeper((volatile int *)0x123456789, 0) == 7;
}
