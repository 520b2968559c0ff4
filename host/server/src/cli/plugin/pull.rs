//! `watchkeeper plugin pull|push`: plugins from and to an OCI registry.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use watchkeeper_adapters::registry::{Artifact, Credentials, Oci, Reference, docker_config};
use watchkeeper_wasm::{Plugin, Refusal, Runtime};

use crate::cli::{ConfigDir, Ended, Output, PluginsDir, print_json};
use crate::config::Environment;
use watchkeeper_domain::untrusted::visible;

const PASSWORD: &str = "WATCHKEEPER_REGISTRY_PASSWORD";

/// Tokens of registries have a few thousand bytes.
const MAX_PASSWORD: u64 = 64 << 10;

#[derive(Args)]
struct Registry {
    /// The user; else what `docker login` left. The password is WATCHKEEPER_REGISTRY_PASSWORD, or comes with --password-stdin
    #[arg(long, env = "WATCHKEEPER_REGISTRY_USERNAME", value_name = "USER")]
    username: Option<String>,
    /// Read the password from the standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Speak plain HTTP, and show it the credentials; to this machine that is the default
    #[arg(long)]
    insecure_http: bool,
}

#[derive(Args)]
pub(in crate::cli) struct PullOptions {
    /// REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:…; without either, the tag `latest`
    reference: Reference,
    /// The plugin's name [default: the repository's last part]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    plugins: PluginsDir,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    registry: Registry,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(in crate::cli) struct PushOptions {
    /// A component
    file: PathBuf,
    /// REGISTRY/REPOSITORY:TAG
    reference: Reference,
    #[command(flatten)]
    registry: Registry,
    #[command(flatten)]
    output: Output,
}

impl Registry {
    fn open(&self, reference: &Reference) -> Result<Oci> {
        Ok(Oci::new(reference, self.credentials(reference)?, self.insecure_http)?)
    }

    fn credentials(&self, reference: &Reference) -> Result<Option<Credentials>> {
        let Some(user) = self.username.clone() else {
            return docker_config(&reference.registry).map_err(anyhow::Error::msg);
        };
        let password = if self.password_stdin {
            let mut password = String::new();
            std::io::stdin().take(MAX_PASSWORD).read_to_string(&mut password)?;
            password.trim_end_matches(['\r', '\n']).to_owned()
        } else {
            let environment = Environment::of_process();
            let password = environment.get(PASSWORD);
            password.with_context(|| format!("--username without a password: set {PASSWORD}"))?.to_owned()
        };
        Ok(Some(Credentials::Password { user, password }))
    }
}

/// What became of the file in the folder.
struct Placed {
    plugin: Plugin,
    file: PathBuf,
    change: &'static str,
}

pub(super) fn pull(runtime: Runtime, options: &PullOptions) -> Result<Ended> {
    let folder = &options.plugins.plugins;
    if !folder.is_dir() {
        bail!("{}: there is no such folder; create it, or name another with --plugins", folder.display());
    }
    let name = options.name.as_deref().unwrap_or(options.reference.name());
    check_name(name)?;
    let artifact = options.registry.open(&options.reference)?.pull()?;
    // Looked at as `plugin inspect` does: what it takes for `serve` to let it in may come later.
    let lenient = runtime.with_trust(options.config.trust(false)?.lenient());
    let placed = match place(&lenient, folder, name, &artifact.bytes)? {
        Ok(placed) => placed,
        Err(refusal) => return refused(options, &refusal),
    };
    let trust = options.config.trust(false)?;
    let plugin = &placed.plugin;
    let note = trust.check(&plugin.name, &placed.file, &artifact.bytes, &plugin.digest).err();
    print(options, &artifact, &placed, note)?;
    Ok(Ended::Well)
}

/// The loader says the same, but only of a path that it can be given.
fn check_name(name: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(fine) {
        bail!(
            "`{name}` can't be a plugin's name: letters, digits, `-`, `_` and `.` can, the first no `.`; choose one with --name"
        );
    }
    Ok(())
}

