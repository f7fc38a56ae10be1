/*
 * Addresses of Asterisk's REST interface: where it listens, the names of our
 * Stasis apps, and paths with queries in which everything that came from
 * outside is percent-encoded. Text alone: opens nothing.
 */
#ifndef KAP_ARI_URL_H
#define KAP_ARI_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "shared/config.h"
#include "shared/errors.h"

#define ARI_APP_SIZE 64  /* "kaphila-<node>-<slot>-…", NUL included */
#define ARI_URI_MAX 4096 /* longest path and query, NUL included */

/* Where Asterisk listens. */
struct ari_address {
	struct sockaddr_storage address;
	socklen_t address_len;
	char host[80]; /* for the Host header: "127.0.0.1:8088" */
};

/*
 * Read asterisk.url: "http://<address>:<port>", where the address is an IPv4
 * literal, an IPv6 literal in brackets, or localhost. A name is refused: to
 * look one up would block the loop.
 *
 * msg  says what is wrong, and what to write instead
 *
 * Returns 0 or -KAP_INVAL. Never blocks.
 */
KAP_MUST_USE int ari_url_parse(const char *url, struct ari_address *out,
    struct kap_errmsg *msg);

/*
 * The name of a slot's Stasis app: that of its event link, which calls are
 * originated with.
 */
void ari_url_app_name(char out[ARI_APP_SIZE], int64_t node, int slot);

/* The lanes of the command links. */
#define ARI_LANE_ORIGINATE "originate"
#define ARI_LANE_CONTROL "control"

/*
 * The name of the app of one connection of a command link: of no other, so
 * that what Asterisk still has of one that is gone can be asked for
 * (command_fence.h).
 *
 * connection  a number drawn for it (ari_command_connection)
 */
void ari_url_connection_name(char out[ARI_APP_SIZE], int64_t node, int slot,
    const char *lane, uint32_t connection);

/*
 * A path and its query, built piece by piece:
 *
 *     ari_uri_init(&uri);
 *     ari_uri_segment(&uri, "channels");
 *     ari_uri_segment(&uri, channel_id);
 *     ari_uri_query(&uri, "reason_code", "16");
 *     if (ari_uri_check(&uri) == 0)
 *             … uri.text is "channels/1720012345.1?reason_code=16"
 *
 * Of what the pieces hold, only the unreserved characters of RFC 3986 are
 * kept as they are, so no piece can end a segment or begin a parameter.
 */
struct ari_uri {
	char text[ARI_URI_MAX];
	size_t len;
	bool has_query;
	bool overflow;
};

void ari_uri_init(struct ari_uri *uri);
void ari_uri_segment(struct ari_uri *uri, const char *text);
void ari_uri_query(struct ari_uri *uri, const char *name, const char *value);
void ari_uri_query_int(struct ari_uri *uri, const char *name, int64_t value);

/* Returns 0, or -KAP_TOOBIG when it did not all fit. */
KAP_MUST_USE int ari_uri_check(const struct ari_uri *uri);

/*
 * Percent-encode one text by itself. `out` is NUL-terminated in any case.
 *
 * Returns 0, or -KAP_TOOBIG when it did not all fit.
 */
KAP_MUST_USE int ari_url_encode(const char *text, char *out, size_t out_size);

#endif
