//! Which files an investigation may look at: inside the allowed directories, and none of the denied ones.
//!
//! This judges a path by its text. That no symlink leads elsewhere is held by the tool, when it opens the file.

use std::collections::HashMap;
use std::fmt;

/// `allowed_directories` and `denied_files` of the policy, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    allowed: Vec<String>,
    denied: Vec<Pattern>,
    /// Where in `denied` the patterns are of a name at any depth, of a path by its first name, and all others.
    names: Vec<usize>,
    below: HashMap<String, Vec<usize>>,
    others: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    Allowed,
    /// Absolute and normal, but in none of the directories.
    Outside,
    /// A `denied_files` pattern covers it.
    Denied {
        pattern: String,
    },
    /// Relative, or with `.`, `..` or an empty part.
    NotNormal,
}

impl Files {
    /// Every problem of the two lists goes into `problems`.
    pub(super) fn new(allowed: Vec<String>, denied: &[String], problems: &mut Vec<String>) -> Self {
        for directory in allowed.iter().filter(|directory| !is_normal(directory)) {
            problems.push(format!(
                "allowed_directories: `{directory}` is no absolute path without `.`, `..` and `//`: write it like /var/log"
            ));
        }
        let denied = denied.iter().filter_map(|text| match Pattern::new(text) {
            Ok(pattern) => Some(pattern),
            Err(problem) => {
                problems.push(format!("denied_files: {problem}"));
                None
            }
        });
        let mut files = Self { denied: denied.collect(), allowed, ..Self::default() };
        for (at, pattern) in files.denied.iter().enumerate() {
            match &pattern.parts[..] {
                [Name::Folders, _] => files.names.push(at),
                [Name::Exactly(first), _, ..] => files.below.entry(first.clone()).or_default().push(at),
                _ => files.others.push(at),
            }
        }
        files
    }

    pub fn allowed_directories(&self) -> &[String] {
        &self.allowed
    }

    pub fn access(&self, path: &str) -> Access {
        self.access_within(path, &self.allowed)
    }

    /// As [`Files::access`], with other directories. What is denied stays denied.
    pub(super) fn access_within(&self, path: &str, directories: &[String]) -> Access {
        if !is_normal(path) {
            return Access::NotNormal;
        }
        if let Some(pattern) = self.denied_by(path) {
            return Access::Denied { pattern: pattern.to_owned() };
        }
        match directories.iter().any(|directory| is_within(path, directory)) {
            true => Access::Allowed,
            false => Access::Outside,
        }
    }

    /// The pattern that denies this absolute path, if one does.
    pub fn denied_by(&self, path: &str) -> Option<&str> {
        let lower = path.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').filter(|part| !part.is_empty()).collect();
        let first = parts.first().and_then(|first| self.below.get(*first));
        let named = |at: &&usize| {
            self.denied[**at].parts.last().is_some_and(|last| parts.iter().any(|part| last.is(part)))
        };
        let names = self.names.iter().find(named);
        let mut others = first.into_iter().flatten().chain(&self.others);
        let found = names.or_else(|| others.find(|at| covers(&self.denied[**at].parts, &parts)));
        found.map(|at| self.denied[*at].text.as_str())
    }

    /// Whether a pattern's last name covers this name, or one that it stands for: `id_rsa*` looks for what `id_*sa*` denies.
    pub(super) fn names_secret(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        let bare = lower.trim_matches('*');
        let named =
            |last: &Name| last.is(&lower) || (!bare.is_empty() && (last.is(bare) || last.text() == bare));
        // And the other way round: `*pass*` looks for what `*password*` denies. `*.conf` looks for no file in particular.
        let looks_for = |last: &Name| {
            let sample = last.text().replace('*', "r");
            bare.len() > 2 && !lower.starts_with("*.") && name_matches(&lower, &sample)
        };
        let named = |last: &Name| named(last) || looks_for(last);
        let telling = |last: &&Name| last.text().len() > 2;
        self.denied.iter().filter_map(|pattern| pattern.parts.last()).filter(telling).any(named)
    }

    /// Whether a pattern that is anchored at the root denies something beneath this directory.
    pub fn denies_beneath(&self, directory: &str) -> bool {
        let parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
        self.denied.iter().any(|pattern| pattern.leads_beneath(&parts))
    }

