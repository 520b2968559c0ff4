//! The sandbox that every program of a plan runs in. It holds whatever the gate lets through.
//!
//! Here is the host's side: it starts the launcher ([`launcher`]), its own binary once more, tells it what to start and with which
//! profiles, and waits for its report. `host/ARCHITECTURE.md` says which mechanism holds what.

mod broker;
mod launcher;
mod order;
mod readable;
mod restrict;
mod syscalls;
mod view;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::Child;
use watchkeeper_domain::gate::Files;

use order::{Order, Pipeline, Report};

pub use launcher::FAILED;
pub use order::{ErrorsGo, Features, Limits, Program, User};

/// The one argument by which the binary knows that it is the launcher.
const LAUNCH: &str = "launch-sandboxed";

/// All that a program finds in its environment: nothing of the host's, and no pager that waits for a key.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LC_ALL", "C.UTF-8"),
    ("TERM", "dumb"),
    ("PAGER", "cat"),
    ("SYSTEMD_PAGER", "cat"),
    ("SYSTEMD_COLORS", "0"),
];

/// The longest report.
const MAX_REPORT: u64 = 64 * 1024;

/// How long a look at what may be read holds. A secret that is created meanwhile, in a tree that had none, is in that tree.
const LOOKED: Duration = Duration::from_secs(2);

/// How long the launcher may take to kill everything.
const ENDING: Duration = Duration::from_secs(5);

/// To be called first in `main`, before there is any other thread: runs the launcher, if that is what this process is for.
pub fn launched() -> Option<ExitCode> {
    (std::env::args_os().nth(1).as_deref() == Some(OsStr::new(LAUNCH))).then(launcher::run)
}

/// What the operator says of it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whom programs run as, if the host is root; itself, without any capability, if nobody is named.
    pub user: Option<User>,
    /// The groups that programs have, if the host is root: those who may read logs.
    pub groups: Vec<u32>,
    pub limits: Limits,
    /// To go on without what this kernel lacks.
    pub accept_weaker: bool,
}

pub struct Sandbox {
    /// Open since the start: a file that is exchanged under the host changes nothing.
    launcher: File,
    files: Files,
    options: Options,
    readable: Mutex<Option<(Instant, Vec<PathBuf>)>>,
}

/// Why there is no exit code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    #[error("{0}")]
    NotStarted(String),
    #[error("killed, for it had {0} processes")]
    TooMany(u64),
    #[error("the sandbox's launcher failed: {0}")]
    Launcher(String),
}

impl Sandbox {
    /// The launcher is this process's own binary, whose `main` calls [`launched`].
    pub fn new(files: Files, options: Options) -> io::Result<Self> {
        Self::with_launcher(Path::new("/proc/self/exe"), files, options)
    }

    pub fn with_launcher(launcher: &Path, files: Files, options: Options) -> io::Result<Self> {
        Ok(Self { launcher: File::open(launcher)?, files, options, readable: Mutex::default() })
    }

