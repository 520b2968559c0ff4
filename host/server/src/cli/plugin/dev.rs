//! `watchkeeper plugin dev`: builds the project again whenever a file of it is saved, straight into the folder of a host that
//! runs; starts one where none does, with its log in this terminal.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use watchkeeper_authoring as authoring;

use super::list;
use crate::cli::{ConfigDir, DataDir, Ended, Listen, PluginsDir};
use crate::wiring::DataLock;
use watchkeeper_domain::untrusted::visible;

/// A save is often several writes.
const SETTLE: Duration = Duration::from_millis(200);

/// Where something writes all the time, it is built all the same.
const LATEST: Duration = Duration::from_secs(2);

/// How often it is looked whether it is to end.
const LOOK: Duration = Duration::from_millis(200);

/// How long a host may be away that is started again.
const RESTARTED: Duration = Duration::from_secs(5);

/// How long a host may take to look at what was built.
const JUDGED: Duration = Duration::from_secs(30);

/// Where sources are, in the configuration.
const SOURCES: &str = "alert-sources";

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
    let plugins = options.plugins.plugins.as_path();
    std::fs::create_dir_all(plugins).with_context(|| format!("{}: can't be created", plugins.display()))?;
    let of_the_host = [plugins, &options.data.data, options.config.folder()];
    let (_watcher, saves) = watch(&project.dir, &of_the_host)?;
    let stop = stop_on_signals()?;
    let built = build(options);
    let mut host = Host::unless_one_runs(options)?;
    if let Some(file) = built {
        judge(options, &file, || is_over(&stop, &mut host));
    }
    while !stop.load(Ordering::Relaxed) {
        match saves.recv_timeout(LOOK) {
            Ok(()) => {
                let latest = Instant::now() + LATEST;
                while saves.recv_timeout(SETTLE).is_ok() && Instant::now() < latest {}
                if let Some(file) = build(options) {
                    // One that ran may have been stopped, or have been that of another `plugin dev`.
                    if host.is_none() && is_gone(options, &stop)? {
                        println!("no host runs any more: one is started");
                        host = Host::unless_one_runs(options)?;
                    }
                    judge(options, &file, || is_over(&stop, &mut host));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(status) = host.as_mut().and_then(Host::ended) {
            println!(
                "the host ended: {status}; where another one is to be used, name its folders by --data and --plugins"
            );
            return Ok(Ended::Badly);
        }
    }
    Ok(Ended::Well)
}

/// Hears of what an author saves, for as long as the watcher is held.
fn watch(project: &Path, of_the_host: &[&Path]) -> Result<(RecommendedWatcher, mpsc::Receiver<()>)> {
    let (saved, saves) = mpsc::sync_channel(1);
    let (folder, of_the_host) = (project.to_owned(), inside(project, of_the_host));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_a_save(&folder, &of_the_host, &event)) {
            // One that waits already stands for this one, too.
            let _ = saved.try_send(());
        }
    })?;
    watcher
        .watch(project, RecursiveMode::Recursive)
        .with_context(|| format!("{}: can't be watched", project.display()))?;
    Ok((watcher, saves))
}

/// Of the host's own folders those that are in the project's, where authors stand; the project may as well be in one of them.
fn inside(project: &Path, of_the_host: &[&Path]) -> Vec<PathBuf> {
    let folders = of_the_host.iter().map(|folder| resolved(folder));
    folders.filter(|folder| folder.starts_with(project) && folder != project).collect()
}

/// The path as events have it, also of a folder that isn't there yet.
fn resolved(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = absolute.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    match there {
        Some((part, real)) => real.join(absolute.strip_prefix(part).unwrap_or(Path::new(""))),
        None => absolute,
    }
}

