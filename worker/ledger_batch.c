/*
 * One array parameter for each column, in PostgreSQL's text form, unnested
 * by the statement. Every string here is bounded, so a batch is too.
 */
#include "worker/ledger_batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/amd_words.h"

/* The parameters, in their order; the comments are their SQL types. */
enum column {
	COL_CHARGE_CALL,   /* $1 text */
	COL_CHARGE_KEY,    /* $2 integer */
	COL_CHARGE_NUMBER, /* $3 bigint */
	COL_CHARGE_AT,     /* $4 bigint */
	COL_CALL_ID,       /* $5 text */
	COL_CALL_KEY,      /* $6 integer */
	COL_CALL_KEY_NUMBER, /* $7 bigint */
	COL_CALL_NUMBER,   /* $8 text */
	COL_CALL_CALLER_ID, /* $9 text */
	COL_CALL_TRUNK,    /* $10 text */
	COL_CALL_STATUS,   /* $11 text */
	COL_CALL_REASON,   /* $12 text */
	COL_CALL_CAUSE,    /* $13 integer */
	COL_CALL_ANSWERED, /* $14 boolean */
	COL_CALL_AMD,      /* $15 text */
	COL_CALL_AMD_CAUSE, /* $16 text */
	COL_CALL_DURATION, /* $17 integer */
	COL_CALL_RECORDING, /* $18 text */
	COL_CALL_CREATED_AT, /* $19 bigint */
	COL_CALL_ANSWERED_AT, /* $20 bigint */
	COL_CALL_ENDED_AT, /* $21 bigint */
	COL_RECORDING_ID,  /* $22 text */
	COL_RECORDING_CALL, /* $23 text */
	COL_RECORDING_KEY, /* $24 integer */
	COL_RECORDING_DURATION, /* $25 integer */
	COL_RECORDING_SIZE, /* $26 bigint */
	COL_RECORDING_AT,  /* $27 bigint */
	COLUMN_COUNT,
	PARAM_NODE = COLUMN_COUNT, /* $28 integer */
	PARAM_COUNT
};

#define AT(ms) "timestamptz 'epoch' + " ms " * interval '1 millisecond'"

/* GREATEST: whatever is posted again must not take a watermark back. */
#define MARK_CONFLICT_SQL \
	" ON CONFLICT (api_key_id, node) DO UPDATE SET" \
	"  charges_posted = GREATEST(n.charges_posted," \
	"   EXCLUDED.charges_posted)," \
	"  calls_posted = GREATEST(n.calls_posted, EXCLUDED.calls_posted)"

/*
 * An answered call is counted with its charge, not with its row, which comes
 * later: so successful_calls and charges_posted always belong together.
 */
