/* The smallest program: a line, its arguments, an exit status. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    const char *home = getenv("LWK_TEST");

    printf("hello from %s, %d arguments, LWK_TEST=%s\n", argv[0], argc - 1, home ? home : "(not set)");
    for (int i = 1; i < argc; i++)
        printf("  %d: %s\n", i, argv[i]);
    return 42;
}
