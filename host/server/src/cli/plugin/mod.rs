//! `watchkeeper plugin`: one file a subcommand. All of them load by the very loader that `serve` uses.

mod build;
mod change;
mod dev;
mod inspect;
mod list;
mod lock;
mod new;
#[cfg(feature = "oci")]
mod pull;
mod test;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};
use watchkeeper_wasm::{Entry, Plugin};

use super::{ConfigDir, Ended};
use crate::config::{Environment, SourceFile};
use crate::wiring;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Begin a plugin: a project in any of the languages
    New(new::Options),
    /// Make a component of a project
    Build(build::Options),
    /// Build a project whenever it is saved, into the host that runs, or else one that it starts
    Dev(dev::Options),
    /// What is in the folder, what serves, and what is refused and why
    List(list::Options),
    /// What one file is: interfaces, imports, asks and grants, size, digest, and which sources use it
    Inspect(inspect::Options),
    /// Read payloads with a plugin: one, or golden samples
    Test(test::Options),
    /// Bring the good version before back, and keep this one away
    Rollback(change::Options),
    /// End a quarantine, and let versions come again that were rolled back
    Release(change::Options),
    /// Let the version in the folder ask for more than the one before it
    Grant(change::Options),
    /// Unload plugins whose file was deleted
    Prune(change::PruneOptions),
    /// Pin the plugins of the folder, as they are now, in plugins.lock
    Lock(lock::Options),
    /// Fetch a plugin from an OCI registry into the folder
    #[cfg(feature = "oci")]
    Pull(pull::PullOptions),
    /// Put a plugin into an OCI registry
    #[cfg(feature = "oci")]
    Push(pull::PushOptions),
}

pub(super) fn run(command: &Command) -> Result<Ended> {
    let runtime = wiring::passing_runtime;
    match command {
        Command::New(options) => new::run(options),
        Command::Build(options) => build::run(options),
        Command::Dev(options) => dev::run(options),
        Command::List(options) => list::run(runtime()?, options),
        Command::Inspect(options) => inspect::run(runtime()?, options),
        Command::Test(options) => test::run(&runtime()?, options),
        Command::Rollback(options) => change::rollback(options),
        Command::Release(options) => change::release(options),
        Command::Grant(options) => change::grant(options),
        Command::Prune(options) => change::prune(options),
        Command::Lock(options) => lock::run(runtime()?, options),
        #[cfg(feature = "oci")]
        Command::Pull(options) => pull::pull(runtime()?, options),
        #[cfg(feature = "oci")]
        Command::Push(options) => pull::push(&runtime()?, options),
    }
}

fn interfaces(plugin: &Plugin) -> Vec<String> {
    plugin.interfaces.iter().map(|(interface, version)| format!("{interface}@{version}")).collect()
}

/// What the configuration says; one that can't be read says nothing. Of files that can't be read it is said how many there are.
fn sources(config: &ConfigDir) -> Vec<SourceFile> {
    let sources = config.load(&Environment::of_process()).map(|config| config.sources).unwrap_or_default();
    let unread = sources.iter().filter(|source| source.is_err()).count();
    if unread > 0 {
        eprintln!(
            "{unread} files of sources can't be read, and may be of any plugin; see `watchkeeper check`"
        );
    }
    sources.into_iter().flatten().collect()
}

fn used_by<'a>(plugin: &str, sources: &'a [SourceFile]) -> Vec<&'a SourceFile> {
    sources.iter().filter(|source| source.kind == plugin).collect()
}

fn as_json(entry: &Entry, used_by: &[&SourceFile]) -> Value {
    let source = |source: &&SourceFile| json!({ "name": source.name, "allow_hosts": source.allow_hosts, "reveal_secrets": source.reveal_secrets });
    match entry {
        Entry::Loaded(plugin) => json!({
            "name": plugin.name,
            "file": plugin.path,
            "state": "loaded",
            "interfaces": interfaces(plugin),
            "imports": plugin.imports,
            "asks": plugin.asks,
            "size": plugin.size,
            "digest": format!("sha256:{}", plugin.digest),
            "load_ms": plugin.load_time.as_millis() as u64,
            "pin": lock::pin(&plugin.vouched),
            "signed_by": plugin.vouched.signed_by,
            "sources": used_by.iter().map(source).collect::<Vec<_>>(),
        }),
        Entry::Refused(refusal) => json!({
            "file": refusal.path,
            "state": "refused",
            "reason": refusal.reason,
        }),
    }
}
