//! What the host tells the launcher, and what the launcher reports: one line of JSON each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use watchkeeper_domain::gate::Profile;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    Run(Pipeline),
    /// To try each feature of the kernel.
    Probe,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pipeline {
    pub programs: Vec<Program>,
    /// What every program may read: files, and folders with all beneath.
    pub readable: Vec<PathBuf>,
    /// Folders whose names may be listed.
    pub listable: Vec<PathBuf>,
    pub variables: Vec<(String, String)>,
    pub user: Option<User>,
    pub groups: Vec<u32>,
    pub limits: Limits,
    /// To go on without what the kernel lacks.
    pub weaker: bool,
}

/// One program of a pipeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    /// Absolute, and root's.
    pub path: PathBuf,
    pub argv: Vec<String>,
    pub stderr: ErrorsGo,
    pub profile: Profile,
}

/// Where a program's standard error goes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorsGo {
    /// Where the pipeline's output goes.
    Out,
    Nowhere,
    /// Where the program's own output goes.
    WithOutput,
}

/// Whom programs run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

/// What one program may use.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    pub cpu_seconds: u64,
    /// Address space.
    pub memory: u64,
    pub open_files: u64,
    /// Of one user; for root, of one pipeline.
    pub processes: u64,
    /// The largest file, where a file may be written at all.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu_seconds: 60, memory: 4 << 30, open_files: 1024, processes: 512, file: 1 << 30 }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// Each program's exit code, as a shell gives it.
    Ended {
        codes: Vec<i32>,
    },
    /// A program was not started, and those beside it were killed.
    NotStarted {
        why: String,
    },
    /// More processes than it may have; all were killed.
    TooMany {
        processes: u64,
    },
    Probed(Features),
}

/// What of the sandbox this kernel and this host's rights can do: found by trying.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// What every program needs, and why it can't be had.
    pub missing: Vec<String>,
    /// What only some profiles need.
    pub without: Vec<String>,
}
