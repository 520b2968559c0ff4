//! `list_files`: what is in one folder inside of the allowed directories.
//!
//! Invariant: as for `read_file`, the kernel itself keeps it beneath the allowed directory.

use std::fmt::Write;

use async_trait::async_trait;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, FileType, FileTypeExt};
use serde_json::json;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::gate::{Action, ApprovedCall, Files, LIST_FILES};
use watchkeeper_domain::investigation::{Outcome, ToolDescription};
use watchkeeper_domain::tool::Tool;

use super::read_file::explain;
use super::{Limits, Looked, hold_denied, hold_shown, locate, look, wrong_action};

/// Lines in one listing; more say nothing to who reads them.
const MAX_LISTED: usize = 500;
/// Names looked at, so that a folder of millions costs no more than this.
const MAX_NAMES: usize = 50_000;

pub struct ListFiles {
    files: Files,
    limits: Limits,
}

impl ListFiles {
    pub fn new(files: Files, limits: Limits) -> Self {
        Self { files, limits }
    }
}

#[async_trait]
impl Tool for ListFiles {
    fn describe(&self) -> ToolDescription {
        let directories = self.files.allowed_directories().join(", ");
        ToolDescription {
            name: LIST_FILES.to_owned(),
            description: format!(
                "Lists one folder, sorted by name: a line for each entry with its kind, its size in bytes, when it was \
                 last changed, and its name. At most {MAX_LISTED} lines. Only inside of {directories}."
            ),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "path": { "type": "string", "description": "Absolute, without . and ..: /var/log" }
                },
                "required": ["path"],
                "additionalProperties": false
            }),
        }
    }

    async fn run(&self, call: ApprovedCall) -> Outcome {
        let Action::ListFiles { path } = call.action() else {
            return wrong_action(LIST_FILES);
        };
        let (files, path, bytes) = (self.files.clone(), path.clone(), self.limits.output_bytes);
        let by_person = call.by_person();
        let list = move || list(&files, &path, by_person, bytes).map_err(|why| format!("{path}: {why}"));
        look(self.limits, list).await
    }
}

fn list(files: &Files, path: &str, by_person: bool, bytes: usize) -> Looked {
    let (directory, name) = locate(files, path, by_person)?;
    let mut folder = Dir::open_ambient_dir(directory, ambient_authority()).map_err(explain)?;
    if !name.is_empty() {
        folder = folder.open_dir(name).map_err(explain)?;
    }
    hold_denied(files, &folder)?;
    hold_shown(files, path, &folder)?;
    let mut names: Vec<_> = folder
        .entries()
        .map_err(explain)?
        .take(MAX_NAMES)
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()
        .map_err(explain)?;
    names.sort();
    let mut text = String::new();
    let mut listed = 0;
    for name in names.iter().take(MAX_LISTED) {
        let line = line(&folder, name);
        if text.len() + line.len() > bytes {
            break;
        }
        text.push_str(&line);
        listed += 1;
    }
    note(&mut text, listed, names.len());
    Ok((text, listed < names.len()))
}

fn note(text: &mut String, listed: usize, all: usize) {
    let more = all - listed;
    // Writing to a string cannot fail.
    let _ = match (all, more) {
        (0, _) => writeln!(text, "(empty)"),
        (_, 0) => Ok(()),
        (MAX_NAMES, _) => writeln!(text, "… and more than {more} others, not listed"),
        _ => writeln!(text, "… and {more} others, not listed"),
    };
}

fn line(folder: &Dir, name: &std::ffi::OsStr) -> String {
    // A name may hold anything, line ends included; who reads the list should see that.
    let shown = name.to_string_lossy();
    let shown = shown.escape_debug();
    // Gone since it was listed, as processes in /proc are.
    let Ok(metadata) = folder.symlink_metadata(name) else {
        return format!("gone      -  -  {shown}\n");
    };
    let changed = metadata.modified().ok().and_then(|time| {
        let since = time.into_std().duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
        Some(Timestamp::from_millis(since.as_millis() as u64).to_string())
    });
    let target = folder.read_link_contents(name).ok();
    let target = target.map(|target| format!(" -> {}", target.to_string_lossy().escape_debug()));
    format!(
        "{:<6} {:>12}  {}  {shown}{}\n",
        kind(metadata.file_type()),
        metadata.len(),
        changed.as_deref().unwrap_or("-"),
        target.unwrap_or_default()
    )
}

