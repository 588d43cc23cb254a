/*
 * Signal-driven I/O (O_ASYNC): files tell who owns them that something can be read or written. Pipes and sockets of the node,
 * and a FIFO and sockets of the host.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MINE (SIGRTMIN + 3)

static sigset_t told;

/* What the next signal says; nothing, if there is none for a while. */
static void tell(const char *what, int fd, long milliseconds)
{
    struct timespec limit = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
    siginfo_t info;
    int signal = sigtimedwait(&told, &info, &limit);
    if (signal == -1)
        printf("%s: nothing\n", what);
    else if (signal == SIGIO && info.si_code == SI_KERNEL)
        printf("%s: SIGIO\n", what);
    else
        printf("%s: %d code %d band %lx, the file: %d\n", what, signal - SIGRTMIN, info.si_code, (long)info.si_band,
               info.si_fd == fd);
}

/* One thing may be told twice when a host is in between. */
static void forget(void)
{
    struct timespec limit = { 0, 200000000 };
    while (sigtimedwait(&told, NULL, &limit) != -1)
        ;
}

static void own(int fd, int signal)
{
    if (fcntl(fd, F_SETOWN, getpid()) || fcntl(fd, F_SETSIG, signal) ||
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC))
        perror("fcntl");
}

static void put(int fd)
{
    if (write(fd, "x", 1) != 1)
        perror("write");
}

static void get(int fd)
{
    char byte;
    if (read(fd, &byte, 1) != 1)
        perror("read");
}

static void owners(void)
{
    int ends[2];
    struct f_owner_ex owner = { 9, 9 };
    if (pipe(ends))
        return;
    printf("nobody: %ld", syscall(SYS_fcntl, ends[0], F_GETOWN));
    fcntl(ends[0], F_GETOWN_EX, &owner);
    printf(", %d %d, signal %d\n", owner.type, owner.pid, fcntl(ends[0], F_GETSIG));
    printf("process: %d", fcntl(ends[0], F_SETOWN, getpid()));
    fcntl(ends[0], F_GETOWN_EX, &owner);
    printf(" %d %d\n", owner.type, owner.pid == getpid());
    owner = (struct f_owner_ex){ F_OWNER_TID, syscall(SYS_gettid) };
    printf("thread: %d", fcntl(ends[0], F_SETOWN_EX, &owner));
    printf(" %d\n", fcntl(ends[0], F_GETOWN) == getpid());
    printf("group: %d", fcntl(ends[0], F_SETOWN, -getpgrp()));
    fcntl(ends[0], F_GETOWN_EX, &owner);
    printf(" %d %d", owner.type, owner.pid == getpgrp());
    /* A duplicate is the same file. */
    int copy = dup(ends[0]);
    printf(", of a duplicate: %d", fcntl(copy, F_SETSIG, 12));
    printf(" %d\n", fcntl(ends[0], F_GETSIG));
    printf("refused: %d", fcntl(ends[0], F_SETSIG, 65));
    printf(" %d", errno == EINVAL);
    owner.type = 7;
    printf(", %d", fcntl(ends[0], F_SETOWN_EX, &owner));
    printf(" %d", errno == EINVAL);
    printf(", %d", fcntl(ends[0], F_SETOWN, 0x7ffffff));
    printf(" %d\n", errno == ESRCH);
    close(copy);
    close(ends[0]);
    close(ends[1]);
}

