//! YAML with the place of what is wrong in it, and `${NAME}` in its values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde_yaml::Value;

/// A mistake in a file: where, in which key, what, and what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub file: PathBuf,
    pub line: Option<usize>,
    /// Dotted where nested.
    pub key: Option<String>,
    pub reason: String,
}

impl Problem {
    pub fn of_file(file: &Path, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, key: None, reason: reason.into() }
    }

    /// Finds the key's line in `text`.
    pub fn of_key(file: &Path, text: &str, key: &str, reason: impl Into<String>) -> Self {
        let (line, key) = (line_of(text, key), Some(key.to_owned()));
        Self { file: file.to_owned(), line, key, reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for Problem {}

/// A whole file of known shape. serde's own message names the key and what is allowed there.
pub(super) fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, Problem> {
    let masked = mask(text);
    serde_path_to_error::deserialize(serde_yaml::Deserializer::from_str(&masked)).map_err(|error| {
        let key = error.path().to_string();
        let error = error.into_inner();
        let line = error.location().map(|location| location.line());
        let reason = without_path(&unmask(&error.to_string()), &key);
        Problem { file: file.to_owned(), line, key: Some(key).filter(|key| key != "."), reason }
    })
}

/// The same of a file in which `${NAME}` stands for itself; an empty one has all its defaults.
pub fn parse_as_written<T: DeserializeOwned + Default>(file: &Path, text: &str) -> Result<T, Problem> {
    // For what is wrong, and its line: the values of this have other braces in them.
    parse::<Option<T>>(file, text)?;
    let mut value: Value = parse(file, text)?;
    unmask_all(&mut value);
    let read: Result<Option<T>, _> = serde_yaml::from_value(value);
    read.map(Option::unwrap_or_default).map_err(|error| Problem::of_file(file, error.to_string()))
}

/// serde_yaml begins its message with the key, or with as much of it as it knows.
fn without_path(message: &str, key: &str) -> String {
    let ends = key.match_indices('.').map(|(at, _)| at).chain([key.len()]);
    let said = ends.filter_map(|end| message.strip_prefix(&key[..end])?.strip_prefix(": ")).next_back();
    said.unwrap_or(message).to_owned()
}

/// In `{ token: ${NAME} }` YAML takes the inner braces for its own, so they are other characters while it reads.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, name, after)) = reference(rest) {
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_name {
            masked.extend([before, "$", &OPEN.to_string(), name, &CLOSE.to_string()]);
        } else {
            masked.extend([before, "${", name, "}"]);
        }
        rest = after;
    }
    masked + rest
}

fn unmask(text: &str) -> String {
    text.replace(OPEN, "{").replace(CLOSE, "}")
}

fn unmask_all(value: &mut Value) {
    match value {
        Value::String(text) => *text = unmask(text),
        Value::Sequence(items) => items.iter_mut().for_each(unmask_all),
        Value::Mapping(mapping) => mapping.values_mut().for_each(unmask_all),
        _ => {}
    }
}

/// One value of known shape, under `key`.
pub(super) fn value<T: DeserializeOwned>(
    file: &Path,
    text: &str,
    key: &str,
    value: Value,
) -> Result<T, Problem> {
    serde_yaml::from_value(value).map_err(|error| Problem::of_key(file, text, key, error.to_string()))
}

/// The line, from 1, that gives the dotted `key`: its last part that can be found.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = None;
    for part in key.split('.') {
        let from = found.unwrap_or(0);
        let at = (from..lines.len()).find(|&at| gives(lines[at], part));
        match at {
            Some(at) => found = Some(at),
            None => break,
        }
    }
    found.map(|at| at + 1)
}

