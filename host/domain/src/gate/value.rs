//! What a word may be: the kinds that `config/gate.yaml` gives to a flag's value and to a positional.

use std::net::IpAddr;

use serde::Deserialize;

use super::files::{Access, Files, is_normal};
use super::languages::Language;

/// A kind, as written in the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a kind: text, path, number, numbers, pid, word, words, unit, field, address, interface, port, name, a list of quoted \
    words, or one of {list_of: […]}, {letters: …}, {starts_with: …}, {path_in: […]}, {any_of: […]}, {one_of_kind: […]}, \
    {up_to: …}, {language: …}; for a flag also none and {optional: kind}"
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
    Unit,
    Field,
    Address,
    Interface,
    Port,
    Name,
}

/// Exactly one of them is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    list_of: Option<Vec<String>>,
    letters: Option<String>,
    starts_with: Option<String>,
    path_in: Option<Vec<String>>,
    any_of: Option<Vec<KindText>>,
    one_of_kind: Option<Vec<String>>,
    up_to: Option<u32>,
    language: Option<Language>,
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
    /// Letters, digits and `_ . @ : \ -`, and `*` and `?` for any: what systemd matches units by.
    Unit,
    /// `_PID=1`, `SYSLOG_IDENTIFIER=sshd`: the journal's fields.
    Field,
    /// An address as numbers, with or without its prefix: `10.0.0.0/8`. A name would be asked of a name server.
    Address,
    /// A network interface's name: `eth0`, `eth0.100`, `br-12ab`.
    Interface,
    /// `8080/tcp`
    Port,
    /// What names an image or a data set, and no file: `team/app:1.2`.
    Name,
    AnyOf(Vec<Kind>),
    /// `pod/web-0`: one of these, and its name.
    Object(Vec<String>),
    /// A whole number up to this.
    UpTo(u32),
    /// What a grammar in code permits.
    Language(Language),
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
            self.any_of.is_some(),
            self.one_of_kind.is_some(),
            self.up_to.is_some(),
            self.language.is_some(),
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
            Named::Unit => Kind::Unit,
            Named::Field => Kind::Field,
            Named::Address => Kind::Address,
            Named::Interface => Kind::Interface,
            Named::Port => Kind::Port,
            Named::Name => Kind::Name,
        })
    }

    fn shaped(shape: &Shape) -> Result<Self, String> {
        if shape.given() != 1 {
            return Err("write exactly one of list_of, letters, starts_with, path_in, any_of, one_of_kind, up_to, language, optional".into());
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
            Shape { any_of: Some(kinds), .. } if !kinds.is_empty() => {
                Ok(Kind::AnyOf(kinds.iter().map(Kind::new).collect::<Result<_, _>>()?))
            }
            Shape { one_of_kind: Some(words), .. } if !words.is_empty() => Ok(Kind::Object(words.clone())),
            Shape { up_to: Some(most), .. } => Ok(Kind::UpTo(*most)),
            Shape { language: Some(language), .. } => Ok(Kind::Language(*language)),
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
            Kind::Unit => (is_unit(word), "a unit's name".to_owned()),
            Kind::Field => (is_field(word), "a field of the journal with its value".to_owned()),
            Kind::Address => (is_address(word), "an address in numbers".to_owned()),
            Kind::Interface => (is_interface(word), "a network interface".to_owned()),
            Kind::Port => (is_port(word), "a port with its protocol".to_owned()),
            Kind::Name => (is_name(word), "a plain name".to_owned()),
            Kind::AnyOf(kinds) => return Self::fit_any(kinds, word, files),
            Kind::Object(kinds) => {
                (is_one_of_kind(word, kinds), format!("one of {} with its name", kinds.join(" ")))
            }
            Kind::UpTo(most) => (
                is_digits(word) && word.parse().is_ok_and(|number: u32| number <= *most),
                format!("a number up to {most}"),
            ),
            Kind::Language(language) => {
                return match language.check(word, files) {
                    Ok(()) => Fit::Yes,
                    Err(what) => Fit::No(format!("one without {what}")),
                };
            }
        };
        if fits { Fit::Yes } else { Fit::No(expected) }
    }

    /// The mildest of the answers.
    fn fit_any(kinds: &[Kind], word: &str, files: &Files) -> Fit {
        let mut expected = Vec::new();
        let mut denied = None;
        for kind in kinds {
            match kind.fit(word, files) {
                Fit::Yes => return Fit::Yes,
                Fit::Denied(why) => denied = Some(why),
                Fit::No(what) => expected.push(what),
            }
        }
        denied.map_or_else(|| Fit::No(expected.join(", or ")), Fit::Denied)
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

fn is_unit(word: &str) -> bool {
    !word.starts_with('-') && is_of(word, b"_.@:\\*?-")
}

fn is_field(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    })
}

fn is_address(word: &str) -> bool {
    let (address, prefix) = word.split_once('/').unwrap_or((word, "0"));
    address.parse::<IpAddr>().is_ok() && is_digits(prefix) && prefix.parse::<u8>().is_ok()
}

/// Dots are for the number of a VLAN alone: nothing that could be the name of a host.
fn is_interface(word: &str) -> bool {
    let (name, vlan) = word.split_once('.').unwrap_or((word, "0"));
    word.len() <= 15 && !name.starts_with('-') && is_of(name, b"_@:-") && is_digits(vlan)
}

fn is_port(word: &str) -> bool {
    let port = word.strip_suffix("/tcp").or_else(|| word.strip_suffix("/udp"));
    port.is_some_and(|port| is_digits(port) && port.parse::<u16>().is_ok())
}

fn is_name(word: &str) -> bool {
    word.split('/').all(|part| is_word(part) && !part.starts_with('.'))
}

fn is_one_of_kind(word: &str, kinds: &[String]) -> bool {
    word.split_once('/').is_some_and(|(kind, name)| kinds.iter().any(|known| known == kind) && is_word(name))
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
            (json!("unit"), &["nginx*", "a@b.service"], &["", "-x", "a/b", "a b", "../x"]),
            (
                json!("field"),
                &["_PID=1", "SYSLOG_IDENTIFIER=a b"],
                &["", "=", "_PID", "pid=1", "/x=1", "1A=2"],
            ),
            (
                json!("address"),
                &["10.0.0.1", "10.0.0.0/8", "::1", "fe80::1/64"],
                &["", "a", "10.0.0", "evil.example", "::1/"],
            ),
            (
                json!("interface"),
                &["eth0", "eth0.100", "br-1a", "veth1@if2"],
                &["", "-x", "evil.example", "a/b", "eth0."],
            ),
            (json!("port"), &["8080/tcp", "53/udp"], &["8080", "/tcp", "x/tcp", "99999/tcp", "1/2/tcp"]),
            (
                json!("name"),
                &["nginx:latest", "team/app@sha256:1", "tank/x"],
                &["", "/x", "a/../b", "-x", "a//b", "a b"],
            ),
            (json!({"any_of": ["pid", ["x"]]}), &["1", "x"], &["", "y", "0"]),
            (json!({"one_of_kind": ["pod"]}), &["pod/web-0"], &["pod", "pod/", "secret/x", "pod/a/b", "/x"]),
            (json!({"up_to": 60}), &["0", "60"], &["61", "-1", "", "infinity", "1s", "99999999999"]),
            (json!({"language": "sed"}), &["p"], &["w x"]),
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
