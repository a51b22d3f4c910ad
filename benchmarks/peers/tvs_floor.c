/* The least a TVS can cost: threads that block in libssl and answer whatever is asked with one canned reply.
 *
 *     tvs_floor IDENTITY.pem REPLY.bin CIPHERS THREADS [PORT]
 *
 * Listens on 127.0.0.1 (a free port unless one is given), prints the port as JSON, serves until killed. Framing as in
 * phone-trust 3.1: ten bytes of header with the body's length in the last two, session id in bytes 4 to 7. It looks
 * nothing up, counts nothing, bounds nothing but each read's wait, and THREADS idle peers are enough to stop it:
 * a floor for costs, not a server.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { HEADER = 10, LONGEST = 16384, PATIENCE = 10, BACKLOG = 4096 };

static SSL_CTX *context;
static int listening;
static unsigned char reply[LONGEST];
static size_t reply_size;

static int read_exactly(SSL *ssl, unsigned char *into, int size) {
    for (int got = 0, part; got < size; got += part)
        if ((part = SSL_read(ssl, into + got, size - got)) <= 0) return 0;
    return 1;
}

static int read_question(SSL *ssl, unsigned char *question) {
    if (!read_exactly(ssl, question, HEADER)) return 0;
    int body = question[8] << 8 | question[9];
    return question[0] == 0x57 && body <= LONGEST - HEADER && read_exactly(ssl, question + HEADER, body);
}

static void converse(SSL *ssl) {
    unsigned char question[LONGEST], answer[LONGEST];
    memcpy(answer, reply, reply_size);
    while (read_question(ssl, question)) {
        memcpy(answer + 4, question + 4, 4);
        if (SSL_write(ssl, answer, (int)reply_size) <= 0) return;
    }
    SSL_shutdown(ssl);
}

static void *serve(void *unused) {
    struct timeval patience = {PATIENCE, 0};
    (void)unused;
    for (;;) {
        int peer = accept(listening, NULL, NULL);
        if (peer < 0) continue;
        setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        SSL *ssl = SSL_new(context);
        SSL_set_fd(ssl, peer);
        if (SSL_accept(ssl) == 1) converse(ssl);
        SSL_free(ssl);
        close(peer);
    }
    return NULL;
}

static SSL_CTX *make_context(const char *identity, const char *ciphers) {
    SSL_CTX *made = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(made, TLS1_2_VERSION);
    SSL_CTX_set_options(made, SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_num_tickets(made, 0);
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_cipher_list(made, ciphers) != 1 || SSL_CTX_use_certificate_chain_file(made, identity) != 1 ||
        SSL_CTX_use_PrivateKey_file(made, identity, SSL_FILETYPE_PEM) != 1) {
        fputs("certificate, key or ciphers do not serve\n", stderr);
        exit(1);
    }
    return made;
}

static void listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    socklen_t size = sizeof address;
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listening = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listening, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* what is accepted inherits it */
    if (bind(listening, (struct sockaddr *)&address, size) || listen(listening, BACKLOG)) {
        perror("listen");
        exit(1);
    }
    getsockname(listening, (struct sockaddr *)&address, &size);
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int count, char **given) {
    if (count < 5) return fputs("usage: tvs_floor IDENTITY.pem REPLY.bin CIPHERS THREADS [PORT]\n", stderr), 2;
    FILE *file = fopen(given[2], "rb");
    if (file == NULL) return perror(given[2]), 1;
    reply_size = fread(reply, 1, sizeof reply, file);
    fclose(file);
    signal(SIGPIPE, SIG_IGN);
    context = make_context(given[1], given[3]);
    listen_on(count > 5 ? atoi(given[5]) : 0);
    for (int left = atoi(given[4]); left > 1; left--) {
        pthread_t thread;
        pthread_create(&thread, NULL, serve, NULL);
    }
    serve(NULL);
}
