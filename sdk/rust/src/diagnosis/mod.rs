//! What playbooks share: proposing calls in stages, finding what they showed, reading the usual tables, and putting
//! together a report whose every finding points at its evidence.
//!
//! A playbook keeps no state, so it is written as a plan: *stages*, each a function from the [`Case`] so far to the calls
//! it wants. [`next`] proposes the first stage's calls that were not made yet, and concludes after the last.
//!
//! ```
//! use watchkeeper_sdk::diagnosis::{self, Case, Diagnosis, read_file};
//! use watchkeeper_sdk::{Briefing, Call, Error, Outcome, Playbook, Report, Step};
//!
//! struct Uptime;
//!
//! impl Playbook for Uptime {
//!     fn next(briefing: &Briefing, outcomes: &[Outcome]) -> Result<Step, Error> {
//!         Ok(diagnosis::next(&Case::new(briefing, outcomes), &[first], conclude))
//!     }
//! }
//!
//! fn first(_: &Case) -> Vec<Call> {
//!     vec![read_file("/proc/uptime", "how long the host has been up")]
//! }
//!
//! fn conclude(case: &Case) -> Report {
//!     let mut diagnosis = Diagnosis::new();
//!     if let Some(uptime) = case.seen(&first(case)[0]) {
//!         diagnosis.finding(format!("up for {} s", uptime.text().trim()), [uptime.evidence(uptime.text())]);
//!         diagnosis.cause("the host was restarted", 0.9);
//!     }
//!     diagnosis.report("The host was restarted.")
//! }
//! ```
//!
//! Nothing here runs or allows anything: a call is a proposal, and the host's gate judges each one. Names that come from
//! outputs (a process, a unit, a path) are whatever somebody chose to call it: they may go into a command only if
//! [`is_plain`] or [`is_plain_path`].

mod calls;
mod case;
mod cpu;
mod disk;
mod host;
mod logs;
mod memory;
mod process;
mod report;
mod topic;

pub use calls::{bash, is_plain, is_plain_path, list_files, read_file};
pub use case::{Case, MAX_ACTIONS, MAX_CALLS, Seen, next};
pub use cpu::{CpuTimes, CpuUse, load_averages};
pub use disk::{DirectorySize, Filesystem, directory_sizes, filesystems};
pub use host::Whereabouts;
pub use logs::{init, journal_or_log, log_files, trouble_lines, var_log};
pub use memory::{Meminfo, counters, human_kib};
pub use process::{Process, ProcessGroup, by_name, processes, systemd_unit};
pub use report::{Diagnosis, cut, prompt, prompt_task};
pub use topic::Topic;
