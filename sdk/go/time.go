package watchkeeper

import (
	"strconv"
	"time"
)

// ReadTime reads an RFC 3339 time, as Go writes it (nanoseconds and offsets included), for Alert.StartsAt. place names it in the
// error: alerts[3].since: not an RFC 3339 time. Nil for the zero time, 0001-01-01T00:00:00Z, by which Go says "never".
func ReadTime(text, place string) (*uint64, error) {
	read, ok := readTime(text)
	switch {
	case !ok:
		return nil, InvalidPayload("%s: not an RFC 3339 time", place)
	case read.IsZero():
		return nil, nil
	case read.Unix() < 0:
		return nil, InvalidPayload("%s: before 1970", place)
	}
	milliseconds := uint64(read.UnixMilli())
	return &milliseconds, nil
}

// readTime is by hand, since time.Parse takes a comma for a full stop, and no leap second.
func readTime(text string) (time.Time, bool) {
	if len(text) < len("2006-01-02T15:04:05Z") {
		return time.Time{}, false
	}
	ok := text[4] == '-' && text[7] == '-' && (text[10] == 'T' || text[10] == 't' || text[10] == ' ') &&
		text[13] == ':' && text[16] == ':'
	number := func(digits string) int {
		for _, digit := range []byte(digits) {
			ok = ok && digit >= '0' && digit <= '9'
		}
		number, _ := strconv.Atoi(digits)
		return number
	}
	year, month, day := number(text[:4]), number(text[5:7]), number(text[8:10])
	hour, minute, second := number(text[11:13]), number(text[14:16]), number(text[17:19])
	rest, milliseconds := text[19:], 0
	if rest[0] == '.' {
		end := 1
		for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		ok = ok && end > 1
		milliseconds = number((rest[1:end] + "000")[:3])
		rest = rest[end:]
	}
	offset := 0
	if rest != "Z" && rest != "z" {
		if len(rest) != len("+02:00") || rest[0] != '+' && rest[0] != '-' || rest[3] != ':' {
			return time.Time{}, false
		}
		hours, minutes := number(rest[1:3]), number(rest[4:])
		ok = ok && hours <= 23 && minutes <= 59
		if offset = hours*3600 + minutes*60; rest[0] == '-' {
			offset = -offset
		}
	}
	date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	// A leap second is the next minute's first.
	ok = ok && date.Month() == time.Month(month) && date.Day() == day && hour <= 23 && minute <= 59 && second <= 60
	seconds := date.Unix() + int64(hour*3600+minute*60+second-offset)
	return time.Unix(seconds, int64(milliseconds)*1_000_000).UTC(), ok
}
