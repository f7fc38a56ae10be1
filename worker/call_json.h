/*
 * Calls as the API shows them.
 */
#ifndef KAP_CALL_JSON_H
#define KAP_CALL_JSON_H

#include <cjson/cJSON.h>

#include "shared/api_key.h"
#include "shared/call.h"

/*
 * An element of GET /calls. `voice` is the call's, from its cold record.
 * The caller owns the tree; NULL when out of memory.
 */
cJSON *call_json_list_item(const struct call *call, const char *voice);

/* The answer of GET /calls/:callId. */
cJSON *call_json_detail(const struct call *call, const char *voice);

/* {"success":true}, to be filled further. NULL when out of memory. */
cJSON *call_json_success(void);

/* Add "timestamp": now. */
void call_json_add_timestamp(cJSON *tree);

#endif
