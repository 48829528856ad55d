/* Echo on libevent's bufferevents: the input is moved to the output without a copy. */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BACKLOG = 4096, QUEUE_MAX = 1024 * 1024 };

static void on_read(struct bufferevent *connection, void *unused)
{
    struct evbuffer *output = bufferevent_get_output(connection);
    (void)unused;
    evbuffer_add_buffer(output, bufferevent_get_input(connection));
    /* A peer that does not read is not read from either. */
    if (evbuffer_get_length(output) > QUEUE_MAX)
        bufferevent_disable(connection, EV_READ);
}

static void on_written(struct bufferevent *connection, void *unused)
{
    (void)unused;
    if (!(bufferevent_get_enabled(connection) & EV_READ))
        bufferevent_enable(connection, EV_READ);
}

static void on_last_byte_written(struct bufferevent *connection, void *unused)
{
    (void)unused;
    bufferevent_free(connection);
}

static void on_event(struct bufferevent *connection, short what, void *unused)
{
    (void)unused;
    if ((what & BEV_EVENT_EOF) && evbuffer_get_length(bufferevent_get_output(connection)) > 0) {
        /* The peer sends no more; what is queued is still owed to it. */
        bufferevent_disable(connection, EV_READ);
        bufferevent_setcb(connection, NULL, on_last_byte_written, on_event, NULL);
    } else if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) {
        bufferevent_free(connection);
    }
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
                      int length, void *unused)
{
    struct event_base *base = evconnlistener_get_base(listener);
    struct bufferevent *connection = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    int on = 1;
    (void)peer;
    (void)length;
    (void)unused;
    if (!connection) {
        evutil_closesocket(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    bufferevent_setcb(connection, on_read, on_written, on_event, NULL);
    bufferevent_enable(connection, EV_READ | EV_WRITE);
}

int main(int count, char **words)
{
    struct event_base *base = event_base_new();
    struct evconnlistener *listener;
    struct sockaddr_in address;
    if (count != 2 || !base) {
        fprintf(stderr, "usage: libevent PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(words[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = evconnlistener_new_bind(base, on_accept, NULL,
                                       LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE |
                                           LEV_OPT_CLOSE_ON_EXEC,
                                       BACKLOG, (struct sockaddr *)&address, sizeof address);
    if (!listener) {
        perror("listen");
        return 1;
    }
    return event_base_dispatch(base) < 0;
}
