/* Write a Watchkeeper plugin in C.
 *
 * A plugin defines the functions of the interfaces that its plugin.yaml exports (`plugin_…`, at the end of this file) and
 * calls what the SDK has (`wk_…`). What each type may hold is written in the contract, wit/watchkeeper.wit.
 *
 * Memory: whatever is allocated lasts until the call is over, and then goes all at once; nothing is ever freed by hand.
 * What `plugin_configure` allocates stays: that is the place to fill static variables. There is no other state, for the
 * host may start a fresh instance between any two calls. Where memory runs out, the instance ends, and the host says so.
 *
 * Errors: a function that may fail answers NULL, or an error that says who can act on it:
 *     return wk_invalid_payload(wk_join(WK("alerts["), wk_number(i), WK("].id: must be a text")));
 */
#ifndef WATCHKEEPER_H
#define WATCHKEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- memory and text ---- */

/* `size` bytes of zeros, aligned for anything. */
void *wk_alloc(size_t size);

/* UTF-8, with its length: it may have zeros inside and has none at its end. One without a `ptr` is absent. */
typedef struct {
    const char *ptr;
    size_t len;
} wk_text;

/* A literal: WK("disk is full"). */
#define WK(literal) ((wk_text){ "" literal, sizeof(literal) - 1 })

/* One text of several: wk_join(name, WK(" is "), state). */
#define wk_join(...) \
    wk_join_all((wk_text[]){ __VA_ARGS__ }, sizeof((wk_text[]){ __VA_ARGS__ }) / sizeof(wk_text))
wk_text wk_join_all(const wk_text *texts, size_t count);

wk_text wk_number(int64_t number);
wk_text wk_from_cstr(const char *text);
bool wk_same(wk_text a, wk_text b);
bool wk_begins(wk_text text, wk_text with);
/* Whether `part` is in `text`, capitals or not (ASCII's). */
bool wk_contains(wk_text text, wk_text part);

/* Keys with values, in order. An empty one is {0}. */
typedef struct {
    wk_text key;
    wk_text value;
} wk_pair;

typedef struct {
    wk_pair *items;
    size_t count;
    size_t room;
} wk_pairs;

void wk_add(wk_pairs *pairs, wk_text key, wk_text value);
/* The value of a key; absent where there is none. */
wk_text wk_value(const wk_pairs *pairs, wk_text key);

/* ---- errors, sorted by who can act ---- */

typedef struct wk_error wk_error;

/* The operator mends `key` of the source's file (dotted where nested; absent if it is the whole). */
wk_error *wk_invalid_config(wk_text key, wk_text reason);
/* The sender mends what it sends. Say where and what. */
wk_error *wk_invalid_payload(wk_text reason);
/* Somebody's credentials are wrong. */
wk_error *wk_unauthorized(wk_text reason);
/* Something else is down for now; `retry_after_ms` 0: the host knows best. */
wk_error *wk_unavailable(wk_text reason, uint64_t retry_after_ms);
/* The plugin itself can't go on. */
wk_error *wk_failed(wk_text reason);

/* ---- the plugin's log ---- */

typedef enum { WK_TRACE, WK_DEBUG, WK_INFO, WK_WARN, WK_ERROR } wk_level;

/* One line, up to 4 KiB. */
void wk_log(wk_level level, wk_text line);

/* ---- JSON ---- */

/* How deep lists and objects may be nested. */
#define WK_JSON_DEPTH 128

typedef enum { WK_NULL, WK_BOOL, WK_NUMBER, WK_STRING, WK_LIST, WK_OBJECT } wk_json_kind;

typedef struct wk_json {
    wk_json_kind kind;
    bool boolean;
    /* A string's contents; a number as it was written. */
    wk_text text;
    /* Of a list or an object: how many values, and the values. */
    size_t count;
    struct wk_json *items;
    /* Of an object: the keys of the values. Of a key that comes twice the last value counts, at the first's place. */
    wk_text *keys;
} wk_json;

/* Reads RFC 8259 text, and nothing else: valid UTF-8, no comments, no comma too many, nothing behind the value, at most
 * WK_JSON_DEPTH deep. NULL where it is none; then `problem` says what is wrong, and at which byte. */
