//! `bash`: runs a plan. No shell is part of it: the host starts each program by its words, and builds the pipes.
//!
//! Invariant: when a run ends, by itself, at its deadline or because nobody waits for it any more, its process groups are
//! killed.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{SignalKind, signal};
use watchkeeper_domain::gate::{Action, ApprovedCall, BASH, Command, Joint, Pipeline, Plan, Stderr};
use watchkeeper_domain::investigation::{Outcome, OutcomeStatus, ToolDescription};
use watchkeeper_domain::tool::Tool;

use super::{Excerpt, Limits, wrong_action};

/// Where programs are looked for, in this order, whatever the host's own PATH says.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// All that a program finds in its environment: nothing of the host's, and no pager that waits for a key.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LC_ALL", "C.UTF-8"),
    ("TERM", "dumb"),
    ("PAGER", "cat"),
    ("SYSTEMD_PAGER", "cat"),
    ("SYSTEMD_COLORS", "0"),
];

/// What a shell exits with when a program can't be found, and when it can't be started.
const NOT_FOUND: i32 = 127;
const NOT_STARTED: i32 = 126;

pub struct Bash {
    limits: Limits,
}

impl Bash {
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    fn outcome(&self, ended: Result<Exit, Late>, output: Output, started: Instant) -> Outcome {
        let (mut text, truncated) = output.excerpt.finish();
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
        Outcome { status, output: text, truncated, exit_code, duration: started.elapsed() }
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
        let mut output = match Output::new(self.limits.output_bytes) {
            Ok(output) => output,
            Err(error) => {
                return Outcome::without_run(
                    OutcomeStatus::Failed,
                    format!("no pipe for its output: {error}"),
                );
            }
        };
        // Dropping the future of a run kills what it started.
        let ended = tokio::time::timeout(self.limits.deadline, run_plan(plan, &mut output)).await;
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

async fn run_plan(plan: &Plan, output: &mut Output) -> Exit {
    let mut last = Exit { code: 0, could_not_run: false };
    for step in &plan.steps {
        let wanted = match step.joint {
            Joint::Then => true,
            Joint::And => last.code == 0,
            Joint::Or => last.code != 0,
        };
        if wanted {
            last = match run_pipeline(&step.pipeline, output).await {
                Ok(code) => Exit { code, could_not_run: false },
                Err(error) => {
                    output.drain();
                    output.excerpt.push(format!("{}\n", error.why).as_bytes());
                    Exit { code: error.code, could_not_run: true }
                }
            };
        }
    }
    last
}

struct CouldNotRun {
    code: i32,
    why: String,
}

async fn run_pipeline(pipeline: &Pipeline, output: &mut Output) -> Result<i32, CouldNotRun> {
    let group = start(pipeline, &output.writer)?;
    tokio::select! {
        exited = group.exited() => exited.map_err(|error| CouldNotRun {
            code: NOT_STARTED,
            why: format!("it cannot be waited for: {error}"),
        })?,
        () = output.pump() => {}
    }
    let code = group.finish();
    output.drain();
    Ok(code)
}

/// Starts every program of a pipeline, or none that stays.
fn start(pipeline: &Pipeline, output: &PipeWriter) -> Result<Group, CouldNotRun> {
    let programs: Vec<PathBuf> =
        pipeline.commands.iter().map(|command| find_program(command.program())).collect::<Result<_, _>>()?;
    let mut group = Group { children: Vec::new() };
    let mut input: Option<PipeReader> = None;
    for (number, (command, program)) in pipeline.commands.iter().zip(&programs).enumerate() {
        let is_last = number + 1 == pipeline.commands.len();
        let started = (|| {
            let (next_input, stdout) = if is_last {
                (None, output.try_clone()?)
            } else {
                let (reader, writer) = io::pipe()?;
                (Some(reader), writer)
            };
            group.spawn(process(command, program, input.take(), stdout, output)?)?;
            Ok::<_, io::Error>(next_input)
        })();
        input = started.map_err(|error| CouldNotRun {
            code: NOT_STARTED,
            why: format!("{}: cannot be started: {error}", command.program()),
        })?;
    }
    Ok(group)
}

fn process(
    command: &Command,
    program: &Path,
    input: Option<PipeReader>,
    stdout: PipeWriter,
    output: &PipeWriter,
) -> io::Result<std::process::Command> {
    let stderr = match command.stderr {
        Stderr::Shown => Stdio::from(output.try_clone()?),
        Stderr::Dropped => Stdio::null(),
        Stderr::Merged => Stdio::from(stdout.try_clone()?),
    };
    let mut process = std::process::Command::new(program);
    process.arg0(command.program()).args(&command.argv[1..]);
    process.env_clear().envs(ENVIRONMENT).current_dir("/");
    process.stdin(input.map_or_else(Stdio::null, Stdio::from)).stdout(stdout).stderr(stderr);
    Ok(process)
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

/// The processes of one pipeline, in a process group of their own, which the first of them leads.
struct Group {
    children: Vec<Child>,
}

impl Group {
    fn spawn(&mut self, mut process: std::process::Command) -> io::Result<()> {
        let leader = self.leader().map_or(0, Pid::as_raw_pid);
        self.children.push(process.process_group(leader).spawn()?);
        Ok(())
    }

    /// As long as no child is waited for, its id, and with it the group's, can't be anyone else's.
    fn leader(&self) -> Option<Pid> {
        self.children.first().and_then(|child| Pid::from_raw(child.id() as i32))
    }

    /// All of them have exited; none is reaped yet.
    async fn exited(&self) -> io::Result<()> {
        // Listening begins before the first look, so that no exit falls in between.
        let mut exits = signal(SignalKind::child())?;
        for child in &self.children {
            while !has_exited(child)? {
                exits.recv().await;
            }
        }
        Ok(())
    }

    /// The exit code as a shell gives it: the last one's, or 128 and the signal that killed it.
    fn finish(mut self) -> i32 {
        self.kill();
        let status = self.children.last_mut().and_then(|child| child.try_wait().ok().flatten());
        status.map_or(NOT_STARTED, |status| status.code().unwrap_or(128 + status.signal().unwrap_or(0)))
    }

    fn kill(&self) {
        if let Some(leader) = self.leader() {
            // Nothing left to kill is what we want.
            let _ = rustix::process::kill_process_group(leader, Signal::KILL);
        }
    }
}

/// A look that leaves the child to be waited for.
fn has_exited(child: &Child) -> io::Result<bool> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match Pid::from_raw(child.id() as i32) {
        Some(pid) => Ok(rustix::process::waitid(WaitId::Pid(pid), look)?.is_some()),
        None => Ok(true),
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.children.is_empty() {
            self.kill();
        }
        let mut left = std::mem::take(&mut self.children);
        left.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        if left.is_empty() {
            return;
        }
        // A killed process may take its time, for instance on a hung disk; nobody here should wait for that.
        let reaper = std::thread::Builder::new().name("reaper".to_owned());
        let spawned = reaper.spawn(move || {
            left.iter_mut().for_each(|child| {
                let _ = child.wait();
            });
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "killed processes stay as zombies: no thread to wait for them");
        }
    }
}

/// Where all programs of a plan write to, and what is kept of it.
struct Output {
    /// The same end of the pipe twice: one to wait on, one to look into at once.
    arriving: Receiver,
    arrived: PipeReader,
    writer: PipeWriter,
    excerpt: Excerpt,
}

impl Output {
    fn new(bytes: usize) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let arriving = Receiver::from_owned_fd(reader.try_clone()?.into())?;
        Ok(Self { arriving, arrived: reader, writer, excerpt: Excerpt::new(bytes) })
    }

    /// Reads on for as long as it is polled.
    async fn pump(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.arriving.read(&mut buffer).await {
                Ok(bytes) => self.excerpt.push(&buffer[..bytes]),
                Err(error) => {
                    tracing::warn!(%error, "a command's output cannot be read on");
                    return std::future::pending().await;
                }
            }
        }
    }

