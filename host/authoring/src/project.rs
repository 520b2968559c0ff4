//! A plugin's project: a folder with a `plugin.yaml`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The file that makes a folder a project.
pub(crate) const FILE: &str = "plugin.yaml";

/// The most that a `plugin.yaml` may have, in bytes.
const MAX_FILE: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    Rust,
    Python,
    Js,
    Ts,
    Go,
    C,
}

/// What a plugin is for; decides which template a new project begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A webhook's source with its parser.
    Source,
    /// A parser alone, for a source of one of the host's own transports, such as its webhook.
    Parser,
    /// A source that fetches.
    Poll,
    /// Briefings for a model.
    Prompt,
    /// A diagnosis without a model.
    Playbook,
    /// A source that holds a subscription of its own; experimental.
    Live,
}

/// An interface of the contract that a plugin exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Export {
    Source,
    Parser,
    Responder,
    Poller,
    Health,
    PromptBuilder,
    Playbook,
}

/// `plugin.yaml`, read.
#[derive(Debug)]
pub struct Project {
    /// The folder.
    pub dir: PathBuf,
    /// The plugin's name, and its file's stem.
    pub name: String,
    pub lang: Lang,
    /// What the component exports. Rust's says it in its code, by `register!`.
    pub exports: Vec<Export>,
    /// The folder of the language's SDK.
    pub sdk: PathBuf,
    /// The folder of the contract's text.
    pub wit: PathBuf,
    /// What the plugin asks of its operator, as written.
    pub asks: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    lang: Lang,
    #[serde(default)]
    exports: Vec<Export>,
    #[serde(default = "default_sdk")]
    sdk: PathBuf,
    #[serde(default = "default_wit")]
    wit: PathBuf,
    #[serde(default)]
    asks: Option<Value>,
}

fn default_sdk() -> PathBuf {
    "sdk".into()
}

fn default_wit() -> PathBuf {
    "wit".into()
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct ProjectError {
    pub path: PathBuf,
    pub reason: String,
}

impl Lang {
    pub const ALL: [Lang; 6] = [Lang::Rust, Lang::Python, Lang::Js, Lang::Ts, Lang::Go, Lang::C];

    pub fn as_str(self) -> &'static str {
        match self {
            Lang::Rust => "rust",
            Lang::Python => "python",
            Lang::Js => "js",
            Lang::Ts => "ts",
            Lang::Go => "go",
            Lang::C => "c",
        }
    }

    /// The folder of its SDK below `sdk/`; TypeScript's is JavaScript's.
    pub(crate) fn sdk(self) -> &'static str {
        if self == Lang::Ts { Lang::Js.as_str() } else { self.as_str() }
    }
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Source, Kind::Parser, Kind::Poll, Kind::Prompt, Kind::Playbook, Kind::Live];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Parser => "parser",
            Kind::Poll => "poll",
            Kind::Prompt => "prompt",
            Kind::Playbook => "playbook",
            Kind::Live => "live",
        }
    }

    /// What its template exports.
    pub(crate) fn exports(self) -> &'static [Export] {
        match self {
            Kind::Source => &[Export::Source, Export::Parser],
            Kind::Parser => &[Export::Parser],
            Kind::Poll => &[Export::Source, Export::Poller, Export::Health],
            Kind::Prompt => &[Export::PromptBuilder],
            Kind::Playbook => &[Export::PromptBuilder, Export::Playbook],
            // Not of the contract, and in Rust alone, whose code says it.
            Kind::Live => &[],
        }
    }
}

impl Export {
    /// As the contract spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Export::Source => "source",
            Export::Parser => "parser",
            Export::Responder => "responder",
            Export::Poller => "poller",
            Export::Health => "health",
            Export::PromptBuilder => "prompt-builder",
            Export::Playbook => "playbook",
        }
    }
}

impl Project {
    /// Reads the project in `dir`.
    ///
    /// # Errors
    /// Where there is none, or its `plugin.yaml` is wrong.
    pub fn read(dir: &Path) -> Result<Self, ProjectError> {
        let path = dir.join(FILE);
        let wrong = |reason: String| ProjectError { path: path.clone(), reason };
        let size = std::fs::metadata(&path).map(|file| file.len());
        let size = size.map_err(|error| {
            wrong(format!("can't be read ({error}); `watchkeeper plugin new` writes a project"))
        })?;
        if size > MAX_FILE {
            return Err(wrong(format!("has {size} bytes, of {MAX_FILE} that it may have")));
        }
        let text =
            std::fs::read_to_string(&path).map_err(|error| wrong(format!("can't be read: {error}")))?;
        let reader = serde_yaml::Deserializer::from_str(&text);
        let file: File =
            serde_path_to_error::deserialize(reader).map_err(|error| wrong(error.to_string()))?;
        check_name(&file.name).map_err(|reason| wrong(format!("name: {reason}")))?;
        if file.exports.is_empty() && file.lang != Lang::Rust {
            return Err(wrong(
                "exports: missing; list what the plugin exports, as in `[source, parser]`".to_owned(),
            ));
        }
        let dir = dir.canonicalize().map_err(|error| wrong(format!("can't be resolved: {error}")))?;
        Ok(Self {
            name: file.name,
            lang: file.lang,
            exports: file.exports,
            sdk: dir.join(file.sdk),
            wit: dir.join(file.wit),
            asks: file.asks.filter(|asks| !asks.is_null()),
            dir,
        })
    }

    /// Where a build keeps what it makes on the way; `.gitignore` names it.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.dir.join("target").join("plugin-build")
    }
}

/// A name is a plugin's file's stem, and goes into identifiers of every language.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let begins = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    if !plain || !begins || name.len() > 64 {
        return Err(format!("{name:?} must be 1 to 64 letters, digits, - and _, and begin with a letter"));
    }
    Ok(())
}
