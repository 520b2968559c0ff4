//! `watchkeeper plugin dev`: builds the project again whenever a file of it is saved, straight into the folder of a host that
//! runs; starts one where none does, with its log in this terminal.

use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use notify::{RecursiveMode, Watcher};
use watchkeeper_authoring as authoring;

use super::list;
use crate::cli::{ConfigDir, DataDir, Ended, Listen, PluginsDir};
use crate::wiring::DataLock;
use watchkeeper_domain::untrusted::visible;

/// A save is often several writes.
const SETTLE: Duration = Duration::from_millis(200);

/// How often it is looked whether it is to end.
const LOOK: Duration = Duration::from_millis(200);

/// How long a host may take to look at what was built.
const JUDGED: Duration = Duration::from_secs(30);

/// What builds write themselves.
const BUILT: [&str; 6] = ["target", "node_modules", "build", "dist", "__pycache__", ".watchkeeper"];

#[derive(Args)]
pub(in crate::cli) struct Options {
    /// The project's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    plugins: PluginsDir,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    listen: Listen,
}

pub(super) fn run(options: &Options) -> Result<Ended> {
    let project = authoring::Project::read(&options.dir)?;
    let plugins = &options.plugins.plugins;
    std::fs::create_dir_all(plugins).with_context(|| format!("{}: can't be created", plugins.display()))?;
    let (saved, saves) = mpsc::sync_channel(1);
    let folder = project.dir.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_a_save(&folder, &event)) {
            // One that waits already stands for this one, too.
            let _ = saved.try_send(());
        }
    })?;
    watcher
        .watch(&project.dir, RecursiveMode::Recursive)
        .with_context(|| format!("{}: can't be watched", project.dir.display()))?;
    let stop = stop_on_signals()?;
    build(options);
    let mut host = if DataLock::is_held(&options.data.data)? { None } else { Some(Host::start(options)?) };
    judge(options, &project.name);
    while !stop.load(Ordering::Relaxed) {
        match saves.recv_timeout(LOOK) {
            Ok(()) => {
                while saves.recv_timeout(SETTLE).is_ok() {}
                if build(options) {
                    judge(options, &project.name);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(status) = host.as_mut().and_then(Host::ended) {
            println!("the host ended: {status}");
            return Ok(Ended::Badly);
        }
    }
    Ok(Ended::Well)
}

/// Whether something of the author's was written: not by a build, and not only read.
fn is_a_save(project: &Path, event: &notify::Event) -> bool {
    if watchkeeper_wasm::only_looked(event.kind) {
        return false;
    }
    event.paths.iter().any(|path| {
        let inside = path.strip_prefix(project).unwrap_or(path);
        let by_a_build = inside.components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            part.starts_with('.') && part.len() > 1 || BUILT.contains(&&*part)
        });
        let a_lock =
            inside.file_name().is_some_and(|name| name == "Cargo.lock" || name == "package-lock.json");
        !by_a_build
            && !a_lock
            && inside.extension().is_none_or(|extension| extension != "wasm" && extension != "part")
    })
}

/// Says what came of it; the author mends it and saves again.
fn build(options: &Options) -> bool {
    let out = options.plugins.plugins.join("");
    match super::build::build(&options.dir, Some(&out)) {
        Ok(built) => {
            println!(
                "built {}: {} bytes in {:.1} s",
                built.file.display(),
                built.size,
                built.took.as_secs_f64()
            );
            true
        }
        Err(error) => {
            println!("not built: {}", visible(&format!("{error:#}")));
            false
        }
    }
}

/// Waits until the host has looked at what lies in its folder, and says what it thinks of it.
fn judge(options: &Options, name: &str) {
    let began = Instant::now();
    let file = options.plugins.plugins.join(format!("{name}.wasm"));
    let Ok(wanted) = watchkeeper_wasm::version_of(&file) else { return };
    while began.elapsed() < JUDGED {
        match list::status(&options.data.data, name) {
            Ok(Some(status)) if status.version.as_ref() == Some(&wanted) => {
                println!("{name} serves, {} ms after it was built", began.elapsed().as_millis());
                let is_source = status.interfaces.iter().any(|one| one.starts_with("source@"));
                if is_source && status.sources.is_empty() {
                    let example = options.dir.join("source.yaml");
                    println!(
                        "no source uses it yet: copy {} to alert-sources/{name}.yaml of the configuration",
                        example.display()
                    );
                }
                return;
            }
            Ok(Some(status))
                if status.attempts.last().is_some_and(|last| last.version.as_ref() == Some(&wanted)) =>
            {
                println!("{name} is refused: {}", visible(&status.refused.unwrap_or_default()));
                return;
            }
            _ => std::thread::sleep(SETTLE),
        }
    }
    println!("the host has not looked at {name} within {JUDGED:?}; see its log");
}

/// A host of our own, ended with this.
struct Host(Child);

impl Host {
    fn start(options: &Options) -> Result<Self> {
        let mut serve = Process::new(std::env::current_exe().context("this program's own file")?);
        serve
            .args(["serve", "--plugins"])
            .arg(&options.plugins.plugins)
            .arg("--data")
            .arg(&options.data.data)
            .args(["--listen", &options.listen.listen.to_string()]);
        if let Some(config) = options.config.named() {
            serve.arg("--config").arg(config);
        }
        let child = serve.stdin(Stdio::null()).spawn().context("`watchkeeper serve` can't be started")?;
        Ok(Self(child))
    }

    fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().ok().flatten()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Turns true on SIGINT and SIGTERM.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let _ = runtime.block_on(crate::cli::serve::told_to_stop(true));
        told.store(true, Ordering::Relaxed);
    })?;
    Ok(stop)
}
