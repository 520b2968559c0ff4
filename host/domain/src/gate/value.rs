//! What a word may be: the kinds that `config/gate.yaml` gives to a flag's value and to a positional.

use serde::Deserialize;

use super::files::{Access, Files, is_normal};

/// A kind, as written in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a kind: text, path, number, numbers, pid, word, words, a list of quoted words, or one of \
    {list_of: […]}, {letters: …}, {starts_with: …}, {path_in: […]}; for a flag also none and {optional: kind}"
)]
pub(super) enum KindText {
    Named(Named),
    OneOf(Vec<String>),
    Shaped(Box<Shape>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Named {
    None,
    Text,
    Path,
    Number,
    Numbers,
    Pid,
    Word,
    Words,
}

/// Exactly one of them is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    list_of: Option<Vec<String>>,
    letters: Option<String>,
    starts_with: Option<String>,
    path_in: Option<Vec<String>>,
    optional: Option<KindText>,
}

/// A flag with what it takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Takes {
    Nothing,
    /// A value, attached or the next word.
    Value(Kind),
    /// A value if one is attached; never the next word.
    MaybeValue(Kind),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Anything. For what a program only compares, prints or formats.
    Text,
    /// A file or folder in the allowed directories, or `-`, the standard input.
    Path,
    /// The same, in these directories instead: for programs that show names and sizes, and no content.
    PathIn(Vec<String>),
    /// `5`, `+5`, `-0.5`, `10M`
    Number,
    /// `1`, `1,3-5`, `-3`
    Numbers,
    /// A process id above 0.
    Pid,
    /// Letters, digits and `_ . @ : -`, not beginning with `-`.
    Word,
    /// Words of letters, digits and `_ . @ : % + -`, joined by commas, not beginning with `-`.
    Words,
    OneOf(Vec<String>),
    /// Some of these, joined by commas; each may have a sign before it, and `:width` or `=` behind.
    ListOf(Vec<String>),
    /// A word of nothing but these letters: `ps aux`.
    Letters(String),
    StartsWith(String),
}

/// How a word fits a kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fit {
    Yes,
    /// It is a path of the right shape, and `denied_files` covers it.
    Denied(String),
    /// What it should have been.
    No(String),
}

impl Takes {
    pub(super) fn new(text: &KindText) -> Result<Self, String> {
        match text {
            KindText::Named(Named::None) => Ok(Takes::Nothing),
            KindText::Shaped(shape) => match &shape.optional {
                Some(kind) if shape.given() == 1 => Kind::new(kind).map(Takes::MaybeValue),
                _ => Kind::new(text).map(Takes::Value),
            },
            _ => Kind::new(text).map(Takes::Value),
        }
    }
}

impl Shape {
    fn given(&self) -> usize {
        let given = [
            self.list_of.is_some(),
            self.letters.is_some(),
            self.starts_with.is_some(),
            self.path_in.is_some(),
            self.optional.is_some(),
        ];
        given.into_iter().filter(|given| *given).count()
    }
}

impl Kind {
    pub(super) fn new(text: &KindText) -> Result<Self, String> {
        match text {
            KindText::Named(named) => Self::named(*named),
            KindText::OneOf(words) if words.is_empty() => {
                Err("an empty list permits nothing: leave it out".into())
            }
            KindText::OneOf(words) => Ok(Kind::OneOf(words.clone())),
            KindText::Shaped(shape) => Self::shaped(shape),
        }
    }

    fn named(named: Named) -> Result<Self, String> {
        Ok(match named {
            Named::None => {
                return Err("`none` is no kind of a word here: name one, or leave the entry out".into());
            }
            Named::Text => Kind::Text,
            Named::Path => Kind::Path,
            Named::Number => Kind::Number,
            Named::Numbers => Kind::Numbers,
            Named::Pid => Kind::Pid,
            Named::Word => Kind::Word,
            Named::Words => Kind::Words,
        })
    }

    fn shaped(shape: &Shape) -> Result<Self, String> {
        if shape.given() != 1 {
            return Err("write exactly one of list_of, letters, starts_with, path_in, optional".into());
        }
        match shape {
            Shape { list_of: Some(words), .. } if !words.is_empty() => Ok(Kind::ListOf(words.clone())),
            Shape { letters: Some(letters), .. } if !letters.is_empty() => Ok(Kind::Letters(letters.clone())),
            Shape { starts_with: Some(start), .. } if !start.is_empty() => {
                Ok(Kind::StartsWith(start.clone()))
            }
            Shape { path_in: Some(directories), .. } if !directories.is_empty() => {
                match directories.iter().find(|directory| !is_normal(directory)) {
                    Some(bad) => {
                        Err(format!("path_in: `{bad}` is no absolute path without `.`, `..` and `//`"))
                    }
                    None => Ok(Kind::PathIn(directories.clone())),
                }
            }
            Shape { optional: Some(_), .. } => Err("only a flag's value can be optional".into()),
            _ => Err("it is empty and permits nothing: leave it out".into()),
        }
    }

