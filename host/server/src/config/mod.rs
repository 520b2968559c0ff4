//! Configuration: files of a folder, or what is built in.
//!
//! A mistake in `watchkeeper.yaml`, `gate.yaml` or `gate.site.yaml` stops the start: running on a guess would be worse. One in a source's file
//! disables that source alone. Either way the message names file, line, key and remedy.

mod escalation;
mod host;
mod plugins;
mod sandbox;
mod source;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use watchkeeper_domain::audit::Digest;
use watchkeeper_domain::gate::{Gate, Policy, PolicyAddition};
use watchkeeper_wasm::Trust;

use plugins::Plugins;

use crate::secrets::redactor;

pub use host::{HostConfig, RateLimit, parse_duration};
pub use plugins::{lock_file, read_pins, write_pins};
pub use source::{Auth, SourceFile};
pub use text::{Environment, Problem, parse_as_written};

/// Where the configuration is looked for, unless the command line names another folder.
pub const FOLDER: &str = "config";

const HOST_FILE: &str = "watchkeeper.yaml";
const GATE_FILE: &str = "gate.yaml";
/// What a site adds to `gate.yaml`, which a new version of the host may replace.
const SITE_GATE_FILE: &str = "gate.site.yaml";
const SOURCES: &str = "alert-sources";

mod embedded {
    pub(super) const HOST: &str = include_str!("../../../../config/watchkeeper.yaml");
    pub(super) const GATE: &str = include_str!("../../../../config/gate.yaml");
    pub(super) const SOURCE: (&str, &str) =
        ("prometheus.yaml", include_str!("../../../../config/alert-sources/prometheus.yaml"));
}

/// Everything that was read.
pub struct Config {
    pub host: HostConfig,
    pub gate: Arc<Gate>,
    /// Where it was read from; none if it is the built-in one.
    pub folder: Option<PathBuf>,
    /// By file name; those with a problem are disabled.
    pub sources: Vec<Result<SourceFile, Problem>>,
    /// Of every file's text, for the audit log.
    pub digest: Digest,
    /// What was left to defaults, for the log.
    pub notes: Vec<String>,
    /// The file of pinned plugins, there or not.
    lock: PathBuf,
}

impl Config {
    /// What the folder says. A file that isn't there is the built-in one.
    pub fn load(folder: &Path, environment: &Environment) -> Result<Self> {
        must_be_folder(folder)?;
        let mut notes = Vec::new();
        let host = read_or(folder.join(HOST_FILE), embedded::HOST, &mut notes)?;
        let gate = read_or(folder.join(GATE_FILE), embedded::GATE, &mut notes)?;
        let site = read_if_there(folder.join(SITE_GATE_FILE))?;
        let sources = source_files(&folder.join(SOURCES), &mut notes)?;
        let gate = (gate, site);
        let mut config = Self::of(&host, &gate, sources, notes, lock_file(folder), environment)?;
        config.folder = Some(folder.to_owned());
        Ok(config)
    }

    pub fn sources_folder(folder: &Path) -> PathBuf {
        folder.join(SOURCES)
    }

    /// The sources' files as they are now.
    pub fn read_sources(
        folder: &Path,
        environment: &Environment,
    ) -> Result<Vec<Result<SourceFile, Problem>>> {
        Ok(parse_sources(source_files(&Self::sources_folder(folder), &mut Vec::new())?, environment))
    }

    /// What is built in.
    pub fn embedded(environment: &Environment) -> Result<Self> {
        let built_in = |name: &str| PathBuf::from(format!("<built-in>/{name}"));
        let (name, text) = embedded::SOURCE;
        Self::of(
            &(built_in(HOST_FILE), embedded::HOST.to_owned()),
            &((built_in(GATE_FILE), embedded::GATE.to_owned()), None),
            vec![(built_in(&format!("{SOURCES}/{name}")), Ok(text.to_owned()))],
            vec!["the built-in configuration is used".into()],
            lock_file(Path::new(FOLDER)),
            environment,
        )
    }

    /// Which plugins are let in; `locked` if the command line wants only those that are pinned.
    pub fn trust(&self, locked: bool) -> Trust {
        self.host.plugins.trust(self.lock.clone(), locked)
    }

    /// As [`Config::trust`], of `watchkeeper.yaml` alone, whatever the environment lacks: for commands that look at plugins.
    pub fn trust_of(folder: &Path, locked: bool) -> Result<Trust> {
        must_be_folder(folder)?;
        let (file, text) = read_or(folder.join(HOST_FILE), embedded::HOST, &mut Vec::new())?;
        Ok(HostConfig::read(&file, &text)?.plugins.trust(lock_file(folder), locked))
    }

