/* Alerts that are fetched. This one only counts how often it was asked. */

#include <watchkeeper.h>

wk_error *plugin_configure(const wk_json *config, wk_feed *feed)
{
    int64_t seconds = 60;
    wk_error *error = wk_known_keys(config, WK("poll_interval"));
    if (!error)
        error = wk_config_whole(config, WK("poll_interval"), 1, &seconds);
    feed->poll_interval_ms = (uint64_t)seconds * 1000;
    return error;
}

static int64_t counted(wk_text cursor)
{
    int64_t number = 0;
    for (size_t i = 0; i < cursor.len && cursor.ptr[i] >= '0' && cursor.ptr[i] <= '9' && number < 1000000000; i++)
        number = number * 10 + (cursor.ptr[i] - '0');
    return number;
}

/* Fetch here what is new since `cursor`. It is that of the last batch that is safely stored, so whatever it stands for may
 * be acknowledged to the other side now. The hosts to fetch from go into `asks` of plugin.yaml. */
wk_error *plugin_fetch(wk_text cursor, wk_batch *batch)
{
    wk_text times = wk_number(counted(cursor) + 1);
    wk_text title = wk_join(WK("@name@ was polled "), times, WK(" times"));
    wk_add_alert(&batch->alerts, WK("heartbeat"), WK_SEVERITY_INFO, WK_FIRING, title);
    batch->cursor = times;
    return NULL;
}

/* Say here whether the other side can be reached and takes the credentials. */
wk_error *plugin_check(void)
{
    return NULL;
}
