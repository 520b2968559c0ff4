/* What the SDK's own files share. */
#ifndef WATCHKEEPER_INTERNAL_H
#define WATCHKEEPER_INTERNAL_H

#include "watchkeeper.h"

/* `items` with room for one more. */
void *wk_grow(void *items, size_t count, size_t *room, size_t size);
/* How many bytes of it are UTF-8, from the first. */
size_t wk_valid_utf8(wk_text text);
/* NULL where the host can take them; else what is wrong, and where: the canonical ABI would end the call, and not say. */
wk_error *wk_check_alerts(const wk_alerts *alerts);
void wk_receive_at(char *at, size_t size);
void wk_call_is_over(void);
void wk_keep_all(void);

typedef enum { INVALID_CONFIG, INVALID_PAYLOAD, UNAUTHORIZED, UNAVAILABLE, FAILED } wk_error_kind;

struct wk_error {
    wk_error_kind kind;
    wk_text key;
    wk_text reason;
    uint64_t retry_after_ms;
};

/* Where a request goes, as wasi:http wants it. */
typedef struct {
    bool tls;
    wk_text method;
    wk_text authority;
    wk_text path; /* with the query */
    wk_text what; /* names it in errors */
} wk_target;

wk_error *wk_take_apart(const wk_request *request, wk_target *target);

#endif
