/* What the other side answers, and how each alert is read. Each mistake is named with its place. */
#ifndef WIRE_H
#define WIRE_H

#include <watchkeeper.h>

/* Without a `next` the cursor stays as it is. */
wk_error *wire_batch(const wk_response *response, wk_batch *batch);

#endif
