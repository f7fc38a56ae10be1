/*
 * Feeds SHA-256 with each value's kind, its length and its content, so that
 * no two different trees feed it the same; members in the order of their
 * names.
 */
#include "json_digest.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

static int add_value(EVP_MD_CTX *sha, const cJSON *json);

static int
add_bytes(EVP_MD_CTX *sha, const void *bytes, size_t len)
{
	return EVP_DigestUpdate(sha, bytes, len) == 1 ? 0 : -KAP_NOMEM;
}

/* A kind's letter and a number: a length, or how many there are. */
static int
add_mark(EVP_MD_CTX *sha, char kind, size_t number)
{
	const uint64_t wide = number;
	const int rc = add_bytes(sha, &kind, sizeof(kind));

	return rc != 0 ? rc : add_bytes(sha, &wide, sizeof(wide));
}

static int
add_text(EVP_MD_CTX *sha, const char *text)
{
	const size_t len = strlen(text);
	const int rc = add_mark(sha, '"', len);

	return rc != 0 ? rc : add_bytes(sha, text, len);
}

static int
compare_names(const void *a, const void *b)
{
	const cJSON *const *left = a;
	const cJSON *const *right = b;

	return strcmp((*left)->string, (*right)->string);
}

static int
add_members(EVP_MD_CTX *sha, const cJSON **members, size_t count)
{
	int rc = add_mark(sha, '{', count);

	qsort(members, count, sizeof(const cJSON *), compare_names);
	for (size_t i = 0; i < count && rc == 0; i++) {
		rc = add_text(sha, members[i]->string);
		if (rc == 0)
			rc = add_value(sha, members[i]);
	}
	return rc;
}

static int
add_object(EVP_MD_CTX *sha, const cJSON *json)
{
	const size_t count = (size_t)cJSON_GetArraySize(json);
	const cJSON **members;
	const cJSON *member;
	size_t i = 0;
	int rc;

	if (count == 0)
		return add_mark(sha, '{', 0);
	members = calloc(count, sizeof(const cJSON *));
	if (members == NULL)
		return -KAP_NOMEM;
	cJSON_ArrayForEach(member, json)
		members[i++] = member;
	rc = add_members(sha, members, count);
	free(members);
	return rc;
}

static int
add_array(EVP_MD_CTX *sha, const cJSON *json)
{
	const cJSON *element;
	int rc = add_mark(sha, '[', (size_t)cJSON_GetArraySize(json));

	cJSON_ArrayForEach(element, json)
	{
		if (rc == 0)
			rc = add_value(sha, element);
	}
	return rc;
}

static int
add_value(EVP_MD_CTX *sha, const cJSON *json)
{
	int rc;

	if (cJSON_IsObject(json))
		return add_object(sha, json);
	if (cJSON_IsArray(json))
		return add_array(sha, json);
	if (cJSON_IsString(json))
		return add_text(sha, json->valuestring);
	if (cJSON_IsNumber(json)) {
		/* 0 and -0 are one number in two forms */
		const double number = json->valuedouble == 0 ? 0 :
		    json->valuedouble;

		rc = add_mark(sha, '#', sizeof(number));
		return rc != 0 ? rc : add_bytes(sha, &number, sizeof(number));
	}
	if (cJSON_IsBool(json))
		return add_mark(sha, cJSON_IsTrue(json) ? 't' : 'f', 0);
	return add_mark(sha, 'n', 0);
}

int
json_digest(const cJSON *json, uint8_t digest_out[JSON_DIGEST_SIZE])
{
	EVP_MD_CTX *sha = EVP_MD_CTX_new();
	int rc = -KAP_NOMEM;

	if (sha == NULL)
		return rc;
	if (EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1)
		rc = add_value(sha, json);
	if (rc == 0 && EVP_DigestFinal_ex(sha, digest_out, NULL) != 1)
		rc = -KAP_NOMEM;
	EVP_MD_CTX_free(sha);
	return rc;
}
