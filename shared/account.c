/*
 * Arithmetic of an account, and its record. Reads no clock: the caller's
 * transaction has one.
 */
#include "account.h"

#include <assert.h>

static_assert(sizeof(struct account) == 56, "the record's layout is stored");

int
account_get(struct store_txn *txn, uint32_t key_id,
    struct account *account_out)
{
	uint8_t key[4];
	int rc;

	store_put_be32(key, key_id);
	rc = store_copy(txn, STORE_ACCOUNTS, key, sizeof(key), account_out,
	    sizeof(*account_out));
	if (rc == -KAP_NOENT) {
		*account_out = (struct account){ .version = ACCOUNT_VERSION };
		rc = 0;
	}
	return rc;
}

int
account_put(struct store_txn *txn, uint32_t key_id,
    const struct account *account)
{
	uint8_t key[4];

	store_put_be32(key, key_id);
	return store_put(txn, STORE_ACCOUNTS, key, sizeof(key), account,
	    sizeof(*account));
}

int
account_sync(struct store_txn *txn, const struct api_key *key)
{
	struct account account;
	int rc = account_get(txn, key->id, &account);

	if (rc != 0)
		return rc;
	if (account.charges >= key->charges_posted &&
	    account.calls >= key->calls_posted)
		return 0;
	if (account.charges < key->charges_posted)
		account.charges = key->charges_posted;
	if (account.calls < key->calls_posted)
		account.calls = key->calls_posted;
	return account_put(txn, key->id, &account);
}

static void
add_saturated(uint32_t *to, uint32_t count)
{
	*to = *to > UINT32_MAX - count ? UINT32_MAX : *to + count;
}

void
account_count(struct account *account, uint32_t limit, uint32_t count,
    int64_t now_ms, struct account_rate *rate_out)
{
	const int64_t age_ms = now_ms - account->window_start_ms;

	/* a clock set back must not stretch a window over hours */
	if (account->window_start_ms == 0 || age_ms < 0 ||
	    age_ms >= ACCOUNT_WINDOW_MS) {
		account->window_start_ms = now_ms;
		account->window_count = 0;
	}
	add_saturated(&account->window_count, count);
	rate_out->limit = limit;
	rate_out->allowed = limit == 0 || account->window_count <= limit;
	rate_out->remaining = account->window_count < limit
	    ? limit - account->window_count : 0;
	rate_out->reset_ms = account->window_start_ms + ACCOUNT_WINDOW_MS;
}

int64_t
account_credits(const struct account *account, const struct api_key *key)
{
	/* never negative: account_sync keeps charges at the watermark or over,
	 * and a key that is newer than the account has them in its balance */
	const uint64_t unposted = account->charges > key->charges_posted
	    ? account->charges - key->charges_posted : 0;

	return key->balance - (int64_t)unposted;
}

int64_t
account_available(const struct account *account, const struct api_key *key)
{
	return account_credits(account, key) - (int64_t)account->holds;
}
