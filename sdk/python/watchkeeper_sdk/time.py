"""RFC 3339 times, as Go writes them (nanoseconds and offsets included), to Unix milliseconds. What time it is says the standard
library's `time.time()`."""

import re
from datetime import date

from .error import Error

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)

# 0001-01-01T00:00:00Z
_GO_ZERO = -62_135_596_800_000


def read(text: str, place: str) -> int | None:
    """For `Alert.starts_at`; `place` names it in the error: `alerts[3].since: not an RFC 3339 time`. None for Go's zero time,
    `0001-01-01T00:00:00Z`, by which it says "never"."""
    milliseconds = _milliseconds(text)
    if milliseconds is None:
        raise Error.invalid_payload(f"{place}: not an RFC 3339 time")
    if milliseconds == _GO_ZERO:
        return None
    if milliseconds < 0:
        raise Error.invalid_payload(f"{place}: before 1970")
    return milliseconds


def _milliseconds(text: str) -> int | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[at]) for at in range(1, 7))
    fraction, sign, hours, minutes = match[7] or "", match[8], int(match[9] or 0), int(match[10] or 0)
    # A leap second is the next minute's first.
    if hour > 23 or minute > 59 or second > 60 or hours > 23 or minutes > 59:
        return None
    try:
        days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None
    offset = (hours * 3600 + minutes * 60) * (-1 if sign == "-" else 1)
    return (days * 86_400 + hour * 3600 + minute * 60 + second - offset) * 1000 + int(f"{fraction:0<3}"[:3])
