//! `read_file`: one regular file inside of the allowed directories, its beginning and its end.
//!
//! Invariant: what is read lies beneath the allowed directory by the kernel's own word, links and races included, and is
//! none of the denied files.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use async_trait::async_trait;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use serde_json::json;
use watchkeeper_domain::gate::{Action, ApprovedCall, Files, READ_FILE};
use watchkeeper_domain::investigation::{Outcome, ToolDescription};
use watchkeeper_domain::tool::Tool;

use super::{Excerpt, Limits, Looked, hold_denied, hold_shown, locate, look, wrong_action};

/// How far a file is read that doesn't tell its size, as those in /proc.
const MAX_UNKNOWN_BYTES: usize = 16 * 1024 * 1024;

pub struct ReadFile {
    files: Files,
    limits: Limits,
}

impl ReadFile {
    pub fn new(files: Files, limits: Limits) -> Self {
        Self { files, limits }
    }
}

#[async_trait]
impl Tool for ReadFile {
    fn describe(&self) -> ToolDescription {
        let directories = self.files.allowed_directories().join(", ");
        let kib = self.limits.output_bytes / 1024;
        ToolDescription {
            name: READ_FILE.to_owned(),
            description: format!(
                "Reads a text file. Of a file longer than {kib} KiB the beginning and the end are given. Only regular \
                 files inside of {directories}; files that hold secrets are refused. For a part of a long log, use \
                 bash with grep, head or tail."
            ),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "path": { "type": "string", "description": "Absolute, without . and ..: /var/log/syslog" }
                },
                "required": ["path"],
                "additionalProperties": false
            }),
        }
    }

    async fn run(&self, call: ApprovedCall) -> Outcome {
        let Action::ReadFile { path } = call.action() else {
            return wrong_action(READ_FILE);
        };
        let (files, path, limits) = (self.files.clone(), path.clone(), self.limits);
        let by_person = call.by_person();
        let read = move || {
            read(&files, &path, by_person, limits.output_bytes).map_err(|why| format!("{path}: {why}"))
        };
        look(limits, read).await
    }
}

fn read(files: &Files, path: &str, by_person: bool, bytes: usize) -> Looked {
    let (directory, name) = locate(files, path, by_person)?;
    if name.is_empty() {
        return Err(not_regular(true));
    }
    let directory = Dir::open_ambient_dir(directory, ambient_authority()).map_err(explain)?;
    // Looked at before it is opened, since to open a FIFO or a device can already do something; and after, since only what
    // is open can't be exchanged any more.
    regular(&directory.metadata(name).map_err(explain)?)?;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32);
    let mut file = directory.open_with(name, &options).map_err(explain)?;
    let metadata = file.metadata().map_err(explain)?;
    regular(&metadata)?;
    hold_denied(files, &file)?;
    hold_shown(files, path, &file)?;
    let mut excerpt = Excerpt::new(bytes);
    both_ends(&mut file, metadata.len(), bytes, &mut excerpt).map_err(explain)?;
    Ok(excerpt.finish())
}

fn regular(metadata: &Metadata) -> Result<(), String> {
    if metadata.is_file() { Ok(()) } else { Err(not_regular(metadata.is_dir())) }
}

fn not_regular(is_folder: bool) -> String {
    match is_folder {
        true => "it is a folder: use list_files".to_owned(),
        false => "it is no regular file".to_owned(),
    }
}

/// A long file's middle isn't even read.
fn both_ends(file: &mut File, size: u64, bytes: usize, excerpt: &mut Excerpt) -> std::io::Result<()> {
    let half = (bytes / 2).max(1);
    if size <= 2 * half as u64 {
        return take(file, MAX_UNKNOWN_BYTES, excerpt);
    }
    take(file, half, excerpt)?;
    let tail_at = size - half as u64;
    // A file in /sys says 4096 bytes and has a handful; there, the end of the head is the end.
    if file.stream_position()? < half as u64 {
        return Ok(());
    }
    excerpt.skip(tail_at - half as u64);
    file.seek(SeekFrom::Start(tail_at))?;
    take(file, half, excerpt)
}

