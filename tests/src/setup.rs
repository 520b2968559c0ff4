//! What a test wants of a host: configuration, plugins, environment, each in a folder of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::host::Watchkeeper;
use crate::process::{self, Process, Ran, free_address};
use crate::wait::PATIENCE;
use crate::{PATH, TOKEN};

/// Put together step by step, then [`Setup::start`]ed or [`Setup::prepare`]d.
#[derive(Clone)]
pub struct Setup {
    config: BTreeMap<String, String>,
    plugins: BTreeMap<String, Vec<u8>>,
    environment: BTreeMap<String, String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// The plugin `prometheus`, and a source of it at [`PATH`] that wants [`TOKEN`]. Everything else is as built in.
    pub fn new() -> Self {
        let source = format!(
            "name: prometheus\ntype: prometheus\nwebhook_path: {PATH}\nauth: {{ type: bearer, token: {TOKEN} }}\n"
        );
        Self::without_sources().plugin("prometheus").source("prometheus.yaml", &source)
    }

    pub fn without_sources() -> Self {
        Self { config: BTreeMap::new(), plugins: BTreeMap::new(), environment: BTreeMap::new() }
    }

    /// A file of the configuration folder: `watchkeeper.yaml`, `gate.yaml`.
    pub fn config(mut self, file: &str, text: &str) -> Self {
        self.config.insert(file.to_owned(), text.to_owned());
        self
    }

    /// A file of `alert-sources`.
    pub fn source(self, file: &str, text: &str) -> Self {
        self.config(&format!("alert-sources/{file}"), text)
    }

    /// A bundled plugin.
    pub fn plugin(self, name: &str) -> Self {
        let bytes = std::fs::read(plugin_file(name)).unwrap();
        self.plugin_bytes(&format!("{name}.wasm"), bytes)
    }

    /// The bundled plugins that investigate.
    pub fn playbooks(self) -> Self {
        ["high-cpu", "disk-space", "oom-kill", "memory"].into_iter().fold(self, Self::plugin)
    }

    /// Any file of the plugins' folder.
    pub fn plugin_bytes(mut self, file: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.plugins.insert(file.to_owned(), bytes.into());
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The folders, and no process.
    pub fn prepare(self) -> Site {
        let folder = tempfile::Builder::new().prefix("watchkeeper-test-").tempdir().unwrap();
        let site = Site { folder, address: free_address(), environment: self.environment };
        for folder in [site.config_dir().join("alert-sources"), site.plugins_dir(), site.data_dir()] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for (file, text) in self.config {
            std::fs::write(site.config_dir().join(file), text).unwrap();
        }
        for (file, bytes) in self.plugins {
            std::fs::write(site.plugins_dir().join(file), bytes).unwrap();
        }
        site
    }

    /// A host that is ready.
    pub fn start(self) -> Watchkeeper {
        self.prepare().start()
    }
}

/// The folders of one host, the address that it listens on, and its command line.
pub struct Site {
    folder: TempDir,
    pub address: SocketAddr,
    environment: BTreeMap<String, String>,
}

impl Site {
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config_dir(&self) -> PathBuf {
        self.folder().join("config")
    }

