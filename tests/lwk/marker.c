// Says where a page of it is, in which each word says which it is, and waits for its end.
#include <stdio.h>
#include <unistd.h>

static unsigned long page[512] __attribute__((aligned(4096)));

int main(void)
{
    for (unsigned long word = 0; word < 512; word++)
        page[word] = 0x6b65656c00000000 + word;
    printf("%d %p\n", getpid(), (void *)page);
    fflush(stdout);
    for (;;)
        pause();
}
