//! Text that came from outside: from alerts, payloads, plugins, tools, and whoever else is neither this host nor its operator.
//!
//! It can't be written as it is: it has no `Display`, no `Deref` and no `AsRef<str>`. It gets into a message, a page or a
//! table by [`Untrusted::visible`] or [`Untrusted::line`], into a model's prompt by `prompt` alone, and past all of them by
//! [`Untrusted::expose_untrusted`], whose name is there to be looked at in a review: to store, hash or match it, to judge it, to
//! hand it back to a guest, or to put it into another untrusted text.
//!
//! ```
//! # use watchkeeper_domain::Untrusted;
//! let title = Untrusted::from("disk full\u{1b}]52;c;cm0=\u{7}");
//! assert_eq!(format!("{}", title.line()), r"disk full\u{1b}]52;c;cm0=\u{7}");
//! ```
//!
//! ```compile_fail
//! # use watchkeeper_domain::Untrusted;
//! let title = Untrusted::from("disk full\u{1b}]52;c;cm0=\u{7}");
//! assert_eq!(format!("{}", title), "");
//! ```
//!
//! What isn't of this type, though it is from outside: an answer of a channel or a registry, and the operator's own files, all
//! of which are errors in words by the time anybody shows them, and go through [`visible`] there; a payload's bytes, which
//! aren't shown; names that are held to an alphabet when they are read (plugins, sources, tokens).

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Untrusted<T = String>(T);

