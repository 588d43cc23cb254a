// Counts for ever, mostly without the kernel's help: a line for each step.
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    for (unsigned number = 0;; number++) {
        for (volatile unsigned step = 0; step < 5000000; step++)
            ;
        char line[16];
        int length = snprintf(line, sizeof line, "%u\n", number);
        if (write(1, line, length) != length)
            return 1;
    }
}
