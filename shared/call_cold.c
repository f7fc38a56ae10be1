/*
 * Packs a call's cold strings into one value and finds them in it again:
 *
 *     u16 version, u16 count, u16 trunks, count × u16 offset, then the
 *     strings, each with its NUL
 *
 * in the order webhook URL, metadata, voice, then a name and an endpoint for
 * each trunk, then the idempotency key's hash, AMD's arguments and the webhook
 * secrets. Strings of later versions go to the end, so an older reader finds
 * its own, and a younger one finds that they are not there.
 */
#include "call_cold.h"

#include <string.h>

#define COLD_VERSION 1
#define FIXED_STRINGS 3
#define LATER_STRINGS 3 /* behind the trunks; older records have fewer */
#define STRINGS_MAX (FIXED_STRINGS + 2 * CALL_TRUNKS_MAX + LATER_STRINGS)
#define HEAD_WORDS 3 /* before the offsets */
#define COLD_MAX_BYTES 8192

struct packer {
	uint8_t bytes[COLD_MAX_BYTES];
	uint16_t offsets[STRINGS_MAX];
	uint16_t count;
	size_t len; /* of the strings so far */
	int rc;
};

static void
pack(struct packer *packer, const char *text, size_t limit)
{
	const size_t len = text != NULL ? strlen(text) : 0;

	if (len > limit || packer->len + len + 1 > sizeof(packer->bytes)) {
		packer->rc = -KAP_TOOBIG;
		return;
	}
	packer->offsets[packer->count++] = (uint16_t)packer->len;
	if (len > 0)
		memcpy(packer->bytes + packer->len, text, len);
	packer->bytes[packer->len + len] = '\0';
	packer->len += len + 1;
}

static size_t
head_size(size_t count)
{
	return (HEAD_WORDS + count) * sizeof(uint16_t);
}

int
call_cold_put(struct store_txn *txn, const char *call_id,
    const struct call_cold *cold)
{
	struct packer packer;
	uint8_t value[COLD_MAX_BYTES +
	    sizeof(uint16_t) * (HEAD_WORDS + STRINGS_MAX)];
	uint16_t words[HEAD_WORDS] = { COLD_VERSION, 0, 0 };
	size_t head;

	packer.len = 0;
	packer.count = 0;
	packer.rc = cold->trunk_count <= CALL_TRUNKS_MAX ? 0 : -KAP_TOOBIG;
	if (packer.rc != 0)
		return packer.rc;
	pack(&packer, cold->webhook_url, CALL_WEBHOOK_URL_MAX);
	pack(&packer, cold->metadata, CALL_METADATA_MAX);
	pack(&packer, cold->voice, CALL_VOICE_MAX);
	for (unsigned i = 0; i < cold->trunk_count; i++) {
		pack(&packer, cold->trunk_names[i], CALL_TRUNK_NAME_MAX);
		pack(&packer, cold->endpoints[i], CALL_ENDPOINT_MAX);
	}
	pack(&packer, cold->idempotency, CALL_IDEMPOTENCY_MAX);
	pack(&packer, cold->amd, CALL_AMD_ARGS_MAX);
	pack(&packer, cold->webhook_secrets, CALL_WEBHOOK_SECRETS_MAX);
	if (packer.rc != 0)
		return packer.rc;
	head = head_size(packer.count);
	words[1] = packer.count;
	words[2] = (uint16_t)cold->trunk_count;
	memcpy(value, words, sizeof(words));
	memcpy(value + sizeof(words), packer.offsets,
	    packer.count * sizeof(packer.offsets[0]));
	memcpy(value + head, packer.bytes, packer.len);
	return store_put(txn, STORE_CALL_COLD, call_id, strlen(call_id), value,
	    head + packer.len);
}

/* The n-th string of a value whose head was checked, NULL if it is bad. */
static const char *
unpack(const struct store_value *value, size_t count, size_t n)
{
	const uint8_t *bytes = value->data;
	const size_t head = head_size(count);
	uint16_t offset;

	memcpy(&offset, bytes + head_size(n), sizeof(offset));
	if (head + offset >= value->len)
		return NULL;
	if (memchr(bytes + head + offset, '\0', value->len - head - offset) ==
	    NULL)
		return NULL;
	return (const char *)bytes + head + offset;
}

int
call_cold_get(struct store_txn *txn, const char *call_id,
    struct call_cold *cold_out)
{
	struct store_value value;
	const char *strings[STRINGS_MAX] = { NULL };
	uint16_t words[HEAD_WORDS];
	size_t count;
	size_t known;
	const int rc = store_get(txn, STORE_CALL_COLD, call_id,
	    strlen(call_id), &value);

	if (rc != 0)
		return rc;
	if (value.len < head_size(0))
		return -KAP_CORRUPT;
	memcpy(words, value.data, sizeof(words));
	count = FIXED_STRINGS + 2 * (size_t)words[2];
	if (words[2] > CALL_TRUNKS_MAX || words[1] < count ||
	    value.len < head_size(words[1]))
		return -KAP_CORRUPT;
	known = words[1] < count + LATER_STRINGS ? words[1] :
	    count + LATER_STRINGS;
	for (size_t i = 0; i < known; i++) {
		strings[i] = unpack(&value, words[1], i);
		if (strings[i] == NULL)
			return -KAP_CORRUPT;
	}
	cold_out->webhook_url = strings[0];
	cold_out->metadata = strings[1];
	cold_out->voice = strings[2];
	cold_out->trunk_count = words[2];
	for (unsigned i = 0; i < cold_out->trunk_count; i++) {
		cold_out->trunk_names[i] = strings[FIXED_STRINGS + 2 * i];
		cold_out->endpoints[i] = strings[FIXED_STRINGS + 2 * i + 1];
	}
	cold_out->idempotency = known > count ? strings[count] : "";
	cold_out->amd = known > count + 1 ? strings[count + 1] : "";
	cold_out->webhook_secrets = known > count + 2 ? strings[count + 2] :
	    "";
	return 0;
}

int
call_cold_del(struct store_txn *txn, const char *call_id)
{
	return store_del(txn, STORE_CALL_COLD, call_id, strlen(call_id));
}
