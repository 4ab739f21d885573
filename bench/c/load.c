/* Opens many streams of Server-Sent Events and says what came: events, bytes, latencies, gaps and repetitions.
 *
 *   load HOST PORT PATH CONNECTIONS [RATE [RESUME]]
 *
 * RATE is connections opened per second, 0 for as fast as they are accepted. With RESUME 1 a stream that ends is opened
 * again after its `retry:`, with its last id. Everything is one thread and one epoll, so that it is never what limits.
 *
 * An event counts when its data has "t":<CLOCK_MONOTONIC in ns> within its first bytes, or "step":<the same> within its
 * last ones (frames). "n":<number> must grow by one from event to event of a connection.
 *
 * Commands on standard input, one a line; each is answered with one line of JSON:
 *   ready      how many are open          reset      forget what was counted
 *   report     what was counted           stall K    stop reading on the first K connections
 *   go         read on                    quit
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BINS = 2000000, READ_BYTES = 1 << 18, IN_FLIGHT = 400, ID_BYTES = 256, MOST_TIMES = 100000 };
enum state { IDLE, CONNECTING, HEAD, SIZE, DATA, DATA_END, TRAILER };

struct stream {
    int fd;
    enum state state;
    uint64_t left;       /* bytes of the present chunk */
    char *line;          /* the beginning of a line whose end has not come */
    size_t line_bytes, line_room;
    char id[ID_BYTES];   /* of the event in the making */
    char last_id[ID_BYTES];
    int64_t n;           /* of the last event, -1 before the first */
    uint64_t open_at_ns; /* when to (re)connect */
    int retry_ms, status;
    char is_open, is_stalled, was_open;
};

static struct sockaddr_in server;
static const char *host, *path;
static struct stream *streams;
static int count, in_flight, open_count, is_resuming, epoll;
static uint64_t events, bytes, gaps, repeats, resets, failures, reconnects, began_ns, all_open_ns;
static uint32_t bins[BINS]; /* one microsecond each; the last holds all above */
static uint64_t times_ns[MOST_TIMES];
static int times;
static int64_t newest_n = -1;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void start(struct stream *s) {
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (s->fd < 0) die("socket");
    int one = 1;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(s->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) die("connect");
    struct epoll_event e = {.events = EPOLLOUT | EPOLLIN, .data.ptr = s};
    epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &e);
    s->state = CONNECTING;
    s->status = 0;
    s->line_bytes = 0;
    s->id[0] = 0;
    in_flight++;
}

static void finish(struct stream *s, int is_failure) {
    if (s->is_open) open_count--;
    else in_flight--;
    close(s->fd);
    s->fd = -1;
    s->is_open = 0;
    s->state = IDLE;
    failures += is_failure;
    uint64_t jitter = (uint64_t)rand() % 200000000u;
    if (is_failure && s->was_open && s->retry_ms < 1000) s->retry_ms = 1000; /* nobody there: as a page would */
    s->open_at_ns = is_resuming ? now_ns() + (uint64_t)s->retry_ms * 1000000u + (is_failure ? jitter : 0) : UINT64_MAX;
}

static void ask(struct stream *s) {
    char request[1024], last[ID_BYTES + 32] = "";
    if (s->last_id[0]) snprintf(last, sizeof last, "Last-Event-ID: %s\r\n", s->last_id);
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n%s\r\n", path, host, last);
    if (send(s->fd, request, length, MSG_NOSIGNAL) != length) {
        finish(s, 1);
        return;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &e);
    s->state = HEAD;
}

static void opened(struct stream *s) {
    s->is_open = 1;
    in_flight--;
    open_count++;
    if (s->was_open) {
        reconnects++;
        if (times < MOST_TIMES) times_ns[times++] = now_ns();
    }
    s->was_open = 1;
    if (open_count == count && !all_open_ns) all_open_ns = now_ns();
}

static const char *find(const char *text, size_t length, const char *what) {
    return memmem(text, length, what, strlen(what));
}

static void take_data(struct stream *s, const char *data, size_t length) {
    const char *stamp;
    if (length < 4096) stamp = find(data, length < 200 ? length : 200, "\"t\":");
    else stamp = find(data + length - 400, 400, "\"step\":");
    if (!stamp) return;
    uint64_t sent = strtoull(strchr(stamp, ':') + 1, NULL, 10);
    if (!sent) return;
    events++;
    uint64_t us = (now_ns() - sent) / 1000;
    bins[us < BINS ? us : BINS - 1]++;
    const char *number = length < 4096 ? find(data, length < 200 ? length : 200, "\"n\":") : NULL;
    if (!number) return;
    int64_t n = strtoll(number + 4, NULL, 10);
    if (s->n >= 0 && n <= s->n) repeats++;
    else if (s->n >= 0) gaps += n - s->n - 1;
    if (n > s->n) s->n = n;
    if (n > newest_n) newest_n = n;
}