const wk_json *wk_json_read(wk_text bytes, wk_text *problem);
/* The value of an object's key; NULL where it has none, or where `value` is no object. */
const wk_json *wk_json_get(const wk_json *value, wk_text key);
/* A string's contents; absent for everything else, NULL included. */
wk_text wk_json_text(const wk_json *value);
/* Whether it is a number without fraction and exponent that fits; then it is in `number`. */
bool wk_json_whole(const wk_json *value, int64_t *number);

/* ---- alerts ---- */

typedef enum { WK_SEVERITY_INFO, WK_SEVERITY_WARNING, WK_SEVERITY_CRITICAL } wk_severity;
typedef enum { WK_FIRING, WK_RESOLVED } wk_status;

/* Unix milliseconds. */
typedef struct {
    bool known;
    uint64_t ms;
} wk_time;

typedef struct {
    wk_text id;
    wk_severity severity;
    wk_status status;
    wk_text title;
    wk_text description;
    wk_pairs labels;
    wk_pairs annotations;
    wk_time starts_at;
    wk_time ends_at;
} wk_alert;

typedef struct {
    wk_alert *items;
    size_t count;
    size_t room;
} wk_alerts;

/* Reads an RFC 3339 time, as Go writes it (nanoseconds and offsets included); `place` names it in the error:
 * `alerts[3].since: not an RFC 3339 time`. Not known for Go's zero time, 0001-01-01T00:00:00Z, by which it says "never". */
wk_error *wk_read_time(wk_text text, wk_text place, wk_time *time);

/* One more alert, with what every alert must have. The pointer holds until the next is added. */
wk_alert *wk_add_alert(wk_alerts *alerts, wk_text id, wk_severity severity, wk_status status, wk_text title);

/* What arrived, as it arrived. */
typedef struct {
    wk_text body; /* any bytes */
    wk_text content_type;
    wk_pairs attributes; /* HTTP headers, names in lower case */
} wk_payload;

/* The body as text; the error names the first byte that is not UTF-8. Texts that leave a plugin must be UTF-8. */
wk_error *wk_payload_text(const wk_payload *payload, wk_text *text);
/* The body as JSON; the error begins with `not JSON`. */
wk_error *wk_payload_json(const wk_payload *payload, const wk_json **json);

/* ---- HTTP, for plugins that export `poller` or have `asks: { http: [HOST] }` in plugin.yaml ---- */

/* To a host that the plugin asks for (`asks` in plugin.yaml) and the operator grants (`allow_hosts` in the source's file).
 *
 * A value of the configuration that the operator wrote as `${NAME}` is a placeholder here; put it into a header, and the
 * host puts in the secret as the request leaves. */
typedef struct {
    wk_text method;      /* in upper case; absent: GET */
    wk_text url;         /* absolute, http or https */
    wk_pairs query;      /* put behind the URL, encoded */
    wk_pairs headers;    /* `host`, `content-length` and the connection's own are the host's to set */
    wk_text body;        /* up to 16 MiB; absent: none */
    uint64_t timeout_ms; /* 0: 20 seconds. The call's own deadline holds besides */
} wk_request;

typedef struct {
    uint16_t status;
    wk_pairs headers; /* names in lower case; values are any bytes */
    wk_text body;     /* any bytes, up to 16 MiB */
} wk_response;

/* Sends it and waits for the whole answer; redirects aren't followed. The error is an unavailable one where there is no
 * answer, and a failed one where the host isn't granted, or the request is none. A status that means failure is an answer. */
wk_error *wk_send(const wk_request *request, wk_response *response);
/* NULL where the status means success; else the error that it means: an unauthorized one for 401 and 403, an unavailable
 * one (with retry-after, if there is one) for whatever else. */
wk_error *wk_success(const wk_response *response);
/* The body as JSON; the error begins with `not JSON`. */
wk_error *wk_response_json(const wk_response *response, const wk_json **json);

/* ---- configuration ---- */

/* Refuses the first key that isn't known: wk_known_keys(config, WK("webhook_path"), WK("ignore")). */
#define wk_known_keys(config, ...) \
    wk_known_keys_all(config, (wk_text[]){ __VA_ARGS__ }, sizeof((wk_text[]){ __VA_ARGS__ }) / sizeof(wk_text))
wk_error *wk_known_keys_all(const wk_json *config, const wk_text *keys, size_t count);
/* Refuses the first key that is missing: wk_required_keys(config, WK("url")). */
#define wk_required_keys(config, ...) \
    wk_required_keys_all(config, (wk_text[]){ __VA_ARGS__ }, sizeof((wk_text[]){ __VA_ARGS__ }) / sizeof(wk_text))
