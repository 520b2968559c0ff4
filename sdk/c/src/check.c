/* What a plugin answers, looked at before it leaves: here a mistake still has a name. */

#include "internal.h"

static wk_error *check_text(wk_text text, wk_text alert, wk_text what)
{
    size_t valid = wk_valid_utf8(text);
    if (valid == text.len)
        return NULL;
    return wk_failed(wk_join(WK("the plugin made "), alert, what, WK(" no UTF-8: byte "), wk_number((int64_t)valid)));
}

static wk_error *check_pairs(const wk_pairs *pairs, wk_text alert, wk_text what)
{
    for (size_t i = 0; i < pairs->count; i++) {
        wk_error *error = check_text(pairs->items[i].key, alert, wk_join(what, WK(", a key,")));
        if (!error)
            error = check_text(pairs->items[i].value, alert, wk_join(what, WK("."), pairs->items[i].key));
        if (error)
            return error;
    }
    return NULL;
}

/* Whether all of it is UTF-8, without names, since all of it mostly is. */
static bool is_valid(const wk_alert *alert)
{
    const wk_text texts[] = { alert->id, alert->title, alert->description };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        if (wk_valid_utf8(texts[i]) < texts[i].len)
            return false;
    const wk_pairs *lists[] = { &alert->labels, &alert->annotations };
    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
        for (size_t j = 0; j < lists[i]->count; j++)
            if (wk_valid_utf8(lists[i]->items[j].key) < lists[i]->items[j].key.len
                || wk_valid_utf8(lists[i]->items[j].value) < lists[i]->items[j].value.len)
                return false;
    return true;
}

static wk_error *check_alert(const wk_alert *alert, wk_text name)
{
    if ((unsigned)alert->severity > WK_SEVERITY_CRITICAL)
        return wk_failed(wk_join(WK("the plugin made "), name, WK(".severity none of wk_severity")));
    if ((unsigned)alert->status > WK_RESOLVED)
        return wk_failed(wk_join(WK("the plugin made "), name, WK(".status none of wk_status")));
    wk_error *error = check_text(alert->id, name, WK(".id"));
    if (!error)
        error = check_text(alert->title, name, WK(".title"));
    if (!error)
        error = check_text(alert->description, name, WK(".description"));
    if (!error)
        error = check_pairs(&alert->labels, name, WK(".labels"));
    if (!error)
        error = check_pairs(&alert->annotations, name, WK(".annotations"));
    return error;
}

wk_error *wk_check_alerts(const wk_alerts *alerts)
{
    for (size_t i = 0; i < alerts->count; i++) {
        const wk_alert *alert = &alerts->items[i];
        bool known = (unsigned)alert->severity <= WK_SEVERITY_CRITICAL && (unsigned)alert->status <= WK_RESOLVED;
        if (!known || !is_valid(alert))
            return check_alert(alert, wk_join(WK("alerts["), wk_number((int64_t)i), WK("]")));
    }
    return NULL;
}
