//! The small languages that some programs' words are written in, one a file: what each permits, and nothing else.
//!
//! Invariant: a construct that a grammar here doesn't name is refused, and where two implementations of a program would
//! read a text differently, so is that text. `config/gate.yaml` names a language as a kind: `{language: awk}`.

mod awk;
mod curl;
mod docker;
mod file;
mod find;
mod git;
mod jq;
mod kubectl;
mod lsof;
mod sed;
mod ss;

use serde::Deserialize;

use super::files::Files;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Language {
    /// A program: patterns, actions that print, arithmetic, the string functions.
    Awk,
    /// `NAME=value` for awk's `-v`.
    AwkVariable,
    /// A script that prints, deletes and substitutes.
    Sed,
    /// A filter over its own input alone.
    Jq,
    /// A Go template over the rows of a list: `docker ps --format`.
    DockerRow,
    /// A Go template over a container's state: `docker inspect --format`.
    DockerInspect,
    /// What `kubectl get -o` may print: metadata and status, and of the specification what holds no values.
    KubectlOutput,
    /// A path to sort or select by, of the same fields.
    KubectlPath,
    /// lsof's `-i`: version, protocol and port, no host.
    LsofAddress,
    /// A socket filter without names to look up.
    Ss,
    /// A health endpoint of this machine.
    HealthUrl,
    /// curl's `-w`.
    CurlFormat,
    /// A name for find to look for, other than those of secrets.
    FindName,
    /// A folder that may be read, named as such: `-` is none.
    Folder,
    /// A path that is of a file and no folder, by its name.
    PlainFile,
    /// What `git log` prints of a commit, without asking who signed it.
    GitFormat,
}

impl Language {
    /// What in the text isn't permitted; nothing if all of it is.
    pub(super) fn check(self, text: &str, files: &Files) -> Result<(), String> {
        match self {
            Language::Awk => awk::program(text),
            Language::AwkVariable => awk::variable(text),
            Language::Sed => sed::script(text),
            Language::Jq => jq::filter(text),
            Language::DockerRow => docker::row(text),
            Language::DockerInspect => docker::inspect(text),
            Language::KubectlOutput => kubectl::output(text),
            Language::KubectlPath => kubectl::path(text),
            Language::LsofAddress => lsof::address(text),
            Language::Ss => ss::filter(text),
            Language::HealthUrl => curl::health_url(text),
            Language::CurlFormat => curl::format(text),
            Language::FindName => find::name(text, files),
            Language::Folder => file::folder(text, files),
            Language::PlainFile => file::plain(text, files),
            Language::GitFormat => git::format(text),
        }
    }
}

/// Where the delimiter that ends a regular expression is, from `from` on; none if nothing ends it, or if readers disagree.
/// In brackets a delimiter is an ordinary character; to a reader that thinks otherwise, the bracket is never closed, and
/// it refuses the whole program before any of it runs. Readers do differ on a first `]` and on a backslash in brackets.
fn regex_end(text: &str, from: usize, delimiter: u8) -> Option<usize> {
    let ends = [(false, false), (false, true), (true, false), (true, true)].map(|(closes, escapes)| {
        Brackets { bytes: text.as_bytes(), delimiter, closes, escapes }.regex_end(from)
    });
    let mut found = ends.into_iter().flatten();
    let end = found.next()?;
    found.all(|other| other == end).then_some(end)
}

/// One way to read brackets.
struct Brackets<'a> {
    bytes: &'a [u8],
    delimiter: u8,
    /// A `]` that stands first closes the bracket.
    closes: bool,
    /// A backslash in brackets takes the next character's meaning away.
    escapes: bool,
}

impl Brackets<'_> {
    fn regex_end(&self, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            match *self.bytes.get(at)? {
                b'\\' => at += 2,
                byte if byte == self.delimiter => return Some(at),
                b'[' => at = self.bracket_end(at + 1)?,
                _ => at += 1,
            }
        }
    }

    /// Behind the bracket that closes; classes such as `[:digit:]` have brackets of their own.
    fn bracket_end(&self, from: usize) -> Option<usize> {
        let mut at = from + usize::from(self.bytes.get(from) == Some(&b'^'));
        if !self.closes && self.bytes.get(at) == Some(&b']') {
            at += 1;
        }
        loop {
            match (*self.bytes.get(at)?, self.bytes.get(at + 1)) {
                (b']', _) => return Some(at + 1),
                (b'\\', _) if self.escapes => at += 2,
                (b'[', Some(mark @ (b':' | b'.' | b'='))) => {
                    let rest = self.bytes.get(at + 2..)?;
                    at += 4 + rest.windows(2).position(|window| window == [*mark, b']'])?;
                }
                _ => at += 1,
            }
        }
    }
}

#[cfg(test)]
pub(super) fn holds(language: Language, permitted: &[&str], refused: &[&str]) {
    let denied = ["*.pem", "id_*sa*", "/etc/shadow*", ".ssh", "*secret*", ".env"].map(str::to_owned);
    let files = Files::new(vec!["/var/log".to_owned()], &denied, &mut Vec::new());
    for text in permitted {
        assert_eq!(language.check(text, &files), Ok(()), "{text}");
    }
    for text in refused {
        assert!(language.check(text, &files).is_err(), "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regex_ends_where_every_reader_says_so() {
        for (text, end) in [
            ("a/b", Some(1)),
            (r"a\/b/c", Some(4)),
            ("[ab]/", Some(4)),
            ("[[:digit:]]+/", Some(12)),
            ("a", None),
            (r"a\", None),
            ("[/]/", Some(3)),
            ("[^/]*/", Some(5)),
            ("[^]]*/", Some(5)),
            ("[]/]/", None),
            ("[", None),
            ("[a/", None),
            (r"[\]/]/", None),
            (r"[\/]/", Some(4)),
            (r"\[/", Some(2)),
        ] {
            assert_eq!(regex_end(text, 0, b'/'), end, "{text}");
        }
    }
}