    /// As [`Config::trust_of`], for what is built in.
    pub fn embedded_trust(locked: bool) -> Trust {
        Plugins::default().trust(lock_file(Path::new(FOLDER)), locked)
    }

    fn of(
        host: &FileText,
        gate: &(FileText, Option<FileText>),
        sources: Vec<(PathBuf, std::io::Result<String>)>,
        notes: Vec<String>,
        lock: PathBuf,
        environment: &Environment,
    ) -> Result<Self> {
        let digest = digest([host, &gate.0].into_iter().chain(gate.1.as_ref()), &sources);
        let (host_file, host_text) = host;
        let host = HostConfig::parse(host_file, host_text, environment)?;
        let policy = parse_policy(&gate.0, gate.1.as_ref())?.under(host.orders()).map_err(|error| {
            // The policy itself was found to be right; of the orders, only these can be wrong.
            let key = "investigation.allowed_directories";
            Problem::of_key(host_file, host_text, key, error.problems.join("; "))
        })?;
        let gate = Arc::new(Gate::new(policy));
        let sources = parse_sources(sources, environment);
        host.secrets().for_each(|secret| redactor().learn(&secret));
        Ok(Self { host, gate, folder: None, sources, digest, notes, lock })
    }
}

/// Of names and texts, each told from the next.
fn digest<'a>(files: impl Iterator<Item = &'a FileText>, sources: &[SourceText]) -> Digest {
    let mut all = Vec::new();
    let files = files.map(|(path, text)| (path, text.as_str()));
    let sources = sources.iter().map(|(path, text)| (path, text.as_deref().unwrap_or_default()));
    for (path, text) in files.chain(sources) {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        for part in [name, text.as_bytes()] {
            all.extend_from_slice(&Digest::of(part).0);
        }
    }
    Digest::of(&all)
}

fn must_be_folder(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        bail!("{}: there is no such folder; create it, or name another with --config", folder.display());
    }
    Ok(())
}

fn parse_sources(
    sources: Vec<(PathBuf, std::io::Result<String>)>,
    environment: &Environment,
) -> Vec<Result<SourceFile, Problem>> {
    let mut sources: Vec<_> = sources
        .into_iter()
        .map(|(path, text)| match text {
            Ok(text) => SourceFile::parse(&path, &text, environment),
            Err(error) => Err(Problem::of_file(&path, format!("can't be read: {error}"))),
        })
        .collect();
    source::refuse_same_names(&mut sources);
    for source in sources.iter().flatten() {
        if let Some(Auth::Bearer { token }) = &source.auth {
            redactor().learn(token);
        }
    }
    environment.told().iter().for_each(|secret| redactor().learn(secret));
    sources
}

fn read_or(path: PathBuf, built_in: &str, notes: &mut Vec<String>) -> Result<FileText> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            notes.push(format!("{}: not there; the built-in one is used", path.display()));
            Ok((path, built_in.to_owned()))
        }
        Err(error) => Err(error).with_context(|| format!("{}: can't be read", path.display())),
    }
}

fn read_if_there(path: PathBuf) -> Result<Option<FileText>> {
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}: can't be read", path.display())),
    }
}

/// A file, and what is in it.
type FileText = (PathBuf, String);
type SourceText = (PathBuf, std::io::Result<String>);

fn source_files(folder: &Path, notes: &mut Vec<String>) -> Result<Vec<SourceText>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            notes.push(format!(
                "{}: not there, so there are no sources; add a file for each",
                folder.display()
            ));
            return Ok(Vec::new());
        }
        Err(error) => return Err(error).with_context(|| format!("{}: can't be read", folder.display())),
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .collect();
    files.sort();
    Ok(files.into_iter().map(|path| (path.clone(), read_source(&path))).collect())
}

/// A pipe would be waited for, and a device has no end.
fn read_source(path: &Path) -> std::io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file; take it away"));
    }
    std::fs::read_to_string(path)
}

fn parse_policy((path, text): &FileText, site: Option<&FileText>) -> Result<Policy> {
    let policy: Policy = text::parse(path, text)?;
    let Some((path, text)) = site else { return Ok(policy) };
    // An empty file, or one of comments alone, adds nothing.
    let addition: Option<PolicyAddition> = text::parse(path, text)?;
    Ok(policy
        .with(addition.unwrap_or_default())
        .map_err(|error| Problem::of_file(path, error.problems.join("; ")))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loading checks every example in the policy that ships.
    #[test]
    fn what_is_built_in_is_valid() {
        let mut environment = Environment::default();
        environment.set_default("PROMETHEUS_WEBHOOK_TOKEN", || "t".into());
        let config = Config::embedded(&environment).expect("the built-in configuration is valid");
        assert!(config.sources.iter().all(Result::is_ok));
    }
}
