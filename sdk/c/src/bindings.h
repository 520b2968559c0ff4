/* Between the SDK's types and those of the generated bindings (plugin.h). Contents aren't copied: both sides point to the
 * same bytes, in the call's memory. */
#ifndef WATCHKEEPER_BINDINGS_H
#define WATCHKEEPER_BINDINGS_H

#include "internal.h"
#include "plugin.h"

_Static_assert(sizeof(wk_pair) == sizeof(plugin_tuple2_string_string_t), "pairs are handed over as they are");

/* Stands in for the bindings' own function, a weak symbol, which would free each piece of an answer. */
#define WK_AFTER(interface, function, symbol, then)                                                  \
    __attribute__((export_name("cabi_post_watchkeeper:plugin/" interface "@0.1.0#" function))) void \
        __wasm_export_exports_watchkeeper_plugin_##symbol##_post_return(uint8_t *answer)            \
    {                                                                                                \
        (void)answer;                                                                                \
        then();                                                                                      \
    }

static inline plugin_string_t lower_text(wk_text text)
{
    return (plugin_string_t){ (uint8_t *)text.ptr, text.len };
}

static inline plugin_option_string_t lower_option(wk_text text)
{
    return (plugin_option_string_t){ text.ptr != NULL, lower_text(text) };
}

static inline plugin_list_tuple2_string_string_t lower_pairs(wk_pairs pairs)
{
    return (plugin_list_tuple2_string_string_t){ (plugin_tuple2_string_string_t *)pairs.items, pairs.count };
}

static inline plugin_option_u64_t lower_time(wk_time time)
{
    return (plugin_option_u64_t){ time.known, time.ms };
}

/* An empty text isn't an absent one. */
static inline wk_text lift_text(plugin_string_t text)
{
    return (wk_text){ text.len ? (const char *)text.ptr : "", text.len };
}

static inline wk_text lift_option(plugin_option_string_t text)
{
    return text.is_some ? lift_text(text.val) : (wk_text){ 0 };
}

static inline wk_pairs lift_pairs(plugin_list_tuple2_string_string_t pairs)
{
    return (wk_pairs){ (wk_pair *)pairs.ptr, pairs.len, pairs.len };
}

static inline wk_time lift_time(plugin_option_u64_t time)
{
    return (wk_time){ time.is_some, time.val };
}

static inline watchkeeper_plugin_types_alert_t lower_alert(const wk_alert *alert)
{
    return (watchkeeper_plugin_types_alert_t){
        .id = lower_text(alert->id),
        .severity = (uint8_t)alert->severity,
        .status = (uint8_t)alert->status,
        .title = lower_text(alert->title),
        .description = lower_text(alert->description),
        .labels = lower_pairs(alert->labels),
        .annotations = lower_pairs(alert->annotations),
        .starts_at = lower_time(alert->starts_at),
        .ends_at = lower_time(alert->ends_at),
    };
}

static inline watchkeeper_plugin_types_alert_t *lower_alerts(wk_alerts alerts)
{
    watchkeeper_plugin_types_alert_t *lowered = wk_alloc(alerts.count * sizeof(*lowered));
    for (size_t i = 0; i < alerts.count; i++)
        lowered[i] = lower_alert(&alerts.items[i]);
    return lowered;
}

static inline wk_alert lift_alert(const watchkeeper_plugin_types_alert_t *alert)
{
    return (wk_alert){
        .id = lift_text(alert->id),
        .severity = (wk_severity)alert->severity,
        .status = (wk_status)alert->status,
        .title = lift_text(alert->title),
        .description = lift_text(alert->description),
        .labels = lift_pairs(alert->labels),
        .annotations = lift_pairs(alert->annotations),
        .starts_at = lift_time(alert->starts_at),
        .ends_at = lift_time(alert->ends_at),
    };
}

/* False, as the bindings want it of a call that failed. */
bool lower_error(const wk_error *error, watchkeeper_plugin_types_error_t *into);

#if defined(WK_PARSER) || defined(WK_RESPONDER)
static inline wk_payload lift_payload(const watchkeeper_plugin_types_payload_t *payload)
{
    return (wk_payload){
        .body = lift_text((plugin_string_t){ payload->body.ptr, payload->body.len }),
        .content_type = lift_option(payload->content_type),
        .attributes = lift_pairs(payload->attributes),
    };
}
#endif

#endif
