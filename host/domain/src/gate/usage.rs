//! Which uses of a program an allow rule permits: every flag and every positional that it may be given, and no other.
//!
//! Invariant: a word that isn't understood is a misfit. Nothing is guessed: no abbreviated flag, no flag that the rule
//! doesn't name, no positional beyond those counted.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::files::Files;
use super::value::{Fit, Kind, KindText, Takes};

/// As written in the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageText {
    /// Spellings, separated by blanks, of flags that take the same.
    #[serde(default)]
    pub(super) flags: BTreeMap<String, KindText>,
    #[serde(default)]
    pub(super) positionals: Vec<PositionalText>,
    /// Names, separated by blanks, of subcommands that permit the same.
    #[serde(default)]
    pub(super) subcommands: BTreeMap<String, UsageText>,
    /// It may also be used without a subcommand.
    #[serde(default)]
    pub(super) bare: bool,
    /// Of each entry's spellings, at least one is given: what keeps the program from doing something else.
    #[serde(default)]
    pub(super) needs: Vec<String>,
    /// Behind the first positional the program takes no flags any more: what looks like one there is a file to it. Behind a
    /// subcommand it takes only that one's.
    #[serde(default)]
    pub(super) flags_first: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PositionalText {
    kind: KindText,
    #[serde(default)]
    min: usize,
    #[serde(default = "one")]
    max: usize,
}

fn one() -> usize {
    1
}

/// How a program reads words that begin with `-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FlagStyle {
    /// `-abc` is `-a -b -c`, `-n5` is `-n 5`.
    #[default]
    Bundled,
    /// `-abc` is one flag of that name, as for find and ip.
    Whole,
    /// There are no flags: every word is a positional, as for echo.
    None,
}

/// A flag's spelling that stands for any number: `head -20`.
const ANY_NUMBER: &str = "-NUMBER";

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Usage {
    flags: BTreeMap<String, Takes>,
    positionals: Vec<Positional>,
    subcommands: BTreeMap<String, Usage>,
    bare: bool,
    needs: Vec<Vec<String>>,
    flags_first: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Positional {
    kind: Kind,
    min: usize,
    max: usize,
}

/// How a command's words fit a usage; the text is for the people and models who read the reason.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Match {
    Yes,
    /// All fits but for a path that `denied_files` covers.
    Denied(String),
    No(String),
}

impl Usage {
    pub(super) fn new(text: &UsageText, style: FlagStyle, problems: &mut Vec<String>) -> Self {
        let mut usage = Self { bare: text.bare, flags_first: text.flags_first, ..Self::default() };
        for (spellings, kind) in &text.flags {
            usage.add_flags(spellings, kind, style, problems);
        }
        for positional in &text.positionals {
            match Kind::new(&positional.kind) {
                Ok(_) if positional.max == 0 || positional.min > positional.max => {
                    problems.push("positionals: `max` is at least 1 and at least `min`".to_owned());
                }
                Ok(kind) => {
                    usage.positionals.push(Positional { kind, min: positional.min, max: positional.max })
                }
                Err(problem) => problems.push(format!("positionals: {problem}")),
            }
        }
        for (names, below) in &text.subcommands {
            usage.add_subcommands(names, below, style, problems);
        }
        if !usage.subcommands.is_empty() && !usage.positionals.is_empty() {
            problems.push("`positionals` beside `subcommands`: move them into the subcommands".to_owned());
        }
        for spellings in &text.needs {
            usage.add_need(spellings, problems);
        }
        if usage.subcommands.is_empty() && usage.bare {
            problems.push("`bare` without `subcommands`: leave it out".to_owned());
        }
        usage
    }

    fn add_flags(&mut self, spellings: &str, kind: &KindText, style: FlagStyle, problems: &mut Vec<String>) {
        let takes = match Takes::new(kind) {
            Ok(takes) => takes,
            Err(problem) => return problems.push(format!("flag `{spellings}`: {problem}")),
        };
        if spellings.split_whitespace().next().is_none() {
            problems.push("flags: an entry without a name: write one like \"-n --lines\"".to_owned());
        }
        for flag in spellings.split_whitespace() {
            if let Some(problem) = misspelled(flag, style) {
                problems.push(format!("flag `{flag}`: {problem}"));
            } else if self.flags.insert(flag.to_owned(), takes.clone()).is_some() {
                problems.push(format!("flag `{flag}` is given twice: keep one"));
            }
        }
    }