static void pipes(void)
{
    static char much[1 << 17];
    int ends[2];
    if (pipe2(ends, O_NONBLOCK))
        return;
    own(ends[0], 0);
    put(ends[1]);
    tell("pipe", ends[0], 2000);
    own(ends[0], MINE);
    put(ends[1]);
    put(ends[1]);
    tell("pipe with a signal of its own", ends[0], 2000);
    tell("once more", ends[0], 2000);
    pid_t child = fork();
    if (child == 0) {
        put(ends[1]);
        _exit(0);
    }
    tell("from a child", ends[0], 5000);
    waitpid(child, NULL, 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    put(ends[1]);
    tell("without O_ASYNC", ends[0], 100);
    own(ends[1], MINE);
    get(ends[0]);
    tell("read from a pipe", ends[1], 2000);
    while (write(ends[1], much, sizeof much) > 0)
        ;
    while (read(ends[0], much, sizeof much) > 0)
        ;
    tell("room in a pipe", ends[1], 2000);
    forget();
    close(ends[0]);
    tell("nobody reads", ends[1], 2000);
    close(ends[1]);
    tell("closed", ends[1], 100);
}

static void group(void)
{
    int ends[2];
    if (pipe(ends))
        return;
    own(ends[0], MINE);
    fcntl(ends[0], F_SETOWN, -getpgrp());
    pid_t child = fork();
    if (child == 0) {
        struct timespec limit = { 5, 0 };
        _exit(sigtimedwait(&told, NULL, &limit) == MINE ? 0 : 1);
    }
    put(ends[1]);
    int status;
    waitpid(child, &status, 0);
    tell("group", ends[0], 2000);
    printf("its child: %d\n", status);
    close(ends[0]);
    close(ends[1]);
}

static void sockets(void)
{
    int ends[2], on = 1, off = 0, number = getpid();
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        return;
    fcntl(ends[0], F_SETSIG, MINE);
    printf("ioctl: %d", ioctl(ends[0], FIOSETOWN, &number));
    printf(" %d", ioctl(ends[0], FIOASYNC, &on));
    number = 0;
    printf(" %d", ioctl(ends[0], SIOCGPGRP, &number));
    printf(" %d %d\n", number == getpid(), !!(fcntl(ends[0], F_GETFL) & O_ASYNC));
    put(ends[1]);
    tell("socket", ends[0], 2000);
    get(ends[0]);
    put(ends[0]);
    get(ends[1]);
    tell("room in a socket that was not full", ends[0], 100);
    ioctl(ends[0], FIOASYNC, &off);
    put(ends[1]);
    tell("no longer", ends[0], 100);
    ioctl(ends[0], FIOASYNC, &on);
    close(ends[1]);
    tell("the other end is closed", ends[0], 2000);
    close(ends[0]);

    int event = eventfd(0, 0);
    own(event, MINE);
    uint64_t one = 1;
    if (write(event, &one, sizeof one) != sizeof one)
        perror("write");
    tell("eventfd", event, 100);
    printf("ioctl of a file that tells nobody: %d", ioctl(event, FIOASYNC, &on));
    printf(" %d\n", errno == ENOTTY);
    close(event);
}

static void host(void)
{
    char folder[] = "/tmp/lwk-sigio-XXXXXX";
    if (!mkdtemp(folder) || chdir(folder))
        return;
    mkfifo("fifo", 0600);
    int fifo = open("fifo", O_RDONLY | O_NONBLOCK), writer = open("fifo", O_WRONLY);
    own(fifo, MINE);
    put(writer);
    tell("FIFO", fifo, 5000);
    forget();
    get(fifo);
    put(writer);
    tell("FIFO again", fifo, 5000);
    forget();
    close(writer);
    tell("its writer is gone", fifo, 5000);
    close(fifo);
    forget();

    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, len) || listen(listener, 3))
        perror("listen");
    getsockname(listener, (struct sockaddr *)&address, &len);
    own(listener, MINE);
    if (connect(client, (struct sockaddr *)&address, len))
        perror("connect");
    tell("a connection", listener, 5000);
    forget();
    int server = accept(listener, NULL, NULL);
    own(server, 0);
    put(client);
    tell("TCP", server, 5000);
    forget();
    close(server);
    close(client);
    close(listener);

    /* A socket is the node's until it gets a path. */
    struct sockaddr_un name = { AF_UNIX, "socket" };
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    own(listener, MINE);
    forget();
    if (bind(listener, (struct sockaddr *)&name, sizeof name) || listen(listener, 3))
        perror("listen");
    forget();
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(client, (struct sockaddr *)&name, sizeof name))
        perror("connect");
    tell("a connection by a path", listener, 5000);
    forget();
    close(client);
    close(listener);

    int file = open("file", O_RDWR | O_CREAT, 0600);
    own(file, MINE);
    put(file);
    tell("file", file, 100);
    printf("its owner: %d, flag: %d\n", fcntl(file, F_GETOWN) == getpid(), !!(fcntl(file, F_GETFL) & O_ASYNC));
    close(file);
    unlink("file");
    unlink("fifo");
    unlink("socket");
    rmdir(folder);
}

int main(void)
{
    sigemptyset(&told);
    sigaddset(&told, SIGIO);
    sigaddset(&told, MINE);
    sigprocmask(SIG_BLOCK, &told, NULL);
    setvbuf(stdout, NULL, _IONBF, 0);
    /* Nobody else shall be told. */
    setpgid(0, 0);
    owners();
    pipes();
    group();
    sockets();
    host();
    return 0;
}
