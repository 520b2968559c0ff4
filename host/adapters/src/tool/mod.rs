//! The tools: what an investigation looks at the machine with. One file a tool.
//!
//! Invariant: a tool does what the approved call holds and nothing that the brain's own text says.

mod bash;
mod list_files;
mod read_file;
mod spill;

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use watchkeeper_domain::gate::Files;
use watchkeeper_domain::investigation::{Outcome, OutcomeStatus};

pub use bash::Bash;
pub use list_files::ListFiles;
pub use read_file::ReadFile;
pub use spill::Spills;

/// What one call of a tool may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub deadline: Duration,
    /// Output beyond this loses its middle.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(30), output_bytes: 64 * 1024 }
    }
}

/// The beginning and the end of a text of any length, in bounded memory.
struct Excerpt {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Of each of the two.
    room: usize,
    left_out: u64,
}

impl Excerpt {
    fn new(bytes: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), room: (bytes / 2).max(1), left_out: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(self.room - self.head.len()));
        self.head.extend_from_slice(first);
        // Of what is longer than the tail, only its own end can stay.
        let kept = &rest[rest.len().saturating_sub(self.room)..];
        let excess = (self.tail.len() + kept.len()).saturating_sub(self.room);
        self.tail.drain(..excess);
        self.tail.extend(kept);
        self.left_out += (excess + rest.len() - kept.len()) as u64;
    }

    /// Something between head and tail that was never read. The head has to be full.
    fn skip(&mut self, bytes: u64) {
        self.left_out += bytes;
    }

    /// The text, and whether its middle is missing. What is not UTF-8 is replaced.
    fn finish(self) -> (String, bool) {
        let tail = Vec::from(self.tail);
        if self.left_out == 0 {
            let whole = [self.head, tail].concat();
            return (String::from_utf8_lossy(&whole).into_owned(), false);
        }
        let (head, tail) = (String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&tail));
        (format!("{head}\n… {} bytes left out …\n{tail}", self.left_out), true)
    }
}

/// What a look at a file came to: the text and whether some of it is missing, or why there is none.
type Looked = Result<(String, bool), String>;

/// Runs what blocks on a thread of its own, within the deadline.
async fn look(limits: Limits, work: impl FnOnce() -> Looked + Send + 'static) -> Outcome {
    let started = Instant::now();
    let task = tokio::task::spawn_blocking(work);
    let (status, output, truncated) = match tokio::time::timeout(limits.deadline, task).await {
        Ok(Ok(Ok((text, truncated)))) => (OutcomeStatus::Ran, text, truncated),
        Ok(Ok(Err(why))) => (OutcomeStatus::Failed, why, false),
        Ok(Err(panic)) => (OutcomeStatus::Failed, format!("the tool itself failed: {panic}"), false),
        Err(_) => {
            (OutcomeStatus::TimedOut, format!("no answer within {} s", limits.deadline.as_secs_f32()), false)
        }
    };
    Outcome { status, output: output.into(), truncated, exit_code: None, duration: started.elapsed() }
}

fn wrong_action(tool: &str) -> Outcome {
    Outcome::without_run(
        OutcomeStatus::Failed,
        format!("this call is none that {tool} can do: it was sent to the wrong tool"),
    )
}

/// The folder to open, and the way from there: an allowed directory, or the path's own folder where a person agreed to that
/// path.
fn locate<'a>(files: &'a Files, path: &'a str, by_person: bool) -> Result<(&'a str, &'a str), String> {
    let own = || path.trim_end_matches('/').rsplit_once('/').filter(|_| by_person);
    let own = || own().map(|(folder, name)| (if folder.is_empty() { "/" } else { folder }, name));
    files.locate(path).or_else(own).ok_or_else(|| "it is outside of the allowed directories".to_owned())
}

/// Refuses what was opened elsewhere than at the path that a person agreed to.
fn hold_shown(files: &Files, path: &str, opened: impl AsFd) -> Result<(), String> {
    let real = real_path(opened)?;
    if files.locate(path).is_some() || real == path.trim_end_matches('/') {
        return Ok(());
    }
    Err(format!("it is a link to `{real}`, and nobody agreed to that"))
}

