//! `watchkeeper plugin new`: a project to begin with.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::json;
use watchkeeper_authoring as authoring;

use super::super::{Ended, Output, print_json};

#[derive(Args)]
pub(in crate::cli) struct Options {
    /// The plugin's name: letters, digits, - and _
    name: String,
    /// What it is written in
    #[arg(long)]
    lang: Lang,
    /// What it is for
    #[arg(long, default_value = "source")]
    kind: Kind,
    /// The folder to make [default: NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lang {
    Rust,
    Python,
    Js,
    Ts,
    Go,
    C,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// A webhook's source with its parser
    Source,
    /// A parser alone, for a source of the host's own webhook (its other transports come later)
    Parser,
    /// A source that fetches
    Poll,
    /// Briefings for a model (this version speaks to none yet)
    Prompt,
    /// A diagnosis without a model
    Playbook,
    /// A source that holds a subscription of its own (in Rust; experimental)
    Live,
}

pub(super) fn run(options: &Options) -> Result<Ended> {
    let created = authoring::create(&authoring::Request {
        name: options.name.clone(),
        lang: options.lang.into(),
        kind: options.kind.into(),
        dir: options.dir.clone().unwrap_or_else(|| PathBuf::from(&options.name)),
    })?;
    if options.output.json {
        print_json(&json!({ "dir": created.dir, "files": created.files }))?;
        return Ok(Ended::Well);
    }
    let dir = created.dir.to_string_lossy();
    println!(
        "{dir}: {} files; its README.md says what each is, sdk/GUIDE.md all that a plugin can",
        created.files.len()
    );
    println!("next:");
    for (command, what) in next(options, &word(&dir)) {
        println!("  {command:<60} # {what}");
    }
    Ok(Ended::Well)
}

/// As a shell reads it as one word.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    match text.chars().all(plain) && !text.starts_with('-') {
        true => text.to_owned(),
        false if text.starts_with('-') => format!("'./{}'", text.replace('\'', r"'\''")),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// From there to live.
fn next(options: &Options, dir: &str) -> Vec<(String, &'static str)> {
    let mut next = Vec::new();
    if matches!(options.lang, Lang::Js | Lang::Ts) {
        next.push((format!("(cd {dir} && npm install)"), "its tools, where they aren't on PATH"));
    }
    // What holds a subscription has no samples.
    if !matches!(options.kind, Kind::Live) {
        next.push((format!("watchkeeper plugin test {dir}"), "builds it, and compares its samples"));
    }
    next.push((format!("watchkeeper plugin build {dir} --out plugins/"), "a host that runs takes it over"));
    match options.kind {
        Kind::Source | Kind::Parser | Kind::Poll | Kind::Live => {
            const SOURCES: &str = "config/alert-sources";
            if !Path::new(SOURCES).is_dir() {
                next.push((format!("mkdir -p {SOURCES}"), "a host reads it that is started after that"));
            }
            let source = format!("cp {dir}/source.yaml {SOURCES}/{}.yaml", options.name);
            next.push((source, "makes it a source; live, then"));
        }
        Kind::Prompt | Kind::Playbook => {}
    }
    next
}

impl From<Lang> for authoring::Lang {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Rust => Self::Rust,
            Lang::Python => Self::Python,
            Lang::Js => Self::Js,
            Lang::Ts => Self::Ts,
            Lang::Go => Self::Go,
            Lang::C => Self::C,
        }
    }
}

impl From<Kind> for authoring::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Source => Self::Source,
            Kind::Parser => Self::Parser,
            Kind::Poll => Self::Poll,
            Kind::Prompt => Self::Prompt,
            Kind::Playbook => Self::Playbook,
            Kind::Live => Self::Live,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn a_folder_is_one_word() {
        for (folder, one) in [
            ("../plugins/ünï", "../plugins/ünï"),
            ("my plug in", "'my plug in'"),
            ("it's; rm", r"'it'\''s; rm'"),
            ("-rf", "'./-rf'"),
        ] {
            assert_eq!(word(folder), one);
        }
    }
}
