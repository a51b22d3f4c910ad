/* Phones that ask a TVS: a full TLS handshake, one question, one answer, goodbye.
 *
 *     tvs_load PORT QUESTION.bin AT_ONCE TOTAL [12|13] [CIPHERS]
 *
 * Every question comes from another device: its number stands in the last six digits of the name in element 1.
 * One thread keeps AT_ONCE connections to 127.0.0.1 under way until TOTAL are done (epoll; nothing blocks, so the
 * generator costs little beside the server it measures). No session is resumed. An answer counts when it has the
 * question's session id and says "valid". Prints one JSON object; latencies, in milliseconds, run from connect() to
 * the answer's last byte and count answered questions only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 10, LONGEST = 16384, PATIENCE = 30, STATUS_AT = 13 };
enum step { SHAKE, ASK, LISTEN };

struct phone {
    SSL *ssl; /* NULL: no call under way */
    int fd, number, got;
    enum step step;
    double since;
    unsigned char answer[LONGEST];
};

static SSL_CTX *context;
static struct sockaddr_in server;
static unsigned char question[LONGEST];
static int question_size, epoll, total, begun, answered, failed;
static int refused, broken, late, wrong;
static double *latencies;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void hang_up(struct phone *phone) {
    if (phone->ssl != NULL) SSL_free(phone->ssl);
    close(phone->fd); /* leaves epoll with it */
    phone->ssl = NULL;
}

static void fail(struct phone *phone, int *why) {
    failed++;
    (*why)++;
    hang_up(phone);
}

static void wait_for(struct phone *phone, unsigned events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = phone};
    epoll_ctl(epoll, operation, phone->fd, &event);
}

static void call(struct phone *phone) {
    int on = 1;
    while (phone->ssl == NULL && begun < total) {
        phone->number = begun++;
        phone->got = 0;
        phone->step = SHAKE;
        phone->since = now();
        phone->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(phone->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(phone->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) {
            fail(phone, &refused);
            continue;
        }
        phone->ssl = SSL_new(context);
        SSL_set_fd(phone->ssl, phone->fd);
        SSL_set_connect_state(phone->ssl);
        wait_for(phone, EPOLLOUT, EPOLL_CTL_ADD);
    }
}

static int is_whole(const struct phone *phone) {
    return phone->got >= HEADER && phone->got >= HEADER + (phone->answer[8] << 8 | phone->answer[9]);
}

static int is_right(const struct phone *phone) {
    return phone->answer[0] == 0x57 && memcmp(phone->answer + 4, &phone->number, 4) == 0 &&
           phone->answer[STATUS_AT] == 0;
}

static void ask(struct phone *phone) {
    char digits[9];
    memcpy(question + 4, &phone->number, 4); /* any four bytes serve as a session id */
    snprintf(digits, sizeof digits, "%06X", (unsigned)phone->number & 0xFFFFFF);
    memcpy(question + HEADER + 3 + question[12] - 6, digits, 6);
    SSL_write(phone->ssl, question, question_size);
    phone->step = LISTEN;
}

static void end(struct phone *phone) {
    if (!is_right(phone)) {
        fail(phone, &wrong);
        return;
    }
    latencies[answered++] = now() - phone->since;
    SSL_shutdown(phone->ssl);
    hang_up(phone);
}

/* Go on as far as the socket lets it. */
static void proceed(struct phone *phone) {
    int result = 1;
    if (phone->step == SHAKE && (result = SSL_do_handshake(phone->ssl)) == 1) ask(phone);
    while (phone->step == LISTEN && !is_whole(phone)) {
        result = SSL_read(phone->ssl, phone->answer + phone->got, LONGEST - phone->got);
        if (result <= 0) break;
        phone->got += result;
    }
    if (phone->step == LISTEN && is_whole(phone)) {
        end(phone);
        return;
    }
    switch (SSL_get_error(phone->ssl, result)) {
    case SSL_ERROR_WANT_READ: wait_for(phone, EPOLLIN, EPOLL_CTL_MOD); break;
    case SSL_ERROR_WANT_WRITE: wait_for(phone, EPOLLOUT, EPOLL_CTL_MOD); break;
    default: fail(phone, &broken);
    }
}

static void give_up_on_late_ones(struct phone *phones, int at_once) {
    for (int i = 0; i < at_once; i++)
        if (phones[i].ssl != NULL && now() - phones[i].since > PATIENCE) {
            fail(&phones[i], &late);
            call(&phones[i]);
        }
}

static void run(struct phone *phones, int at_once) {
    struct epoll_event events[256];
    double looked = now();
    for (int i = 0; i < at_once; i++) call(&phones[i]);
    while (answered + failed < total) {
        int ready = epoll_wait(epoll, events, 256, 1000);
        for (int i = 0; i < ready; i++) {
            struct phone *phone = events[i].data.ptr;
            proceed(phone);
            call(phone);
        }
        if (now() - looked > 1) {
            give_up_on_late_ones(phones, at_once);
            looked = now();
        }
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double part) {
    return answered ? latencies[(int)((answered - 1) * part)] * 1000 : 0;
}

static void make_context(int version, const char *ciphers) {
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_min_proto_version(context, version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(context, version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    if (ciphers != NULL && SSL_CTX_set_cipher_list(context, ciphers) != 1) {
        fputs("no such ciphers\n", stderr);
        exit(2);
    }
}

int main(int count, char **given) {
    if (count < 5) return fputs("usage: tvs_load PORT QUESTION.bin AT_ONCE TOTAL [12|13] [CIPHERS]\n", stderr), 2;
    FILE *file = fopen(given[2], "rb");
    if (file == NULL) return perror(given[2]), 1;
    question_size = (int)fread(question, 1, sizeof question, file);
    fclose(file);
    signal(SIGPIPE, SIG_IGN);
    server.sin_family = AF_INET;
    server.sin_port = htons((unsigned short)atoi(given[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int at_once = atoi(given[3]);
    total = atoi(given[4]);
    make_context(count > 5 ? atoi(given[5]) : 12, count > 6 ? given[6] : NULL);
    latencies = calloc((size_t)total, sizeof *latencies);
    struct phone *phones = calloc((size_t)at_once, sizeof *phones);
    epoll = epoll_create1(0);
    double start = now();
    run(phones, at_once);
    double seconds = now() - start;
    qsort(latencies, (size_t)answered, sizeof *latencies, compare);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"answered\": %d, \"failed\": %d, \"refused\": %d, \"broken\": %d, \"late\": %d, \"wrong\": %d, "
           "\"seconds\": %.4f, \"client_cpu_seconds\": %.4f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"worst_ms\": %.2f}\n",
           answered, failed, refused, broken, late, wrong, seconds,
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
               (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6,
           percentile(0.5), percentile(0.99), percentile(1));
    return 0;
}
