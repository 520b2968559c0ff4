//! The world of plugins that make HTTP requests: the project's own, and what the SDKs import of `wasi:http`. Rust's SDK needs
//! none, for its crate imports what is called.

use std::path::Path;

use crate::build::BuildError;
use crate::component::WORLD;
use crate::project::{Export, Project};

/// The name of that world; [`WORLD`] is in it.
const WORLD_WITH_HTTP: &str = "plugin-with-http";

const WIT: &str = include_str!("../../../wit/wasi-http.wit");

/// A plugin that fetches, or that asks for hosts. Others don't import it, so that nobody has to wonder why they do.
pub(crate) fn is_wanted(project: &Project) -> bool {
    let asks = project.asks.as_ref().is_some_and(|asks| asks.get("http").is_some());
    asks || project.exports.contains(&Export::Poller)
}

/// Adds that world to the WIT in `folder`, where it is wanted, and names the world to build for. `namespace` stands for `wasi`
/// in its imports.
pub(crate) fn add_world(
    project: &Project,
    folder: &Path,
    namespace: &str,
) -> Result<&'static str, BuildError> {
    if !is_wanted(project) {
        return Ok(WORLD);
    }
    let world = format!(
        "package watchkeeper:plugin@0.1.0;\n\nworld {WORLD_WITH_HTTP} {{\n    include {WORLD};\n    \
         import {namespace}:http/outgoing-handler@0.2.0;\n}}\n"
    );
    let dependencies = folder.join("deps");
    let failed = |path: &Path| BuildError::io(format!("{}: can't be written", path.display()));
    std::fs::create_dir_all(&dependencies).map_err(failed(&dependencies))?;
    for (file, text) in [
        (folder.join("plugin-with-http.wit"), world),
        (dependencies.join("wasi-http.wit"), WIT.replace("wasi:", &format!("{namespace}:"))),
    ] {
        std::fs::write(&file, text).map_err(failed(&file))?;
    }
    Ok(WORLD_WITH_HTTP)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::*;
    use crate::component::{resolve_world, write_world};
    use crate::project::Lang;

    fn project(dir: &Path, exports: Vec<Export>, asks: Option<Value>) -> Project {
        let wit = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wit/v0.1.0");
        let name = "mine".to_owned();
        Project { dir: dir.to_owned(), name, lang: Lang::Python, exports, sdk: dir.join("sdk"), wit, asks }
    }

    #[test]
    fn only_who_fetches_or_asks_imports_http() {
        let dir = tempfile::tempdir().expect("a folder");
        let cases = [
            (vec![Export::Parser], None, false),
            (vec![Export::Parser], Some(json!({ "http": ["a.example"] })), true),
            (vec![Export::Source, Export::Poller], None, true),
        ];
        for (exports, asks, http) in cases {
            let project = project(dir.path(), exports, asks);
            let folder = write_world(&project).expect("the contract");
            let world = add_world(&project, &folder, "wasi").expect("a folder to write in");
            assert_eq!(world != WORLD, http, "{project:?}");
            let (resolve, _) = resolve_world(&folder, world).expect("WIT");
            assert_eq!(resolve.package_names.keys().any(|name| name.namespace == "wasi"), http);
        }
    }
}