/// Refuses what was opened if it is, by its real path, one of the denied files: a link inside of an allowed directory may
/// lead to one.
fn hold_denied(files: &Files, opened: impl AsFd) -> Result<(), String> {
    let real = real_path(opened)?;
    match files.denied_by(&real) {
        Some(pattern) => Err(format!("it is a link to `{real}`, which `{pattern}` of denied_files denies")),
        None => Ok(()),
    }
}

/// By the kernel's own word.
fn real_path(opened: impl AsFd) -> Result<String, String> {
    let link = format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd());
    let real =
        std::fs::read_link(link).map_err(|error| format!("where it really lies cannot be told: {error}"))?;
    let real = real.to_string_lossy();
    Ok(real.strip_suffix(" (deleted)").unwrap_or(&real).to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::thread::JoinHandle;

    use serde_json::{Value, json};
    use watchkeeper_domain::gate::{ApprovedCall, Gate, Policy};
    use watchkeeper_domain::investigation::Call;

    use super::*;

    /// A folder that is gone after the test.
    pub(super) struct Folder(PathBuf);

    impl Folder {
        pub(super) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name =
                format!("watchkeeper-tool-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().canonicalize().unwrap().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(super) fn path(&self, name: &str) -> String {
            self.0.join(name).to_str().unwrap().to_owned()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A policy that permits what these tests do, which no real one should.
    pub(super) fn policy(allowed: &[String]) -> Policy {
        let rule = |program: &str, flags: Value| {
            json!({"name": program, "programs": [program], "verdict": "allow", "effect": "read", "justification": "a test",
                "flags": flags, "positionals": [{"kind": "text", "max": 9}], "match": [program]})
        };
        let programs =
            ["echo", "cat", "true", "false", "sleep", "yes", "env", "pwd", "no-such-program", "seq"];
        let mut rules: Vec<Value> = programs.iter().map(|program| rule(program, json!({}))).collect();
        rules.push(rule("sh", json!({"-c": "text"})));
        rules.push(rule("head", json!({"-n -c": "number"})));
        rules.push(rule("wc", json!({"-l -c": "none"})));
        let policy =
            json!({"allowed_directories": allowed, "denied_files": ["*.pem", ".ssh"], "rules": rules});
        serde_json::from_value(policy).unwrap()
    }

    pub(super) fn approved(policy: Policy, tool: &str, input: Value) -> ApprovedCall {
        let judged =
            Gate::new(policy).judge(&Call { tool: tool.into(), input: input.into(), purpose: "".into() });
        let reason = judged.reason.clone();
        judged.into_approved().unwrap_or_else(|| panic!("{reason:?}"))
    }

    /// Exchanges two paths, on and on, for as long as it is kept.
    pub(super) struct Racer {
        stop: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    }

    impl Racer {
        pub(super) fn between(one: String, other: String) -> Self {
            let stop = Arc::new(AtomicBool::new(false));
            let stopped = stop.clone();
            let thread = std::thread::spawn(move || {
                let (here, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
                while !stopped.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(here, &one, here, &other, exchange).unwrap();
                }
            });
            Self { stop, thread: Some(thread) }
        }
    }

    impl Drop for Racer {
        fn drop(&mut self) {
            self.stop.store(true, Ordering::Relaxed);
            let ended = self.thread.take().map(JoinHandle::join);
            assert!(
                std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()),
                "it could not exchange them"
            );
        }
    }

    #[test]
    fn an_excerpt_keeps_both_ends() {
        let whole = |chunks: &[&str]| {
            let mut excerpt = Excerpt::new(8);
            chunks.iter().for_each(|chunk| excerpt.push(chunk.as_bytes()));
            excerpt.finish()
        };
        assert_eq!(whole(&[]), (String::new(), false));
        assert_eq!(whole(&["ab", "cdefgh"]), ("abcdefgh".to_owned(), false));
        for chunks in
            [&["abcdefghi"][..], &["abc", "defghi"], &["a", "b", "cdefg", "h", "i"], &["abcdefgh", "i"]]
        {
            assert_eq!(whole(chunks), ("abcd\n… 1 bytes left out …\nfghi".to_owned(), true), "{chunks:?}");
        }
        assert_eq!(whole(&["abcd", &"x".repeat(100), "wxyz"]).0, "abcd\n… 100 bytes left out …\nwxyz");
        let mut excerpt = Excerpt::new(8);
        excerpt.push(b"a\xffb");
        assert_eq!(excerpt.finish().0, "a\u{fffd}b");
    }
}