static void take_line(struct stream *s, const char *line, size_t length) {
    if (length && line[length - 1] == '\r') length--;
    if (!length) {
        if (s->id[0]) memcpy(s->last_id, s->id, ID_BYTES);
        s->id[0] = 0;
    } else if (length > 6 && !memcmp(line, "data: ", 6)) take_data(s, line + 6, length - 6);
    else if (length > 4 && length < ID_BYTES && !memcmp(line, "id: ", 4)) {
        memcpy(s->id, line + 4, length - 4);
        s->id[length - 4] = 0;
    } else if (length > 7 && !memcmp(line, "retry: ", 7)) s->retry_ms = atoi(line + 7);
    else if (length == 12 && !memcmp(line, "event: reset", 12)) {
        resets++;
        s->n = -1; /* a snapshot follows: what it holds does not come as an event */
    }
}

static void keep(struct stream *s, const char *text, size_t length) {
    if (s->line_bytes + length + 1 > s->line_room) {
        s->line_room = s->line_bytes + length + 256;
        s->line = realloc(s->line, s->line_room);
        if (!s->line) die("realloc");
    }
    memcpy(s->line + s->line_bytes, text, length);
    s->line_bytes += length;
    s->line[s->line_bytes] = 0;
}

static void take_body(struct stream *s, char *text, size_t length) {
    while (length) {
        char *end = memchr(text, '\n', length);
        if (!end) {
            keep(s, text, length);
            return;
        }
        size_t part = end - text;
        if (s->line_bytes) {
            keep(s, text, part);
            take_line(s, s->line, s->line_bytes);
            s->line_bytes = 0;
        } else take_line(s, text, part);
        text += part + 1;
        length -= part + 1;
    }
}

/* Decode the response (RFC 9112: a head, then chunks); returns 0 when it is over, or not what it should be. */
static int take(struct stream *s, char *text, size_t length) {
    bytes += length;
    while (length) {
        if (s->state == DATA) {
            size_t part = length < s->left ? length : s->left;
            take_body(s, text, part);
            text += part, length -= part, s->left -= part;
            if (!s->left) s->state = DATA_END;
            continue;
        }
        char *end = memchr(text, '\n', length);
        size_t part = end ? (size_t)(end - text) + 1 : length;
        char line[512] = "";
        static char rest[20000][24]; /* of a line of the framing that was cut */
        int number = s - streams;
        size_t had = strlen(rest[number]);
        size_t copied = part < sizeof line - 25 ? part : sizeof line - 25;
        memcpy(line, rest[number], had);
        memcpy(line + had, text, copied);
        line[had + copied] = 0;
        text += part, length -= part;
        if (!end) {
            snprintf(rest[number], sizeof rest[number], "%s", line);
            return 1;
        }
        rest[number][0] = 0;
        line[strcspn(line, "\r\n")] = 0;
        if (s->state == HEAD) {
            if (!s->status) {
                if (sscanf(line, "HTTP/1.1 %d", &s->status) != 1 || s->status != 200) return 0;
                s->left = UINT64_MAX; /* until the connection ends, unless it says otherwise */
            } else if (!strcasecmp(line, "transfer-encoding: chunked")) s->left = 0;
            else if (!line[0]) {
                s->state = s->left ? DATA : SIZE;
                opened(s);
            }
        } else if (s->state == SIZE) {
            s->left = strtoull(line, NULL, 16);
            s->state = s->left ? DATA : TRAILER;
        } else if (s->state == DATA_END) s->state = SIZE;
        else return 0; /* the end of the last chunk */
    }
    return 1;
}

static void read_stream(struct stream *s) {
    static char buffer[READ_BYTES];
    ssize_t got = recv(s->fd, buffer, sizeof buffer, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0 || !take(s, buffer, got)) finish(s, !s->is_open);
}

