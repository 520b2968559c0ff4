/* Checks that are up or down; the example that is written in every language (plugins/uptime-rust says what of). */

#include <watchkeeper.h>

/* Beyond this, not every language's numbers are whole. */
#define MOST INT64_C(9007199254740991)

static wk_text *ignored;
static size_t ignored_count;
static int64_t critical_after;

wk_error *plugin_configure(const wk_json *config, wk_feed *feed)
{
    feed->webhook_path = WK("/alerts/uptime");
    critical_after = 3;
    ignored_count = 0;
    wk_error *error = wk_known_keys(config, WK("webhook_path"), WK("ignore"), WK("critical_after"));
    if (!error)
        error = wk_config_text(config, WK("webhook_path"), &feed->webhook_path);
    if (!error)
        error = wk_config_texts(config, WK("ignore"), &ignored, &ignored_count);
    if (!error)
        error = wk_config_whole(config, WK("critical_after"), 1, &critical_after);
    if (!error && !wk_begins(feed->webhook_path, WK("/")))
        error = wk_invalid_config(WK("webhook_path"), WK("must begin with `/`"));
    return error;
}

static bool is_ignored(wk_text name)
{
    for (size_t i = 0; i < ignored_count; i++)
        if (wk_same(ignored[i], name))
            return true;
    return false;
}

/* ---- what monitors send ---- */

typedef struct {
    wk_text id;
    wk_text name;
    wk_text state;
    int64_t failures;
    bool has_since;
    int64_t since; /* in seconds */
    wk_text message;
    const wk_json *tags;
} check;

/* One check of the list, and the first thing that is wrong in it. */
typedef struct {
    const wk_json *check;
    int64_t index;
    wk_error *error;
} reader;

static void wrong(reader *in, wk_text key, wk_text what)
{
    if (!in->error)
        in->error = wk_invalid_payload(
            wk_join(WK("checks["), wk_number(in->index), WK("]."), key, WK(": "), what));
}

/* null is as good as nothing. */
static const wk_json *get(const reader *in, wk_text key)
{
    const wk_json *value = wk_json_get(in->check, key);
    return value && value->kind != WK_NULL ? value : NULL;
}

static wk_text text(reader *in, wk_text key, bool needed)
{
    const wk_json *value = get(in, key);
    if (!value && !needed)
        return WK("");
    wk_text found = wk_json_text(value);
    if (!found.ptr)
        wrong(in, key, WK("must be a text"));
    return found;
}

static int64_t whole(reader *in, wk_text key, int64_t otherwise)
{
    const wk_json *value = get(in, key);
    int64_t number = otherwise;
    if (value && (!wk_json_whole(value, &number) || number < 0 || number > MOST))
        wrong(in, key, WK("must be a whole number"));
    return number;
}

static const wk_json *tags(reader *in)
{
    const wk_json *value = get(in, WK("tags"));
    bool texts = !value || value->kind == WK_OBJECT;
    for (size_t i = 0; value && texts && i < value->count; i++)
        texts = value->items[i].kind == WK_STRING;
    if (!texts)
        wrong(in, WK("tags"), WK("must be an object of texts"));
    return value;
}

static check read_check(reader *in)
{
    check read = { .id = text(in, WK("id"), true), .name = text(in, WK("name"), true) };
    read.state = text(in, WK("state"), true);
    if (!wk_same(read.state, WK("down")) && !wk_same(read.state, WK("up")))
        wrong(in, WK("state"), wk_join(WK("`"), read.state, WK("` is neither `down` nor `up`")));
    read.failures = whole(in, WK("failures"), 1);
    read.has_since = get(in, WK("since")) != NULL;
    read.since = whole(in, WK("since"), 0);
    read.message = text(in, WK("message"), false);
    read.tags = tags(in);
    return read;
}

/* ---- alerts ---- */

static void add(wk_alerts *alerts, const check *from)
{
    bool down = wk_same(from->state, WK("down"));
    wk_severity severity = !down                              ? WK_SEVERITY_INFO
                           : from->failures >= critical_after ? WK_SEVERITY_CRITICAL
                                                              : WK_SEVERITY_WARNING;
    wk_text title = wk_join(from->name, WK(" is "), from->state);
    wk_alert *alert = wk_add_alert(alerts, from->id, severity, down ? WK_FIRING : WK_RESOLVED, title);
    alert->description = from->message;
    wk_add(&alert->labels, WK("check"), from->name);
    for (size_t i = 0; from->tags && i < from->tags->count; i++)
        wk_add(&alert->labels, from->tags->keys[i], from->tags->items[i].text);
    wk_add(&alert->annotations, WK("failures"), wk_number(from->failures));
    alert->starts_at = (wk_time){ from->has_since, (uint64_t)from->since * 1000 };
}

wk_error *plugin_parse(const wk_payload *payload, wk_alerts *alerts)
{
    const wk_json *body;
    wk_error *error = wk_payload_json(payload, &body);
    if (error)
        return error;
    const wk_json *checks = wk_json_get(body, WK("checks"));
    if (!checks || checks->kind != WK_LIST)
        return wk_invalid_payload(WK("checks: must be a list"));
    for (size_t i = 0; i < checks->count; i++) {
        reader in = { .check = &checks->items[i], .index = (int64_t)i };
        check read = read_check(&in);
        if (in.error)
            return in.error;
        if (!is_ignored(read.name))
            add(alerts, &read);
    }
    wk_log(WK_INFO, wk_join(wk_number((int64_t)checks->count), WK(" checks")));
    return NULL;
}

/* A monitor that is set up sends a challenge, and wants it back. */
wk_error *plugin_respond(const wk_payload *payload, wk_reply *reply)
{
    wk_text problem;
    wk_text challenge = wk_json_text(wk_json_get(wk_json_read(payload->body, &problem), WK("challenge")));
    if (challenge.ptr) {
        reply->status = 200;
        wk_add(&reply->headers, WK("content-type"), WK("text/plain"));
        reply->body = challenge;
    }
    return NULL;
}

wk_error *plugin_check(void)
{
    return is_ignored(WK("*")) ? wk_failed(WK("ignore: * leaves nothing to watch")) : NULL;
}
