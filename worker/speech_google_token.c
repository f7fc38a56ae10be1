/*
 * The life of one access token. The key file is read at each exchange, about
 * once an hour, so a changed one needs no restart; key, assertion and token
 * never reach a log line.
 */
#include "worker/speech_google_token.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <cjson/cJSON.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "shared/clock.h"

#define KEY_FILE_MAX 16384
#define ANSWER_MAX 16384
#define EXCHANGE_TIMEOUT_MS 10000
#define SPARE_MS 60000   /* a token is not used in its last minute */
#define LIFE_S 3600
#define SCOPE "https://www.googleapis.com/auth/cloud-platform"
#define GRANT "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3A" \
	"jwt-bearer&assertion="
#define PART_SIZE 2048 /* of a JWT, before and after base64 */
#define BODY_SIZE (sizeof(GRANT) + 3 * PART_SIZE)

struct google_token_wait {
	google_token_fn *callback;
	void *arg;
	TAILQ_ENTRY(google_token_wait) link;
	struct speech_google_token *token;
};

TAILQ_HEAD(wait_list, google_token_wait);

struct speech_google_token {
	const char *path;
	struct http_client *http;
	struct http_transfer *transfer; /* NULL: none under way */
	struct wait_list waits;
	char body[BODY_SIZE];
	char value[GOOGLE_TOKEN_MAX]; /* "": none */
	int64_t good_until_ms;        /* boot clock */
};

/* The parts of the key file that are needed; the tree owns them. */
struct key_file {
	cJSON *tree;
	const char *email;
	const char *key;
	const char *key_id;
	const char *token_uri;
};

/* Base64 of RFC 4648, section 5, without padding. Returns its length or 0. */
static size_t
encode_url(const unsigned char *data, size_t len, char out[PART_SIZE])
{
	int written;

	if (len == 0 || (len + 2) / 3 * 4 >= PART_SIZE)
		return 0;
	written = EVP_EncodeBlock((unsigned char *)out, data, (int)len);
	while (written > 0 && out[written - 1] == '=')
		written--;
	for (int i = 0; i < written; i++) {
		if (out[i] == '+')
			out[i] = '-';
		else if (out[i] == '/')
			out[i] = '_';
	}
	out[written] = '\0';
	return (size_t)written;
}

static char *
read_key_file(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = file != NULL ? calloc(1, KEY_FILE_MAX) : NULL;

	if (text != NULL)
		text[fread(text, 1, KEY_FILE_MAX - 1, file)] = '\0';
	if (file != NULL)
		(void)fclose(file);
	return text;
}

static const char *
string_of(const cJSON *tree, const char *name)
{
	const char *text =
	    cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, name));

	return text != NULL ? text : "";
}

static int
load_key_file(const char *path, struct key_file *out)
{
	char *text = read_key_file(path);

	if (text == NULL)
		return -KAP_NOENT;
	out->tree = cJSON_Parse(text);
	OPENSSL_cleanse(text, KEY_FILE_MAX);
	free(text);
	out->email = string_of(out->tree, "client_email");
	out->key = string_of(out->tree, "private_key");
	out->key_id = string_of(out->tree, "private_key_id");
	out->token_uri = string_of(out->tree, "token_uri");
	if (out->email[0] != '\0' && out->key[0] != '\0' &&
	    strncmp(out->token_uri, "http", 4) == 0)
		return 0;
	cJSON_Delete(out->tree);
	out->tree = NULL;
	return -KAP_CORRUPT;
}

/* A JSON object as a part of the JWT. Takes `tree` over. 0: it has no room. */
static size_t
encode_tree(cJSON *tree, char out[PART_SIZE])
{
	char *text = cJSON_PrintUnformatted(tree);
	const size_t len = text == NULL ? 0 :
	    encode_url((const unsigned char *)text, strlen(text), out);

	cJSON_free(text);
	cJSON_Delete(tree);
	return len;
}