    /// The allowed directory that a path is in, the innermost if several are, and the path from there on (empty for the
    /// directory itself).
    pub fn locate<'a>(&'a self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let around = self.allowed.iter().filter(|directory| is_within(path, directory));
        let directory = around.max_by_key(|directory| directory.trim_end_matches('/').len())?;
        let rest = path.get(directory.trim_end_matches('/').len()..)?;
        Some((directory, rest.trim_matches('/')))
    }
}

/// Absolute, and every part a name. A trailing `/` is none's harm.
pub(super) fn is_normal(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let names = rest.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
    path == "/" || names
}

fn is_within(path: &str, directory: &str) -> bool {
    match path.strip_prefix(directory.trim_end_matches('/')) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// `/etc/shadow`, `/proc/**/environ`, `*.pem`: `*` is anything within a name, `**` any number of folders; without a slash
/// it is a name at any depth. A pattern that covers a folder covers all beneath. Letters match in either case.
#[derive(Clone, Debug, PartialEq)]
struct Pattern {
    text: String,
    parts: Vec<Name>,
}

/// One name of a pattern, in lower case.
#[derive(Clone, Debug, PartialEq)]
enum Name {
    /// `**`
    Folders,
    Exactly(String),
    /// `text*`
    Starts(String),
    /// `*text`
    Ends(String),
    /// `*text*`
    Holds(String),
    /// With a `*` elsewhere.
    Matches(String),
}

impl Name {
    fn new(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        if text == "**" {
            return Name::Folders;
        }
        let bare = text.trim_matches('*').to_owned();
        match (text.starts_with('*'), text.ends_with('*')) {
            _ if bare.contains('*') || bare.is_empty() => Name::Matches(text),
            (false, false) => Name::Exactly(bare),
            (false, true) => Name::Starts(bare),
            (true, false) => Name::Ends(bare),
            (true, true) => Name::Holds(bare),
        }
    }

    /// What it says beside `*`.
    fn text(&self) -> &str {
        match self {
            Name::Folders => "",
            Name::Exactly(text) | Name::Starts(text) | Name::Ends(text) | Name::Holds(text) => text,
            Name::Matches(text) => text.trim_matches('*'),
        }
    }

    fn is(&self, name: &str) -> bool {
        match self {
            Name::Folders => true,
            Name::Exactly(text) => name == text,
            Name::Starts(text) => name.starts_with(text),
            Name::Ends(text) => name.ends_with(text),
            Name::Holds(text) => name.contains(text),
            Name::Matches(text) => name_matches(text, name),
        }
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        let body = match text.strip_prefix('/') {
            Some(anchored) => anchored.to_owned(),
            None if text.contains('/') && !text.starts_with("**/") => {
                return Err(format!("`{text}` begins nowhere: write `/{text}` or `**/{text}`"));
            }
            None if text.contains('/') => text.to_owned(),
            None => format!("**/{text}"),
        };
        let parts: Vec<&str> = body.split('/').collect();
        let wild = |part: &&str| part.contains("**") && **part != *"**";
        if parts.iter().any(|part| matches!(*part, "" | "." | "..") || wild(part)) {
            return Err(format!(
                "`{text}` is no pattern: write one like /etc/shadow, /proc/**/environ or *.pem"
            ));
        }
        if parts.iter().all(|part| *part == "**") {
            return Err(format!("`{text}` denies everything: leave `allowed_directories` empty instead"));
        }
        Ok(Self { text: text.to_owned(), parts: parts.into_iter().map(Name::new).collect() })
    }

    fn leads_beneath(&self, directory: &[&str]) -> bool {
        let mut parts = self.parts.iter();
        for name in directory {
            match parts.next() {
                Some(part) if *part != Name::Folders && part.is(&name.to_ascii_lowercase()) => {}
                _ => return false,
            }
        }
        parts.next().is_some_and(|part| *part != Name::Folders || !directory.is_empty())
    }
}

/// Whether a path, in lower case, is what the names say or beneath it.
fn covers(names: &[Name], path: &[&str]) -> bool {
    let Some((name, rest)) = names.split_first() else {
        return true;
    };
    match (name, rest.is_empty()) {
        (Name::Folders, true) => !path.is_empty(),
        (Name::Folders, false) => (0..=path.len()).any(|skipped| covers(rest, &path[skipped..])),
        _ => match path.split_first() {
            Some((first, below)) => name.is(first) && covers(rest, below),
            None => false,
        },
    }
}

/// `*` in a pattern stands for any characters of a name, also for none.
fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let mut starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts.any(|at| name_matches(after, &rest[at..]))
        }),
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Access::Allowed => f.write_str("allowed"),
            Access::Outside => f.write_str("outside of the allowed directories"),
            Access::Denied { pattern } => write!(f, "denied by `{pattern}` of denied_files"),
            Access::NotNormal => f.write_str("no absolute path without `.`, `..` and `//`"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn files() -> Files {
        let mut problems = Vec::new();
        let allowed = ["/var/log", "/proc", "/var/log/app/"].map(str::to_owned).to_vec();
        let denied = [
            "/etc/shadow",
            "/proc/**/environ",
            "/proc/**/fd/**",
            "*.pem",
            ".ssh",
            "id_*sa*",
            "**/tls/private",
        ];
        let files = Files::new(allowed, &denied.map(str::to_owned), &mut problems);
        assert_eq!(problems, [""; 0]);
        files
    }

    #[test]
    fn inside_means_by_whole_names() {
        for (path, expected) in [
            ("/var/log", Access::Allowed),
            ("/var/log/", Access::Allowed),
            ("/var/log/a/b.log", Access::Allowed),
            ("/proc/1/status", Access::Allowed),
            ("/var/logs", Access::Outside),
            ("/var", Access::Outside),
            ("/", Access::Outside),
            ("/VAR/log", Access::Outside),
            ("var/log", Access::NotNormal),
            ("", Access::NotNormal),
            ("/var/log/../../etc", Access::NotNormal),
            ("/var/log/./a", Access::NotNormal),
            ("/var//log", Access::NotNormal),
            ("//var/log", Access::NotNormal),
            ("/var/log//", Access::NotNormal),
            ("//", Access::NotNormal),
            ("/var/log/a\0b", Access::NotNormal),
        ] {
            assert_eq!(files().access(path), expected, "{path}");
        }
    }

    #[test]
    fn denied_wherever_it_is() {
        for path in [
            "/etc/shadow",
            "/etc/shadow/",
            "/proc/1/environ",
            "/proc/self/task/7/environ",
            "/var/log/x.pem",
            "/var/log/X.PEM",
            "/var/log/.ssh/config",
            "/root/.ssh",
            "/var/log/id_rsa",
            "/var/log/id_ecdsa.bak",
            "/proc/1/fd/3",
            "/proc/1/fd/3/etc",
            "/var/log/tls/private/a/b",
        ] {
            assert!(matches!(files().access(path), Access::Denied { .. }), "{path}");
        }
        for path in [
            "/etc/shadow2",
            "/proc/1/fd",
            "/var/log/x.pem2",
            "/var/log/ssh",
            "/proc/1/environ2",
            "/var/log/tls",
        ] {
            assert_eq!(files().denied_by(path), None, "{path}");
        }
    }

    #[test]
    fn a_denied_path_is_known_from_each_of_its_folders() {
        for (directory, expected) in [
            ("/", true),
            ("/etc", true),
            ("/ETC", true),
            ("/etc/ssl", false),
            ("/var", false),
            ("/proc", true),
        ] {
            assert_eq!(files().denies_beneath(directory), expected, "{directory}");
        }
    }

    #[test]
    fn the_innermost_directory_is_opened() {
        let files = files();
        assert_eq!(files.locate("/var/log/app/x/y"), Some(("/var/log/app/", "x/y")));
        assert_eq!(files.locate("/var/log/x"), Some(("/var/log", "x")));
        assert_eq!(files.locate("/var/log/"), Some(("/var/log", "")));
        assert_eq!(files.locate("/etc"), None);
        let root = Files::new(vec!["/".to_owned()], &[], &mut Vec::new());
        assert_eq!(root.locate("/etc/hosts"), Some(("/", "etc/hosts")));
        assert_eq!(root.locate("/"), Some(("/", "")));
    }

    #[test]
    fn bad_lists_are_named_all_at_once() {
        let mut problems = Vec::new();
        let allowed = ["var", "/a/../b"].map(str::to_owned).to_vec();
        let denied = ["etc/shadow", "/a//b", "a**b", "**", "/", ""].map(str::to_owned);
        Files::new(allowed, &denied, &mut problems);
        assert_eq!(problems.len(), 8, "{problems:#?}");
    }
}
