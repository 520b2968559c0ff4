/* Alerts that are fetched: `GET url?after=cursor` answers {"alerts": [{"id": "…", "title": "…"}], "next": "…", "more": false},
 * and `next` is the cursor from then on. */

#include "wire.h"

/* Of the source's file. */
static wk_text url;
/* `${NAME}` in the file is a placeholder here, which the host replaces in the request's header. */
static wk_text token;

wk_error *plugin_configure(const wk_json *config, wk_feed *feed)
{
    int64_t seconds = 60;
    wk_error *error = wk_known_keys(config, WK("poll_interval"), WK("url"), WK("token"));
    if (!error)
        error = wk_required_keys(config, WK("url"));
    if (!error)
        error = wk_config_whole(config, WK("poll_interval"), 1, &seconds);
    /* Its host goes into `asks` of plugin.yaml, for the operator to grant. */
    if (!error)
        error = wk_config_text(config, WK("url"), &url);
    if (!error)
        error = wk_config_text(config, WK("token"), &token);
    if (!error && !wk_begins(url, WK("http://")) && !wk_begins(url, WK("https://")))
        error = wk_invalid_config(WK("url"), WK("must begin with http:// or https://"));
    feed->poll_interval_ms = (uint64_t)seconds * 1000;
    return error;
}

static wk_error *ask(wk_text cursor, wk_response *response)
{
    wk_request request = { .url = url };
    wk_add(&request.headers, WK("accept"), WK("application/json"));
    if (token.len)
        wk_add(&request.headers, WK("authorization"), wk_join(WK("Bearer "), token));
    if (cursor.ptr)
        wk_add(&request.query, WK("after"), cursor);
    wk_error *error = wk_send(&request, response);
    return error ? error : wk_success(response);
}

/* What is new since `cursor`. It is that of the last batch that is safely stored, so whatever it stands for may be
 * acknowledged to the other side now. */
wk_error *plugin_fetch(wk_text cursor, wk_batch *batch)
{
    wk_response response = { 0 };
    wk_error *error = ask(cursor, &response);
    batch->cursor = cursor;
    return error ? error : wire_batch(&response, batch);
}

/* Whether the other side can be reached and takes the credentials. */
wk_error *plugin_check(void)
{
    wk_response response = { 0 };
    return ask((wk_text){ 0 }, &response);
}
