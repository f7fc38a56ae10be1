/*
 * Makes the TLS context. The connections themselves are the gate's.
 */
#include "http_tls.h"

#include <openssl/err.h>

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

static int
fail(SSL_CTX *tls, const char *path, struct kap_errmsg *msg)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	kap_errmsg_set(msg, "%s: %s", path,
	    reason != NULL ? reason : "can't be used");
	ERR_clear_error();
	SSL_CTX_free(tls);
	return -KAP_INVAL;
}

int
http_tls_new(SSL_CTX **tls_out, const char *certificate, const char *key,
    struct kap_errmsg *msg)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());

	if (tls == NULL) {
		ERR_clear_error();
		return -KAP_NOMEM;
	}
	if (SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1)
		return fail(tls, "TLS 1.2", msg);
	(void)SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION |
	    SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* an idle connection gives its 32 KiB of buffers back */
	(void)SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_alpn_select_cb(tls, on_alpn, NULL);
	if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1)
		return fail(tls, certificate, msg);
	if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(tls) != 1)
		return fail(tls, key, msg);
	*tls_out = tls;
	return 0;
}
