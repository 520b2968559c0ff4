/* The briefing for a model, for alerts about disks. */

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