static const char post_sql[] =
    "WITH charge AS ("
    " SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[],"
    "  $4::bigint[]) AS c(call_id, api_key_id, key_number, at_ms)"
    "), call AS ("
    " SELECT * FROM unnest($5::text[], $6::integer[], $7::bigint[],"
    "  $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],"
    "  $13::integer[], $14::boolean[], $15::text[], $16::text[],"
    "  $17::integer[], $18::text[], $19::bigint[], $20::bigint[],"
    "  $21::bigint[])"
    "  AS c(call_id, api_key_id, key_number, number, caller_id, trunk,"
    "  status, end_reason, hangup_cause, was_answered, amd_status,"
    "  amd_cause, duration_s, recording, created_ms, answered_ms, ended_ms)"
    "), recording AS ("
    " SELECT * FROM unnest($22::text[], $23::text[], $24::integer[],"
    "  $25::integer[], $26::bigint[], $27::bigint[])"
    "  AS r(recording_id, call_id, api_key_id, duration_s, size_bytes,"
    "  at_ms)"
    "), charged AS ("
    " INSERT INTO credit_ledger"
    "  (call_id, kind, api_key_id, amount, node, key_number, at)"
    " SELECT call_id, 'charge', api_key_id, -1, $28::integer, key_number,"
    "  " AT("at_ms") " FROM charge"
    " ON CONFLICT DO NOTHING RETURNING api_key_id, amount"
    "), logged AS ("
    " INSERT INTO call_logs (call_id, api_key_id, node, number, caller_id,"
    "  trunk, status, end_reason, hangup_cause, was_answered, amd_status,"
    "  amd_cause, duration_s, recording, created_at, answered_at, ended_at)"
    " SELECT call_id, api_key_id, $28::integer, number, caller_id, trunk,"
    "  status, end_reason, hangup_cause, was_answered, amd_status,"
    "  amd_cause, duration_s, recording, " AT("created_ms") ","
    "  " AT("answered_ms") ", " AT("ended_ms") " FROM call"
    " ON CONFLICT DO NOTHING RETURNING api_key_id"
    "), recorded AS ("
    " INSERT INTO recordings (recording_id, call_id, api_key_id, filename,"
    "  duration_s, size_bytes, created_at)"
    " SELECT recording_id, call_id, api_key_id, recording_id || '.wav',"
    "  duration_s, size_bytes, " AT("at_ms") " FROM recording"
    " ON CONFLICT DO NOTHING"
    "), delta AS ("
    " SELECT api_key_id, sum(amount)::bigint AS amount,"
    "  sum(calls)::bigint AS calls, sum(answered)::bigint AS answered"
    " FROM (SELECT api_key_id, amount, 0 AS calls, 1 AS answered"
    "  FROM charged UNION ALL"
    "  SELECT api_key_id, 0, 1, 0 FROM logged) d"
    " GROUP BY api_key_id"
    "), balanced AS ("
    " UPDATE api_keys k SET credits = k.credits + d.amount,"
    "  total_calls = k.total_calls + d.calls,"
    "  successful_calls = k.successful_calls + d.answered"
    " FROM delta d WHERE k.id = d.api_key_id"
    ")"
    " INSERT INTO key_nodes AS n"
    "  (api_key_id, node, charges_posted, calls_posted)"
    " SELECT m.api_key_id, $28::integer, max(m.charges), max(m.calls)"
    " FROM (SELECT api_key_id, key_number AS charges, 0 AS calls"
    "  FROM charge UNION ALL"
    "  SELECT api_key_id, 0, key_number FROM call) m"
    " JOIN api_keys k ON k.id = m.api_key_id"
    " GROUP BY m.api_key_id ORDER BY m.api_key_id" MARK_CONFLICT_SQL;

/* Takes nothing of the entry but numbers: the rest may be what is wrong. */
static const char skip_sql[] =
    "INSERT INTO key_nodes AS n"
    "  (api_key_id, node, charges_posted, calls_posted)"
    " SELECT k.id, $2::integer, $3::bigint, $4::bigint"
    " FROM api_keys k WHERE k.id = $1::integer" MARK_CONFLICT_SQL;

#define NUMBER_SIZE 24

#define COLUMN_MAX ((size_t)1 << 20)

/* "{…,…}", growing, at most COLUMN_MAX bytes. */
struct array {
	char *text;
	size_t len;
	size_t size;
};

struct ledger_batch {
	char node[NUMBER_SIZE];
	char numbers[3][NUMBER_SIZE]; /* of ledger_batch_skip */
	bool failed; /* out of memory on the way */
	struct array columns[COLUMN_COUNT];
	const char *values[PARAM_COUNT];
};

static bool
reserve(struct array *array, size_t more)
{
	size_t size = array->size > 0 ? array->size : 256;
	char *text;

	while (size < array->len + more && size <= COLUMN_MAX)
		size *= 2;
	if (size > COLUMN_MAX)
		return false;
	if (size == array->size)
		return true;
	text = realloc(array->text, size);
	if (text == NULL)
		return false;
	array->text = text;
	array->size = size;
	return true;
}

static void
put_raw(struct ledger_batch *batch, enum column column, const char *text,
    size_t len)
{
	struct array *array = &batch->columns[column];

	/* a separator, and at last "}" and its NUL */
	if (!reserve(array, len + 3)) {
		batch->failed = true;
		return;
	}
	array->text[array->len] = array->len == 0 ? '{' : ',';
	memcpy(array->text + array->len + 1, text, len);
	array->len += len + 1;
}

