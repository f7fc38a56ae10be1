/*
 * Marks in the events of a Stasis app: Asterisk is asked to send one
 * (event_ask.h), and it comes behind everything that Asterisk has for the app
 * by then, to whoever Asterisk sends the app's events.
 */
#ifndef KAP_ARI_MARK_H
#define KAP_ARI_MARK_H

#include <stdbool.h>
#include <stdint.h>

#define ARI_MARK_NAME_SIZE 56 /* of the event, NUL included */

/* Zeroed: none. */
struct ari_mark {
	uint64_t reader; /* who asked: a predecessor's may come, too */
	uint64_t number; /* from 1 */
};

/* What Asterisk says to the request for one. */
enum ari_mark_reply {
	ARI_MARK_COMES,  /* it has the app, and sends the mark */
	ARI_MARK_NO_APP, /* it has no such app */
	ARI_MARK_REFUSED, /* neither, but an error */
	ARI_MARK_UNKNOWN /* nothing: the question may be lost */
};

/* The name of the event. */
void ari_mark_name(char out[ARI_MARK_NAME_SIZE], const struct ari_mark *mark);

/* False, and nothing written, where the name is none of a mark's. */
bool ari_mark_parse(const char *name, struct ari_mark *out);

#endif
