/* The component's exports that have to do with investigations. */

#include "bindings.h"

#if defined(WK_PROMPT_BUILDER) || defined(WK_PLAYBOOK)

static wk_report lift_report(const watchkeeper_plugin_investigation_report_t *report)
{
    wk_report lifted = {
        .summary = lift_text(report->summary),
        .root_cause = lift_option(report->root_cause),
        .findings = wk_alloc(report->findings.len * sizeof(wk_finding)),
        .findings_count = report->findings.len,
        .recommendations = wk_alloc(report->recommendations.len * sizeof(wk_text)),
        .recommendations_count = report->recommendations.len,
        .confidence = report->confidence,
    };
    for (size_t i = 0; i < report->findings.len; i++) {
        const watchkeeper_plugin_investigation_finding_t *from = &report->findings.ptr[i];
        wk_finding *finding = &lifted.findings[i];
        finding->statement = lift_text(from->statement);
        finding->evidence_count = from->evidence.len;
        finding->evidence = wk_alloc(from->evidence.len * sizeof(wk_evidence));
        for (size_t j = 0; j < from->evidence.len; j++)
            finding->evidence[j] =
                (wk_evidence){ from->evidence.ptr[j].outcome, lift_text(from->evidence.ptr[j].excerpt) };
    }
    for (size_t i = 0; i < report->recommendations.len; i++)
        lifted.recommendations[i] = lift_text(report->recommendations.ptr[i]);
    return lifted;
}

static wk_briefing lift_briefing(const watchkeeper_plugin_investigation_briefing_t *briefing)
{
    wk_briefing lifted = {
        .incident = lift_text(briefing->incident),
        .source = lift_text(briefing->source),
        .alert = lift_alert(&briefing->alert),
        .history = wk_alloc(briefing->history.len * sizeof(wk_past_report)),
        .history_count = briefing->history.len,
        .tools = wk_alloc(briefing->tools.len * sizeof(wk_tool)),
        .tools_count = briefing->tools.len,
        .now = briefing->now,
    };
    size_t related = briefing->related.len;
    lifted.related = (wk_alerts){ wk_alloc(related * sizeof(wk_alert)), related, related };
    for (size_t i = 0; i < related; i++)
        lifted.related.items[i] = lift_alert(&briefing->related.ptr[i]);
    for (size_t i = 0; i < lifted.history_count; i++) {
        const watchkeeper_plugin_investigation_past_report_t *from = &briefing->history.ptr[i];
        lifted.history[i] = (wk_past_report){
            lift_text(from->incident), lift_text(from->title), from->ended_at, lift_report(&from->report)
        };
    }
    for (size_t i = 0; i < lifted.tools_count; i++) {
        const watchkeeper_plugin_investigation_tool_t *from = &briefing->tools.ptr[i];
        lifted.tools[i] =
            (wk_tool){ lift_text(from->name), lift_text(from->description), lift_text(from->input_schema) };
    }
    return lifted;
}

static watchkeeper_plugin_investigation_call_t *lower_calls(wk_calls calls)
{
    watchkeeper_plugin_investigation_call_t *lowered = wk_alloc(calls.count * sizeof(*lowered));
    for (size_t i = 0; i < calls.count; i++)
        lowered[i] = (watchkeeper_plugin_investigation_call_t){ lower_text(calls.items[i].tool),
                                                                lower_text(calls.items[i].input),
                                                                lower_text(calls.items[i].purpose) };
    return lowered;
}

#endif

#ifdef WK_PROMPT_BUILDER

WK_AFTER("prompt-builder", "build", prompt_builder_build, wk_call_is_over)

uint32_t exports_watchkeeper_plugin_prompt_builder_score(exports_watchkeeper_plugin_prompt_builder_alert_t *alert)
{
    wk_alert lifted = lift_alert(alert);
    uint32_t score = plugin_score(&lifted);
    /* A number needs nothing that could be given back afterwards, so the bindings have no function for it. */
    wk_call_is_over();
    return score;
}

