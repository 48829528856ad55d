/* The floor: the least that an edge-triggered echo server can do, and the yardstick of all others.
 *
 * One descriptor in epoll's data is all it knows about a connection. No state, no timers, no
 * limits, no memory for what does not fit: a connection whose echo the kernel does not take at
 * once is closed. The clients of these measurements keep less in flight than a socket holds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096, BATCH = 1024, BUFFER = 64 * 1024 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(const char *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)atoi(port)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (fd < 0)
        fail("socket");
    /* Accepted sockets inherit TCP_NODELAY. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    if (listen(fd, BACKLOG) < 0)
        fail("listen");
    return fd;
}

static int watch(int epoll, int fd)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLRDHUP | EPOLLET,
        .data.fd = fd,
    };
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* ET: one event may stand for many clients, so accept until there are none. */
static void accept_all(int epoll, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        if (watch(epoll, fd) < 0)
            close(fd);
}

static void serve(int fd, uint32_t events, char *buffer)
{
    for (;;) {
        ssize_t length = recv(fd, buffer, BUFFER, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0 || send(fd, buffer, (size_t)length, MSG_NOSIGNAL) != length) {
            close(fd);
            return;
        }
        /* ET: a short read proves the socket empty, unless an end is pending behind it. */
        if (length < BUFFER && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return;
    }
}

int main(int count, char **words)
{
    static char buffer[BUFFER];
    static struct epoll_event events[BATCH];
    int listener, epoll;
    if (count != 2) {
        fprintf(stderr, "usage: floor-c PORT\n");
        return 2;
    }
    listener = listen_on(words[1]);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || watch(epoll, listener) < 0)
        fail("epoll");
    for (;;) {
        int ready = epoll_wait(epoll, events, BATCH, -1);
        if (ready < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                serve(events[i].data.fd, events[i].events, buffer);
        }
    }
}
