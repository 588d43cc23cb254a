/*
 * A server with epoll on a TCP socket and a pipe, reached over loopback by itself: several clients at a time, edge- and
 * level-triggered, with a timer descriptor and an event descriptor in the same set.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { CLIENTS = 5, LINES = 20 };

static int port, done;

static void *client(void *unused)
{
    (void)unused;
    long good = 0;
    int sockets[CLIENTS];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    for (int i = 0; i < CLIENTS; i++) {
        sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(sockets[i], (struct sockaddr *)&address, sizeof address))
            perror("connect");
    }
    for (int line = 0; line < LINES; line++)
        for (int i = 0; i < CLIENTS; i++) {
            char text[64], back[64];
            int len = snprintf(text, sizeof text, "client %d line %d", i, line);
            if (send(sockets[i], text, len, 0) == len && recv(sockets[i], back, sizeof back, 0) == len && !memcmp(text, back, len))
                good++;
        }
    for (int i = 0; i < CLIENTS; i++)
        close(sockets[i]);
    uint64_t one = 1;
    write(done, &one, sizeof one);
    return (void *)good;
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), set = epoll_create1(0);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), yes = 1;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        perror("listen");
    getsockname(listener, (struct sockaddr *)&address, &len);
    port = ntohs(address.sin_port);
    done = eventfd(0, 0);
    struct itimerspec tick = {{0, 10000000}, {0, 10000000}};
    timerfd_settime(timer, 0, &tick, NULL);
    int watched[] = {listener, done, timer};
    for (int i = 0; i < 3; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
        epoll_ctl(set, EPOLL_CTL_ADD, watched[i], &event);
    }
    pthread_t thread;
    pthread_create(&thread, NULL, client, NULL);

    int accepted = 0, closed = 0, finished = 0;
    uint64_t ticks = 0, count;
    while (closed < CLIENTS || !finished) {
        struct epoll_event events[8];
        int ready = epoll_wait(set, events, 8, 5000);
        if (ready <= 0) {
            printf("nothing for 5 seconds\n");
            return 1;
        }
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = peer};
                if (peer >= 0 && !epoll_ctl(set, EPOLL_CTL_ADD, peer, &event))
                    accepted++;
            } else if (fd == done) {
                read(done, &count, sizeof count);
                finished = 1;
            } else if (fd == timer) {
                if (read(timer, &count, sizeof count) == sizeof count)
                    ticks += count;
            } else {
                char text[256];
                ssize_t got;
                while ((got = read(fd, text, sizeof text)) > 0)
                    write(fd, text, got);
                if (got == 0) {
                    close(fd);
                    closed++;
                } else if (errno != EAGAIN) {
                    perror("read");
                }
            }
        }
    }
    void *good;
    pthread_join(thread, &good);
    while (ticks == 0)
        if (read(timer, &count, sizeof count) == sizeof count)
            ticks += count;
    printf("accepted %d, closed %d, good %ld, ticked: %s\n", accepted, closed, (long)good, ticks ? "yes" : "no");
    return 0;
}
