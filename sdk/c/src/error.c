/* Errors, and what is wrong in a configuration. */

#include "internal.h"

static wk_error *error(wk_error_kind kind, wk_text reason)
{
    wk_error *made = wk_alloc(sizeof(wk_error));
    made->kind = kind;
    made->reason = reason;
    return made;
}

wk_error *wk_invalid_config(wk_text key, wk_text reason)
{
    wk_error *made = error(INVALID_CONFIG, reason);
    made->key = key;
    return made;
}

wk_error *wk_invalid_payload(wk_text reason)
{
    return error(INVALID_PAYLOAD, reason);
}

wk_error *wk_unauthorized(wk_text reason)
{
    return error(UNAUTHORIZED, reason);
}

wk_error *wk_unavailable(wk_text reason, uint64_t retry_after_ms)
{
    wk_error *made = error(UNAVAILABLE, reason);
    made->retry_after_ms = retry_after_ms;
    return made;
}

wk_error *wk_failed(wk_text reason)
{
    return error(FAILED, reason);
}

static wk_error *unknown_key(wk_text key, const wk_text *known, size_t count)
{
    if (count == 0)
        return wk_invalid_config(key, WK("unknown key; this plugin has none"));
    wk_text reason = WK("unknown key; known keys: ");
    for (size_t i = 0; i < count; i++)
        reason = wk_join(reason, i ? WK(", ") : WK(""), known[i]);
    return wk_invalid_config(key, reason);
}

wk_error *wk_known_keys_all(const wk_json *config, const wk_text *keys, size_t count)
{
    for (size_t i = 0; i < config->count; i++) {
        size_t known = 0;
        while (known < count && !wk_same(config->keys[i], keys[known]))
            known++;
        if (known == count)
            return unknown_key(config->keys[i], keys, count);
    }
    return NULL;
}

/* A value that is there; null is as good as nothing. */
static const wk_json *given(const wk_json *config, wk_text key)
{
    const wk_json *found = wk_json_get(config, key);
    return found && found->kind != WK_NULL ? found : NULL;
}

wk_error *wk_required_keys_all(const wk_json *config, const wk_text *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!given(config, keys[i]))
            return wk_invalid_config(keys[i], WK("missing; it has no default"));
    return NULL;
}

wk_error *wk_config_text(const wk_json *config, wk_text key, wk_text *value)
{
    const wk_json *found = given(config, key);
    if (!found)
        return NULL;
    if (found->kind != WK_STRING)
        return wk_invalid_config(key, WK("must be a text"));
    *value = found->text;
    return NULL;
}

wk_error *wk_config_whole(const wk_json *config, wk_text key, int64_t least, int64_t *value)
{
    const wk_json *found = given(config, key);
    if (!found)
        return NULL;
    int64_t number;
    if (!wk_json_whole(found, &number) || number < least)
        return wk_invalid_config(key, wk_join(WK("must be a whole number, "), wk_number(least), WK(" or more")));
    *value = number;
    return NULL;
}

wk_error *wk_config_flag(const wk_json *config, wk_text key, bool *value)
{
    const wk_json *found = given(config, key);
    if (!found)
        return NULL;
    if (found->kind != WK_BOOL)
        return wk_invalid_config(key, WK("must be true or false"));
    *value = found->boolean;
    return NULL;
}

wk_error *wk_config_texts(const wk_json *config, wk_text key, wk_text **values, size_t *count)
{
    const wk_json *found = given(config, key);
    if (!found)
        return NULL;
    if (found->kind != WK_LIST)
        return wk_invalid_config(key, WK("must be a list of texts"));
    *values = wk_alloc(found->count ? found->count * sizeof(wk_text) : 1);
    *count = found->count;
    for (size_t i = 0; i < found->count; i++) {
        (*values)[i] = wk_json_text(&found->items[i]);
        if (!(*values)[i].ptr)
            return wk_invalid_config(wk_join(key, WK("["), wk_number((int64_t)i), WK("]")), WK("must be a text"));
    }
    return NULL;
}
