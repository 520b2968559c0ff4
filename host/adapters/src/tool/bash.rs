//! `bash`: runs a plan. No shell is part of it: each program is started by its words, with pipes between them, in the sandbox.
//!
//! Invariant: when a run ends, by itself, at its deadline or because nobody waits for it any more, nothing that it started is
//! left.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use watchkeeper_domain::gate::{Action, ApprovedCall, BASH, Command, Joint, Plan, Profile, Stderr};
use watchkeeper_domain::investigation::{Outcome, OutcomeStatus, ToolDescription};
use watchkeeper_domain::tool::Tool;

use super::spill::{Spill, Spills};
use super::{Excerpt, Limits, wrong_action};
use crate::sandbox::{ErrorsGo, FAILED, NotRun, Program, Running, Sandbox};

/// Where programs are looked for, in this order, whatever the host's own PATH says.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What a shell exits with when a program can't be found, and when it can't be started.
const NOT_FOUND: i32 = 127;
const NOT_STARTED: i32 = 126;

pub struct Bash {
    limits: Limits,
    sandbox: Arc<Sandbox>,
    spills: Option<Arc<Spills>>,
}

impl Bash {
    pub fn new(limits: Limits, sandbox: Arc<Sandbox>) -> Self {
        Self { limits, sandbox, spills: None }
    }

    /// Keeps what is too long for an outcome.
    pub fn with_spills(mut self, spills: Spills) -> Self {
        self.spills = Some(Arc::new(spills));
        self
    }

    fn outcome(&self, ended: Result<Exit, Late>, output: Output, started: Instant) -> Outcome {
        let (mut text, truncated, spilled) = output.finish();
        let (status, exit_code) = match ended {
            Ok(Exit { could_not_run: false, code }) => (OutcomeStatus::Ran, Some(code)),
            Ok(Exit { could_not_run: true, .. }) => (OutcomeStatus::Failed, None),
            Err(Late) => {
                let seconds = self.limits.deadline.as_secs_f32();
                text.push_str(&format!(
                    "\n(killed at its deadline of {seconds} s; ask for less, or for a shorter time)"
                ));
                (OutcomeStatus::TimedOut, None)
            }
        };
        if let Some(spilled) = spilled {
            text.push_str(&format!("\n({spilled})"));
        }
        Outcome { status, output: text.into(), truncated, exit_code, duration: started.elapsed() }
    }
}

/// The deadline passed first.
struct Late;

#[async_trait]
impl Tool for Bash {
    fn describe(&self) -> ToolDescription {
        let seconds = self.limits.deadline.as_secs();
        ToolDescription {
            name: BASH.to_owned(),
            description: format!(
                "Runs a command line on this host and gives its standard output and error, and its exit code. Plain \
                 words only, joined by |, &&, || and ;. Quote what is special. There are no variables, globs, \
                 redirections (but 2>/dev/null and 2>&1), substitutions, loops or cd: give absolute paths. Programs that \
                 only look (ps, df, ss, journalctl, grep, tail, …) run at once; others need a person's approval, or never \
                 run. No input, no terminal, {seconds} s at most: never follow (tail -f) or watch."
            ),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "command": {
                        "type": "string",
                        "description": "For example: ps -eo pid,pcpu,rss,etime,args --sort=-pcpu | head -n 15"
                    }
                },
                "required": ["command"],
                "additionalProperties": false
            }),
        }
    }

    async fn run(&self, call: ApprovedCall) -> Outcome {
        let Action::Run(plan) = call.action() else {
            return wrong_action(BASH);
        };
        let started = Instant::now();
        let mut output = match Output::new(self.limits.output_bytes, self.spills.clone()) {
            Ok(output) => output,
            Err(error) => {
                return Outcome::without_run(
                    OutcomeStatus::Failed,
                    format!("no pipe for its output: {error}"),
                );
            }
        };
        let mut run = Run { sandbox: &self.sandbox, profiles: call.profiles(), running: None };
        // Dropping the future of a run kills what it started; here it is waited for.
        let ended = tokio::time::timeout(self.limits.deadline, run.plan(plan, &mut output)).await;
        run.kill().await;
        output.drain();
        self.outcome(ended.map_err(|_| Late), output, started)
    }
}

/// How a pipeline ended.
#[derive(Clone, Copy)]
struct Exit {
    code: i32,
    /// One of its programs is not there or would not start; the output says which.
    could_not_run: bool,
}

struct CouldNotRun {
    code: i32,
    why: String,
}

impl From<NotRun> for CouldNotRun {
    fn from(why: NotRun) -> Self {
        Self { code: FAILED.into(), why: why.to_string() }
    }
}

/// One run of a plan.
struct Run<'a> {
    sandbox: &'a Sandbox,
    /// Of each command that is still to come or was passed over.
    profiles: &'a [Profile],
    running: Option<Running>,
}

