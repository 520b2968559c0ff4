//! RFC 3339 times, as Go writes them (nanoseconds and offsets included), to Unix milliseconds. What time it is says
//! `std::time::SystemTime`.

use crate::Error;

/// For [`crate::Alert::starts_at`]; `place` names it in the error: `alerts[3].since: not an RFC 3339 time`. `None` for Go's zero
/// time, `0001-01-01T00:00:00Z`, by which it says "never".
///
/// # Errors
/// [`Error::InvalidPayload`] where it is no time, or one before 1970.
pub fn read(text: &str, place: &str) -> Result<Option<u64>, Error> {
    parse(text).map_err(|wrong| Error::invalid_payload(format!("{place}: {wrong}")))
}

/// As [`read`], with what is wrong in words.
///
/// # Errors
/// Where it is no time, or one before 1970.
pub fn parse(text: &str) -> Result<Option<u64>, &'static str> {
    const NO_TIME: &str = "not an RFC 3339 time";
    let millis = millis(text.as_bytes()).ok_or(NO_TIME)?;
    match u64::try_from(millis) {
        Ok(millis) => Ok(Some(millis)),
        Err(_) if millis == GO_ZERO => Ok(None),
        Err(_) => Err("before 1970"),
    }
}

/// 0001-01-01T00:00:00Z.
const GO_ZERO: i64 = -62_135_596_800_000;

/// `2024-05-01T12:34:56.789+02:00`: the length is free after the seconds alone.
fn millis(text: &[u8]) -> Option<i64> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let separated = date_time[4] == b'-'
        && date_time[7] == b'-'
        && matches!(date_time[10], b'T' | b't' | b' ')
        && date_time[13] == b':'
        && date_time[16] == b':';
    let at = |from: usize, to: usize| number(&date_time[from..to]);
    let (year, month, day) = (at(0, 4)?, at(5, 7)?, at(8, 10)?);
    let (hour, minute, second) = (at(11, 13)?, at(14, 16)?, at(17, 19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        // A leap second is the next minute's first.
        && second <= 60;
    if !(separated && in_range) {
        return None;
    }
    let (fraction, zone) = fraction(rest)?;
    let seconds =
        days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
    Some(seconds * 1000 + fraction)
}

/// `.789123` → 789, and what follows it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let digit = |at: usize| digits.get(at).map_or(0, |digit| i64::from(digit - b'0'));
    (!digits.is_empty()).then(|| (digit(0) * 100 + digit(1) * 10 + digit(2), rest))
}

/// `Z`, `+02:00` or `-05:30` in seconds.
fn offset(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            let seconds = hours * 3600 + minutes * 60;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'+' { seconds } else { -seconds })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March, so that a leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (century, year_of_400) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_400 = year_of_400 * 365 + year_of_400 / 4 - year_of_400 / 100 + day_of_year;
    century * 146_097 + day_of_400 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T12:34:56.789123456Z", 1_709_210_096_789),
            ("2024-02-29T14:34:56.7+02:00", 1_709_210_096_700),
            ("2024-02-29T07:04:56-05:30", 1_709_210_096_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ] {
            assert_eq!(parse(text), Ok(Some(expected)), "{text}");
        }
        assert_eq!(parse("0001-01-01T00:00:00Z"), Ok(None));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+0200",
            "2024-01-01T00:00:00Zx",
            "2024-1-1T00:00:00Z",
            "2024-01-01T00:00:0éZ",
        ] {
            assert_eq!(parse(text), Err("not an RFC 3339 time"), "{text}");
        }
        assert_eq!(parse("1969-12-31T23:59:59Z"), Err("before 1970"));
    }

    /// Every day of 400 years and a bit, against counting.
    #[test]
    fn days_are_counted_right() {
        let mut days = 0;
        for year in 1970..2400 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    assert_eq!(days_since_1970(year, month, day), days);
                    days += 1;
                }
            }
        }
    }
}