fn gives(line: &str, key: &str) -> bool {
    let line = line.split(" #").next().unwrap_or_default();
    if line.trim_start().starts_with('#') {
        return false;
    }
    line.match_indices(key).any(|(at, _)| {
        let before = line[..at].trim_end_matches(['"', '\'']).chars().next_back();
        let after = line[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
        before.is_none_or(|before| matches!(before, ' ' | '{' | ',')) && after.starts_with(':')
    })
}

/// The environment's variables; tests and the demo bring their own.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
    /// Those that a configuration asked for: its secrets.
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl Environment {
    pub fn of_process() -> Self {
        let values = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { values, told: Arc::default() }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    pub fn set_default(&mut self, name: &str, value: impl FnOnce() -> String) {
        if self.get(name).is_none() {
            self.values.insert(name.to_owned(), value());
        }
    }

    /// What a `${NAME}` stands for; it counts as a secret from now on.
    fn tell(&self, name: &str) -> Option<&str> {
        let value = self.get(name)?;
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(value.to_owned());
        Some(value)
    }

    /// Every value that was put in the place of a `${NAME}`.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// `text` with each `${NAME}` replaced; the name that isn't set, as the error.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let text = unmask(text);
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, name, after)) = reference(rest) {
            expanded.push_str(before);
            expanded.push_str(self.tell(name).ok_or_else(|| name.to_owned())?);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

/// The first `${NAME}`, with what stands before and after it.
fn reference(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("${")?;
    let end = start + text[start..].find('}')?;
    Some((&text[..start], &text[start + 2..end], &text[end + 1..]))
}

/// Checks every `${NAME}` below `value`, and replaces it if `reveal`. The key of the first that isn't set is in the error.
pub(super) fn resolve(
    value: &mut Value,
    key: &str,
    environment: &Environment,
    reveal: bool,
) -> Result<(), (String, String)> {
    match value {
        Value::String(text) => {
            let expanded = environment.expand(text).map_err(|name| (key.to_owned(), not_set(&name)))?;
            *text = if reveal { expanded } else { unmask(text) };
        }
        Value::Sequence(items) => {
            for item in items {
                resolve(item, key, environment, reveal)?;
            }
        }
        Value::Mapping(mapping) => {
            for (name, item) in mapping.iter_mut() {
                let key = format!("{key}.{}", name.as_str().unwrap_or("?"));
                resolve(item, &key, environment, reveal)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Every `${NAME}` below `value`, with what it stands for.
pub(super) fn placeholders(value: &Value, environment: &Environment, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => {
            let mut rest = text.as_str();
            while let Some((_, name, after)) = reference(rest) {
                if let Some(value) = environment.tell(name) {
                    found.push((format!("${{{name}}}"), value.to_owned()));
                }
                rest = after;
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| placeholders(item, environment, found)),
        Value::Mapping(mapping) => {
            mapping.iter().for_each(|(_, item)| placeholders(item, environment, found));
        }
        _ => {}
    }
}

pub(super) fn not_set(name: &str) -> String {
    format!("${{{name}}} is not set (or empty) in the environment; set {name}, then start again")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_of_a_key() {
        let text = "# name: no\nname: x\nauth: { type: bearer, token: t }\nlimits:\n  memory_mib: 1\n";
        assert_eq!(line_of(text, "name"), Some(2));
        assert_eq!(line_of(text, "auth.token"), Some(3));
        assert_eq!(line_of(text, "limits.memory_mib"), Some(5));
        assert_eq!(line_of(text, "limits.nope"), Some(4));
        assert_eq!(line_of(text, "nope"), None);
    }

    #[test]
    fn expands_names_that_are_set() {
        let mut environment = Environment::default();
        environment.set("A", "1");
        environment.set("E", "");
        assert_eq!(environment.expand("x${A}y${A}").unwrap(), "x1y1");
        assert_eq!(environment.expand("plain $A ${").unwrap(), "plain $A ${");
        assert_eq!(environment.expand("${B}").unwrap_err(), "B");
        assert_eq!(environment.expand("${E}").unwrap_err(), "E");
        assert_eq!(environment.told(), ["1"], "what was put in is known to be secret");
    }
}