static void
put_null(struct ledger_batch *batch, enum column column)
{
	put_raw(batch, column, "NULL", 4);
}

static void
put_int(struct ledger_batch *batch, enum column column, int64_t number)
{
	char digits[24];
	const int len = snprintf(digits, sizeof(digits), "%" PRId64, number);

	put_raw(batch, column, digits, (size_t)len);
}

/* Times of 0 never were. */
static void
put_int_or_null(struct ledger_batch *batch, enum column column,
    int64_t number)
{
	if (number != 0)
		put_int(batch, column, number);
	else
		put_null(batch, column);
}

/* Quoted, so that no text is taken for NULL or for more than one. */
static void
put_text(struct ledger_batch *batch, enum column column, const char *text)
{
	char quoted[2 * 128 + 2];
	size_t len = 0;

	quoted[len++] = '"';
	for (; *text != '\0' && len < sizeof(quoted) - 3; text++) {
		if (*text == '"' || *text == '\\')
			quoted[len++] = '\\';
		quoted[len++] = *text;
	}
	quoted[len++] = '"';
	put_raw(batch, column, quoted, len);
}

static void
put_text_or_null(struct ledger_batch *batch, enum column column,
    const char *text)
{
	if (*text != '\0')
		put_text(batch, column, text);
	else
		put_null(batch, column);
}

/*
 * Asterisk's own words, up to what isn't printable ASCII: a text that was cut
 * within a character is none for PostgreSQL, which would refuse the row.
 */
static void
put_amd_cause(struct ledger_batch *batch, const char *cause)
{
	char text[CALL_AMD_CAUSE_SIZE];
	size_t len = 0;

	while (len < sizeof(text) - 1 && cause[len] >= ' ' &&
	    cause[len] <= '~') {
		text[len] = cause[len];
		len++;
	}
	text[len] = '\0';
	put_text_or_null(batch, COL_CALL_AMD_CAUSE, text);
}

static void
put_charge(struct ledger_batch *batch, const struct ledger_entry *entry)
{
	put_text(batch, COL_CHARGE_CALL, entry->call.id);
	put_int(batch, COL_CHARGE_KEY, entry->key_id);
	put_int(batch, COL_CHARGE_NUMBER, (int64_t)entry->key_number);
	put_int(batch, COL_CHARGE_AT, entry->at_ms);
}

static void
put_call(struct ledger_batch *batch, const struct ledger_entry *entry)
{
	const struct call *call = &entry->call;
	const bool answered = (call->flags & CALL_F_WAS_ANSWERED) != 0;
	char recording[CALL_RECORDING_SIZE] = "";

	if ((call->flags & CALL_F_RECORDED) != 0)
		call_recording_name(call, recording);
	put_text(batch, COL_CALL_ID, call->id);
	put_int(batch, COL_CALL_KEY, entry->key_id);
	put_int(batch, COL_CALL_KEY_NUMBER, (int64_t)entry->key_number);
	put_text(batch, COL_CALL_NUMBER, call->number);
	put_text_or_null(batch, COL_CALL_CALLER_ID, call->caller_id);
	put_text_or_null(batch, COL_CALL_TRUNK, entry->trunk);
	put_text(batch, COL_CALL_STATUS,
	    call_status_name((enum call_status)call->status));
	put_text(batch, COL_CALL_REASON,
	    call_end_reason_name((enum call_end_reason)call->end_reason));
	put_int_or_null(batch, COL_CALL_CAUSE, call->hangup_cause);
	put_raw(batch, COL_CALL_ANSWERED, answered ? "t" : "f", 1);
	put_text(batch, COL_CALL_AMD, call_amd_name(amd_told(call)));
	put_amd_cause(batch, call->amd_cause);
	put_int(batch, COL_CALL_DURATION,
	    call_duration_s(call, call->ended_ms));
	put_text_or_null(batch, COL_CALL_RECORDING, recording);
	put_int(batch, COL_CALL_CREATED_AT, call->created_ms);
	put_int_or_null(batch, COL_CALL_ANSWERED_AT, call->answered_ms);
	put_int_or_null(batch, COL_CALL_ENDED_AT, call->ended_ms);
}