fn kind(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_file() => "file",
        _ if kind.is_dir() => "folder",
        _ if kind.is_symlink() => "link",
        _ if kind.is_fifo() => "fifo",
        _ if kind.is_socket() => "socket",
        _ => "device",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use watchkeeper_domain::investigation::OutcomeStatus;

    use super::super::tests::{Folder, Racer, approved, policy};
    use super::*;

    async fn list_within(allowed: &str, path: &str) -> Outcome {
        let policy = policy(&[allowed.to_owned()]);
        let tool = ListFiles::new(policy.files().clone(), Limits::default());
        tool.run(approved(policy, LIST_FILES, json!({ "path": path }))).await
    }

    #[tokio::test]
    async fn one_line_an_entry() {
        let folder = Folder::new();
        std::fs::write(folder.path("b.log"), "12345").unwrap();
        std::fs::create_dir(folder.path("a")).unwrap();
        std::fs::write(folder.path("evil\nname"), "").unwrap();
        symlink("b.log", folder.path("link")).unwrap();
        let outcome = list_within(&folder.path(""), &folder.path("")).await;
        let lines: Vec<&str> = outcome.output.expose_untrusted().lines().collect();
        assert_eq!(
            (outcome.status, lines.len(), outcome.truncated),
            (OutcomeStatus::Ran, 4, false),
            "{outcome:?}"
        );
        assert!(lines[0].starts_with("folder") && lines[0].ends_with("Z  a"), "{lines:?}");
        assert!(
            lines[1].starts_with("file              5  20") && lines[1].ends_with("Z  b.log"),
            "{lines:?}"
        );
        assert!(lines[2].ends_with("  evil\\nname"), "{lines:?}");
        assert!(lines[3].starts_with("link") && lines[3].ends_with("  link -> b.log"), "{lines:?}");
        assert_eq!(list_within(&folder.path(""), &folder.path("a")).await.output, "(empty)\n");
        let file = list_within(&folder.path(""), &folder.path("b.log")).await;
        assert_eq!(file.status, OutcomeStatus::Failed);
    }

    #[tokio::test]
    async fn long_listings_end_with_how_many_more() {
        let folder = Folder::new();
        (0..MAX_LISTED + 7)
            .for_each(|number| std::fs::write(folder.path(&format!("{number:04}")), "").unwrap());
        let outcome = list_within(&folder.path(""), &folder.path("")).await;
        assert!(
            outcome.truncated && outcome.output.ends_with("0499\n… and 7 others, not listed\n"),
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn no_link_leads_out_nor_into_a_denied_folder() {
        let (folder, outside) = (Folder::new(), Folder::new());
        std::fs::create_dir(folder.path(".ssh")).unwrap();
        symlink(outside.path(""), folder.path("out")).unwrap();
        symlink(".ssh", folder.path("harmless")).unwrap();
        symlink("/proc/self/root", folder.path("root")).unwrap();
        for name in ["out", "harmless", "root", "none"] {
            let outcome = list_within(&folder.path(""), &folder.path(name)).await;
            assert_eq!(outcome.status, OutcomeStatus::Failed, "{name}: {outcome:?}");
        }
        for path in ["/proc/self/root", "/proc/self/cwd"] {
            assert_eq!(list_within("/proc", path).await.status, OutcomeStatus::Failed, "{path}");
        }
        assert!(list_within("/proc", "/proc/self/fd").await.output.contains("link"));
    }

    /// Someone exchanges the folder for a link that leads out, and back.
    #[tokio::test]
    async fn no_race_leads_out() {
        let (folder, outside) = (Folder::new(), Folder::new());
        std::fs::write(outside.path("secret"), "").unwrap();
        std::fs::create_dir(folder.path("sub")).unwrap();
        std::fs::write(folder.path("sub/harmless"), "").unwrap();
        symlink(outside.path(""), folder.path("link")).unwrap();
        let racer = Racer::between(folder.path("sub"), folder.path("link"));
        let mut listed = 0;
        for _ in 0..2000 {
            let outcome = list_within(&folder.path(""), &folder.path("sub")).await;
            assert!(!outcome.output.contains("secret"), "{outcome:?}");
            listed += u32::from(outcome.output.contains("harmless"));
        }
        drop(racer);
        assert!(listed > 0 && listed < 2000, "{listed} of 2000 met the folder");
    }
}
