/*
 * Makes the TLS context. The connections themselves are the gate's.
 */
#include "http_tls.h"

#include <openssl/err.h>

#include "shared/tls_files.h"

static int
on_alpn(SSL *ssl KAP_UNUSED, const unsigned char **out,
    unsigned char *out_len, const unsigned char *in, unsigned in_len,
    void *arg KAP_UNUSED)
{
	static const unsigned char ours[] = "\x08http/1.1";
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1,
	        in, in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

int
http_tls_new(SSL_CTX **tls_out, const char *certificate, const char *key,
    struct kap_errmsg *msg)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
	int rc;

	if (tls == NULL) {
		ERR_clear_error();
		return -KAP_NOMEM;
	}
	if (SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1) {
		kap_errmsg_set(msg, "no TLS 1.2 here");
		ERR_clear_error();
		SSL_CTX_free(tls);
		return -KAP_INVAL;
	}
	(void)SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION |
	    SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* an idle connection gives its 32 KiB of buffers back */
	(void)SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_alpn_select_cb(tls, on_alpn, NULL);
	rc = tls_files_load(tls, certificate, key, msg);
	if (rc != 0) {
		SSL_CTX_free(tls);
		return rc;
	}
	*tls_out = tls;
	return 0;
}
