/* The bare limit: one epoll loop that writes each event to each subscriber, and does nothing else.
 *
 *   bare SUBSCRIBE_PORT PUBLISH_PORT
 *
 * A publisher sends a length as 4 bytes (big-endian), then one event of that length. What a subscriber does not take at
 * once is kept for it, up to KEPT_BYTES; then it is cut.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 20100, KEPT_BYTES = 1 << 20, EVENT_BYTES = 1 << 20 };
enum kind { NONE, SUBSCRIBERS, PUBLISHERS, SUBSCRIBER, PUBLISHER };

struct link {
    enum kind kind;
    int place; /* among the subscribers */
    char *kept;
    size_t kept_bytes;
};

static struct link links[MOST];
static int subscribers[MOST], count, epoll;
static char in[EVENT_BYTES + 4], out[EVENT_BYTES + 32];
static size_t in_bytes;

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) {
        perror("listen");
        exit(1);
    }
    return fd;
}

static void add(int fd, enum kind kind) {
    links[fd] = (struct link){.kind = kind, .place = -1};
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

static void drop(int fd) {
    int place = links[fd].place;
    if (place >= 0) {
        subscribers[place] = subscribers[--count];
        links[subscribers[place]].place = place;
    }
    free(links[fd].kept);
    links[fd] = (struct link){0};
    close(fd);
}

static void put(int fd, const char *data, size_t length) {
    struct link *link = &links[fd];
    ssize_t sent = link->kept_bytes ? 0 : send(fd, data, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(fd);
        return;
    }
    if (sent < 0) sent = 0;
    if ((size_t)sent == length) return;
    if (link->kept_bytes + length - sent > KEPT_BYTES) {
        drop(fd);
        return;
    }
    if (!link->kept) link->kept = malloc(KEPT_BYTES);
    memcpy(link->kept + link->kept_bytes, data + sent, length - sent);
    link->kept_bytes += length - sent;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &e);
}

static void flush(int fd) {
    struct link *link = &links[fd];
    ssize_t sent = send(fd, link->kept, link->kept_bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(fd);
        return;
    }
    if (sent < 0) return;
    memmove(link->kept, link->kept + sent, link->kept_bytes - sent);
    link->kept_bytes -= sent;
    if (link->kept_bytes) return;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &e);
}

static void publish(int fd) {
    ssize_t got = recv(fd, in + in_bytes, sizeof in - in_bytes, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        drop(fd);
        in_bytes = 0;
        return;
    }
    in_bytes += got;
    size_t at = 0;
    while (in_bytes - at >= 4) {
        uint32_t length;
        memcpy(&length, in + at, 4);
        length = ntohl(length);
        if (length > EVENT_BYTES) exit(1);
        if (in_bytes - at < 4 + length) break;
        int head = sprintf(out, "%x\r\n", length);
        memcpy(out + head, in + at + 4, length);
        memcpy(out + head + length, "\r\n", 2);
        for (int i = count - 1; i >= 0; i--) put(subscribers[i], out, head + length + 2);
        at += 4 + length;
    }
    memmove(in, in + at, in_bytes - at);
    in_bytes -= at;
}

static void greet(int fd) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    char request[4096];
    ssize_t got = recv(fd, request, sizeof request, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) drop(fd);
        return;
    }
    if (links[fd].place >= 0) return;
    links[fd].place = count;
    subscribers[count++] = fd;
    put(fd, head, sizeof head - 1);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    signal(SIGPIPE, SIG_IGN);
    epoll = epoll_create1(0);
    add(listen_on(atoi(argv[1])), SUBSCRIBERS);
    add(listen_on(atoi(argv[2])), PUBLISHERS);
    for (;;) {
        struct epoll_event ready[512];
        int found = epoll_wait(epoll, ready, 512, -1);
        for (int i = 0; i < found; i++) {
            int fd = ready[i].data.fd, new;
            switch (links[fd].kind) {
            case SUBSCRIBERS:
            case PUBLISHERS:
                while ((new = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (new >= MOST) close(new);
                    else {
                        int one = 1;
                        setsockopt(new, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                        add(new, links[fd].kind == SUBSCRIBERS ? SUBSCRIBER : PUBLISHER);
                    }
                }
                break;
            case PUBLISHER: publish(fd); break;
            case SUBSCRIBER:
                if (ready[i].events & EPOLLOUT && links[fd].kept_bytes) flush(fd);
                if (links[fd].kind == SUBSCRIBER && ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) greet(fd);
                break;
            case NONE: break;
            }
        }
    }
}
