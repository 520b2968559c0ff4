/* What the SDK's own files share. */
#ifndef WATCHKEEPER_INTERNAL_H
#define WATCHKEEPER_INTERNAL_H

#include "watchkeeper.h"

/* `items` with room for one more. */
void *wk_grow(void *items, size_t count, size_t *room, size_t size);
void wk_call_is_over(void);
void wk_keep_all(void);

typedef enum { INVALID_CONFIG, INVALID_PAYLOAD, UNAUTHORIZED, UNAVAILABLE, FAILED } wk_error_kind;

struct wk_error {
    wk_error_kind kind;
    wk_text key;
    wk_text reason;
    uint64_t retry_after_ms;
};

#endif
