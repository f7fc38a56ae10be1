/* The server over TLS: what differs from plain sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/stat.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "http_fixture.h"
#include "worker/http_tls.h"

#define HOST "Host: a\r\n"
#define GET "GET /echo HTTP/1.1\r\n" HOST "\r\n"

static char dir[] = "/tmp/kaphila-tls-XXXXXX";
static char certificate[128];
static char key[128];
static char other_key[128];
static SSL_CTX *server_tls;
static SSL_CTX *client_tls;

struct tls_peer {
	struct bufferevent *bev;
	bool connected;
	bool closed; /* with TLS's own goodbye */
	bool broken; /* without */
};

static EVP_PKEY *
write_key(const char *path)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	FILE *file = fopen(path, "w");

	assert_non_null(pkey);
	assert_non_null(file);
	assert_int_equal(PEM_write_PrivateKey(file, pkey, NULL, NULL, 0, NULL,
	    NULL), 1);
	(void)fclose(file);
	return pkey;
}

static void
write_certificate(const char *path, EVP_PKEY *pkey)
{
	X509 *x509 = X509_new();
	FILE *file = fopen(path, "w");
	X509_NAME *name;

	assert_non_null(x509);
	assert_non_null(file);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
	X509_gmtime_adj(X509_getm_notBefore(x509), 0);
	X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
	X509_set_pubkey(x509, pkey);
	name = X509_get_subject_name(x509);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
	    (const unsigned char *)"localhost", -1, -1, 0);
	X509_set_issuer_name(x509, name);
	assert_true(X509_sign(x509, pkey, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(file, x509), 1);
	(void)fclose(file);
	X509_free(x509);
}

static int
make_certificate(void **state)
{
	struct kap_errmsg msg;
	EVP_PKEY *pkey;

	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(certificate, sizeof(certificate), "%s/cert.pem", dir);
	(void)snprintf(key, sizeof(key), "%s/key.pem", dir);
	(void)snprintf(other_key, sizeof(other_key), "%s/other.pem", dir);
	pkey = write_key(key);
	write_certificate(certificate, pkey);
	EVP_PKEY_free(pkey);
	EVP_PKEY_free(write_key(other_key));
	client_tls = SSL_CTX_new(TLS_client_method());
	return client_tls != NULL &&
	    http_tls_new(&server_tls, certificate, key, &msg) == 0 ? 0 : -1;
}

static int
remove_certificate(void **state)
{
	(void)state;
	SSL_CTX_free(server_tls);
	SSL_CTX_free(client_tls);
	(void)unlink(certificate);
	(void)unlink(key);
	(void)unlink(other_key);
	return rmdir(dir);
}

static int
start(void **state, int deadline_ms)
{
	struct http_fixture *f = malloc(sizeof(*f));
	struct http_server_config config;

	fixture_config(&config);
	config.tls = server_tls;
	config.head_timeout_ms = deadline_ms;
	config.linger_timeout_ms = 50;
	fixture_start(f, &config);
	*state = f;
	return 0;
}

static int
setup(void **state)
{
	return start(state, 10000);
}

static int
setup_hasty(void **state)
{
	return start(state, 100);
}

static int
teardown(void **state)
{
	struct http_fixture *f = *state;
	const bool in_step = fixture_is_in_step(f);

	fixture_stop(f);
	free(f);
	return in_step ? 0 : -1;
}

static void
on_tls_event(struct bufferevent *bev, short what, void *arg)
{
	struct tls_peer *peer = arg;

	(void)bev;
	if ((what & BEV_EVENT_CONNECTED) != 0)
		peer->connected = true;
	if ((what & BEV_EVENT_EOF) != 0)
		peer->closed = true;
	if ((what & BEV_EVENT_ERROR) != 0)
		peer->broken = true;
}

static void
tls_connect(struct tls_peer *peer, struct http_fixture *f)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons(f->port) };

	memset(peer, 0, sizeof(*peer));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	peer->bev = bufferevent_openssl_socket_new(f->base, -1,
	    SSL_new(client_tls), BUFFEREVENT_SSL_CONNECTING,
	    BEV_OPT_CLOSE_ON_FREE);
	assert_non_null(peer->bev);
	bufferevent_setcb(peer->bev, NULL, NULL, on_tls_event, peer);
	(void)bufferevent_enable(peer->bev, EV_READ | EV_WRITE);
	assert_int_equal(bufferevent_socket_connect(peer->bev,
	    (struct sockaddr *)&address, sizeof(address)), 0);
}

