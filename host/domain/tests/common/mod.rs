//! The corpus in `tests/corpus/gate`, and the gate with the policy that ships.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use watchkeeper_domain::gate::{BASH, Gate, Judgement, Policy, Verdict};
use watchkeeper_domain::investigation::Call;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn gate() -> Gate {
    let text = fs::read_to_string(root().join("config/gate.yaml")).expect("the policy that ships");
    let policy: Policy =
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("config/gate.yaml: {error}"));
    Gate::new(policy)
}

pub fn judge(gate: &Gate, command: &str) -> Judgement {
    gate.judge(&Call { tool: BASH.into(), input: json!({ "command": command }).into(), purpose: "".into() })
}

pub fn verdict(gate: &Gate, command: &str) -> Verdict {
    judge(gate, command).verdict
}

/// The classes of a side of the corpus, by name, each with its commands.
pub fn corpus(side: &str) -> Vec<(String, Vec<String>)> {
    let folder = root().join("tests/corpus/gate").join(side);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    files
        .iter()
        .map(|file| (file.file_stem().expect("a name").to_string_lossy().into_owned(), commands(file)))
        .collect()
}

fn commands(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.strip_prefix('@') {
            Some(escaped) if escaped.contains('\\') => {
                decoded(escaped).unwrap_or_else(|what| panic!("{}: `{line}`: {what}", file.display()))
            }
            _ => line.to_owned(),
        })
        .collect()
}

/// `\n \t \r \0 \e \\ \xNN \u{N}`, as the corpus' README says.
fn decoded(text: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text.chars());
    while let Some(next) = rest.next() {
        if next != '\\' {
            out.push(next);
            continue;
        }
        out.push(match rest.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('0') => '\0',
            Some('e') => '\u{1b}',
            Some('\\') => '\\',
            Some('x') => code(&rest.by_ref().take(2).collect::<String>())?,
            Some('u') => {
                code(rest.by_ref().skip(1).take_while(|next| *next != '}').collect::<String>().as_str())?
            }
            other => return Err(format!("an escape `\\{other:?}` that isn't one")),
        });
    }
    Ok(out)
}

fn code(digits: &str) -> Result<char, String> {
    let number = u32::from_str_radix(digits, 16).map_err(|error| format!("`{digits}`: {error}"))?;
    char::from_u32(number).ok_or_else(|| format!("`{digits}` is no character"))
}
