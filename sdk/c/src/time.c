/* RFC 3339 times, as Go writes them (nanoseconds and offsets included), to Unix milliseconds. */

#include "internal.h"

/* 0001-01-01T00:00:00Z */
#define GO_ZERO INT64_C(-62135596800000)

static bool digits(const char *at, size_t count, int64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < count; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        *number = *number * 10 + (at[i] - '0');
    }
    return true;
}

static int64_t days_in(int64_t year, int64_t month)
{
    static const char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* In years that begin in March, so that a leap day is the last; the year 0 and what is before it don't occur. */
static int64_t days_since_1970(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year + 399 : year + 400;
    int64_t of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    return y / 400 * 146097 + y % 400 * 365 + y % 400 / 4 - y % 400 / 100 + of_year - 719468 - 146097;
}

/* `.789123`: 789; `rest` is then what follows it. */
static bool fraction(wk_text *rest, int64_t *ms)
{
    *ms = 0;
    if (!rest->len || rest->ptr[0] != '.')
        return true;
    size_t end = 1;
    for (int64_t worth = 100; end < rest->len && rest->ptr[end] >= '0' && rest->ptr[end] <= '9'; end++, worth /= 10)
        *ms += worth * (rest->ptr[end] - '0');
    *rest = (wk_text){ rest->ptr + end, rest->len - end };
    return end > 1;
}

/* `Z`, `+02:00` or `-05:30`, in seconds. */
static bool offset(wk_text zone, int64_t *seconds)
{
    int64_t hours, minutes;
    *seconds = 0;
    if (wk_same(zone, WK("Z")) || wk_same(zone, WK("z")))
        return true;
    if (zone.len != 6 || (zone.ptr[0] != '+' && zone.ptr[0] != '-') || zone.ptr[3] != ':')
        return false;
    if (!digits(zone.ptr + 1, 2, &hours) || !digits(zone.ptr + 4, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *seconds = (hours * 3600 + minutes * 60) * (zone.ptr[0] == '-' ? -1 : 1);
    return true;
}

static bool milliseconds(wk_text text, int64_t *read)
{
    const char *at = text.ptr;
    int64_t year, month, day, hour, minute, second, ms, east;
    if (text.len < 20 || at[4] != '-' || at[7] != '-' || at[13] != ':' || at[16] != ':')
        return false;
    if (at[10] != 'T' && at[10] != 't' && at[10] != ' ')
        return false;
    if (!digits(at, 4, &year) || !digits(at + 5, 2, &month) || !digits(at + 8, 2, &day))
        return false;
    if (!digits(at + 11, 2, &hour) || !digits(at + 14, 2, &minute) || !digits(at + 17, 2, &second))
        return false;
    /* A leap second is the next minute's first. */
    if (month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60)
        return false;
    wk_text rest = { at + 19, text.len - 19 };
    if (!fraction(&rest, &ms) || !offset(rest, &east))
        return false;
    int64_t seconds = days_since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - east;
    *read = seconds * 1000 + ms;
    return true;
}

wk_error *wk_read_time(wk_text text, wk_text place, wk_time *time)
{
    int64_t read;
    if (!milliseconds(text, &read))
        return wk_invalid_payload(wk_join(place, WK(": not an RFC 3339 time")));
    if (read < 0 && read != GO_ZERO)
        return wk_invalid_payload(wk_join(place, WK(": before 1970")));
    *time = (wk_time){ .known = read >= 0, .ms = read >= 0 ? (uint64_t)read : 0 };
    return NULL;
}
