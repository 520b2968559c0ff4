/* Alerts that come over whatever transport a source names. */

#include "wire.h"

wk_error *plugin_parse(const wk_payload *payload, wk_alerts *alerts)
{
    wk_error *error = wire_alerts(payload, alerts);
    if (!error)
        wk_log(WK_INFO, wk_join(wk_number((int64_t)alerts->count), WK(" alerts")));
    return error;
}