/// Whether something of the author's was written: not by a build or the host, and not only read.
fn is_a_save(project: &Path, of_the_host: &[PathBuf], event: &notify::Event) -> bool {
    if watchkeeper_wasm::only_looked(event.kind) {
        return false;
    }
    event.paths.iter().any(|path| {
        if of_the_host.iter().any(|folder| path.starts_with(folder)) {
            return false;
        }
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

/// Says what came of it, and answers the file; the author mends what is wrong and saves again.
fn build(options: &Options) -> Option<PathBuf> {
    let out = options.plugins.plugins.join("");
    match super::build::build(&options.dir, Some(&out)) {
        Ok(built) => {
            println!(
                "built {}: {} bytes in {:.1} s",
                built.file.display(),
                built.size,
                built.took.as_secs_f64()
            );
            Some(built.file)
        }
        Err(error) => {
            println!("not built: {}", visible(&format!("{error:#}")));
            None
        }
    }
}

/// Whether no host runs, nor is back soon: one that is being started again is to find its folder free.
fn is_gone(options: &Options, stop: &AtomicBool) -> Result<bool> {
    let began = Instant::now();
    while !DataLock::is_held(&options.data.data)? {
        if began.elapsed() > RESTARTED {
            return Ok(true);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(LOOK);
    }
    Ok(false)
}

/// Whether there is nothing more to wait for.
fn is_over(stop: &AtomicBool, host: &mut Option<Host>) -> bool {
    stop.load(Ordering::Relaxed) || host.as_mut().and_then(Host::ended).is_some()
}

/// Waits until the host has looked at what was built, and says what it thinks of it.
fn judge(options: &Options, file: &Path, mut is_over: impl FnMut() -> bool) {
    let began = Instant::now();
    let Ok(wanted) = watchkeeper_wasm::version_of(file) else { return };
    // The author may have changed the plugin's name.
    let Some(name) = file.file_stem().and_then(|stem| stem.to_str()) else { return };
    while began.elapsed() < JUDGED {
        match list::status(&options.data.data, name) {
            Ok(Some(status)) if status.version.as_ref() == Some(&wanted) => {
                println!("{name} serves, {} ms after it was built", began.elapsed().as_millis());
                let is_used_by_sources = status
                    .interfaces
                    .iter()
                    .any(|one| one.starts_with("source@") || one.starts_with("parser@"));
                if is_used_by_sources && status.sources.is_empty() {
                    println!("{}", without_source(options, name));
                }
                return;
            }
            Ok(Some(status))
                if status.attempts.last().is_some_and(|last| last.version.as_ref() == Some(&wanted)) =>
            {
                println!("{name} is refused: {}", visible(&status.refused.unwrap_or_default()));
                return;
            }
            _ if is_over() => return,
            _ => std::thread::sleep(SETTLE),
        }
    }
    println!("the host has not looked at {name} within {JUDGED:?}; see its log");
}

/// What to do about a plugin that no source uses.
fn without_source(options: &Options, name: &str) -> String {
    let source = options.config.folder().join(SOURCES).join(format!("{name}.yaml"));
    match source.is_file() {
        true => format!(
            "{} is not in service: the host's log says why, and so does `watchkeeper check`",
            source.display()
        ),
        false => {
            let example = options.dir.join("source.yaml");
            format!("no source uses it yet: copy {} to {}", example.display(), source.display())
        }
    }
}

/// A host of our own, ended with this.
struct Host(Child);

impl Host {
    fn unless_one_runs(options: &Options) -> Result<Option<Self>> {
        if DataLock::is_held(&options.data.data)? { Ok(None) } else { Self::start(options).map(Some) }
    }

    /// With a folder for sources, for what is built in can't be added to while it runs.
    fn start(options: &Options) -> Result<Self> {
        if options.config.is_built_in() {
            let sources = options.config.folder().join(SOURCES);
            let made = std::fs::create_dir_all(&sources);
            made.with_context(|| format!("{}: can't be created", sources.display()))?;
        }
        let mut serve = Process::new(std::env::current_exe().context("this program's own file")?);
        serve
            .args(["serve", "--plugins"])
            .arg(&options.plugins.plugins)
            .arg("--data")
            .arg(&options.data.data)
            .arg("--audit-key")
            .arg(options.data.audit_key())
            .args(["--listen", &options.listen.listen.to_string()]);
        if let Some(config) = options.config.named() {
            serve.arg("--config").arg(config);
        }
        // A terminal's Ctrl-C isn't its: it would meet what it has started, too, such as a compiler. It is told to stop.
        serve.process_group(0);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use notify::event::ModifyKind;
    use notify::{Event, EventKind};

    use super::*;

    #[test]
    fn what_builds_and_the_host_write_is_no_save() {
        let of_the_host = ["/p/data", "/p/plugins"].map(PathBuf::from);
        let is_save = |path: &str| {
            let event = Event::new(EventKind::Modify(ModifyKind::Any)).add_path(path.into());
            is_a_save(Path::new("/p"), &of_the_host, &event)
        };
        for path in ["/p/src/plugin.c", "/p/samples/a.json", "/p/plugin.yaml", "/p/database.py"] {
            assert!(is_save(path), "{path}");
        }
        for path in [
            "/p/data/watchkeeper.db-wal",
            "/p/plugins/p.yaml",
            "/p/target/plugin-build/lock",
            "/p/node_modules/a/b.js",
            "/p/.git/index",
            "/p/p.wasm",
            "/p/Cargo.lock",
        ] {
            assert!(!is_save(path), "{path}");
        }
    }

    #[test]
    fn a_project_in_a_folder_of_the_hosts_is_a_project() {
        let of_the_host = ["/srv/plugins", "/srv/plugins/mine", "/srv/plugins/mine/data"].map(Path::new);
        let inside = inside(Path::new("/srv/plugins/mine"), &of_the_host);
        assert_eq!(inside, [PathBuf::from("/srv/plugins/mine/data")]);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_known_by_its_real_path() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("real")).unwrap();
        std::os::unix::fs::symlink(real.join("real"), real.join("link")).unwrap();
        assert_eq!(resolved(&real.join("link/data")), real.join("real/data"));
    }
}
