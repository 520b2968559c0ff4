//! The SDKs, their templates and the contract, in the binary: `plugin new` needs no checkout and no registry.

use std::borrow::Cow;

use rust_embed::RustEmbed;

/// The contract's text.
pub(crate) const WIT: &str = include_str!("../../../wit/v0.1.0/watchkeeper.wit");

/// What Rust's SDK needs besides for live sources: where a project has it, and its text.
pub(crate) const EXPERIMENTAL: [(&str, &str); 2] = [
    ("wit/experimental/live-source.wit", include_str!("../../../wit/experimental/live-source.wit")),
    ("wit/wasi/wasi-subscriber.wit", include_str!("../../../wit/wasi-subscriber.wit")),
];

/// `rust/Cargo.toml`, `python/template/source/app.py`, …
#[derive(RustEmbed)]
#[folder = "../../sdk"]
#[exclude = "*/target/*"]
#[exclude = "*/node_modules/*"]
#[exclude = "*/__pycache__/*"]
#[exclude = "*.wasm"]
struct Sdks;

/// The files that each kind's projects have in every language: `all/README.md`, `source/samples/{{name}}.json`, …
#[derive(RustEmbed)]
#[folder = "templates"]
struct Common;

pub(crate) struct File {
    /// From the folder that was asked for.
    pub(crate) path: String,
    pub(crate) bytes: Cow<'static, [u8]>,
}

/// The SDK of a language, without its templates, and with the guide.
pub(crate) fn sdk(lang: &str) -> Vec<File> {
    let mut files = below::<Sdks>(&format!("{lang}/"));
    files.retain(|file| !file.path.starts_with("template/"));
    files.extend(below::<Sdks>("").into_iter().filter(|file| file.path == "GUIDE.md"));
    files
}

/// A language's own files of a kind's project; those of all kinds come first, since a kind's own stand in for them. None where the
/// language has no such kind.
pub(crate) fn template(lang: &str, kind: &str) -> Vec<File> {
    let own = below::<Sdks>(&format!("{lang}/template/{kind}/"));
    if own.is_empty() {
        return own;
    }
    let mut files = below::<Sdks>(&format!("{lang}/template/all/"));
    files.extend(own);
    files
}

/// The files that projects of this kind have in all languages.
pub(crate) fn common(kind: &str) -> Vec<File> {
    let mut files = below::<Common>("all/");
    files.extend(below::<Common>(&format!("{kind}/")));
    files
}

fn below<E: RustEmbed>(folder: &str) -> Vec<File> {
    let inside = |path: Cow<'static, str>| {
        let rest = path.strip_prefix(folder)?.to_owned();
        Some(File { path: rest, bytes: E::get(&path)?.data })
    };
    E::iter().filter_map(inside).collect()
}
