/* A crowd of phones that fetch one file over HTTP, as a phone asks.
 *
 *     http_load ADDRESS PORT REQUESTS AT_ONCE PATH SIZE keep|close
 *
 * AT_ONCE connections; with keep each asks again as soon as its answer is whole, with close each request has a
 * connection of its own, ended by the server. SIZE is the bytes of the body that must arrive. Prints JSON: answers that
 * came right, failures, seconds, the generator's own CPU, p50 and p99 of a request in ms (connecting included).
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct peer { int fd; long got, expected; double began; };

static struct sockaddr_in server;
static char request[1024];
static int request_length, requests, asked, running, epoll_fd, keeps;
static long body, right, wrong;
static double *latencies;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void ask(struct peer *p) {
    p->got = 0, p->expected = -1, p->began = now();
    asked++;
}

static void begin(struct peer *p) {
    if (asked >= requests) { running--, p->fd = -1; return; }
    ask(p);
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&server, sizeof server)) { perror("connect"); exit(1); }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->fd, &e);
    if (write(p->fd, request, request_length) != request_length) { perror("write"); exit(1); }
}

static void end(struct peer *p, int is_right) {
    if (is_right) latencies[right++] = now() - p->began;
    else wrong++;
    if (keeps && is_right && asked < requests) {
        ask(p);
        if (write(p->fd, request, request_length) != request_length) { perror("write"); exit(1); }
        return;
    }
    close(p->fd);
    begin(p);
}

static void receive(struct peer *p) {
    char data[65536];
    ssize_t length = read(p->fd, data, sizeof data - 1);
    if (length <= 0) { end(p, !keeps && p->got == p->expected && p->expected > 0); return; }
    if (p->expected < 0) {
        data[length] = 0;
        char *blank = strstr(data, "\r\n\r\n");
        if (!blank || strncmp(data, "HTTP/1.1 200", 12)) { end(p, 0); return; }
        p->expected = blank - data + 4 + body;
    }
    p->got += length;
    if (p->got >= p->expected && keeps) end(p, p->got == p->expected);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(double q) { return right ? latencies[(long)((right - 1) * q)] * 1e3 : 0; }

int main(int argc, char **argv) {
    if (argc != 8) { fprintf(stderr, "http_load ADDRESS PORT REQUESTS AT_ONCE PATH SIZE keep|close\n"); return 2; }
    server.sin_family = AF_INET, server.sin_port = htons(atoi(argv[2]));
    inet_pton(AF_INET, argv[1], &server.sin_addr);
    requests = atoi(argv[3]), running = atoi(argv[4]), body = atol(argv[6]), keeps = !strcmp(argv[7], "keep");
    request_length = snprintf(request, sizeof request, "GET /%s HTTP/1.1\r\nHost:%s:%s\r\n%s\r\n", argv[5], argv[1],
                              argv[2], keeps ? "" : "Connection: close\r\n");
    latencies = calloc(requests, sizeof *latencies);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int at_once = running;
    struct peer *all = calloc(at_once, sizeof *all);
    double began = now();
    for (int i = 0; i < at_once; i++) begin(&all[i]);
    struct epoll_event events[256];
    while (running) {
        int n = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < n; i++) receive(events[i].data.ptr);
    }
    double seconds = now() - began;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    qsort(latencies, right, sizeof *latencies, by_value);
    printf("{\"right\": %ld, \"wrong\": %ld, \"seconds\": %.4f, \"cpu\": %.4f, \"p50\": %.3f, \"p99\": %.3f}\n", right,
           wrong, seconds, cpu, quantile(0.5), quantile(0.99));
}
