/* Alerts that senders POST to a webhook. */

#include "wire.h"

wk_error *plugin_configure(const wk_json *config, wk_feed *feed)
{
    feed->webhook_path = WK("/alerts/@name@");
    wk_error *error = wk_known_keys(config, WK("webhook_path"));
    if (!error)
        error = wk_config_text(config, WK("webhook_path"), &feed->webhook_path);
    if (!error && !wk_begins(feed->webhook_path, WK("/")))
        error = wk_invalid_config(WK("webhook_path"), WK("must begin with `/`"));
    return error;
}

wk_error *plugin_parse(const wk_payload *payload, wk_alerts *alerts)
{
    wk_error *error = wire_alerts(payload, alerts);
    if (!error)
        wk_log(WK_INFO, wk_join(wk_number((int64_t)alerts->count), WK(" alerts")));
    return error;
}
