/*
 * Where this service may connect to on a customer's behalf. A URL is judged
 * twice: its spelling when it is handed in (net_guard_check_url), and each
 * address it resolves to when a connection is made (net_guard_check_address),
 * so a name that resolves to something else later gains nothing.
 *
 * Pure functions: nothing is resolved, nothing is connected to.
 */
#ifndef KAP_NET_GUARD_H
#define KAP_NET_GUARD_H

#include <stdbool.h>

#include "errors.h"

struct config;
struct sockaddr;

#define NET_GUARD_URL_MAX 2048 /* bytes, without the NUL */

/* What the configuration allows beyond https to public addresses. */
struct net_guard_policy {
	bool allow_http;
	bool allow_private;  /* private, shared and link-local networks */
	bool allow_loopback;
};

/*
 * Judge a URL by its spelling. Only spellings that every parser reads the
 * same way pass: a lower-case or upper-case scheme, "//", a plain DNS name, a
 * dotted quad or a bracketed IPv6 address, a port in digits.
 *
 * url  NUL-terminated; any length
 * msg  why not, in words that name the rule; may be NULL
 *
 * Returns 0; -KAP_TOOBIG over NET_GUARD_URL_MAX bytes; -KAP_INVAL for what
 * isn't such a URL; -KAP_DENIED for a target that the policy rules out;
 * -KAP_NOMEM. Never blocks. Any process.
 */
KAP_MUST_USE int net_guard_check_url(const char *url,
    const struct net_guard_policy *policy, struct kap_errmsg *msg);

/* The same by what the configuration allows webhooks ([webhook]). */
KAP_MUST_USE int net_guard_check_webhook(const char *url,
    const struct config *config, struct kap_errmsg *msg);

/*
 * Judge an address that is about to be connected to. IPv6 addresses that
 * carry an IPv4 one (mapped, 6to4, NAT64 …) are judged by that.
 *
 * Returns 0; -KAP_DENIED for one that the policy rules out, and for every
 * address that is nobody's (reserved, multicast, documentation …); -KAP_INVAL
 * for another family. Never blocks. Any process.
 */
KAP_MUST_USE int net_guard_check_address(const struct sockaddr *address,
    const struct net_guard_policy *policy);

#endif
