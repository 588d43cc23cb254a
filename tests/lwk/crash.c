/* Ends that are none of its own: the first argument says which. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int deeper(volatile char *above)
{
    char here[4096];
    memset(here, above[0] + 1, sizeof here);
    return deeper(here) + here[17];
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";

    printf("%s\n", how);
    fflush(stdout);
    if (!strcmp(how, "wild"))
        *(volatile int *)0x123456789 = 1;
    if (!strcmp(how, "null-call"))
        ((void (*)(void))0)();
    if (!strcmp(how, "kernel"))
        printf("%d\n", *(volatile int *)0xffff800000000000);
    if (!strcmp(how, "noncanonical"))
        printf("%d\n", *(volatile int *)0x8000000000000000);
    if (!strcmp(how, "divide"))
        __asm__ volatile("xorl %%ecx, %%ecx\n\tmovl $1, %%eax\n\tcltd\n\tidivl %%ecx" ::: "eax", "ecx", "edx");
    if (!strcmp(how, "privileged"))
        __asm__ volatile("hlt");
    if (!strcmp(how, "illegal"))
        __asm__ volatile("ud2");
    if (!strcmp(how, "breakpoint"))
        __asm__ volatile("int3");
    if (!strcmp(how, "abort"))
        abort();
    if (!strcmp(how, "stack")) {
        char top = 0;
        return deeper(&top);
    }
    if (!strcmp(how, "data")) {
        static unsigned char code[] = {0xc3};
        ((void (*)(void))code)();
    }
    if (!strcmp(how, "text"))
        *(volatile char *)main = 1;
    if (!strcmp(how, "pipe")) {
        int ends[2];
        if (pipe(ends) == 0) {
            close(ends[0]);
            write(ends[1], "x", 1);
        }
    }
    if (!strcmp(how, "memory"))
        for (;;) {
            char *block = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (block == MAP_FAILED) {
                printf("no more memory\n");
                return 9;
            }
            memset(block, 1, 64 << 20);
        }
    return 1;
}