    fn add_need(&mut self, spellings: &str, problems: &mut Vec<String>) {
        let flags: Vec<String> = spellings.split_whitespace().map(str::to_owned).collect();
        if let Some(unknown) = flags.iter().find(|flag| !self.flags.contains_key(*flag)) {
            problems.push(format!("needs: `{unknown}` is none of the `flags` beside it: add it there"));
        }
        if flags.is_empty() {
            problems.push("needs: an entry without a flag: leave it out".to_owned());
        }
        self.needs.push(flags);
    }

    fn add_subcommands(
        &mut self,
        names: &str,
        below: &UsageText,
        style: FlagStyle,
        problems: &mut Vec<String>,
    ) {
        let mut inner = Vec::new();
        let usage = Usage::new(below, style, &mut inner);
        problems.extend(inner.into_iter().map(|problem| format!("subcommand `{names}`: {problem}")));
        for name in names.split_whitespace() {
            if name.starts_with('-') {
                problems.push(format!("subcommand `{name}` begins with `-`: write it under `flags`"));
            } else if self.subcommands.insert(name.to_owned(), usage.clone()).is_some() {
                problems.push(format!("subcommand `{name}` is given twice: keep one"));
            }
        }
    }

    /// `words` are those behind the program's name.
    pub(super) fn matches(&self, words: &[String], style: FlagStyle, files: &Files) -> Match {
        let mut walk = Walk {
            usages: vec![self],
            style,
            files,
            seen: Vec::new(),
            positionals: Vec::new(),
            denied: None,
        };
        match walk.all(words) {
            Err(why) => Match::No(why),
            Ok(()) => walk.denied.map_or(Match::Yes, Match::Denied),
        }
    }
}

fn misspelled(flag: &str, style: FlagStyle) -> Option<&'static str> {
    let name = flag.trim_start_matches('-');
    let dashes = flag.len() - name.len();
    if name.is_empty() || !flag.is_ascii() || flag.contains('=') {
        return Some("a flag is ASCII, begins with `-` or `--`, and has its value behind the colon");
    }
    match (dashes, style) {
        (1, _) if flag == ANY_NUMBER || name.len() == 1 => None,
        (1, FlagStyle::Whole) | (2, _) => None,
        (1, FlagStyle::None) => Some("`flag_style: none` means that there are no flags"),
        (1, FlagStyle::Bundled) => {
            Some("write `--` before a long name, or set `flag_style: whole` for this program")
        }
        _ => Some("it begins with neither `-` nor `--`"),
    }
}

/// One look at a command's words, from the first to the last.
struct Walk<'a> {
    /// The program's, then that of each subcommand met; the flags of all of them are permitted.
    usages: Vec<&'a Usage>,
    style: FlagStyle,
    files: &'a Files,
    /// The flags met, by the spelling in the rule.
    seen: Vec<&'a str>,
    positionals: Vec<&'a str>,
    denied: Option<String>,
}

impl<'a> Walk<'a> {
    fn all(&mut self, words: &'a [String]) -> Result<(), String> {
        let mut words = words.iter().map(String::as_str);
        let mut only_positionals = false;
        while let Some(word) = words.next() {
            match word {
                _ if self.style == FlagStyle::None => self.positional(word)?,
                "--" if !only_positionals => only_positionals = true,
                _ if !only_positionals && word.len() > 1 && word.starts_with('-') => {
                    if self.is_past_flags() {
                        return Err(format!("`{}` behind the first word", word.escape_debug()));
                    }
                    self.flag(word, &mut words)?
                }
                _ => self.positional(word)?,
            }
        }
        self.finish()
    }