bool exports_watchkeeper_plugin_prompt_builder_build(exports_watchkeeper_plugin_prompt_builder_briefing_t *briefing,
                                                     exports_watchkeeper_plugin_prompt_builder_prompt_t *ret,
                                                     exports_watchkeeper_plugin_prompt_builder_error_t *err)
{
    wk_briefing lifted = lift_briefing(briefing);
    wk_prompt prompt = { 0 };
    wk_error *error = plugin_build(&lifted, &prompt);
    if (error)
        return lower_error(error, err);
    ret->instructions = lower_text(prompt.instructions);
    ret->task = lower_text(prompt.task);
    ret->first_steps.ptr = lower_calls(prompt.first_steps);
    ret->first_steps.len = prompt.first_steps.count;
    return true;
}

#endif

#ifdef WK_PLAYBOOK

WK_AFTER("playbook", "next", playbook_next, wk_call_is_over)

static wk_outcome *lift_outcomes(const exports_watchkeeper_plugin_playbook_list_outcome_t *outcomes)
{
    wk_outcome *lifted = wk_alloc(outcomes->len * sizeof(wk_outcome));
    for (size_t i = 0; i < outcomes->len; i++) {
        const watchkeeper_plugin_investigation_outcome_t *from = &outcomes->ptr[i];
        lifted[i] = (wk_outcome){
            .call = { lift_text(from->call.tool), lift_text(from->call.input), lift_text(from->call.purpose) },
            .status = (wk_outcome_status)from->status,
            .output = lift_text(from->output),
            .truncated = from->truncated,
            .has_exit_code = from->exit_code.is_some,
            .exit_code = from->exit_code.val,
            .duration_ms = from->duration_ms,
        };
    }
    return lifted;
}

static watchkeeper_plugin_investigation_report_t lower_report(const wk_report *report)
{
    watchkeeper_plugin_investigation_report_t lowered = {
        .summary = lower_text(report->summary),
        .root_cause = lower_option(report->root_cause),
        .confidence = report->confidence,
    };
    lowered.findings.len = report->findings_count;
    lowered.findings.ptr = wk_alloc(report->findings_count * sizeof(*lowered.findings.ptr));
    for (size_t i = 0; i < report->findings_count; i++) {
        const wk_finding *from = &report->findings[i];
        watchkeeper_plugin_investigation_finding_t *finding = &lowered.findings.ptr[i];
        finding->statement = lower_text(from->statement);
        finding->evidence.len = from->evidence_count;
        finding->evidence.ptr = wk_alloc(from->evidence_count * sizeof(*finding->evidence.ptr));
        for (size_t j = 0; j < from->evidence_count; j++)
            finding->evidence.ptr[j] = (watchkeeper_plugin_investigation_evidence_t){
                from->evidence[j].outcome, lower_text(from->evidence[j].excerpt)
            };
    }
    lowered.recommendations.len = report->recommendations_count;
    lowered.recommendations.ptr = wk_alloc(report->recommendations_count * sizeof(plugin_string_t));
    for (size_t i = 0; i < report->recommendations_count; i++)
        lowered.recommendations.ptr[i] = lower_text(report->recommendations[i]);
    return lowered;
}

bool exports_watchkeeper_plugin_playbook_next(exports_watchkeeper_plugin_playbook_briefing_t *briefing,
                                              exports_watchkeeper_plugin_playbook_list_outcome_t *outcomes,
                                              exports_watchkeeper_plugin_playbook_step_t *ret,
                                              exports_watchkeeper_plugin_playbook_error_t *err)
{
    wk_briefing lifted = lift_briefing(briefing);
    wk_step step = { 0 };
    wk_error *error = plugin_next(&lifted, lift_outcomes(outcomes), outcomes->len, &step);
    if (error)
        return lower_error(error, err);
    if (step.calls.count) {
        ret->tag = EXPORTS_WATCHKEEPER_PLUGIN_PLAYBOOK_STEP_CALLS;
        ret->val.calls.ptr = lower_calls(step.calls);
        ret->val.calls.len = step.calls.count;
    } else {
        ret->tag = EXPORTS_WATCHKEEPER_PLUGIN_PLAYBOOK_STEP_CONCLUDE;
        ret->val.conclude = lower_report(&step.report);
    }
    return true;
}

#endif