static void
tls_send(struct tls_peer *peer, const char *text)
{
	assert_int_equal(bufferevent_write(peer->bev, text, strlen(text)), 0);
}

static void
tls_close(struct tls_peer *peer)
{
	bufferevent_free(peer->bev);
}

/* Answers that have come, counted by their status lines. */
static unsigned
tls_answers(struct tls_peer *peer)
{
	struct evbuffer *in = bufferevent_get_input(peer->bev);
	const size_t len = evbuffer_get_length(in);
	const char *at = (const char *)evbuffer_pullup(in, -1);
	const char *end = at + len;
	unsigned n = 0;

	while (at != NULL && (at = memmem(at, (size_t)(end - at),
	    "HTTP/1.1 2", 10)) != NULL) {
		at += 10;
		n++;
	}
	return n;
}

static bool
tls_has(struct tls_peer *peer, const char *text)
{
	struct evbuffer *in = bufferevent_get_input(peer->bev);

	return evbuffer_search(in, text, strlen(text), NULL).pos >= 0;
}

static void
test_context_from_bad_files(void **state)
{
	static char missing[] = "/nonexistent/file.pem";
	const struct {
		const char *certificate;
		const char *key;
		const char *named; /* the file the message names */
	} rows[] = {
		{ missing, key, missing },
		{ certificate, missing, missing },
		{ key, key, key },
		{ certificate, certificate, certificate },
		{ certificate, other_key, other_key },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kap_errmsg msg = { .text = "" };
		SSL_CTX *tls;

		assert_int_equal(http_tls_new(&tls, rows[i].certificate,
		    rows[i].key, &msg), -KAP_INVAL);
		assert_memory_equal(msg.text, rows[i].named,
		    strlen(rows[i].named));
	}
}