static cJSON *
make_head(const struct key_file *key)
{
	cJSON *tree = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(tree, "alg", "RS256");
	(void)cJSON_AddStringToObject(tree, "typ", "JWT");
	if (key->key_id[0] != '\0')
		(void)cJSON_AddStringToObject(tree, "kid", key->key_id);
	return tree;
}

static cJSON *
make_claims(const struct key_file *key, int64_t now_s)
{
	cJSON *tree = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(tree, "iss", key->email);
	(void)cJSON_AddStringToObject(tree, "scope", SCOPE);
	(void)cJSON_AddStringToObject(tree, "aud", key->token_uri);
	(void)cJSON_AddNumberToObject(tree, "iat", (double)now_s);
	(void)cJSON_AddNumberToObject(tree, "exp", (double)(now_s + LIFE_S));
	return tree;
}

/* A key that wants a password is of no use; OpenSSL would ask the terminal. */
static int
refuse_password(char *out KAP_UNUSED, int size KAP_UNUSED,
    int for_writing KAP_UNUSED, void *arg KAP_UNUSED)
{
	return -1;
}

/* Sign with RS256. Returns the signature's length in base64, or 0. */
static size_t
sign(const char *pem, const char *text, char out[PART_SIZE])
{
	unsigned char signature[PART_SIZE / 2];
	size_t len = sizeof(signature);
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio != NULL ?
	    PEM_read_bio_PrivateKey(bio, NULL, refuse_password, NULL) : NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t encoded = 0;

	if (key != NULL && ctx != NULL && EVP_PKEY_is_a(key, "RSA") == 1 &&
	    EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
	    EVP_DigestSign(ctx, signature, &len, (const unsigned char *)text,
	        strlen(text)) == 1)
		encoded = encode_url(signature, len, out);
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	BIO_free(bio);
	return encoded;
}

/* The body of the exchange. */
static int
make_body(const struct key_file *key, char body[BODY_SIZE])
{
	char head[PART_SIZE];
	char claims[PART_SIZE];
	char signature[PART_SIZE];
	char text[2 * PART_SIZE];

	if (encode_tree(make_head(key), head) == 0 ||
	    encode_tree(make_claims(key, clock_wall_ms() / 1000), claims) == 0)
		return -KAP_CORRUPT;
	(void)snprintf(text, sizeof(text), "%s.%s", head, claims);
	if (sign(key->key, text, signature) == 0)
		return -KAP_CORRUPT;
	(void)snprintf(body, BODY_SIZE, "%s%s.%s", GRANT, text, signature);
	return 0;
}

/* Everybody who waits hears it; who asks from within begins a new list. */
static void
tell_all(struct speech_google_token *token, int rc, const char *error)
{
	struct wait_list told = TAILQ_HEAD_INITIALIZER(told);
	struct google_token_wait *wait;

	TAILQ_CONCAT(&told, &token->waits, link);
	while ((wait = TAILQ_FIRST(&told)) != NULL) {
		const struct google_token_wait copy = *wait;

		TAILQ_REMOVE(&told, wait, link);
		free(wait);
		copy.callback(copy.arg, rc, rc == 0 ? token->value : NULL,
		    error);
	}
}

/* Take a token out of an answer. Returns 0 or -KAP_PROTO. */
static int
take_answer(struct speech_google_token *token, const char *body)
{
	cJSON *tree = cJSON_Parse(body);
	const char *value = string_of(tree, "access_token");
	const cJSON *life = cJSON_GetObjectItemCaseSensitive(tree,
	    "expires_in");
	int64_t life_ms = 0;
	int rc = -KAP_PROTO;

	if (cJSON_IsNumber(life) && life->valuedouble >= 1 &&
	    life->valuedouble <= 86400)
		life_ms = (int64_t)life->valuedouble * 1000;
	if (value[0] != '\0' && strlen(value) < sizeof(token->value) &&
	    strpbrk(value, "\r\n") == NULL) {
		(void)snprintf(token->value, sizeof(token->value), "%s",
		    value);
		token->good_until_ms = clock_boot_ms() + life_ms - SPARE_MS;
		rc = 0;
	}
	cJSON_Delete(tree);
	return rc;
}

