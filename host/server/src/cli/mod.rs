//! The command line: one file a command.

mod approvals;
mod audit;
mod check;
mod demo;
mod escalate;
mod follow;
mod gate;
mod investigate;
mod list;
mod pipe;
mod plugin;
mod replay;
mod serve;
mod token;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use watchkeeper_adapters::store::{AuditKey, SqliteStore};
use watchkeeper_domain::store::Store;
use watchkeeper_domain::untrusted::{visible, visible_json};
use watchkeeper_wasm::Trust;

use crate::config::{Config, Environment, FOLDER};
use crate::query::Filters;
use crate::secrets::{RedactedLog, redactor};
pub(crate) use audit::shown;

/// Takes alerts from anywhere, keeps each one, and investigates the critical ones within standing orders.
#[derive(Parser)]
#[command(name = "watchkeeper", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take alerts, keep them, investigate
    Serve(serve::Options),
    /// Show the whole path once, on the built-in configuration, and go on serving
    Demo(demo::Options),
    /// Say what `serve` would do with this configuration and these plugins, and what is wrong with them
    Check(check::Options),
    /// Write plugins, and look at them
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// List alerts, newest first
    Alerts(ListOptions),
    /// List incidents, newest first
    Incidents(ListOptions),
    /// List investigations, newest first; with an id, one and its transcript
    Investigations(list::InvestigationsOptions),
    /// Investigate an incident now, and show it
    Investigate(investigate::Options),
    /// What waits for a person's answer
    Approvals(approvals::ListOptions),
    /// Let a call run that waits for an answer
    Approve(approvals::ApproveOptions),
    /// Don't let it
    Deny(approvals::DenyOptions),
    /// Judge calls, one JSON object a line: {"tool": "bash", "input": {"command": "…"}}; or explain one command
    Gate(gate::Options),
    /// Read dead letters again, once their plugin is mended
    Replay(replay::Options),
    /// Who was called and how; try whether a channel works
    #[command(subcommand)]
    Escalate(escalate::Command),
    /// What was done, and whether the log of it is whole
    #[command(subcommand)]
    Audit(audit::Command),
    /// Who may use the API, and for what
    #[command(subcommand)]
    Token(token::Command),
}

/// Where the data is.
#[derive(Args)]
struct DataDir {
    /// The folder of everything that is kept
    #[arg(long, env = "WATCHKEEPER_DATA", default_value = "data", value_name = "DIR")]
    data: PathBuf,
    /// The key that the audit log is signed with [default: audit.key in the data folder]
    #[arg(long, env = "WATCHKEEPER_AUDIT_KEY", value_name = "FILE")]
    audit_key: Option<PathBuf>,
}

impl DataDir {
    fn audit_key(&self) -> PathBuf {
        self.audit_key.clone().unwrap_or_else(|| AuditKey::file_in(&self.data))
    }

    /// There from now on.
    fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(SqliteStore::open_with_key(&self.data, &self.audit_key())?))
    }

    /// For commands that look: a folder without a store is a mistake, not an empty answer.
    fn store(&self) -> Result<Arc<dyn Store>> {
        if !SqliteStore::exists(&self.data) {
            bail!(
                "{}: has no data of Watchkeeper; name the folder that `serve` uses with --data",
                self.data.display()
            );
        }
        self.open()
    }
}

#[derive(Args)]
struct ConfigDir {
    /// The folder of watchkeeper.yaml, gate.yaml and alert-sources/ [default: config, or what is built in]
    #[arg(long, env = "WATCHKEEPER_CONFIG", value_name = "DIR")]
    config: Option<PathBuf>,
}

impl ConfigDir {
    fn load(&self, environment: &Environment) -> Result<Config> {
        match self.is_built_in() {
            false => Config::load(self.folder(), environment),
            true => Config::embedded(environment),
        }
    }

    /// For commands that show what is stored: what the configuration calls secret is taken out of it. They work without one.
    fn tell_secrets(&self) {
        if self.is_built_in() {
            return;
        }
        if let Err(error) = self.load(&Environment::of_process()) {
            tracing::warn!(
                "the values of ${{NAME}} are not known here, so they are shown where they occur: {error:#}"
            );
        }
    }