static void
test_requests(void **state)
{
	struct http_fixture *f = *state;
	struct tls_peer peer;

	tls_connect(&peer, f);
	tls_send(&peer, GET);
	RUN_UNTIL(f->base, tls_answers(&peer) == 1);
	tls_send(&peer, "POST /echo HTTP/1.1\r\n" HOST
	    "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
	RUN_UNTIL(f->base, tls_has(&peer, "HTTP/1.1 100 Continue\r\n"));
	tls_send(&peer, "abc");
	RUN_UNTIL(f->base, tls_answers(&peer) == 2);
	assert_string_equal(f->last_body, "abc");
	tls_send(&peer, "GET /echo HTTP/1.1\r\n" HOST
	    "Connection: close\r\n\r\n");
	RUN_UNTIL(f->base, peer.closed || peer.broken);
	assert_int_equal(tls_answers(&peer), 3);
	assert_true(peer.closed); /* the end is not an attacker's */
	tls_close(&peer);
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

/*
 * One TLS record holds more than the gate lets libevent read at once. What
 * OpenSSL has decrypted already no socket event will ever announce.
 */
static void
test_more_in_a_record_than_is_read_at_once(void **state)
{
	struct http_fixture *f = *state;
	char *text = calloc(1, 32768);
	struct tls_peer peer;

	tls_connect(&peer, f);
	RUN_UNTIL(f->base, peer.connected);
	for (int i = 0; i < 400; i++)
		(void)strncat(text, GET, 64);
	assert_true(strlen(text) < 16384);
	tls_send(&peer, text);
	RUN_UNTIL(f->base, tls_answers(&peer) == 400);

	(void)snprintf(text, 32768, "POST /large HTTP/1.1\r\n" HOST
	    "Content-Length: 15000\r\n\r\n%15000s", "x");
	tls_send(&peer, text);
	RUN_UNTIL(f->base, tls_answers(&peer) == 401);
	assert_int_equal(f->last_body_len, 15000);

	(void)snprintf(text, 32768, "POST /large HTTP/1.1\r\n" HOST
	    "Transfer-Encoding: chunked\r\n\r\n3a98\r\n%15000s\r\n0\r\n\r\n",
	    "x");
	tls_send(&peer, text);
	RUN_UNTIL(f->base, tls_answers(&peer) == 402);
	assert_int_equal(f->last_body_len, 15000);
	tls_close(&peer);
	free(text);
}

static void
test_long_bodies_and_answers(void **state)
{
	struct http_fixture *f = *state;
	static char body[300001];
	struct tls_peer peer;

	memset(body, 'x', 300000);
	tls_connect(&peer, f);
	tls_send(&peer, "POST /large HTTP/1.1\r\n" HOST
	    "Content-Length: 300000\r\n\r\n");
	tls_send(&peer, body);
	tls_send(&peer, "GET /long HTTP/1.1\r\n" HOST "\r\n" GET);
	RUN_UNTIL(f->base, tls_answers(&peer) == 3);
	assert_true(evbuffer_get_length(bufferevent_get_input(peer.bev)) >
	    FIXTURE_LONG_BYTES);
	tls_close(&peer);
}

static void
test_refusal(void **state)
{
	struct http_fixture *f = *state;
	struct tls_peer peer;

	tls_connect(&peer, f);
	tls_send(&peer, GET "nonsense\r\n\r\n" GET);
	RUN_UNTIL(f->base, peer.closed || peer.broken);
	assert_true(peer.closed);
	assert_int_equal(tls_answers(&peer), 1);
	assert_true(tls_has(&peer, "HTTP/1.1 400 "));
	assert_true(tls_has(&peer, "\"code\":\"INVALID_PARAMETER\"}"));
	tls_close(&peer);
}

static void
test_body_too_large(void **state)
{
	struct http_fixture *f = *state;
	static char body[1000001];
	struct tls_peer peer;

	memset(body, 'x', 1000000);
	tls_connect(&peer, f);
	tls_send(&peer, "POST /json HTTP/1.1\r\n" HOST
	    "Content-Length: 1000000\r\n\r\n");
	tls_send(&peer, body);
	RUN_UNTIL(f->base, tls_has(&peer, "\"code\":\"BODY_TOO_LARGE\"}"));
	tls_close(&peer);
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

/* Neither silence nor another protocol holds a connection for long. */
static void
test_handshakes_that_never_end(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer silent, plain;

	peer_connect(&silent, f);
	peer_connect(&plain, f);
	peer_send(&plain, GET);
	RUN_UNTIL(f->base, peer_is_done(&silent) && peer_is_done(&plain));
	assert_int_equal(silent.len, 0);
	assert_null(strstr(plain.data, "HTTP/"));
	assert_int_equal(f->handled, 0);
	peer_close(&silent);
	peer_close(&plain);
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

static void
test_clients_that_go_away(void **state)
{
	struct http_fixture *f = *state;

	for (int i = 0; i < 5; i++) {
		struct tls_peer peer;

		f->late = NULL;
		tls_connect(&peer, f);
		if (i > 0)
			RUN_UNTIL(f->base, peer.connected);
		if (i == 2)
			tls_send(&peer, "POST /echo HTTP/1.1\r\n");
		if (i == 3)
			tls_send(&peer, "GET /late HTTP/1.1\r\n" HOST "\r\n");
		if (i == 4)
			tls_send(&peer, "GET /long HTTP/1.1\r\n" HOST "\r\n");
		if (i == 3)
			RUN_UNTIL(f->base, f->late != NULL);
		if (i == 4)
			RUN_UNTIL(f->base, tls_answers(&peer) == 1);
		tls_close(&peer);
		loop_run_once(f->base);
		if (i == 3)
			http_reply_error(f->late, 500, "INTERNAL_ERROR", "");
		RUN_UNTIL(f->base, fixture_live(f) == 0);
	}
}

static void
test_drain(void **state)
{
	struct http_fixture *f = *state;
	struct tls_peer peer;

	tls_connect(&peer, f);
	tls_send(&peer, GET);
	RUN_UNTIL(f->base, tls_answers(&peer) == 1);
	http_server_drain(f->server, NULL, NULL);
	RUN_UNTIL(f->base, peer.closed || peer.broken);
	assert_true(peer.closed);
	tls_close(&peer);
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		cmocka_unit_test(test_context_from_bad_files),
		TEST(test_requests),
		TEST(test_more_in_a_record_than_is_read_at_once),
		TEST(test_long_bodies_and_answers),
		TEST(test_refusal),
		TEST(test_body_too_large),
		cmocka_unit_test_setup_teardown(
		    test_handshakes_that_never_end, setup_hasty, teardown),
		TEST(test_clients_that_go_away),
		TEST(test_drain),
	};

	return cmocka_run_group_tests(tests, make_certificate,
	    remove_certificate);
}
