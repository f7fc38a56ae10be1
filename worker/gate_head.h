/*
 * The strict check of one request's head, as a pure function of its bytes:
 * what a proxy in front of us could read in another way is refused here, so
 * that evhttp never sees it. Source: RFC 9112, read without its leniencies.
 */
#ifndef KAP_GATE_HEAD_H
#define KAP_GATE_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/errors.h"

#define GATE_REQUEST_ID_MAX 64
#define GATE_ALLOWED_METHODS \
	"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"

enum gate_method {
	GATE_METHOD_GET,
	GATE_METHOD_HEAD,
	GATE_METHOD_POST,
	GATE_METHOD_PUT,
	GATE_METHOD_DELETE,
	GATE_METHOD_PATCH,
	GATE_METHOD_OPTIONS,
	GATE_METHOD_UNKNOWN
};

struct gate_limits {
	size_t head_bytes; /* request line, fields and the empty line */
	unsigned fields;
};

/* Why a request is refused. */
struct gate_refusal {
	int status;       /* HTTP status */
	const char *text; /* for the answer; static, no character to escape */
};

struct gate_head {
	enum gate_method method;
	bool http10;
	bool chunked;
	bool has_length;
	bool expects_continue;
	bool wants_close;     /* no request may follow this one */
	uint64_t length;      /* of the body; 0 when chunked */
	size_t path_at;       /* offsets into the head */
	size_t path_len;      /* without the query */
	size_t framing_at;    /* the line that frames the body, if any, */
	size_t framing_len;   /* with its CRLF; 0: there is none */
	char request_id[GATE_REQUEST_ID_MAX + 1]; /* empty: none, or not sane */
};

/* "GET" …; "?" for one that is unknown. */
const char *gate_method_name(enum gate_method method);

/*
 * Look for the end of a head.
 *
 * text     what has come so far, from the head's first byte
 * scanned  in and out: bytes seen by the calls before; 0 at first
 * len_out  the head's length, its empty line included
 *
 * Returns 0 when it is there; -KAP_AGAIN when more must come; -KAP_PROTO with
 * *refusal for a bare CR or LF, a NUL, an empty request line, or a head over
 * its limit.
 */
KAP_MUST_USE int gate_head_find_end(const char *text, size_t len,
    const struct gate_limits *limits, size_t *scanned, size_t *len_out,
    struct gate_refusal *refusal);

/*
 * Check a whole head. Tabs before a field's value are turned into spaces in
 * place, for evhttp skips nothing else.
 *
 * text  a head that gate_head_find_end accepted, len bytes
 *
 * Returns 0; -KAP_PROTO with *refusal, and *head_out is then of use for its
 * request_id and its method alone.
 */
KAP_MUST_USE int gate_head_check(char *text, size_t len,
    const struct gate_limits *limits, struct gate_head *head_out,
    struct gate_refusal *refusal);

#endif