impl Run<'_> {
    async fn plan(&mut self, plan: &Plan, output: &mut Output) -> Exit {
        let mut last = Exit { code: 0, could_not_run: false };
        for step in &plan.steps {
            let (profiles, rest) =
                self.profiles.split_at_checked(step.pipeline.commands.len()).unwrap_or_default();
            self.profiles = rest;
            let wanted = match step.joint {
                Joint::Then => true,
                Joint::And => last.code == 0,
                Joint::Or => last.code != 0,
            };
            if wanted {
                last = match self.pipeline(&step.pipeline.commands, profiles, output).await {
                    Ok(code) => Exit { code, could_not_run: false },
                    Err(error) => {
                        output.drain();
                        output.push(format!("{}\n", error.why).as_bytes());
                        Exit { code: error.code, could_not_run: true }
                    }
                };
            }
        }
        last
    }

    async fn pipeline(
        &mut self,
        commands: &[Command],
        profiles: &[Profile],
        output: &mut Output,
    ) -> Result<i32, CouldNotRun> {
        if commands.len() != profiles.len() {
            let why = "the call has no profile for each of its commands".to_owned();
            return Err(CouldNotRun { code: NOT_STARTED, why });
        }
        let programs = commands.iter().zip(profiles).map(|(command, profile)| program(command, profile));
        let programs = programs.collect::<Result<Vec<_>, _>>()?;
        let running = self.running.insert(self.sandbox.start(programs, &output.writer).await?);
        let codes = tokio::select! {
            ended = running.ended() => ended,
            () = output.pump() => return Err(CouldNotRun { code: NOT_STARTED, why: "no output".to_owned() }),
        };
        self.running = None;
        output.drain();
        Ok(codes?.last().copied().unwrap_or(NOT_STARTED))
    }

    async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().await;
        }
    }
}

fn program(command: &Command, profile: &Profile) -> Result<Program, CouldNotRun> {
    Ok(Program {
        path: find_program(command.program())?,
        argv: command.argv.clone(),
        stderr: match command.stderr {
            Stderr::Shown => ErrorsGo::Out,
            Stderr::Dropped => ErrorsGo::Nowhere,
            Stderr::Merged => ErrorsGo::WithOutput,
        },
        profile: profile.clone(),
    })
}

fn find_program(name: &str) -> Result<PathBuf, CouldNotRun> {
    let not_found = |why: String| CouldNotRun { code: NOT_FOUND, why };
    if name.is_empty() || name.contains('/') {
        return Err(not_found(format!("{name}: a program is called by its bare name")));
    }
    let paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    let Some(path) = paths.into_iter().find(|path| path.is_file()) else {
        return Err(not_found(format!(
            "{name}: not found in {}; use another program, or install it on this host",
            FOLDERS.join(" ")
        )));
    };
    match untrusted(&path) {
        Some(why) => Err(CouldNotRun { code: NOT_STARTED, why: format!("{}: {why}", path.display()) }),
        None => Ok(path),
    }
}

/// Whoever but root could have put this program there.
fn untrusted(path: &Path) -> Option<&'static str> {
    let Ok(metadata) = path.metadata() else {
        return Some("cannot be looked at");
    };
    let mode = metadata.permissions().mode();
    match metadata {
        _ if metadata.uid() != 0 => Some("does not belong to root, so it is not run: chown it to root"),
        _ if mode & 0o002 != 0 => Some("can be written by anyone, so it is not run: chmod o-w"),
        _ if mode & 0o111 == 0 => Some("is not executable"),
        _ => None,
    }
}

/// Where all programs of a plan write to, and what is kept of it.
struct Output {
    /// The same end of the pipe twice: one to wait on, one to look into at once.
    arriving: Receiver,
    arrived: PipeReader,
    writer: PipeWriter,
    excerpt: Excerpt,
    spill: Spill,
}

impl Output {
    fn new(bytes: usize, spills: Option<Arc<Spills>>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let arriving = Receiver::from_owned_fd(reader.try_clone()?.into())?;
        Ok(Self {
            arriving,
            arrived: reader,
            writer,
            excerpt: Excerpt::new(bytes),
            spill: Spill::new(bytes, spills),
        })
    }

    fn push(&mut self, bytes: &[u8]) {
        self.excerpt.push(bytes);
        self.spill.push(bytes);
    }

    /// Reads on for as long as it is polled.
    async fn pump(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.arriving.read(&mut buffer).await {
                Ok(bytes) => self.push(&buffer[..bytes]),
                Err(error) => {
                    tracing::warn!(%error, "a command's output cannot be read on");
                    return std::future::pending().await;
                }
            }
        }
    }

    /// Takes what is in the pipe by now. The pipe has no end as long as this holds its writer.
    fn drain(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        // A pipe holds no more than this, unless someone still fills it.
        for _ in 0..32 {
            match self.arrived.read(&mut buffer) {
                Ok(bytes) if bytes > 0 => self.push(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }

    /// The text, whether its middle is missing, and where all of it is kept.
    fn finish(self) -> (String, bool, Option<String>) {
        let (text, truncated) = self.excerpt.finish();
        (text, truncated, self.spill.finish())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_bare_name() {
        assert!(find_program("sh").is_ok());
        assert!(find_program("../bin/sh").is_err() && find_program("/bin/sh").is_err());
    }

    #[test]
    fn only_roots_programs_are_trusted() {
        let folder = super::super::tests::Folder::new();
        let path = PathBuf::from(folder.path("program"));
        std::fs::write(&path, "").unwrap();
        let is_root = path.metadata().unwrap().uid() == 0;
        for (mode, trusted) in [(0o755, is_root), (0o757, false), (0o644, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(untrusted(&path).is_none(), trusted, "{mode:o}");
        }
        assert_eq!(untrusted(Path::new("/bin/sh")), None);
    }
}
