/* A diagnosis of full disks, without a model. */

#include <watchkeeper.h>

uint32_t plugin_score(const wk_alert *alert)
{
    return wk_contains(alert->title, WK("disk")) ? 60 : 0;
}

static void add_df(wk_calls *calls)
{
    wk_add_call(calls, WK("bash"), WK("{\"command\":\"df -h\"}"), WK("which file system is full"));
}

wk_error *plugin_build(const wk_briefing *briefing, wk_prompt *prompt)
{
    prompt->instructions = WK("Find out what fills the disk, and since when. Change nothing.");
    prompt->task = wk_join(briefing->alert.title, WK(" (source "), briefing->source,
                           WK("). Which file system is full, and what filled it?"));
    add_df(&prompt->first_steps);
    return NULL;
}

/* The highest percentage of a line; -1 where it has none. */
static int percent(wk_text line)
{
    int highest = -1;
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] != '%')
            continue;
        int number = 0;
        int place = 1;
        size_t digit = i;
        while (digit > 0 && place < 10000 && line.ptr[digit - 1] >= '0' && line.ptr[digit - 1] <= '9') {
            number += (line.ptr[--digit] - '0') * place;
            place *= 10;
        }
        if (digit < i && number > highest)
            highest = number;
    }
    return highest;
}

/* The line with the highest percentage, and that. */
static int fullest(wk_text output, wk_text *best)
{
    int highest = -1;
    for (size_t at = 0; at < output.len; at++) {
        wk_text line = { output.ptr + at, 0 };
        while (at < output.len && output.ptr[at] != '\n')
            at++;
        line.len = (size_t)(output.ptr + at - line.ptr);
        if (percent(line) > highest) {
            highest = percent(line);
            *best = line;
        }
    }
    return highest;
}

static void conclude(wk_report *report, size_t outcome, wk_text line, int highest)
{
    wk_finding *finding = wk_alloc(sizeof(wk_finding));
    wk_evidence *evidence = wk_alloc(sizeof(wk_evidence));
    wk_text *advice = wk_alloc(sizeof(wk_text));
    *evidence = (wk_evidence){ (uint32_t)outcome, line };
    *advice = WK("Free space, or grow the file system.");
    report->summary = wk_join(WK("The fullest file system is at "), wk_number(highest), WK(" %."));
    *finding = (wk_finding){ report->summary, evidence, 1 };
    report->findings = finding;
    report->findings_count = 1;
    report->recommendations = advice;
    report->recommendations_count = 1;
    report->confidence = highest >= 90 ? 0.8 : 0.4;
}

wk_error *plugin_next(const wk_briefing *briefing, const wk_outcome *outcomes, size_t count, wk_step *step)
{
    (void)briefing;
    if (count == 0) {
        add_df(&step->calls);
        return NULL;
    }
    const wk_outcome *last = &outcomes[count - 1];
    wk_text line;
    int highest = last->status == WK_RAN ? fullest(last->output, &line) : -1;
    if (highest >= 0) {
        conclude(&step->report, count - 1, line, highest);
    } else {
        step->report.summary = WK("df answered nothing that could be read.");
        step->report.confidence = 0.1;
    }
    return NULL;
}
