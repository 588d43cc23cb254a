/*
 * Where a program is: started by a link or by a relative path from another directory, it finds the library beside it, and /proc
 * shows files where they are. With LIBRARY defined, this is that library.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

int beside(void);

#ifdef LIBRARY

int beside(void) { return 7; }

#else

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The files in memory, each once, wherever they are. */
static void show_maps(void)
{
    char line[PATH_MAX + 100], *paths[100];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && count < 100 && fgets(line, sizeof line, maps)) {
        char *path = strchr(line, '/');
        if (path)
            paths[count++] = strdup(path);
    }
    qsort(paths, count, sizeof paths[0], compare);
    for (int i = 0; i < count; i++)
        if (i == 0 || strcmp(paths[i], paths[i - 1]))
            printf("    %s", paths[i]);
    if (maps)
        fclose(maps);
}

static void show(const char *what, const char *link)
{
    char path[PATH_MAX];
    ssize_t len = readlink(link, path, sizeof path);
    printf("%s: %.*s\n", what, (int)(len < 0 ? 0 : len), path);
}

/* Where another process is that went somewhere else. */
static void show_other(const char *where)
{
    int ready[2], done[2];
    char byte, link[40];
    if (pipe(ready) || pipe(done))
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        if (chdir(where) || write(ready[1], "", 1) != 1 || read(done[0], &byte, 1) != 1)
            _exit(1);
        _exit(0);
    }
    if (read(ready[0], &byte, 1) != 1)
        exit(1);
    snprintf(link, sizeof link, "/proc/%d/cwd", child);
    show("other process in", link);
    snprintf(link, sizeof link, "/proc/%d/exe", child);
    show("and its program", link);
    if (write(done[1], "", 1) != 1)
        exit(1);
    int status;
    waitpid(child, &status, 0);
    printf("status %d\n", status);
    close(ready[0]);
    close(ready[1]);
    close(done[0]);
    close(done[1]);
}

int main(int argc, char **argv)
{
    printf("executed as %s, beside it %d\n", (char *)getauxval(AT_EXECFN), beside());
    show("program", "/proc/self/exe");
    show_maps();
    if (argc < 3)
        return 0;
    show_other(argv[1]);
    if (chdir(argv[1]))
        return 1;
    show("now in", "/proc/self/cwd");
    fflush(stdout);
    execl(argv[2], argv[0], argc > 3 ? argv[3] : NULL, argc > 4 ? argv[4] : NULL, NULL);
    perror("execl");
    return 1;
}

#endif