    pub fn plugins_dir(&self) -> PathBuf {
        self.folder().join("plugins")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Writes a file of this site's folder, and says where it is.
    pub fn write(&self, file: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(file);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A host that is ready.
    pub fn start(self) -> Watchkeeper {
        Watchkeeper::start(self)
    }

    /// Runs `watchkeeper ARGUMENTS` to its end; folders and address are given by the environment.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    /// As [`Site::run`], with a standard input.
    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        self.run_with_within(arguments, input, PATIENCE)
    }

    /// As [`Site::run`], for what takes its time.
    pub fn run_within(&self, arguments: &[&str], within: Duration) -> Ran {
        self.run_with_within(arguments, b"", within)
    }

    fn run_with_within(&self, arguments: &[&str], input: &[u8], within: Duration) -> Ran {
        process::run(&mut self.placed(arguments), self.folder(), input, within)
    }

    /// As [`Site::run`], where nobody reads what it says. Answers the exit code, and its standard error.
    pub fn run_unread(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = self.placed(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
    }

    /// `watchkeeper ARGUMENTS`, with folders and address given by the environment.
    fn placed(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&binary());
        command
            .args(arguments)
            .env("WATCHKEEPER_CONFIG", self.config_dir())
            .env("WATCHKEEPER_PLUGINS", self.plugins_dir())
            .env("WATCHKEEPER_DATA", self.data_dir())
            .env("WATCHKEEPER_LISTEN", self.address.to_string());
        command
    }

    /// As [`Site::run`], with no word of this site's folders, and with time for an investigation.
    pub fn run_as_built_in(&self, arguments: &[&str]) -> Ran {
        let nowhere = tempfile::tempdir_in(self.folder()).unwrap();
        let mut command = self.command(&binary());
        command.args(arguments).current_dir(nowhere.path());
        process::run(&mut command, self.folder(), b"", 2 * PATIENCE)
    }

    /// As [`Site::run`], in the background, until the value is dropped.
    pub fn start_background(&self, arguments: &[&str]) -> Background {
        let mut command = self.placed(arguments);
        Background(Process::start(&mut command, &self.folder().join("background.log")))
    }

    /// As [`Site::start_background`], where `folder` is what one stands in, and there is no word of this site's folders.
    pub fn start_background_in(&self, folder: &Path, arguments: &[&str]) -> Background {
        let mut command = self.command(&binary());
        command.args(arguments).current_dir(folder).process_group(0);
        Background(Process::start(&mut command, &self.folder().join("background.log")))
    }

    /// `serve`, with everything given by flags.
    pub(crate) fn serve(&self) -> Command {
        let mut command = self.command(&binary());
        command.args(self.serve_arguments());
        command
    }

    pub(crate) fn serve_arguments(&self) -> Vec<String> {
        let (config, plugins, data) = (self.config_dir(), self.plugins_dir(), self.data_dir());
        let folders = [("--config", config), ("--plugins", plugins), ("--data", data)];
        let folders =
            folders.into_iter().flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]);
        let listen = ["--listen".to_owned(), self.address.to_string()];
        ["serve".to_owned()].into_iter().chain(folders).chain(listen).collect()
    }

    /// Any program in this site's environment, which is that of the tests without what is Watchkeeper's.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WATCHKEEPER_"))
        {
            command.env_remove(name);
        }
        command.envs(&self.environment);
        command
    }
}

/// A command in the background. Told to end when dropped, so that it can end what it started.
pub struct Background(Process);

impl Background {
    /// What it has said so far.
    pub fn log(&self) -> String {
        self.0.log()
    }

    /// What a terminal's Ctrl-C does to one that was started by [`Site::start_background_in`], and to all that it started. Answers
    /// the exit code.
    pub fn interrupt(mut self) -> Option<i32> {
        let group = Pid::from_raw(self.0.id() as i32).unwrap();
        kill_process_group(group, Signal::INT).unwrap();
        self.0.wait("a command in the background ends", PATIENCE).code()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.0.ended().is_none() {
            self.0.terminate();
            self.0.wait("a command in the background ends", PATIENCE);
        }
    }
}

/// The binary that is tested: `WATCHKEEPER_BIN`, else the one that was built beside the tests.
pub(crate) fn binary() -> PathBuf {
    let beside = || std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("watchkeeper");
    let path = std::env::var_os("WATCHKEEPER_BIN").map_or_else(beside, PathBuf::from);
    assert!(path.is_file(), "{}: not there; run `cargo xtask build` first", path.display());
    path
}

/// A plugin of `tests/guests`, built: in `WATCHKEEPER_TEST_GUESTS`, else in the workspace's `target/guests`.
pub fn guest_file(name: &str) -> PathBuf {
    let workspace = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests");
    let folder = std::env::var_os("WATCHKEEPER_TEST_GUESTS").map_or_else(workspace, PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.is_file(), "{}: not there; run `cargo xtask build` first", path.display());
    path
}

/// A bundled plugin, built: in `WATCHKEEPER_TEST_PLUGINS`, else in the workspace's `plugins`.
pub fn plugin_file(name: &str) -> PathBuf {
    let workspace = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let folder = std::env::var_os("WATCHKEEPER_TEST_PLUGINS").map_or_else(workspace, PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.is_file(), "{}: not there; run `cargo xtask build` first", path.display());
    path
}