    /// Which plugins `serve` lets in.
    fn trust(&self, locked: bool) -> Result<Trust> {
        match self.is_built_in() {
            false => Config::trust_of(self.folder(), locked),
            true => Ok(Config::embedded_trust(locked)),
        }
    }

    /// A folder that was named must be there; the default one needn't.
    fn is_built_in(&self) -> bool {
        self.config.is_none() && !self.folder().is_dir()
    }

    /// The one that was asked for, if one was.
    fn named(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    fn folder(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(FOLDER))
    }
}

#[derive(Args)]
struct PluginsDir {
    /// The folder of plugins
    #[arg(long, env = "WATCHKEEPER_PLUGINS", default_value = "plugins", value_name = "DIR")]
    plugins: PathBuf,
}

/// What any command keeps to that runs plugins on what is real.
#[derive(Args)]
struct Locked {
    /// Load those plugins alone that plugins.lock, in the configuration's folder, pins
    #[arg(long, env = "WATCHKEEPER_LOCKED", value_parser = FalseyValueParser::new())]
    locked: bool,
}

#[derive(Args)]
struct Listen {
    /// Address and port to listen on
    #[arg(long, env = "WATCHKEEPER_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
}

#[derive(Args)]
struct Output {
    /// JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ListOptions {
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

/// How a command that ran ended.
enum Ended {
    Well,
    /// It ran, and its answer is no: something is wrong, a human is needed.
    Badly,
}

/// How long the process waits for threads that have work left when its command is done.
const LEFT_BEHIND: Duration = Duration::from_secs(5);

pub fn run() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    match pipe::while_read(|| dispatch(cli.command)) {
        Err(unread) => unread,
        Ok(Ok(Ended::Well)) => ExitCode::SUCCESS,
        Ok(Ok(Ended::Badly)) => ExitCode::FAILURE,
        Ok(Err(error)) => {
            let said = redactor().redact(&format!("{error:#}")).text;
            eprintln!("watchkeeper: {}", visible(&said));
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: Command) -> Result<Ended> {
    match command {
        Command::Check(options) => check::run(&options),
        Command::Gate(options) => gate::run(&options),
        Command::Audit(command) => audit::run(&command),
        Command::Plugin(command) => plugin::run(&command),
        command => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime = runtime.context("no runtime")?;
            let ended = runtime.block_on(dispatch_async(command));
            // What still blocks a thread by then is nothing that anybody waits for.
            runtime.shutdown_timeout(LEFT_BEHIND);
            ended
        }
    }
}

async fn dispatch_async(command: Command) -> Result<Ended> {
    match command {
        Command::Serve(options) => serve::run(options).await,
        Command::Demo(options) => demo::run(options).await,
        Command::Alerts(options) => list::alerts(&options).await,
        Command::Incidents(options) => list::incidents(&options).await,
        Command::Investigations(options) => list::investigations(&options).await,
        Command::Investigate(options) => investigate::run(&options).await,
        Command::Replay(options) => replay::run(&options).await,
        Command::Escalate(command) => escalate::run(&command).await,
        Command::Token(command) => token::run(&command).await,
        Command::Approvals(options) => approvals::list(&options).await,
        Command::Approve(options) => approvals::approve(&options).await,
        Command::Deny(options) => approvals::deny(&options).await,
        Command::Audit(_) | Command::Check(_) | Command::Gate(_) | Command::Plugin(_) => Ok(Ended::Well),
    }
}

/// To the standard error, so that the standard output is the answer alone.
fn start_log() {
    let filter = EnvFilter::try_from_env("WATCHKEEPER_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,wasmtime=warn,cranelift=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(RedactedLog);
    match std::env::var("WATCHKEEPER_LOG_FORMAT").as_deref() {
        Ok("json") => builder.json().init(),
        _ => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
    }
}

/// For a terminal, too: what is unseen in it is written out, as JSON does it.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    println!("{}", visible_json(&serde_json::to_string_pretty(value)?));
    Ok(())
}