    /// Takes what is in the pipe by now. The end of the pipe is no sign of anything: a process that left its group may
    /// hold it for ever.
    fn drain(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        // A pipe holds no more than this, unless someone still fills it.
        for _ in 0..32 {
            match self.arrived.read(&mut buffer) {
                Ok(bytes) if bytes > 0 => self.excerpt.push(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{approved, policy};
    use super::*;

    async fn run_within(limits: Limits, command: &str) -> Outcome {
        Bash::new(limits).run(approved(policy(&[]), BASH, json!({ "command": command }))).await
    }

    async fn run(command: &str) -> Outcome {
        run_within(Limits::default(), command).await
    }

    fn is_running(marker: &str) -> bool {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let state = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let dead = state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
            !dead && command.split(|byte| *byte == 0).any(|word| word == marker.as_bytes())
        })
    }

    async fn gone(marker: &str) -> bool {
        for _ in 0..200 {
            if !is_running(marker) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    #[tokio::test]
    async fn plans_run_as_bash_would() {
        for (command, output, code) in [
            ("echo a b", "a b\n", 0),
            ("false", "", 1),
            ("false && echo x || echo y", "y\n", 0),
            ("true || echo x && echo y", "y\n", 0),
            ("false || false; echo z", "z\n", 0),
            ("true && false", "", 1),
            ("false | true", "", 0),
            ("echo a | cat | wc -l", "1\n", 0),
            ("echo '$HOME *' \"a'b\"", "$HOME * a'b\n", 0),
            ("pwd", "/\n", 0),
            ("cat", "", 0),
            ("sh -c 'exit 7'", "", 7),
            ("sh -c 'kill -9 $$'", "", 137),
            ("sh -c 'echo e >&2; echo o'", "e\no\n", 0),
            ("sh -c 'echo e >&2; echo o' 2>/dev/null", "o\n", 0),
            ("sh -c 'echo e >&2' | wc -l", "e\n0\n", 0),
            ("sh -c 'echo e >&2' 2>&1 | wc -l", "1\n", 0),
            ("no-such-program 2>/dev/null || echo fallback", "", 0),
        ] {
            let outcome = run(command).await;
            assert_eq!(
                (outcome.status, outcome.exit_code),
                (OutcomeStatus::Ran, Some(code)),
                "{command}: {outcome:?}"
            );
            if !command.starts_with("no-such") {
                assert_eq!(outcome.output, output, "{command}");
            }
            assert!(!outcome.truncated);
        }
    }

    #[tokio::test]
    async fn the_environment_is_ours_alone() {
        let mut lines: Vec<String> = run("env").await.output.lines().map(str::to_owned).collect();
        let mut expected: Vec<String> =
            ENVIRONMENT.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.sort();
        expected.sort();
        assert_eq!(lines, expected);
    }

    #[tokio::test]
    async fn a_writer_without_a_reader_ends_as_in_a_shell() {
        let outcome = run("yes | head -n 2").await;
        assert_eq!((outcome.output.as_str(), outcome.exit_code), ("y\ny\n", Some(0)));
        assert!(outcome.duration < Duration::from_secs(10));
        assert_eq!(run("yes | true").await.exit_code, Some(0));
    }

    #[tokio::test]
    async fn what_is_not_there_is_named_with_a_remedy() {
        let outcome = run("no-such-program").await;
        assert_eq!((outcome.status, outcome.exit_code), (OutcomeStatus::Failed, None));
        assert!(
            outcome.output.starts_with("no-such-program: not found in /usr/local/sbin"),
            "{}",
            outcome.output
        );
        let outcome = run("echo before; no-such-program | cat").await;
        assert_eq!(outcome.status, OutcomeStatus::Failed);
        assert!(outcome.output.starts_with("before\nno-such-program: not found"), "{}", outcome.output);
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

    #[tokio::test]
    async fn much_output_loses_its_middle_and_is_drained() {
        let limits = Limits { output_bytes: 1000, ..Limits::default() };
        let outcome = run_within(limits, "seq 1 300000").await;
        assert_eq!((outcome.status, outcome.exit_code), (OutcomeStatus::Ran, Some(0)));
        assert!(outcome.truncated && outcome.output.len() < 1100);
        assert!(outcome.output.starts_with("1\n2\n") && outcome.output.ends_with("\n299999\n300000\n"));
        assert!(outcome.output.contains(" bytes left out …"));
    }

    #[tokio::test]
    async fn output_that_is_no_text_is_replaced() {
        assert_eq!(run(r"sh -c 'printf a\\377b'").await.output, "a\u{fffd}b");
    }

    #[tokio::test]
    async fn the_deadline_leaves_the_output_so_far_and_no_process() {
        let limits = Limits { deadline: Duration::from_millis(700), ..Limits::default() };
        let command = "echo before; sh -c 'sleep 7301 & echo started; sleep 7302' | cat | cat";
        let outcome = run_within(limits, command).await;
        assert_eq!((outcome.status, outcome.exit_code), (OutcomeStatus::TimedOut, None));
        assert!(
            outcome.output.starts_with("before\nstarted\n\n(killed at its deadline of 0.7 s"),
            "{}",
            outcome.output
        );
        assert!(outcome.duration < Duration::from_secs(5));
        assert!(gone("7301").await && gone("7302").await);
    }

    #[tokio::test]
    async fn endless_output_meets_the_deadline_too() {
        let limits = Limits { deadline: Duration::from_millis(300), output_bytes: 100 };
        let outcome = run_within(limits, "yes 7303").await;
        assert_eq!(outcome.status, OutcomeStatus::TimedOut);
        assert!(outcome.truncated && outcome.duration < Duration::from_secs(5));
        assert!(gone("7303").await);
    }

    #[tokio::test]
    async fn what_stays_behind_in_the_group_is_killed_at_the_end() {
        let outcome = run("sh -c 'sleep 7304 & echo done'").await;
        assert_eq!((outcome.output.as_str(), outcome.exit_code), ("done\n", Some(0)));
        assert!(outcome.duration < Duration::from_secs(5));
        assert!(gone("7304").await);
    }

    #[tokio::test]
    async fn a_process_that_left_the_group_does_not_hold_the_run() {
        let outcome = run("sh -c 'setsid sleep 3 & sleep 0.1; echo done'").await;
        assert_eq!(outcome.output, "done\n");
        assert!(outcome.duration < Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_dropped_run_leaves_no_process() {
        let run = tokio::spawn(run("sleep 7305 | sleep 7306"));
        while !(is_running("7305") && is_running("7306")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        run.abort();
        assert!(gone("7305").await && gone("7306").await);
    }

    #[tokio::test]
    async fn a_call_for_another_tool_is_refused() {
        let call = approved(policy(&["/proc".to_owned()]), "read_file", json!({"path": "/proc/uptime"}));
        assert_eq!(Bash::new(Limits::default()).run(call).await.status, OutcomeStatus::Failed);
    }
}