impl<T> Untrusted<T> {
    /// As it came. What is done with it must be none of what the other exits are for.
    pub fn expose_untrusted(&self) -> &T {
        &self.0
    }

    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl Untrusted {
    /// For people, on as many lines as it has. Markup is for whoever writes some to escape.
    pub fn visible(&self) -> String {
        visible(&self.0)
    }

    /// For people, on one line.
    pub fn line(&self) -> String {
        line(&self.0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn contains(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    pub fn starts_with(&self, text: &str) -> bool {
        self.0.starts_with(text)
    }

    pub fn ends_with(&self, text: &str) -> bool {
        self.0.ends_with(text)
    }

    /// The same, with these words behind it.
    pub fn push_str(&mut self, words: &str) {
        self.0.push_str(words);
    }
}

impl Untrusted<Value> {
    /// Its JSON, for people.
    pub fn line(&self) -> String {
        line(&self.0.to_string())
    }
}

impl From<String> for Untrusted {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Value> for Untrusted<Value> {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl From<&str> for Untrusted {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl PartialEq<str> for Untrusted {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Untrusted {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl PartialEq<String> for Untrusted {
    fn eq(&self, other: &String) -> bool {
        self.0 == *other
    }
}

/// For logs and failed tests: quoted, and visible.
impl<T: fmt::Debug> fmt::Debug for Untrusted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = if f.alternate() { format!("{:#?}", self.0) } else { format!("{:?}", self.0) };
        f.write_str(&visible(&quoted))
    }
}

/// What does something else than be read: from, and up to and with.
///
/// Controls; all that Unicode calls Default_Ignorable_Code_Point, which is shown as nothing
/// (https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt), and so hides words from people and shows them to
/// models; and what turns the direction of what is read (https://www.unicode.org/reports/tr9/).
const UNSAFE: &[(char, char)] = &[
    // C0: the escape that begins a terminal's sequences.
    ('\u{0}', '\u{1f}'),
    // DEL and C1: U+009B and U+009D begin the same sequences.
    ('\u{7f}', '\u{9f}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    // Of no width; marks of direction.
    ('\u{200b}', '\u{200f}'),
    // Two more ends of lines; embeddings and overrides of direction.
    ('\u{2028}', '\u{202e}'),
    // Of no width; isolates of direction.
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    // Variation selectors, of which a run holds any bytes.
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    // Tags, which are ASCII that nobody sees, and more variation selectors.
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character does something else than be read.
pub fn is_unsafe(c: char) -> bool {
    // Almost all are of plain ASCII.
    !(' '..='~').contains(&c) && UNSAFE.iter().any(|(from, to)| (*from..=*to).contains(&c))
}

/// `text` with what is unsafe written out, as `\u{202e}`. Line breaks and tabs stay; of one in the manner of Windows, the `\n`.
pub fn visible(text: &str) -> String {
    written(text, |c| matches!(c, '\n' | '\t').then_some(c))
}

/// As [`visible`], with blanks for line breaks and tabs.
pub fn line(text: &str) -> String {
    written(text, |c| matches!(c, '\n' | '\t').then_some(' '))
}

/// `json`, which serde wrote, with what is unsafe in its texts written out as JSON does it: another spelling of the same values.
pub fn visible_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) && c != '\n' {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

fn written(text: &str, kept: impl Fn(char) -> Option<char>) -> String {
    if !text.chars().any(is_unsafe) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut chars = text.chars().peekable();
    let mut before_is_seen = false;
    while let Some(c) = chars.next() {
        match kept(c) {
            Some(kept) => out.push(kept),
            None if c == '\r' && chars.peek() == Some(&'\n') => {}
            // How the sign before is drawn, in text or in colour: people write it in titles.
            None if matches!(c, '\u{fe0e}' | '\u{fe0f}') && before_is_seen => out.push(c),
            None if is_unsafe(c) => out.extend(c.escape_unicode()),
            None => out.push(c),
        }
        before_is_seen = !is_unsafe(c) && !c.is_whitespace();
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_shown_does_nothing_but_be_read() {
        let table = [
            ("plain, ü, 日本語, 🚀", "plain, ü, 日本語, 🚀"),
            ("a\u{1b}[31mb\u{202e}\r\nc\td\re", "a\\u{1b}[31mb\\u{202e}\nc\td\\u{d}e"),
            ("\u{1b}]8;;http://x/\u{7}here", "\\u{1b}]8;;http://x/\\u{7}here"),
            ("\u{9b}2J\u{9d}52;c;cm0=\u{9c}", "\\u{9b}2J\\u{9d}52;c;cm0=\\u{9c}"),
            ("pass\u{200b}word\u{feff}", "pass\\u{200b}word\\u{feff}"),
            ("\u{2066}x\u{2069}\u{2028}y", "\\u{2066}x\\u{2069}\\u{2028}y"),
            ("\u{e0069}\u{e0067}\u{e007f}", "\\u{e0069}\\u{e0067}\\u{e007f}"),
            // As people write it; a run of them says something else.
            ("⚠\u{fe0f} disk", "⚠\u{fe0f} disk"),
            ("⚠\u{fe0f}\u{fe01}\u{fe0f}", "⚠\u{fe0f}\\u{fe01}\\u{fe0f}"),
            ("\u{fe0f} \u{fe0f}", "\\u{fe0f} \\u{fe0f}"),
        ];
        for (text, expected) in table {
            assert_eq!(Untrusted::from(text).visible(), expected);
            assert_eq!(Untrusted::from(text).line(), expected.replace(['\n', '\t'], " "));
        }
        assert_eq!(format!("{:?}", Untrusted::from("\"\u{3164}\n\u{1b}")), r#""\"\u{3164}\n\u{1b}""#);
    }

    #[test]
    fn the_table_is_in_order() {
        let ends: Vec<char> = UNSAFE.iter().flat_map(|(from, to)| [*from, *to]).collect();
        assert!(ends.is_sorted(), "{ends:?}");
        // Each of them is written out, alone and behind another.
        for c in UNSAFE.iter().flat_map(|(from, to)| *from..=*to).filter(|c| !"\n\t".contains(*c)) {
            let shown = visible(&format!("\u{200b}{c}"));
            assert_eq!(shown, format!("\\u{{200b}}{}", c.escape_unicode()));
        }
    }

    #[test]
    fn it_is_stored_as_the_text_that_it_is() {
        let text = Untrusted::from("a\u{1b}\"");
        assert_eq!(serde_json::to_string(&text).unwrap(), r#""a\u001b\"""#);
        assert_eq!(serde_json::from_str::<Untrusted>(r#""a\u001b\"""#).unwrap(), text);
    }

    proptest! {
        #[test]
        fn json_means_the_same(texts in prop::collection::vec(any::<String>(), 0..4), wild in "[\\x00-\\x{9f}\\u{200b}-\\u{206f}\\u{e0000}-\\u{e007f}\"\\\\]{0,20}") {
            let value = serde_json::json!({ "texts": texts, wild.as_str(): wild });
            for written in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let shown = visible_json(&written);
                prop_assert!(!shown.chars().any(|c| is_unsafe(c) && c != '\n'), "{shown:?}");
                prop_assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value.clone());
            }
        }

        #[test]
        fn any_text_is_visible(text in any::<String>()) {
            let shown = visible(&text);
            let seen = |c: char| !is_unsafe(c) || "\n\t\u{fe0e}\u{fe0f}".contains(c);
            prop_assert!(shown.chars().all(seen), "{shown:?}");
            prop_assert!(!line(&text).contains(['\n', '\t']));
            prop_assert_eq!(visible(&shown), shown, "once is enough");
        }
    }
}
