/* A crowd of phones that fetch files over TFTP, in 512-byte blocks and without options, as phones do.
 *
 *     tftp_load ADDRESS PORT PHONES AT_ONCE NAME:SIZE...
 *
 * Each of PHONES phones asks for every NAME in turn, each from a new socket, AT_ONCE phones at a time. %d-like
 * directives in NAME are given the phone's number. SIZE is the bytes that must arrive, or -1 where error 1 (file not
 * found) is the right answer. What is not answered within a second is sent again, five times at most. Prints JSON:
 * files that came right, failures, retransmissions, seconds, the generator's own CPU, p50 and p99 of a file in ms.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 512, TRIES = 5, READ = 1, DATA = 3, ACK = 4, ERROR = 5 };

struct file { const char *name; long size; };

struct phone {
    int fd, number, file, tries, known;
    uint16_t expected;
    long got;
    double began, last;
    struct sockaddr_in peer;
    char packet[300];
    int length;
};

static struct sockaddr_in server;
static struct file *files;
static int file_count, phones, next_phone, running, epoll_fd;
static long right, wrong, repeated;
static double *latencies;
static long latency_count;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void transmit(struct phone *p) {
    struct sockaddr_in *to = p->known ? &p->peer : &server;
    sendto(p->fd, p->packet, p->length, 0, (struct sockaddr *)to, sizeof *to);
    p->last = now();
}

static void ask(struct phone *p) {
    p->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0) { perror("socket"); exit(1); }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->fd, &e);
    p->tries = 0, p->known = 0, p->expected = 1, p->got = 0;
    p->packet[0] = 0, p->packet[1] = READ;
    int n = 2 + snprintf(p->packet + 2, 256, files[p->file].name, p->number) + 1;
    memcpy(p->packet + n, "octet", 6);
    p->length = n + 6;
    p->began = now();
    transmit(p);
}

static void begin(struct phone *p) {
    p->fd = -1;
    if (next_phone >= phones) return;
    p->number = next_phone++, p->file = 0;
    running++;
    ask(p);
}

static void end_file(struct phone *p, int is_right) {
    close(p->fd);
    if (is_right) right++, latencies[latency_count++] = now() - p->began;
    else wrong++;
    if (++p->file < file_count) ask(p);
    else running--, begin(p);
}

static void acknowledge(struct phone *p, uint16_t block) {
    p->packet[0] = 0, p->packet[1] = ACK, p->packet[2] = block >> 8, p->packet[3] = block & 255;
    p->length = 4, p->tries = 0;
    transmit(p);
}

static void receive(struct phone *p) {
    unsigned char data[1024];
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    ssize_t length = recvfrom(p->fd, data, sizeof data, 0, (struct sockaddr *)&from, &size);
    if (length < 4) return;
    if (p->known && (from.sin_port != p->peer.sin_port)) return;
    p->peer = from, p->known = 1;
    if (data[1] == ERROR) { end_file(p, files[p->file].size < 0 && data[3] == 1); return; }
    if (data[1] != DATA) return;
    uint16_t block = data[2] << 8 | data[3];
    if (block == (uint16_t)(p->expected - 1)) { acknowledge(p, block); return; }
    if (block != p->expected) return;
    p->got += length - 4, p->expected++;
    acknowledge(p, block);
    if (length - 4 < BLOCK) end_file(p, p->got == files[p->file].size);
}

static void repeat(struct phone *all, int count) {
    double moment = now();
    for (struct phone *p = all; p < all + count; p++) {
        if (p->fd < 0 || moment - p->last < 1.0) continue;
        if (++p->tries >= TRIES) { end_file(p, 0); continue; }
        repeated++;
        transmit(p);
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(double q) { return latency_count ? latencies[(long)((latency_count - 1) * q)] * 1e3 : 0; }

int main(int argc, char **argv) {
    if (argc < 6) { fprintf(stderr, "tftp_load ADDRESS PORT PHONES AT_ONCE NAME:SIZE...\n"); return 2; }
    server.sin_family = AF_INET, server.sin_port = htons(atoi(argv[2]));
    inet_pton(AF_INET, argv[1], &server.sin_addr);
    phones = atoi(argv[3]);
    int at_once = atoi(argv[4]) < phones ? atoi(argv[4]) : phones;
    file_count = argc - 5;
    files = calloc(file_count, sizeof *files);
    for (int i = 0; i < file_count; i++) {
        char *colon = strrchr(argv[5 + i], ':');
        if (!colon) { fprintf(stderr, "no size in %s\n", argv[5 + i]); return 2; }
        *colon = 0, files[i] = (struct file){argv[5 + i], atol(colon + 1)};
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    latencies = calloc((size_t)phones * file_count, sizeof *latencies);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct phone *all = calloc(at_once, sizeof *all);
    double began = now(), swept = began;
    for (int i = 0; i < at_once; i++) begin(&all[i]);
    struct epoll_event events[256];
    while (running) {
        int n = epoll_wait(epoll_fd, events, 256, 100);
        for (int i = 0; i < n; i++) {
            struct phone *p = events[i].data.ptr;
            if (p->fd >= 0) receive(p);
        }
        if (now() - swept > 0.1) repeat(all, at_once), swept = now();
    }
    double seconds = now() - began;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    qsort(latencies, latency_count, sizeof *latencies, by_value);
    printf("{\"right\": %ld, \"wrong\": %ld, \"repeated\": %ld, \"seconds\": %.4f, \"cpu\": %.4f, \"p50\": %.3f, "
           "\"p99\": %.3f}\n", right, wrong, repeated, seconds, cpu, quantile(0.5), quantile(0.99));
}
