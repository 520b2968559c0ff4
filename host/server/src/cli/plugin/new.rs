//! `watchkeeper plugin new`: a project to begin with.

use std::path::PathBuf;

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
    /// A parser alone, for a source of one of the host's transports
    Parser,
    /// A source that fetches
    Poll,
    /// Briefings for a model
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
    let dir = created.dir.display();
    println!("{dir}: {} files; its README.md says what each is", created.files.len());
    println!("next: watchkeeper plugin build {dir} --out plugins/");
    Ok(Ended::Well)
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