    pub(super) fn fit(&self, word: &str, files: &Files) -> Fit {
        let (fits, expected) = match self {
            Kind::Path => return path(word, files.access(word)),
            Kind::PathIn(directories) => return path(word, files.access_within(word, directories)),
            Kind::Text => (true, String::new()),
            Kind::Number => (is_number(word), "a number".to_owned()),
            Kind::Numbers => (is_numbers(word), "numbers like 1,3-5".to_owned()),
            Kind::Pid => {
                (word.parse::<u32>().is_ok_and(|pid| pid > 0 && is_digits(word)), "a process id".to_owned())
            }
            Kind::Word => (is_word(word), "a plain word".to_owned()),
            Kind::Words => (is_words(word), "plain words joined by commas".to_owned()),
            Kind::OneOf(words) => {
                (words.iter().any(|known| known == word), format!("one of {}", words.join(" ")))
            }
            Kind::ListOf(words) => {
                (word.split(',').all(|item| in_list(item, words)), format!("some of {}", words.join(",")))
            }
            Kind::Letters(letters) => (
                !word.is_empty() && word.chars().all(|c| letters.contains(c)),
                format!("letters out of {letters}"),
            ),
            Kind::StartsWith(start) => {
                (word.starts_with(start), format!("something that begins with {start}"))
            }
        };
        if fits { Fit::Yes } else { Fit::No(expected) }
    }
}

fn path(word: &str, access: Access) -> Fit {
    match access {
        _ if word == "-" => Fit::Yes,
        Access::Allowed => Fit::Yes,
        Access::Denied { .. } => Fit::Denied(format!("`{}` is {access}", word.escape_debug())),
        Access::Outside => Fit::No("a path in the allowed directories".to_owned()),
        Access::NotNormal => Fit::No("an absolute path without `.`, `..` and `//`".to_owned()),
    }
}

fn is_digits(word: &str) -> bool {
    !word.is_empty() && word.len() <= 18 && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_number(word: &str) -> bool {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let bare = unsigned.strip_suffix(['K', 'M', 'G', 'k', 'm', 'g']).unwrap_or(unsigned);
    match bare.split_once('.') {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(bare),
    }
}

fn is_numbers(word: &str) -> bool {
    word.split(',').all(|item| match item.split_once('-') {
        Some((from, to)) => {
            (from.is_empty() || is_digits(from)) && (to.is_empty() || is_digits(to)) && item.len() > 1
        }
        None => is_digits(item),
    })
}

fn is_of(word: &str, marks: &[u8]) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
}

fn is_word(word: &str) -> bool {
    !word.starts_with('-') && is_of(word, b"_.@:-")
}

/// A leading `-` would be a flag of its own to a program to which the value is optional.
fn is_words(word: &str) -> bool {
    !word.starts_with('-') && word.split(',').all(|word| is_of(word, b"_.@:%+-"))
}

fn in_list(item: &str, words: &[String]) -> bool {
    let bare = item.strip_prefix(['+', '-']).unwrap_or(item);
    let bare = bare.strip_suffix('=').unwrap_or(bare);
    let bare = match bare.split_once(':') {
        Some((name, width)) if is_digits(width) => name,
        _ => bare,
    };
    words.iter().any(|known| known == bare)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kind(text: Value) -> Kind {
        Kind::new(&serde_json::from_value(text).unwrap()).unwrap()
    }

    #[test]
    fn words_fit_their_kind() {
        let files = Files::new(vec!["/var/log".into()], &["*.pem".into()], &mut Vec::new());
        let cases = [
            (
                json!("number"),
                &["5", "+5", "-5", "0.5", "10M"][..],
                &["", "x", "5x", "1.", ".5", "--5", "1e9", "5 "][..],
            ),
            (json!("numbers"), &["1", "1,3-5", "-3", "3-"], &["", "-", "1,", "a", "1-2-3", "1, 2"]),
            (json!("pid"), &["1", "4194304"], &["0", "-1", "+1", "", "1 ", "99999999999"]),
            (
                json!("word"),
                &["nginx", "a@b.service", "10:00", "x-y"],
                &["", "-x", "a b", "a/b", "a=b", "é", "a,b"],
            ),
            (json!("words"), &["NAME,SIZE", "%CPU", "+x"], &["", "a,", "a/b", "a b", "-o"]),
            (json!(["a", "b"]), &["a", "b"], &["", "c", "A", "a,b"]),
            (
                json!({"list_of": ["pid", "args"]}),
                &["pid", "pid,args", "-pid,+args", "pid=", "args:20"],
                &["", "pid,", "pid,environ", "args:x", "--pid", "pid==", "environ"],
            ),
            (json!({"letters": "aux"}), &["aux", "a"], &["", "auxe", "-a"]),
            (json!({"starts_with": "+"}), &["+%s", "+"], &["", "%s", "-+"]),
            (
                json!("path"),
                &["/var/log/a", "/var/log", "-"],
                &["a", "/etc/passwd", "/var/log/../x", "", "--"],
            ),
            (json!({"path_in": ["/"]}), &["/", "/home/x"], &["home", "/..", "/a//b"]),
        ];
        for (text, good, bad) in cases {
            let kind = kind(text);
            good.iter().for_each(|word| assert_eq!(kind.fit(word, &files), Fit::Yes, "{kind:?} {word}"));
            bad.iter()
                .for_each(|word| assert!(matches!(kind.fit(word, &files), Fit::No(_)), "{kind:?} {word}"));
        }
        for text in [json!("path"), json!({"path_in": ["/"]})] {
            assert!(matches!(kind(text).fit("/var/log/x.pem", &files), Fit::Denied(_)));
        }
    }

    #[test]
    fn a_kind_that_permits_nothing_or_says_two_things_is_refused() {
        for text in [
            json!([]),
            json!({}),
            json!({"list_of": []}),
            json!({"letters": ""}),
            json!({"path_in": ["log"]}),
            json!({"letters": "a", "starts_with": "b"}),
            json!("none"),
            json!({"optional": "word"}),
        ] {
            assert!(Kind::new(&serde_json::from_value(text.clone()).unwrap()).is_err(), "{text}");
        }
        let error = serde_json::from_value::<KindText>(json!("nmber")).unwrap_err().to_string();
        assert!(error.contains("a kind: text, path"), "{error}");
    }
}