    /// What this kernel and the host's rights can do.
    pub async fn features(&self) -> Result<Features, NotRun> {
        let (_, nowhere) = io::pipe().map_err(failed)?;
        match self.launch(&Order::Probe, &nowhere).await?.report().await? {
            Report::Probed(features) => Ok(features),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a pipeline, whose output goes to `output`. Dropping what is returned kills all of it.
    pub async fn start(&self, programs: Vec<Program>, output: &PipeWriter) -> Result<Running, NotRun> {
        let order = Order::Run(Pipeline {
            programs,
            readable: self.readable().await?,
            listable: self.files.allowed_directories().iter().map(Into::into).collect(),
            variables: ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            user: self.options.user,
            groups: self.options.groups.clone(),
            limits: self.options.limits,
            weaker: self.options.accept_weaker,
        });
        self.launch(&order, output).await
    }

    /// Looked at anew unless it just was: a plan may have many pipelines.
    async fn readable(&self) -> Result<Vec<PathBuf>, NotRun> {
        let known = self.readable.lock().map_err(failed)?.clone();
        if let Some((_, known)) = known.filter(|(looked, _)| looked.elapsed() < LOOKED) {
            return Ok(known);
        }
        let (files, looked) = (self.files.clone(), Instant::now());
        let readable =
            tokio::task::spawn_blocking(move || readable::readable(&files)).await.map_err(failed)?;
        *self.readable.lock().map_err(failed)? = Some((looked, readable.clone()));
        Ok(readable)
    }

    async fn launch(&self, order: &Order, output: &PipeWriter) -> Result<Running, NotRun> {
        let mut order = serde_json::to_vec(order).map_err(failed)?;
        order.push(b'\n');
        let (told, tell) = io::pipe().map_err(failed)?;
        let (hear, report) = io::pipe().map_err(failed)?;
        // Through the open file, of which the new process has the same number until it is another program.
        let mut launcher = std::process::Command::new(format!("/proc/self/fd/{}", self.launcher.as_raw_fd()));
        launcher.arg0("watchkeeper").arg(LAUNCH).env_clear().current_dir("/");
        launcher.stdin(told).stdout(Stdio::from(output.try_clone().map_err(failed)?)).stderr(report);
        let child = tokio::process::Command::from(launcher).spawn().map_err(failed)?;
        let mut tell = Sender::from_owned_fd(tell.into()).map_err(failed)?;
        let hear = Receiver::from_owned_fd(hear.into()).map_err(failed)?;
        let told = tell.write_all(&order).await;
        let mut running = Running { child, tell: Some(tell), hear };
        match told {
            Ok(()) => Ok(running),
            // Its report says more than the broken pipe.
            Err(error) => match running.report().await {
                Ok(Report::NotStarted { why }) => Err(NotRun::NotStarted(why)),
                _ => Err(failed(error)),
            },
        }
    }
}

fn failed(error: impl std::fmt::Display) -> NotRun {
    NotRun::Launcher(error.to_string())
}

fn unexpected(report: &Report) -> NotRun {
    match report {
        Report::NotStarted { why } => NotRun::NotStarted(why.clone()),
        Report::TooMany { processes } => NotRun::TooMany(*processes),
        other => failed(format!("an unexpected report: {other:?}")),
    }
}

/// A pipeline that runs. Once its order's pipe is closed, by whatever end, the launcher kills it.
pub struct Running {
    child: Child,
    /// Open as long as the pipeline is wanted.
    tell: Option<Sender>,
    hear: Receiver,
}

impl Running {
    /// Each program's exit code. Once this returns, nothing of the pipeline is left.
    pub async fn ended(&mut self) -> Result<Vec<i32>, NotRun> {
        match self.report().await? {
            Report::Ended { codes } => Ok(codes),
            other => Err(unexpected(&other)),
        }
    }

    async fn report(&mut self) -> Result<Report, NotRun> {
        let mut text = String::new();
        let heard = (&mut self.hear).take(MAX_REPORT).read_to_string(&mut text).await;
        self.finish().await;
        heard.map_err(failed)?;
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).map_err(|error| match text.is_empty() {
            true => failed("it was killed"),
            false => failed(format!("{error}: {}", text.trim())),
        })
    }

    /// Kills all of it, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.tell = None;
        let mut rest = Vec::new();
        let gone =
            tokio::time::timeout(ENDING, (&mut self.hear).take(MAX_REPORT).read_to_end(&mut rest)).await;
        if gone.is_err() {
            tracing::warn!(
                "processes of a command are not gone {} s after they were killed",
                ENDING.as_secs()
            );
        }
        self.finish().await;
    }

    /// Whatever became of the launcher: nobody in its group outlives it.
    async fn finish(&mut self) {
        // Not waited for yet, so the number is still the group's.
        if let Some(group) = self.child.id().and_then(|id| Pid::from_raw(id as i32)) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
            // Before it had a group of its own.
            let _ = rustix::process::kill_process(group, Signal::KILL);
        }
        match tokio::time::timeout(ENDING, self.child.wait()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a launcher stays as a zombie"),
            // It hangs in the kernel; the runtime waits for it in the background.
            Err(_) => tracing::warn!("a launcher is not gone {} s after it was killed", ENDING.as_secs()),
        }
    }
}