fn take(file: &mut File, limit: usize, excerpt: &mut Excerpt) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = limit;
    while left > 0 {
        let room = left.min(buffer.len());
        match file.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(bytes) => {
                excerpt.push(&buffer[..bytes]);
                left -= bytes;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A file that would make us wait for more, such as the kernel's message queue.
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A path that leads outside is refused by the kernel as a permission, or as a link too many.
pub(super) fn explain(error: std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => {
            format!("it cannot be opened, or a link leads out of the allowed directory: {error}")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use watchkeeper_domain::investigation::OutcomeStatus;

    use super::super::tests::{Folder, Racer, approved, policy};
    use super::*;

    async fn read_within(bytes: usize, allowed: &str, path: &str) -> Outcome {
        let policy = policy(&[allowed.to_owned()]);
        let limits = Limits { output_bytes: bytes, ..Limits::default() };
        let tool = ReadFile::new(policy.files().clone(), limits);
        tool.run(approved(policy, READ_FILE, json!({ "path": path }))).await
    }

    #[tokio::test]
    async fn reads_a_file_and_both_ends_of_a_long_one() {
        let folder = Folder::new();
        std::fs::write(folder.path("short"), "one\ntwo\n").unwrap();
        std::fs::write(folder.path("long"), format!("begin{}end", "x".repeat(1_000_000))).unwrap();
        std::fs::create_dir(folder.path("sub")).unwrap();
        symlink("../short", folder.path("sub/link")).unwrap();
        let short = read_within(100, &folder.path(""), &folder.path("short")).await;
        assert_eq!(
            (short.status, short.output.expose_untrusted().as_str(), short.truncated),
            (OutcomeStatus::Ran, "one\ntwo\n", false)
        );
        let long = read_within(100, &folder.path(""), &folder.path("long")).await;
        assert!(long.truncated && long.output.starts_with("beginx") && long.output.ends_with("xend"));
        assert!(long.output.contains("\n… 999908 bytes left out …\n"), "{long:?}");
        let linked = read_within(100, &folder.path(""), &folder.path("sub/link")).await;
        assert_eq!(linked.output, "one\ntwo\n");
    }

    #[tokio::test]
    async fn reads_files_that_do_not_know_their_size() {
        let uptime = read_within(100, "/proc", "/proc/uptime").await;
        assert!(uptime.status == OutcomeStatus::Ran && uptime.output.contains("."), "{uptime:?}");
        let own = read_within(4000, "/proc", "/proc/self/status").await;
        assert!(own.output.starts_with("Name:"), "{own:?}");
        let sys = read_within(64, "/sys", "/sys/kernel/mm/transparent_hugepage/enabled").await;
        assert!(sys.status == OutcomeStatus::Failed || sys.output.contains("never"), "{sys:?}");
    }

    #[tokio::test]
    async fn no_link_leads_out_nor_to_a_denied_file() {
        let (folder, outside) = (Folder::new(), Folder::new());
        std::fs::write(outside.path("secret"), "secret").unwrap();
        std::fs::write(folder.path("key.pem"), "secret").unwrap();
        std::fs::create_dir(folder.path(".ssh")).unwrap();
        std::fs::write(folder.path(".ssh/config"), "secret").unwrap();
        let name = outside.path("").trim_end_matches('/').rsplit('/').next().unwrap().to_owned();
        symlink(outside.path("secret"), folder.path("absolute")).unwrap();
        symlink(format!("../{name}/secret"), folder.path("relative")).unwrap();
        symlink(outside.path(""), folder.path("folder")).unwrap();
        symlink("key.pem", folder.path("harmless.log")).unwrap();
        symlink(".ssh", folder.path("harmless")).unwrap();
        symlink("/proc/self/root", folder.path("root")).unwrap();
        symlink("loop", folder.path("loop")).unwrap();
        let below = [
            "absolute",
            "relative",
            "folder/secret",
            "harmless.log",
            "harmless/config",
            "root/etc/passwd",
            "loop",
        ];
        for path in below {
            let outcome = read_within(100, &folder.path(""), &folder.path(path)).await;
            assert_eq!(outcome.status, OutcomeStatus::Failed, "{path}: {outcome:?}");
            assert!(!outcome.output.contains("secret") || !outcome.output.ends_with("secret"), "{outcome:?}");
        }
        for path in
            ["/proc/self/root/etc/passwd", "/proc/self/cwd/Cargo.toml", "/proc/thread-self/root/etc/passwd"]
        {
            assert_eq!(read_within(100, "/proc", path).await.status, OutcomeStatus::Failed, "{path}");
        }
    }

    #[tokio::test]
    async fn only_regular_files() {
        let folder = Folder::new();
        let fifo = folder.path("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(folder.path("socket")).unwrap();
        for (path, why) in [
            ("fifo", "no regular file"),
            ("socket", "no regular file"),
            ("", "list_files"),
            ("none", "no such file"),
        ] {
            let outcome = read_within(100, &folder.path(""), &folder.path(path)).await;
            assert!(outcome.status == OutcomeStatus::Failed && outcome.output.contains(why), "{outcome:?}");
        }
        assert!(read_within(100, "/dev", "/dev/zero").await.output.contains("no regular file"));
    }

    /// Someone exchanges a file for a link and back while it is read over and over.
    #[tokio::test]
    async fn a_race_is_lost_by_who_plays_it() {
        let (folder, outside) = (Folder::new(), Folder::new());
        std::fs::write(outside.path("secret"), "secret").unwrap();
        let (path, target, stage) = (folder.path("log"), outside.path("secret"), folder.path("stage"));
        std::fs::write(&path, "harmless").unwrap();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (stopped, exchanged) = (stop.clone(), path.clone());
        let racer = std::thread::spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                symlink(&target, &stage).unwrap();
                std::fs::rename(&stage, &exchanged).unwrap();
                std::fs::write(&stage, "harmless").unwrap();
                std::fs::rename(&stage, &exchanged).unwrap();
            }
        });
        let mut read = 0;
        for _ in 0..2000 {
            let outcome = read_within(100, &folder.path(""), &path).await;
            match outcome.status {
                OutcomeStatus::Ran => {
                    assert_eq!(outcome.output, "harmless");
                    read += 1;
                }
                _ => assert!(outcome.status == OutcomeStatus::Failed, "{outcome:?}"),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        racer.join().unwrap();
        assert!(read > 0);
    }

    /// Someone exchanges a folder on the way for a link that leads out, and back.
    #[tokio::test]
    async fn no_race_for_a_folder_leads_out() {
        let (folder, outside) = (Folder::new(), Folder::new());
        std::fs::write(outside.path("log"), "secret").unwrap();
        std::fs::create_dir(folder.path("sub")).unwrap();
        std::fs::write(folder.path("sub/log"), "harmless").unwrap();
        symlink(outside.path(""), folder.path("link")).unwrap();
        let racer = Racer::between(folder.path("sub"), folder.path("link"));
        let mut read = 0;
        for _ in 0..2000 {
            let outcome = read_within(100, &folder.path(""), &folder.path("sub/log")).await;
            match outcome.status {
                OutcomeStatus::Ran => {
                    assert_eq!(outcome.output, "harmless");
                    read += 1;
                }
                _ => assert!(outcome.status == OutcomeStatus::Failed, "{outcome:?}"),
            }
        }
        drop(racer);
        assert!(read > 0 && read < 2000, "{read} of 2000 met the folder");
    }

    /// A file of a terabyte, which is a hole, and one that never ends.
    #[tokio::test]
    async fn a_huge_file_costs_no_more_than_its_ends() {
        let folder = Folder::new();
        let huge = std::fs::File::create(folder.path("huge")).unwrap();
        huge.set_len(1 << 40).unwrap();
        let started = std::time::Instant::now();
        let outcome = read_within(100, &folder.path(""), &folder.path("huge")).await;
        assert!(outcome.truncated && outcome.output.len() < 300, "{outcome:?}");
        assert!(started.elapsed() < std::time::Duration::from_secs(2));
        for path in ["/proc/self/pagemap", "/proc/self/mem", "/proc/kmsg", "/proc/kcore"] {
            let started = std::time::Instant::now();
            let outcome = read_within(100, "/proc", path).await;
            assert!(outcome.output.len() < 400, "{path}");
            assert!(started.elapsed() < std::time::Duration::from_secs(10), "{path}");
        }
    }
}