static void report(void) {
    uint64_t total = 0, seen = 0, longest = 0;
    for (int i = 0; i < BINS; i++) {
        total += bins[i];
        if (bins[i]) longest = i;
    }
    double shares[] = {0.5, 0.9, 0.99, 0.999}, found[4] = {0};
    for (int i = 0, q = 0; i < BINS && q < 4; i++) {
        seen += bins[i];
        while (q < 4 && total && seen >= shares[q] * total) found[q++] = i / 1000.0;
    }
    int complete = 0;
    for (int i = 0; i < count; i++) complete += streams[i].n == newest_n;
    uint64_t first = UINT64_MAX, last = 0;
    for (int i = 0; i < times; i++) {
        if (times_ns[i] < first) first = times_ns[i];
        if (times_ns[i] > last) last = times_ns[i];
    }
    printf("{\"open\": %d, \"events\": %lu, \"bytes\": %lu, \"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"p999_ms\": %.3f, \"max_ms\": %.3f, \"gaps\": %lu, \"repeats\": %lu, \"resets\": %lu, \"failures\": %lu, "
           "\"reconnects\": %lu, \"reconnect_spread_s\": %.3f, \"newest_n\": %ld, \"complete\": %d, \"opened_s\": %.3f}\n",
           open_count, events, bytes, found[0], found[1], found[2], found[3], longest / 1000.0, gaps, repeats, resets,
           failures, reconnects, times > 1 ? (last - first) / 1e9 : 0.0, newest_n, complete,
           all_open_ns ? (all_open_ns - began_ns) / 1e9 : -1.0);
}

static void command(char *line) {
    int number = 0;
    if (!strncmp(line, "reset", 5)) {
        memset(bins, 0, sizeof bins);
        events = bytes = gaps = repeats = resets = failures = reconnects = 0;
        times = 0;
        printf("{}\n");
    } else if (!strncmp(line, "report", 6)) report();
    else if (!strncmp(line, "ready", 5)) printf("{\"open\": %d}\n", open_count);
    else if (sscanf(line, "stall %d", &number) == 1) {
        for (int i = 0; i < number && i < count; i++) {
            struct epoll_event e = {.events = 0, .data.ptr = &streams[i]};
            epoll_ctl(epoll, EPOLL_CTL_MOD, streams[i].fd, &e);
            streams[i].is_stalled = 1;
        }
        printf("{}\n");
    } else if (!strncmp(line, "go", 2)) {
        for (int i = 0; i < count; i++) {
            if (!streams[i].is_stalled || streams[i].fd < 0) continue;
            struct epoll_event e = {.events = EPOLLIN, .data.ptr = &streams[i]};
            epoll_ctl(epoll, EPOLL_CTL_MOD, streams[i].fd, &e);
            streams[i].is_stalled = 0;
        }
        printf("{}\n");
    } else exit(0);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: load HOST PORT PATH CONNECTIONS [RATE [RESUME]]\n");
        return 2;
    }
    host = argv[1], path = argv[3], count = atoi(argv[4]);
    double rate = argc > 5 ? atof(argv[5]) : 0;
    is_resuming = argc > 6 && atoi(argv[6]);
    server.sin_family = AF_INET;
    server.sin_port = htons(atoi(argv[2]));
    inet_pton(AF_INET, host, &server.sin_addr);
    if (count < 1 || count > 20000) return 2;
    streams = calloc(count, sizeof *streams);
    epoll = epoll_create1(0);
    struct epoll_event in = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &in);
    began_ns = now_ns();
    for (int i = 0; i < count; i++) {
        streams[i].fd = -1;
        streams[i].n = -1;
        streams[i].retry_ms = 1000;
        streams[i].open_at_ns = began_ns + (rate > 0 ? (uint64_t)(i / rate * 1e9) : 0);
    }
    uint64_t next_look_ns = 0;
    for (;;) {
        uint64_t now = now_ns();
        if (now >= next_look_ns) { /* who is due; a look at all of them every 2 ms is little */
            next_look_ns = now + (open_count == count ? 20000000 : 2000000);
            for (int i = 0; open_count + in_flight < count && i < count && in_flight < IN_FLIGHT; i++)
                if (streams[i].fd < 0 && streams[i].open_at_ns <= now) start(&streams[i]);
        }
        struct epoll_event ready[256];
        int found = epoll_wait(epoll, ready, 256, open_count == count ? 20 : 2);
        for (int i = 0; i < found; i++) {
            struct stream *s = ready[i].data.ptr;
            if (!s) {
                static char line[256];
                if (!fgets(line, sizeof line, stdin)) return 0;
                command(line);
            } else if (s->state == CONNECTING) {
                int error = 0;
                socklen_t size = sizeof error;
                getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
                if (error) finish(s, 1);
                else if (ready[i].events & EPOLLOUT) ask(s);
            } else if (s->is_stalled && !(ready[i].events & EPOLLIN)) finish(s, 0);
            else read_stream(s);
        }
    }
}