/// The file is written in a folder of its own beside its place, loaded there, and renamed once it is a plugin: the host
/// that watches the plugins' folder sees it whole or not at all.
fn place(runtime: &Runtime, folder: &Path, name: &str, bytes: &[u8]) -> Result<Result<Placed, Refusal>> {
    let context = || format!("{}: can't be written to", folder.display());
    let beside = tempfile::Builder::new().prefix(".pull-").tempdir_in(folder).with_context(context)?;
    let (new, file) = (beside.path().join(format!("{name}.wasm")), folder.join(format!("{name}.wasm")));
    let mut written = std::fs::File::create(&new).with_context(context)?;
    written.write_all(bytes).and_then(|()| written.sync_all()).with_context(context)?;
    let plugin = match Plugin::load(runtime, &new) {
        Ok(plugin) => plugin,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let change = match std::fs::read(&file) {
        // Not touched, so that nothing is loaded again.
        Ok(old) if old == bytes => "kept",
        Ok(_) => "replaced",
        Err(_) => "added",
    };
    if change != "kept" {
        std::fs::rename(&new, &file).with_context(|| format!("{}: can't be put there", file.display()))?;
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(context)?;
    }
    Ok(Ok(Placed { plugin, file, change }))
}

fn refused(options: &PullOptions, refusal: &Refusal) -> Result<Ended> {
    let (reference, reason) = (options.reference.to_string(), &refusal.reason);
    if options.output.json {
        print_json(&json!({ "reference": reference, "state": "refused", "reason": reason }))?;
    } else {
        println!("refused, and nothing is changed: {reference}: {}", visible(reason));
    }
    Ok(Ended::Badly)
}

fn print(options: &PullOptions, artifact: &Artifact, placed: &Placed, note: Option<String>) -> Result<()> {
    let Placed { plugin, file, change } = placed;
    if options.output.json {
        return print_json(&json!({
            "name": plugin.name,
            "file": file,
            "state": change,
            "reference": options.reference.to_string(),
            "manifest_digest": artifact.manifest_digest,
            "digest": artifact.digest,
            "size": artifact.bytes.len(),
            "note": note,
        }));
    }
    println!("name      {} ({change})", plugin.name);
    println!("file      {}", visible(&file.display().to_string()));
    println!("digest    {}", artifact.digest);
    println!("manifest  {}", artifact.manifest_digest);
    println!("size      {} bytes", artifact.bytes.len());
    if let Some(note) = note {
        println!("note      `serve` won't load it yet: {}", visible(&note));
    }
    Ok(())
}

pub(super) fn push(runtime: &Runtime, options: &PushOptions) -> Result<Ended> {
    let plugin = Plugin::load(runtime, &options.file)?;
    let bytes =
        std::fs::read(&options.file).with_context(|| format!("{}: can't be read", options.file.display()))?;
    let exports: Vec<String> = plugin
        .interfaces
        .iter()
        .map(|(interface, version)| format!("watchkeeper:plugin/{interface}@{version}"))
        .collect();
    let pushed = options.registry.open(&options.reference)?.push(&bytes, &exports, &plugin.imports)?;
    if pushed.digest != format!("sha256:{}", plugin.digest) {
        bail!("{}: was changed while it was pushed; push it again", options.file.display());
    }
    if options.output.json {
        print_json(&json!({
            "name": plugin.name,
            "reference": options.reference.to_string(),
            "manifest_digest": pushed.manifest_digest,
            "digest": pushed.digest,
            "size": bytes.len(),
        }))?;
    } else {
        let Reference { registry, repository, .. } = &options.reference;
        println!("pushed  {}", options.reference);
        println!("pin     {registry}/{repository}@{}", pushed.manifest_digest);
        println!("size    {} bytes", bytes.len());
    }
    Ok(Ended::Well)
}