static void
on_answer(void *arg, const struct http_result *result)
{
	struct speech_google_token *token = arg;
	char error[160] = "";
	int rc = result->rc;

	token->transfer = NULL;
	OPENSSL_cleanse(token->body, sizeof(token->body));
	if (rc == 0)
		rc = result->status == 200 ? take_answer(token, result->body) :
		    -KAP_DENIED;
	if (result->rc != 0)
		(void)snprintf(error, sizeof(error), "token: %s",
		    result->error);
	else if (rc != 0)
		(void)snprintf(error, sizeof(error), "token: status %u%s",
		    result->status,
		    result->status == 200 ? " without a token" : "");
	tell_all(token, rc, error);
}

static int
exchange(struct speech_google_token *token)
{
	static const char *const headers[] = {
		"Content-Type: application/x-www-form-urlencoded",
	};
	struct key_file key = { .tree = NULL };
	struct http_request request = {
		.headers = headers,
		.header_count = 1,
		.body = token->body,
		.timeout_ms = EXCHANGE_TIMEOUT_MS,
		.body_max_bytes = ANSWER_MAX,
		.finish = on_answer,
		.arg = token,
	};
	int rc = load_key_file(token->path, &key);

	if (rc == 0)
		rc = make_body(&key, token->body);
	if (rc == 0) {
		request.url = key.token_uri;
		request.body_len = strlen(token->body);
		rc = http_client_send(token->http, &request,
		    &token->transfer);
	}
	cJSON_Delete(key.tree);
	return rc;
}

int
speech_google_token_get(struct speech_google_token *token,
    google_token_fn *callback, void *arg, struct google_token_wait **wait_out)
{
	struct google_token_wait *wait;
	int rc = 0;

	*wait_out = NULL;
	if (token->value[0] != '\0' &&
	    clock_boot_ms() < token->good_until_ms) {
		callback(arg, 0, token->value, "");
		return 0;
	}
	wait = calloc(1, sizeof(*wait));
	if (wait == NULL)
		return -KAP_NOMEM;
	if (token->transfer == NULL)
		rc = exchange(token);
	if (rc != 0) {
		free(wait);
		callback(arg, rc, NULL, rc == -KAP_NOENT ?
		    "the key file can't be read" : rc == -KAP_CORRUPT ?
		    "the key file is none of a service account" :
		    kap_strerror(rc));
		return 0;
	}
	wait->callback = callback;
	wait->arg = arg;
	wait->token = token;
	TAILQ_INSERT_TAIL(&token->waits, wait, link);
	*wait_out = wait;
	return 0;
}

void
speech_google_token_cancel(struct google_token_wait **wait)
{
	struct google_token_wait *old = *wait;

	*wait = NULL;
	if (old == NULL)
		return;
	TAILQ_REMOVE(&old->token->waits, old, link);
	free(old);
}

void
speech_google_token_forget(struct speech_google_token *token)
{
	OPENSSL_cleanse(token->value, sizeof(token->value));
}

struct speech_google_token *
speech_google_token_new(const char *path, struct http_client *http)
{
	struct speech_google_token *token = calloc(1, sizeof(*token));

	if (token == NULL)
		return NULL;
	token->path = path;
	token->http = http;
	TAILQ_INIT(&token->waits);
	return token;
}

void
speech_google_token_free(struct speech_google_token **token)
{
	struct speech_google_token *old = *token;
	struct google_token_wait *wait;

	*token = NULL;
	if (old == NULL)
		return;
	while ((wait = TAILQ_FIRST(&old->waits)) != NULL)
		speech_google_token_cancel(&wait);
	if (old->transfer != NULL)
		http_client_cancel(&old->transfer);
	OPENSSL_cleanse(old, sizeof(*old));
	free(old);
}
