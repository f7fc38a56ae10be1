/*
 * OpenSSL's loading of a certificate and its key, with words for what it
 * refuses. Sets nothing else in the context. A key that wants a pass phrase is
 * refused: OpenSSL would ask for it on the terminal.
 */
#include "tls_files.h"

#include <errno.h>
#include <string.h>

#include <openssl/err.h>

static int
no_pass_phrase(char *text KAP_UNUSED, int size KAP_UNUSED,
    int writing KAP_UNUSED, void *arg KAP_UNUSED)
{
	return -1;
}

static int
fail(const char *path, struct kap_errmsg *msg)
{
	const unsigned long error = ERR_peek_error();
	const char *reason = ERR_reason_error_string(error);

	if (error != 0 && ERR_GET_LIB(error) == ERR_LIB_SYS)
		reason = strerror(ERR_GET_REASON(error));
	kap_errmsg_set(msg, "%s: %s", path,
	    reason != NULL ? reason : "can't be used");
	ERR_clear_error();
	return -KAP_INVAL;
}

int
tls_files_load(SSL_CTX *tls, const char *certificate, const char *key,
    struct kap_errmsg *msg)
{
	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb(tls, no_pass_phrase);
	if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1)
		return fail(certificate, msg);
	if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(tls) != 1)
		return fail(key, msg);
	return 0;
}

int
tls_files_check(const char *certificate, const char *key,
    struct kap_errmsg *msg)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
	int rc;

	if (tls == NULL) {
		ERR_clear_error();
		kap_errmsg_set(msg, "out of memory");
		return -KAP_NOMEM;
	}
	rc = tls_files_load(tls, certificate, key, msg);
	SSL_CTX_free(tls);
	return rc;
}
