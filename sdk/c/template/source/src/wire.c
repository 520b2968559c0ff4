#include "wire.h"

static wk_error *wrong(size_t index, wk_text key, wk_text what)
{
    return wk_invalid_payload(wk_join(WK("alerts["), wk_number((int64_t)index), WK("]."), key, WK(": "), what));
}

static wk_error *severity(const wk_json *alert, size_t index, wk_severity *into)
{
    const wk_json *value = wk_json_get(alert, WK("severity"));
    wk_text word = wk_json_text(value);
    if (!value || value->kind == WK_NULL || wk_same(word, WK("warning")))
        *into = WK_SEVERITY_WARNING;
    else if (wk_same(word, WK("info")))
        *into = WK_SEVERITY_INFO;
    else if (wk_same(word, WK("critical")))
        *into = WK_SEVERITY_CRITICAL;
    else
        return wrong(index, WK("severity"), WK("must be info, warning or critical"));
    return NULL;
}

static wk_error *read_alert(const wk_json *alert, size_t index, wk_alerts *alerts)
{
    wk_text id = wk_json_text(wk_json_get(alert, WK("id")));
    wk_text title = wk_json_text(wk_json_get(alert, WK("title")));
    wk_text host = wk_json_text(wk_json_get(alert, WK("host")));
    wk_text since = wk_json_text(wk_json_get(alert, WK("since")));
    const wk_json *resolved = wk_json_get(alert, WK("resolved"));
    wk_severity level;
    wk_error *error = severity(alert, index, &level);
    if (error)
        return error;
    if (!id.ptr)
        return wrong(index, WK("id"), WK("must be a text"));
    if (!title.ptr)
        return wrong(index, WK("title"), WK("must be a text"));
    wk_status status = resolved && resolved->boolean ? WK_RESOLVED : WK_FIRING;
    wk_alert *added = wk_add_alert(alerts, id, level, status, title);
    if (host.ptr)
        wk_add(&added->labels, WK("host"), host);
    wk_text place = wk_join(WK("alerts["), wk_number((int64_t)index), WK("].since"));
    return since.ptr ? wk_read_time(since, place, &added->starts_at) : NULL;
}

wk_error *wire_alerts(const wk_payload *payload, wk_alerts *alerts)
{
    const wk_json *body;
    wk_error *error = wk_payload_json(payload, &body);
    if (error)
        return error;
    const wk_json *list = wk_json_get(body, WK("alerts"));
    if (!list || list->kind != WK_LIST)
        return wk_invalid_payload(WK("alerts: must be a list"));
    for (size_t i = 0; i < list->count; i++) {
        error = read_alert(&list->items[i], i, alerts);
        if (error)
            return error;
    }
    return NULL;
}