static void
put_recording(struct ledger_batch *batch, const struct ledger_entry *entry)
{
	char name[CALL_RECORDING_SIZE];

	call_recording_name(&entry->call, name);
	put_text(batch, COL_RECORDING_ID, name);
	put_text(batch, COL_RECORDING_CALL, entry->call.id);
	put_int(batch, COL_RECORDING_KEY, entry->key_id);
	put_int(batch, COL_RECORDING_DURATION, entry->duration_s);
	put_int(batch, COL_RECORDING_SIZE, (int64_t)entry->size_bytes);
	put_int(batch, COL_RECORDING_AT, entry->at_ms);
}

static int
fill(struct ledger_batch *batch, const struct ledger_entry *entries,
    unsigned count)
{
	batch->failed = false;
	for (int i = 0; i < COLUMN_COUNT; i++)
		batch->columns[i].len = 0;
	for (unsigned i = 0; i < count; i++) {
		switch (entries[i].kind) {
		case LEDGER_CHARGE:
			put_charge(batch, &entries[i]);
			break;
		case LEDGER_CALL:
			put_call(batch, &entries[i]);
			break;
		case LEDGER_RECORDING:
			put_recording(batch, &entries[i]);
			break;
		default:
			break;
		}
	}
	for (int i = 0; i < COLUMN_COUNT; i++) {
		struct array *array = &batch->columns[i];

		if (array->len > 0) {
			memcpy(array->text + array->len, "}", 2);
			batch->values[i] = array->text;
		} else {
			batch->values[i] = "{}";
		}
	}
	batch->values[PARAM_NODE] = batch->node;
	return batch->failed ? -KAP_NOMEM : 0;
}

struct ledger_batch *
ledger_batch_new(int64_t node)
{
	struct ledger_batch *batch = calloc(1, sizeof(*batch));

	if (batch != NULL)
		(void)snprintf(batch->node, sizeof(batch->node), "%" PRId64,
		    node);
	return batch;
}

void
ledger_batch_free(struct ledger_batch **batch)
{
	if (*batch == NULL)
		return;
	for (int i = 0; i < COLUMN_COUNT; i++)
		free((*batch)->columns[i].text);
	free(*batch);
	*batch = NULL;
}

bool
ledger_batch_knows(const struct ledger_entry *entry)
{
	return entry->kind == LEDGER_CHARGE || entry->kind == LEDGER_CALL ||
	    entry->kind == LEDGER_RECORDING;
}

int
ledger_batch_post(struct ledger_batch *batch,
    const struct ledger_entry *entries, unsigned count,
    struct pg_statement *statement_out)
{
	const int rc = fill(batch, entries, count);

	*statement_out = (struct pg_statement){
		.sql = post_sql,
		.param_count = PARAM_COUNT,
		.values = batch->values,
	};
	return rc;
}

void
ledger_batch_skip(struct ledger_batch *batch,
    const struct ledger_entry *entry, struct pg_statement *statement_out)
{
	const bool is_charge = entry->kind == LEDGER_CHARGE;
	const bool is_call = entry->kind == LEDGER_CALL;

	(void)snprintf(batch->numbers[0], NUMBER_SIZE, "%" PRIu32,
	    entry->key_id);
	(void)snprintf(batch->numbers[1], NUMBER_SIZE, "%" PRIu64,
	    is_charge ? entry->key_number : 0);
	(void)snprintf(batch->numbers[2], NUMBER_SIZE, "%" PRIu64,
	    is_call ? entry->key_number : 0);
	batch->values[0] = batch->numbers[0];
	batch->values[1] = batch->node;
	batch->values[2] = batch->numbers[1];
	batch->values[3] = batch->numbers[2];
	*statement_out = (struct pg_statement){
		.sql = skip_sql,
		.param_count = 4,
		.values = batch->values,
	};
}
