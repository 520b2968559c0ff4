//! Where two JSON values differ, field by field.

use serde_json::Value;

/// What is shown of them; the rest is counted.
const MOST: usize = 20;

/// Characters of a value that are shown.
const WIDE: usize = 240;

/// A line for each place that differs; none where nothing does. `root` is what the whole is called where it is a list.
pub(super) fn difference(root: &str, got: &Value, expected: &Value) -> Vec<String> {
    let mut lines = lines(if got.is_array() && expected.is_array() { root } else { "" }, got, expected);
    let more = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// All of them, of what lies at `at`.
pub(super) fn lines(at: &str, got: &Value, expected: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare(at, Some(got), Some(expected), &mut lines);
    lines
}

fn compare(at: &str, got: Option<&Value>, expected: Option<&Value>, lines: &mut Vec<String>) {
    match (got, expected) {
        (Some(got), Some(expected)) if got == expected => {}
        (Some(Value::Object(got)), Some(Value::Object(expected))) => {
            let missing = expected.keys().filter(|key| !got.contains_key(*key));
            for key in got.keys().chain(missing) {
                compare(&below(at, key), got.get(key), expected.get(key), lines);
            }
        }
        (Some(Value::Array(got)), Some(Value::Array(expected))) => {
            for index in 0..got.len().max(expected.len()) {
                compare(&format!("{at}[{index}]"), got.get(index), expected.get(index), lines);
            }
        }
        (got, expected) => {
            let at = if at.is_empty() { String::new() } else { format!("{at}: ") };
            lines.push(format!("{at}got {}, expected {}", shown(got), shown(expected)));
        }
    }
}

/// `labels.host`; a key that isn't a plain word is quoted.
fn below(at: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
    match (at.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{at}.{key}"),
        (_, false) => format!("{at}[{key:?}]"),
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(WIDE) {
        None => text,
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_place_is_named() {
        let expected = json!([{ "id": "a", "labels": { "host": "db", "k8s.io/x": "1" } }, { "id": "b" }]);
        let got = json!([{ "id": "a", "labels": { "host": "web", "zone": "eu" } }]);
        assert_eq!(
            difference("alerts", &got, &expected),
            [
                r#"alerts[0].labels.host: got "web", expected "db""#,
                r#"alerts[0].labels.zone: got "eu", expected nothing"#,
                r#"alerts[0].labels["k8s.io/x"]: got nothing, expected "1""#,
                r#"alerts[1]: got nothing, expected {"id":"b"}"#,
            ]
        );
        assert_eq!(difference("alerts", &expected, &expected), Vec::<String>::new());
    }

    #[test]
    fn an_error_for_alerts_and_alerts_for_an_error_are_shown_whole() {
        let error = json!({ "error": "failed", "reason": "x" });
        let shown = difference("alerts", &error, &json!([]));
        assert_eq!(shown, [r#"got {"error":"failed","reason":"x"}, expected []"#]);
    }

    #[test]
    fn much_is_cut_and_counted() {
        let long = difference("alerts", &json!({ "title": "ä".repeat(500) }), &json!({}));
        assert!(long[0].contains("… (1002 bytes), expected nothing"), "{long:?}");
        let many = difference("alerts", &(0..30).collect(), &json!([]));
        assert_eq!((many.len(), many[20].as_str()), (21, "and 10 more"));
    }
}
