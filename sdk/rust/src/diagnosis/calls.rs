//! Proposing calls to the three tools that every host has.

use serde_json::json;

use crate::Call;

/// A command: programs with literal arguments, joined by `|`, `&&`, `||` or `;`. There is no shell: no variables, no
/// globs, no redirections but `2>/dev/null`. A program that isn't there counts as a failure (three end the
/// investigation), a nonzero exit doesn't.
pub fn bash(command: &str, purpose: &str) -> Call {
    call("bash", json!({ "command": command }), purpose)
}

/// A file's text. A file that isn't there counts as a failure; where it may be missing, `bash("cat …")` doesn't.
pub fn read_file(path: &str, purpose: &str) -> Call {
    call("read_file", json!({ "path": path }), purpose)
}

/// A directory's entries.
pub fn list_files(path: &str, purpose: &str) -> Call {
    call("list_files", json!({ "path": path }), purpose)
}

fn call(tool: &str, input: serde_json::Value, purpose: &str) -> Call {
    Call { tool: tool.to_owned(), input: input.to_string(), purpose: purpose.to_owned() }
}

/// Is it safe as one word of a command: letters, digits and `_ - . @ : +`, and no leading `-` that would make it a flag?
pub fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with('-')
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.@:+".contains(&b))
}

/// Is it safe as a path in a command: absolute, of plain words, with no `..`?
pub fn is_plain_path(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| part.is_empty() || (is_plain(part) && part != "..")))
}
