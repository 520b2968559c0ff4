/* Memory that lasts a call: taken from blocks by moving a mark, and given back all at once. */

#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define BLOCK ((size_t)64 * 1024)
#define ALIGNMENT ((size_t)16)

typedef struct block {
    struct block *before;
    size_t size;
    size_t used;
    _Alignas(16) unsigned char bytes[];
} block;

static block *latest;

static block *add_block(size_t size)
{
    block *added = NULL;
    if (size <= SIZE_MAX - sizeof(block))
        added = malloc(sizeof(block) + size);
    if (!added)
        __builtin_trap();
    *added = (block){ .before = latest, .size = size };
    latest = added;
    return added;
}

void *wk_alloc(size_t size)
{
    if (size > SIZE_MAX - ALIGNMENT)
        __builtin_trap();
    size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    block *from = latest;
    if (!from || from->size - from->used < size)
        from = add_block(size > BLOCK ? size : BLOCK);
    void *taken = from->bytes + from->used;
    from->used += size;
    return memset(taken, 0, size);
}

void *wk_grow(void *items, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return items;
    size_t more = *room ? *room * 2 : 8;
    if (more > SIZE_MAX / size)
        __builtin_trap();
    void *grown = wk_alloc(more * size);
    if (count)
        memcpy(grown, items, count * size);
    *room = more;
    return grown;
}

/* The first block is kept: most calls need no other. */
void wk_call_is_over(void)
{
    while (latest && latest->before) {
        block *before = latest->before;
        free(latest);
        latest = before;
    }
    if (latest)
        latest->used = 0;
}

/* What was allocated so far is never given back. */
void wk_keep_all(void)
{
    latest = NULL;
}

static unsigned char *ready;
static size_t ready_size;

/* The next that the host hands over goes there, if there is room for it. */
void wk_receive_at(char *at, size_t size)
{
    ready = (unsigned char *)at;
    ready_size = size;
}

/* How the host gets room for what it hands over. It stands in for the bindings' own, which is a weak symbol. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t new_size)
{
    (void)align;
    if (!old && new_size && new_size <= ready_size) {
        ready_size = 0;
        return ready;
    }
    void *fresh = wk_alloc(new_size);
    if (old_size)
        memcpy(fresh, old, old_size < new_size ? old_size : new_size);
    return fresh;
}