wk_error *wk_required_keys_all(const wk_json *config, const wk_text *keys, size_t count);
/* Reads a key's text into `value`, which keeps what it has where the key is absent, or null. */
wk_error *wk_config_text(const wk_json *config, wk_text key, wk_text *value);
/* The same of a whole number, `least` or more. */
wk_error *wk_config_whole(const wk_json *config, wk_text key, int64_t least, int64_t *value);
/* The same of true or false. */
wk_error *wk_config_flag(const wk_json *config, wk_text key, bool *value);
/* The same of a list of texts. */
wk_error *wk_config_texts(const wk_json *config, wk_text key, wk_text **values, size_t *count);

/* How a source wants to be fed: set one. */
typedef struct {
    wk_text webhook_path;
    uint64_t poll_interval_ms;
    /* One of the host's own transports, with its settings. */
    wk_text transport;
    wk_pairs settings;
} wk_feed;

/* ---- what other interfaces speak of ---- */

typedef struct {
    uint16_t status; /* 0: no handshake, go on and parse it */
    wk_pairs headers;
    wk_text body;
} wk_reply;

typedef struct {
    wk_alerts alerts;
    wk_text cursor; /* absent: none */
    bool more;
} wk_batch;

typedef struct {
    wk_text tool;
    wk_text input; /* a JSON object */
    wk_text purpose;
} wk_call;

typedef struct {
    wk_call *items;
    size_t count;
    size_t room;
} wk_calls;

void wk_add_call(wk_calls *calls, wk_text tool, wk_text input, wk_text purpose);

typedef enum { WK_RAN, WK_COULD_NOT, WK_TIMED_OUT, WK_REFUSED, WK_INTERRUPTED } wk_outcome_status;

typedef struct {
    wk_call call;
    wk_outcome_status status;
    wk_text output;
    bool truncated;
    bool has_exit_code;
    int32_t exit_code;
    uint64_t duration_ms;
} wk_outcome;

typedef struct {
    uint32_t outcome; /* an index into the outcomes */
    wk_text excerpt;
} wk_evidence;

typedef struct {
    wk_text statement;
    wk_evidence *evidence;
    size_t evidence_count;
} wk_finding;

typedef struct {
    wk_text summary;
    wk_text root_cause; /* absent: not known */
    wk_finding *findings;
    size_t findings_count;
    wk_text *recommendations;
    size_t recommendations_count;
    double confidence; /* 0 to 1 */
} wk_report;

typedef struct {
    wk_text incident;
    wk_text title;
    uint64_t ended_at;
    wk_report report;
} wk_past_report;

typedef struct {
    wk_text name;
    wk_text description;
    wk_text input_schema;
} wk_tool;

typedef struct {
    wk_text incident;
    wk_text source;
    wk_alert alert;
    wk_alerts related;
    wk_past_report *history;
    size_t history_count;
    wk_tool *tools;
    size_t tools_count;
    uint64_t now;
} wk_briefing;

typedef struct {
    wk_text instructions;
    wk_text task;
    wk_calls first_steps;
} wk_prompt;

/* Calls, or where there are none, the report. */
typedef struct {
    wk_calls calls;
    wk_report report;
} wk_step;

/* ---- what a plugin defines, of what its plugin.yaml exports ---- */

/* source: checks the keys of the source's file and says how it is fed. Once in each instance, first of all. */
wk_error *plugin_configure(const wk_json *config, wk_feed *feed);
/* parser: all of the payload's alerts; none is an answer, too. */
wk_error *plugin_parse(const wk_payload *payload, wk_alerts *alerts);
/* responder: answers a handshake, or leaves `reply` as it is. */
wk_error *plugin_respond(const wk_payload *payload, wk_reply *reply);
/* poller: `cursor` is that of the last batch that is safely stored; absent at the very first call. */
wk_error *plugin_fetch(wk_text cursor, wk_batch *batch);
/* health: NULL where all is well. */
wk_error *plugin_check(void);
/* prompt-builder: how well it knows alerts like this, 0 for not at all; then the briefing for a brain. */
uint32_t plugin_score(const wk_alert *alert);
wk_error *plugin_build(const wk_briefing *briefing, wk_prompt *prompt);
/* playbook: the next step. The same outcomes give the same step. */
wk_error *plugin_next(const wk_briefing *briefing, const wk_outcome *outcomes, size_t count, wk_step *step);

#endif
