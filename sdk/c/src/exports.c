/* The component's exports that have to do with sources: each leads to the plugin's function of its name. */

#include "bindings.h"

/* What leaves must be UTF-8; of words for people, the part that is will do. */
static wk_text what_is_valid(wk_text text)
{
    return (wk_text){ text.ptr, wk_valid_utf8(text) };
}

bool lower_error(const wk_error *error, watchkeeper_plugin_types_error_t *into)
{
    plugin_string_t reason = lower_text(what_is_valid(error->reason));
    into->tag = (uint8_t)error->kind;
    switch (error->kind) {
    case INVALID_CONFIG:
        into->val.invalid_config = (watchkeeper_plugin_types_config_error_t){ lower_option(what_is_valid(error->key)), reason };
        break;
    case INVALID_PAYLOAD:
        into->val.invalid_payload = reason;
        break;
    case UNAUTHORIZED:
        into->val.unauthorized = reason;
        break;
    case UNAVAILABLE:
        into->val.unavailable = (watchkeeper_plugin_types_unavailable_error_t){
            reason, { error->retry_after_ms != 0, error->retry_after_ms }
        };
        break;
    case FAILED:
        into->val.failed = reason;
        break;
    }
    return false;
}

void wk_log(wk_level level, wk_text line)
{
    plugin_string_t lowered = lower_text(what_is_valid(line));
    watchkeeper_plugin_logging_log((uint8_t)level, &lowered);
}

#ifdef WK_SOURCE

WK_AFTER("source", "configure", source_configure, wk_keep_all)

static exports_watchkeeper_plugin_source_feed_t lower_feed(const wk_feed *feed)
{
    exports_watchkeeper_plugin_source_feed_t lowered = { 0 };
    if (feed->poll_interval_ms) {
        lowered.tag = EXPORTS_WATCHKEEPER_PLUGIN_SOURCE_FEED_POLL;
        lowered.val.poll.interval_ms = feed->poll_interval_ms;
    } else if (feed->transport.ptr) {
        lowered.tag = EXPORTS_WATCHKEEPER_PLUGIN_SOURCE_FEED_SUBSCRIPTION;
        lowered.val.subscription.transport = lower_text(feed->transport);
        lowered.val.subscription.settings = lower_pairs(feed->settings);
    } else {
        lowered.tag = EXPORTS_WATCHKEEPER_PLUGIN_SOURCE_FEED_WEBHOOK;
        lowered.val.webhook.path = lower_text(feed->webhook_path);
    }
    return lowered;
}

bool exports_watchkeeper_plugin_source_configure(plugin_string_t *config_json,
                                                 exports_watchkeeper_plugin_source_feed_t *ret,
                                                 exports_watchkeeper_plugin_source_error_t *err)
{
    wk_text problem;
    const wk_json *config = wk_json_read(lift_text(*config_json), &problem);
    wk_text whole = { 0 };
    if (!config)
        return lower_error(wk_invalid_config(whole, wk_join(WK("not JSON: "), problem)), err);
    if (config->kind != WK_OBJECT)
        return lower_error(wk_invalid_config(whole, WK("must be an object of keys and values")), err);
    wk_feed feed = { 0 };
    wk_error *error = plugin_configure(config, &feed);
    if (error)
        return lower_error(error, err);
    *ret = lower_feed(&feed);
    return true;
}

#endif

#ifdef WK_PARSER

WK_AFTER("parser", "parse", parser_parse, wk_call_is_over)

bool exports_watchkeeper_plugin_parser_parse(exports_watchkeeper_plugin_parser_payload_t *payload,
                                             exports_watchkeeper_plugin_parser_list_alert_t *ret,
                                             exports_watchkeeper_plugin_parser_error_t *err)
{
    wk_payload lifted = lift_payload(payload);
    wk_alerts alerts = { 0 };
    wk_error *error = plugin_parse(&lifted, &alerts);
    if (!error)
        error = wk_check_alerts(&alerts);
    if (error)
        return lower_error(error, err);
    *ret = (exports_watchkeeper_plugin_parser_list_alert_t){ lower_alerts(alerts), alerts.count };
    return true;
}

#endif

#ifdef WK_RESPONDER

WK_AFTER("responder", "respond", responder_respond, wk_call_is_over)

bool exports_watchkeeper_plugin_responder_respond(exports_watchkeeper_plugin_responder_payload_t *payload,
                                                  exports_watchkeeper_plugin_responder_option_reply_t *ret,
                                                  exports_watchkeeper_plugin_responder_error_t *err)
{
    wk_payload lifted = lift_payload(payload);
    wk_reply reply = { 0 };
    wk_error *error = plugin_respond(&lifted, &reply);
    if (error)
        return lower_error(error, err);
    plugin_string_t body = lower_text(reply.body);
    ret->is_some = reply.status != 0;
    ret->val = (exports_watchkeeper_plugin_responder_reply_t){
        reply.status, lower_pairs(reply.headers), { body.ptr, body.len }
    };
    return true;
}

#endif

#ifdef WK_POLLER

WK_AFTER("poller", "fetch", poller_fetch, wk_call_is_over)

bool exports_watchkeeper_plugin_poller_fetch(plugin_string_t *maybe_cursor,
                                             exports_watchkeeper_plugin_poller_batch_t *ret,
                                             exports_watchkeeper_plugin_poller_error_t *err)
{
    wk_batch batch = { 0 };
    wk_error *error = plugin_fetch(maybe_cursor ? lift_text(*maybe_cursor) : (wk_text){ 0 }, &batch);
    if (!error)
        error = wk_check_alerts(&batch.alerts);
    if (error)
        return lower_error(error, err);
    ret->alerts.ptr = lower_alerts(batch.alerts);
    ret->alerts.len = batch.alerts.count;
    ret->cursor = lower_option(batch.cursor);
    ret->more = batch.more;
    return true;
}

#endif

#ifdef WK_HEALTH

WK_AFTER("health", "check", health_check, wk_call_is_over)

bool exports_watchkeeper_plugin_health_check(exports_watchkeeper_plugin_health_error_t *err)
{
    wk_error *error = plugin_check();
    return error ? lower_error(error, err) : true;
}

#endif
