// RFC 3339 times, as Go writes them (nanoseconds and offsets included), to Unix milliseconds. What time it is says `Date.now()`.

import { PluginError } from "./error.js";

const TIME =
    /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;

/** 0001-01-01T00:00:00Z. */
const GO_ZERO = -62_135_596_800_000;

/**
 * For an alert's `startsAt`; `place` names it in the error: `alerts[3].since: not an RFC 3339 time`. Null for Go's zero time,
 * `0001-01-01T00:00:00Z`, by which it says "never".
 */
export function read(text, place) {
    const time = milliseconds(text);
    if (time === null) {
        throw PluginError.invalidPayload(`${place}: not an RFC 3339 time`);
    }
    if (time === GO_ZERO) {
        return null;
    }
    if (time < 0) {
        throw PluginError.invalidPayload(`${place}: before 1970`);
    }
    return time;
}

function milliseconds(text) {
    const match = TIME.exec(text);
    if (match === null) {
        return null;
    }
    const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number);
    const [hours, minutes] = [Number(match[9] ?? 0), Number(match[10] ?? 0)];
    // Date.UTC would take the year 1 for 1901.
    const date = new Date(0);
    date.setUTCFullYear(year, month - 1, day);
    const isDay = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
    // A leap second is the next minute's first.
    if (!isDay || hour > 23 || minute > 59 || second > 60 || hours > 23 || minutes > 59) {
        return null;
    }
    const offset = (hours * 3600 + minutes * 60) * (match[8] === "-" ? -1 : 1);
    const seconds = hour * 3600 + minute * 60 + second - offset;
    return date.getTime() + seconds * 1000 + Number((match[7] ?? "").padEnd(3, "0").slice(0, 3));
}
