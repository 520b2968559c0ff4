//! `new`: a project that needs nothing but its language's own toolchain.
//!
//! It has the SDK and the contract inside. Templates are plain files; in their names and texts, `@name@` is the plugin's
//! name, `@Type@` the name as a type is called (`DiskFull`). Files and packages have names of their own, since a plugin's may mean
//! something to a language: `self`, `std`, `disk-linux`.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::embedded::{self, File};
use crate::project::{FILE, Kind, Lang, check_name};
use crate::rust;

#[derive(Debug)]
pub struct Request {
    pub name: String,
    pub lang: Lang,
    pub kind: Kind,
    /// The folder to make; it may be there if it is empty.
    pub dir: PathBuf,
}

/// What was written.
#[derive(Debug)]
pub struct Created {
    pub dir: PathBuf,
    /// From `dir`, sorted.
    pub files: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("NAME: {0}")]
    Name(String),
    #[error("{}: is there already, and {}; name another folder with --dir", path.display(), if path.is_dir() { "isn't empty" } else { "is a file" })]
    Taken { path: PathBuf },
    #[error("--kind {}: there is no template in {}; there is one in {}", kind.as_str(), lang.as_str(), there_is.join(", "))]
    NoTemplate { kind: Kind, lang: Lang, there_is: Vec<&'static str> },
    #[error("{}: can't be written: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Writes the project.
///
/// # Errors
/// Where the name is none, the language has no template of the kind, or the folder is taken or can't be written.
pub fn create(request: &Request) -> Result<Created, CreateError> {
    check_name(&request.name).map_err(CreateError::Name)?;
    if ["true", "false", "null"].contains(&&*request.name.to_ascii_lowercase()) {
        let reason = format!("{:?} is no text in YAML; choose another", request.name);
        return Err(CreateError::Name(reason));
    }
    let (lang, kind) = (request.lang, request.kind);
    if template(lang, kind).is_empty() {
        let has = |lang: &Lang| !template(*lang, kind).is_empty();
        let there_is = Lang::ALL.into_iter().filter(has).map(Lang::as_str).collect();
        return Err(CreateError::NoTemplate { kind, lang, there_is });
    }
    let dir = &request.dir;
    if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
        return Err(CreateError::Taken { path: dir.clone() });
    }
    let mut files = Vec::new();
    for (path, bytes) in contents(request) {
        write(&dir.join(&path), &bytes)?;
        files.push(path);
    }
    files.sort();
    Ok(Created { dir: dir.clone(), files })
}

fn contents(request: &Request) -> Vec<(PathBuf, Cow<'static, [u8]>)> {
    let (lang, kind) = (request.lang, request.kind);
    let names = Names::of(&request.name);
    let sdk = embedded::sdk(lang.sdk()).into_iter().map(|file| vendored(lang, file));
    let own = template(lang, kind);
    let common = embedded::common(kind.as_str());
    // A language's own file stands in for the common one of the same name, as it comes later.
    let filled = common.into_iter().chain(own).map(|file| names.fill(file));
    let mut all = vec![
        (PathBuf::from(FILE), plugin_yaml(request).into_bytes().into()),
        (PathBuf::from("wit/watchkeeper.wit"), embedded::WIT.as_bytes().into()),
    ];
    if lang == Lang::Rust {
        all.extend(embedded::EXPERIMENTAL.map(|(path, text)| (PathBuf::from(path), text.as_bytes().into())));
    }
    all.extend(sdk);
    for (path, bytes) in filled {
        all.retain(|(known, _)| *known != path);
        all.push((path, bytes));
    }
    all
}

/// TypeScript's is JavaScript's where it has none of its own.
fn template(lang: Lang, kind: Kind) -> Vec<File> {
    let own = embedded::template(lang.as_str(), kind.as_str());
    if own.is_empty() { embedded::template(lang.sdk(), kind.as_str()) } else { own }
}

fn vendored(lang: Lang, file: File) -> (PathBuf, Cow<'static, [u8]>) {
    let bytes = if lang == Lang::Rust { rust::vendored(&file.path, file.bytes) } else { file.bytes };
    (Path::new("sdk").join(file.path), bytes)
}

fn plugin_yaml(request: &Request) -> String {
    let exports: Vec<&str> = request.kind.exports().iter().map(|export| export.as_str()).collect();
    let exports = match request.lang {
        Lang::Rust => String::new(), // `register!` says it
        _ => format!("exports: [{}]\n", exports.join(", ")),
    };
    let asks = match request.kind {
        Kind::Poll => {
            "# What the operator is asked to grant; nothing else can be reached.\nasks: { http: [api.example.com] }\n"
        }
        Kind::Live => {
            "# What the operator is asked to grant; nothing else can be reached.\nasks: { tcp: [\"tcp://alerts.example.com:7007\"] }\n"
        }
        _ => "",
    };
    format!("name: {}\nlang: {}\n{exports}{asks}", request.name, request.lang.as_str())
}

/// The name in the forms that code wants.
struct Names {
    plain: String,
    type_name: String,
}

/// Types that the templates use, or that a language has: a plugin's own must be none of them.
const TAKEN: [&str; 50] = [
    "Alert",
    "Any",
    "Array",
    "Batch",
    "Box",
    "Briefing",
    "Call",
    "Calls",
    "Conclude",
    "Config",
    "Date",
    "Duration",
    "Err",
    "Error",
    "Evidence",
    "Feed",
    "Finding",
    "Health",
    "JSON",
    "Live",
    "LiveSource",
    "Map",
    "None",
    "Number",
    "Object",
    "Ok",
    "Option",
    "Outcome",
    "OutcomeStatus",
    "Parser",
    "Payload",
    "Playbook",
    "PluginError",
    "Poller",
    "Prompt",
    "PromptBuilder",
    "Record",
    "Report",
    "Request",
    "Result",
    "Self",
    "Severity",
    "Some",
    "Source",
    "Status",
    "Step",
    "String",
    "Type",
    "Value",
    "Vec",
];

impl Names {
    fn of(name: &str) -> Self {
        let words = name.split(['-', '_']).filter(|word| !word.is_empty());
        let capital = |word: &str| {
            let (first, rest) = word.split_at(1); // ASCII, as `check_name` holds
            first.to_ascii_uppercase() + rest
        };
        let mut type_name: String = words.map(capital).collect();
        if TAKEN.contains(&&*type_name) {
            type_name.push_str("Plugin");
        }
        Self { plain: name.to_owned(), type_name }
    }

    fn fill(&self, file: File) -> (PathBuf, Cow<'static, [u8]>) {
        let path = match file.path.as_str() {
            // Under its real name it would hold in the repository that it is a template in.
            "gitignore" => ".gitignore".to_owned(),
            path => self.fill_text(path),
        };
        let bytes = match std::str::from_utf8(&file.bytes) {
            Ok(text) => self.fill_text(text).into_bytes().into(),
            Err(_) => file.bytes,
        };
        (path.into(), bytes)
    }

    fn fill_text(&self, text: &str) -> String {
        text.replace("@name@", &self.plain).replace("@Type@", &self.type_name)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CreateError> {
    let failed = |error| CreateError::Io { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, bytes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_forms_that_code_wants() {
        assert_eq!(Names::of("disk--full_2").fill_text("@name@ @Type@"), "disk--full_2 DiskFull2");
        for (name, type_name) in [("alert", "AlertPlugin"), ("self", "SelfPlugin"), ("alerts", "Alerts")] {
            assert_eq!(Names::of(name).type_name, type_name);
        }
    }
}
