/* Echo on libuv: tried at once, and queued by uv_write only where the kernel takes no more. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { BACKLOG = 4096, BUFFER = 64 * 1024, QUEUE_MAX = 1024 * 1024 };

typedef struct {
    uv_tcp_t socket;
    uv_shutdown_t shutdown;
    /* Not read from, since it does not read. */
    int paused;
} connection_t;

/* The output that libuv has still to write, and the request that it is known by. */
typedef struct {
    uv_write_t request;
    char bytes[];
} rest_t;

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer);

/* What is read is written or copied before the next read, so one buffer does for all. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    static char bytes[BUFFER];
    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(bytes, sizeof bytes);
}

static void on_close(uv_handle_t *handle)
{
    free(handle->data);
}

static void end(uv_stream_t *stream)
{
    if (!uv_is_closing((uv_handle_t *)stream))
        uv_close((uv_handle_t *)stream, on_close);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    (void)status;
    end(request->handle);
}

static void on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    connection_t *connection = stream->data;
    free(request->data);
    if (status < 0) {
        end(stream);
    } else if (connection->paused && uv_stream_get_write_queue_size(stream) == 0) {
        connection->paused = 0;
        uv_read_start(stream, on_alloc, on_read);
    }
}

static void answer(uv_stream_t *stream, char *bytes, size_t length)
{
    uv_buf_t whole = uv_buf_init(bytes, (unsigned)length);
    /* Bytes that wait already go first: then it answers UV_EAGAIN. */
    int written = uv_try_write(stream, &whole, 1);
    size_t done = written < 0 ? 0 : (size_t)written;
    rest_t *rest;
    uv_buf_t left;
    if (written < 0 && written != UV_EAGAIN) {
        end(stream);
        return;
    }
    if (done == length)
        return;
    rest = malloc(sizeof *rest + length - done);
    if (!rest) {
        end(stream);
        return;
    }
    memcpy(rest->bytes, bytes + done, length - done);
    rest->request.data = rest;
    left = uv_buf_init(rest->bytes, (unsigned)(length - done));
    if (uv_write(&rest->request, stream, &left, 1, on_written) < 0) {
        free(rest);
        end(stream);
    } else if (uv_stream_get_write_queue_size(stream) > QUEUE_MAX) {
        ((connection_t *)stream->data)->paused = 1;
        uv_read_stop(stream);
    }
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    connection_t *connection = stream->data;
    if (length > 0) {
        answer(stream, buffer->base, (size_t)length);
    } else if (length == UV_EOF) {
        /* Sent after all that is queued. */
        if (uv_shutdown(&connection->shutdown, stream, on_shutdown) < 0)
            end(stream);
    } else if (length < 0) {
        end(stream);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    connection_t *connection;
    if (status < 0 || !(connection = malloc(sizeof *connection)))
        return;
    uv_tcp_init(listener->loop, &connection->socket);
    connection->paused = 0;
    connection->socket.data = connection;
    if (uv_accept(listener, (uv_stream_t *)&connection->socket) == 0) {
        uv_tcp_nodelay(&connection->socket, 1);
        uv_read_start((uv_stream_t *)&connection->socket, on_alloc, on_read);
    } else {
        end((uv_stream_t *)&connection->socket);
    }
}

int main(int count, char **words)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in address;
    int code;
    if (count != 2) {
        fprintf(stderr, "usage: libuv PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    uv_tcp_init(loop, &listener);
    uv_ip4_addr("127.0.0.1", atoi(words[1]), &address);
    code = uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0);
    if (code == 0)
        code = uv_listen((uv_stream_t *)&listener, BACKLOG, on_connection);
    if (code < 0) {
        fprintf(stderr, "libuv: %s\n", uv_strerror(code));
        return 1;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