    fn usage(&self) -> Option<&'a Usage> {
        self.usages.last().copied()
    }

    fn is_past_flags(&self) -> bool {
        !self.positionals.is_empty() && self.usages.iter().any(|usage| usage.flags_first)
    }

    fn find(&mut self, flag: &str) -> Result<&'a Takes, String> {
        let here = self.usages.len() - 1;
        let mut open =
            self.usages.iter().enumerate().rev().filter(|(at, usage)| *at == here || !usage.flags_first);
        let found = open.find_map(|(_, usage)| usage.flags.get_key_value(flag));
        let (name, takes) = found.ok_or_else(|| format!("the flag `{}`", flag.escape_debug()))?;
        self.seen.push(name);
        Ok(takes)
    }

    /// What a usage on the way here needs, and wasn't given.
    fn lacks(&self) -> Option<&'a str> {
        let mut needs = self.usages.iter().flat_map(|usage| &usage.needs);
        let lacking = needs.find(|flags| !flags.iter().any(|flag| self.seen.contains(&flag.as_str())));
        lacking.and_then(|flags| flags.first()).map(String::as_str)
    }

    fn flag(&mut self, word: &'a str, next: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
        let digits = word[1..].bytes().all(|byte| byte.is_ascii_digit());
        if digits && self.find(ANY_NUMBER).is_ok() {
            return Ok(());
        }
        match word.starts_with("--") {
            true => self.named(word, next),
            false if self.style == FlagStyle::Whole => self.named(word, next),
            false => self.bundle(word, next),
        }
    }

    /// `--name`, `--name=value`, `--name value`; for [`FlagStyle::Whole`] also `-name` and `-name value`.
    fn named(&mut self, word: &'a str, next: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) if word.starts_with("--") => (name, Some(value)),
            _ => (word, None),
        };
        match (self.find(name)?, attached) {
            (Takes::Nothing | Takes::MaybeValue(_), None) => Ok(()),
            (Takes::Nothing, Some(_)) => Err(format!("a value for the flag `{name}`")),
            (Takes::Value(kind) | Takes::MaybeValue(kind), Some(value)) => self.value(name, kind, value),
            (Takes::Value(kind), None) => self.next_value(name, kind, next),
        }
    }

    /// `-abc`, `-abcVALUE`, `-abc VALUE`: the first that takes a value takes the rest.
    fn bundle(&mut self, word: &'a str, next: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
        let mut name = String::from("-");
        for (at, letter) in word.char_indices().skip(1) {
            name.truncate(1);
            name.push(letter);
            let rest = &word[at + letter.len_utf8()..];
            match self.find(&name)? {
                Takes::Nothing => {}
                Takes::Value(kind) if rest.is_empty() => return self.next_value(&name, kind, next),
                Takes::MaybeValue(_) if rest.is_empty() => {}
                Takes::Value(kind) | Takes::MaybeValue(kind) => return self.value(&name, kind, rest),
            }
        }
        Ok(())
    }

    fn next_value(
        &mut self,
        flag: &str,
        kind: &Kind,
        next: &mut impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        let value = next.next().ok_or_else(|| format!("the flag `{flag}` without its value"))?;
        self.value(flag, kind, value)
    }

    fn value(&mut self, flag: &str, kind: &Kind, value: &str) -> Result<(), String> {
        self.fit(kind, value, || format!(" of the flag `{flag}`"))
    }

    fn fit(&mut self, kind: &Kind, word: &str, what: impl Fn() -> String) -> Result<(), String> {
        match kind.fit(word, self.files) {
            Fit::Yes => Ok(()),
            Fit::Denied(why) => {
                self.denied.get_or_insert(why);
                Ok(())
            }
            Fit::No(expected) => {
                Err(format!("the value `{}`{} (it would have to be {expected})", word.escape_debug(), what()))
            }
        }
    }

    fn positional(&mut self, word: &'a str) -> Result<(), String> {
        match self.usage() {
            Some(usage) if !usage.subcommands.is_empty() => {
                let below = usage.subcommands.get(word);
                let below = below.ok_or_else(|| format!("the subcommand `{}`", word.escape_debug()))?;
                self.usages.push(below);
            }
            _ => self.positionals.push(word),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        let Some(usage) = self.usage() else { return Ok(()) };
        if !usage.subcommands.is_empty() && !usage.bare {
            return Err("a use without a subcommand".to_owned());
        }
        if let Some(flag) = self.lacks() {
            return Err(format!("a use without the flag `{flag}`"));
        }
        let mut words = std::mem::take(&mut self.positionals).into_iter().peekable();
        for expected in &usage.positionals {
            let mut taken = 0;
            while taken < expected.max
                && let Some(word) = words.next()
            {
                self.fit(&expected.kind, word, String::new)?;
                taken += 1;
            }
            if taken < expected.min {
                return Err("a use with so few words".to_owned());
            }
        }
        match words.next() {
            Some(word) => Err(format!("the word `{}`", word.escape_debug())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(text: Value, style: FlagStyle, command: &str) -> Match {
        let mut problems = Vec::new();
        let usage = Usage::new(&serde_json::from_value(text).unwrap(), style, &mut problems);
        assert_eq!(problems, [""; 0]);
        let files = Files::new(vec!["/var/log".into()], &["*.pem".into()], &mut Vec::new());
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        usage.matches(&words, style, &files)
    }

    fn tail() -> Value {
        json!({
            "flags": {"-q -v --quiet": "none", "-n --lines": "number", "-NUMBER": "none", "-p": "path",
                "-c --color": {"optional": ["auto", "never"]}},
            "positionals": [{"kind": "path", "max": 2}],
        })
    }

    #[test]
    fn flags_in_every_spelling_and_no_other() {
        for command in [
            "",
            "/var/log/a",
            "/var/log/a /var/log/b",
            "-q -v",
            "-qv",
            "-n 5",
            "-n5",
            "-qn5",
            "-qvn 5",
            "--lines=5",
            "--lines 5",
            "-n -5",
            "-20",
            "--color",
            "--color=auto",
            "-cauto",
            "-qc",
            "/var/log/a -q",
            "-- /var/log/a",
            "-q -- /var/log/a",
            "-",
            "-p /var/log/a",
            "-p/var/log/a",
            "-n +5 -p -",
        ] {
            assert_eq!(check(tail(), FlagStyle::Bundled, command), Match::Yes, "{command}");
        }
        for command in [
            "-f",
            "-qf",
            "-fq",
            "-5f",
            "-n",
            "-n x",
            "-nf",
            "--lines",
            "--lines=",
            "--lines=x",
            "--line=5",
            "--l 5",
            "--quiet=1",
            "--quie",
            "--follow",
            "-n5 -f",
            "-n 5f",
            "a",
            "/etc/passwd",
            "/var/log/../x",
            "/var/log/a /var/log/b /var/log/c",
            "-- -q",
            "-- -f",
            "/var/log/a -f",
            "--color auto",
            "-c auto",
            "--color=always",
            "-calways",
            "-p /etc/passwd",
            "-p/etc/passwd",
            "-p",
            "-q=1",
            "-é",
            "-q- x",
            "---quiet",
            "-- -- /var/log/a",
        ] {
            assert!(matches!(check(tail(), FlagStyle::Bundled, command), Match::No(_)), "{command}");
        }
    }

    #[test]
    fn a_denied_path_is_told_from_a_misfit() {
        for command in ["/var/log/x.pem", "-p/var/log/x.pem", "-q /var/log/a /etc/x.pem"] {
            assert!(matches!(check(tail(), FlagStyle::Bundled, command), Match::Denied(_)), "{command}");
        }
        assert!(matches!(check(tail(), FlagStyle::Bundled, "-f /var/log/x.pem"), Match::No(_)));
    }

    #[test]
    fn whole_flags_do_not_bundle() {
        let find = json!({
            "flags": {"-type": ["f"], "-print -o": "none", "-name": "text", "--long": "word"},
            "positionals": [{"kind": "path", "min": 1, "max": 1}],
        });
        for command in ["/var/log -type f -print", "/var/log -name -delete", "/var/log --long=x"] {
            assert_eq!(check(find.clone(), FlagStyle::Whole, command), Match::Yes, "{command}");
        }
        for command in [
            "",
            "-print",
            "/var/log -delete",
            "/var/log -type d",
            "/var/log -type=f",
            "/var/log -p",
            "/var/log -po",
            "/var/log -name",
            "/var/log -- -delete",
        ] {
            assert!(matches!(check(find.clone(), FlagStyle::Whole, command), Match::No(_)), "{command}");
        }
    }

    #[test]
    fn subcommands_have_their_own_flags() {
        let systemctl = json!({
            "flags": {"--no-pager -l": "none", "-n": "number"},
            "bare": true,
            "subcommands": {
                "status show": {"positionals": [{"kind": "word", "max": 2}]},
                "list": {"flags": {"--all": "none", "-n": "none"}},
                "deep": {"subcommands": {"ls": {}}},
            },
        });
        for command in [
            "",
            "--no-pager",
            "status nginx",
            "--no-pager status nginx -l",
            "show -n 5 a b",
            "list --all -n",
            "deep ls -l",
            "-n 5 list -n",
        ] {
            assert_eq!(check(systemctl.clone(), FlagStyle::Bundled, command), Match::Yes, "{command}");
        }
        for command in [
            "restart nginx",
            "nginx status",
            "status a b c",
            "--all list",
            "status --all",
            "list x",
            "deep",
            "deep rm",
            "-- restart",
            "stat x",
            "list -n 5",
        ] {
            assert!(
                matches!(check(systemctl.clone(), FlagStyle::Bundled, command), Match::No(_)),
                "{command}"
            );
        }
    }

    #[test]
    fn what_a_use_needs_is_given() {
        let top =
            json!({"flags": {"-b -c": "none", "-n --number": "number"}, "needs": ["-b", "-n --number"]});
        for (command, fits) in [
            ("-b -n1", true),
            ("-bn 1", true),
            ("-c --number=1 -b", true),
            ("-b", false),
            ("-n 1", false),
            ("", false),
        ] {
            assert_eq!(check(top.clone(), FlagStyle::Bundled, command) == Match::Yes, fits, "{command}");
        }
        let awk = json!({"flags": {"-F": "text"}, "positionals": [{"kind": "text"}, {"kind": "path"}], "flags_first": true});
        for (command, fits) in [
            ("-F x 1 /var/log/a", true),
            ("1 -F etc/shadow", false),
            ("1 -Fx", false),
            ("-F x -- 1", true),
            ("1 -", true),
        ] {
            assert_eq!(check(awk.clone(), FlagStyle::Bundled, command) == Match::Yes, fits, "{command}");
        }
        let echo = json!({"positionals": [{"kind": "text", "max": 2}]});
        for (command, fits) in [("-n --x", true), ("-- a", true), ("a b c", false)] {
            assert_eq!(check(echo.clone(), FlagStyle::None, command) == Match::Yes, fits, "{command}");
        }
    }

    #[test]
    fn positionals_fill_in_order() {
        let grep = json!({"positionals": [{"kind": "text", "min": 1}, {"kind": "path", "max": 2}]});
        for (command, fits) in
            [("x", true), ("/etc/shadow", true), ("x /var/log/a", true), ("", false), ("x y", false)]
        {
            assert_eq!(check(grep.clone(), FlagStyle::Bundled, command) == Match::Yes, fits, "{command}");
        }
    }

    #[test]
    fn problems_are_collected() {
        let text = json!({
            "flags": {"-ab": "none", "n": "none", "": "none", "-x -x": "none", "--y=z": "none", "-l": "path", "--": "none"},
            "positionals": [{"kind": "none"}, {"kind": "word", "min": 2}],
            "subcommands": {"-a": {}, "b": {"flags": {"c": "none"}}},
        });
        let mut problems = Vec::new();
        Usage::new(&serde_json::from_value(text).unwrap(), FlagStyle::Bundled, &mut problems);
        assert_eq!(problems.len(), 10, "{problems:#?}");
    }
}
