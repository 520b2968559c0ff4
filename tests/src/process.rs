//! Processes: run to their end, or in the background with a log.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::wait::wait;

/// How much of a log is shown.
const SHOWN: usize = 16 * 1024;

/// What a command that ended by itself left behind.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}):\n{}", self.said()))
    }

    /// The standard output as lines of JSON.
    pub fn json_lines(&self) -> Vec<Value> {
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(line).collect()
    }

    /// Everything that a person would see.
    pub fn said(&self) -> String {
        format!("exit code {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }

    /// Panics with what was said if the command didn't end well.
    pub fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.said());
        self
    }
}

/// Runs to the end, `within` at most.
pub(crate) fn run(command: &mut Command, folder: &Path, input: &[u8], within: Duration) -> Ran {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let out = |kind: &str| folder.join(format!("run-{run}.{kind}"));
    let (stdout, stderr) = (out("stdout"), out("stderr"));
    command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
    let mut child =
        command.stdin(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A command that doesn't read its input to the end may close it early.
    let _ = child.stdin.take().unwrap().write_all(input);
    let mut process = Process { child, log: stderr.clone(), ended: None };
    let status = process.wait(&format!("{command:?} ends"), within);
    let text = |path: PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// A process in the background. It is killed with this value; if the test fails, its log is shown.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Whatever it prints is appended to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: log.to_owned(), ended: None }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    pub(crate) fn wait(&mut self, what: &str, within: Duration) -> ExitStatus {
        wait(what, within, || self.ended())
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// SIGKILL, and gone when this returns.
    pub(crate) fn kill(&mut self) {
        if self.ended().is_none() {
            self.child.kill().unwrap();
            self.ended = Some(self.child.wait().unwrap());
        }
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.ceil_char_boundary(log.len().saturating_sub(SHOWN));
            eprintln!("---- {} ----\n{}----", self.log.display(), &log[from..]);
        }
    }
}

/// An address that nobody listens on, and that nobody takes between two starts: a loopback address of its own, which no
/// outgoing connection is made from.
pub(crate) fn free_address() -> SocketAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id().wrapping_mul(64).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
    let [_, b, c, d] = number.to_be_bytes();
    // 127.0.0.1 is everybody's.
    let own = Ipv4Addr::new(127, b, c, d.max(2));
    TcpListener::bind((own, 0)).and_then(|listener| listener.local_addr()).unwrap()
}
