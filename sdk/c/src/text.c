/* Text, pairs, and the lists that grow. */

#include <string.h>

#include "internal.h"

wk_text wk_join_all(const wk_text *texts, size_t count)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += texts[i].len;
    char *joined = wk_alloc(len ? len : 1);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (texts[i].len)
            memcpy(joined + at, texts[i].ptr, texts[i].len);
        at += texts[i].len;
    }
    return (wk_text){ joined, len };
}

wk_text wk_number(int64_t number)
{
    char digits[20];
    size_t count = 0;
    /* Unsigned, for the least number has no opposite. */
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do {
        digits[sizeof(digits) - ++count] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0)
        digits[sizeof(digits) - ++count] = '-';
    return wk_join((wk_text){ digits + sizeof(digits) - count, count });
}

wk_text wk_from_cstr(const char *text)
{
    return (wk_text){ text, strlen(text) };
}

bool wk_same(wk_text a, wk_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool wk_begins(wk_text text, wk_text with)
{
    return text.len >= with.len && wk_same((wk_text){ text.ptr, with.len }, with);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool wk_contains(wk_text text, wk_text part)
{
    for (size_t at = 0; at + part.len <= text.len; at++) {
        size_t same = 0;
        while (same < part.len && lower(text.ptr[at + same]) == lower(part.ptr[same]))
            same++;
        if (same == part.len)
            return true;
    }
    return false;
}

void wk_add(wk_pairs *pairs, wk_text key, wk_text value)
{
    pairs->items = wk_grow(pairs->items, pairs->count, &pairs->room, sizeof(wk_pair));
    pairs->items[pairs->count++] = (wk_pair){ key, value };
}

wk_text wk_value(const wk_pairs *pairs, wk_text key)
{
    for (size_t i = 0; i < pairs->count; i++)
        if (wk_same(pairs->items[i].key, key))
            return pairs->items[i].value;
    return (wk_text){ 0 };
}

wk_error *wk_payload_text(const wk_payload *payload, wk_text *text)
{
    size_t valid = wk_valid_utf8(payload->body);
    if (valid < payload->body.len)
        return wk_invalid_payload(wk_join(WK("body is not UTF-8: byte "), wk_number((int64_t)valid)));
    *text = payload->body;
    return NULL;
}

static wk_error *read_json(wk_text bytes, const wk_json **json)
{
    wk_text problem;
    *json = wk_json_read(bytes, &problem);
    return *json ? NULL : wk_invalid_payload(wk_join(WK("not JSON: "), problem));
}

wk_error *wk_payload_json(const wk_payload *payload, const wk_json **json)
{
    return read_json(payload->body, json);
}

wk_error *wk_response_json(const wk_response *response, const wk_json **json)
{
    return read_json(response->body, json);
}

wk_alert *wk_add_alert(wk_alerts *alerts, wk_text id, wk_severity severity, wk_status status, wk_text title)
{
    alerts->items = wk_grow(alerts->items, alerts->count, &alerts->room, sizeof(wk_alert));
    wk_alert *added = &alerts->items[alerts->count++];
    *added = (wk_alert){ .id = id, .severity = severity, .status = status, .title = title };
    return added;
}

void wk_add_call(wk_calls *calls, wk_text tool, wk_text input, wk_text purpose)
{
    calls->items = wk_grow(calls->items, calls->count, &calls->room, sizeof(wk_call));
    calls->items[calls->count++] = (wk_call){ tool, input, purpose };
}
