//! What all languages' builds share about components: the world that a project exports, and the custom section of what it asks.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wasm_encoder::{ComponentSection, CustomSection, Encode, Section};
use wit_parser::{Resolve, WorldId};

use crate::build::BuildError;
use crate::project::Project;

/// The world that [`write_world`] adds to the contract: what the project exports, and the log.
pub(crate) const WORLD: &str = "plugin";

/// The custom section whose contents are the JSON text of a project's `asks`.
const ASKS: &str = "watchkeeper:asks";

/// Writes the contract and, in its package, the world [`WORLD`] into the project's scratch folder; answers the WIT's folder.
pub(crate) fn write_world(project: &Project) -> Result<PathBuf, BuildError> {
    let folder = project.scratch().join("wit");
    let failed = |what: &Path| BuildError::io(format!("{}: can't be used", what.display()));
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&folder)(error)),
        _ => std::fs::create_dir_all(&folder).map_err(failed(&folder))?,
    }
    let contract = project.wit.join("watchkeeper.wit");
    std::fs::copy(&contract, folder.join("watchkeeper.wit")).map_err(failed(&contract))?;
    let exports: String =
        project.exports.iter().map(|export| format!("    export {};\n", export.as_str())).collect();
    let world =
        format!("package watchkeeper:plugin@0.1.0;\n\nworld {WORLD} {{\n    import logging;\n{exports}}}\n");
    let file = folder.join("plugin.wit");
    std::fs::write(&file, world).map_err(failed(&file))?;
    Ok(folder)
}

/// The same, read.
pub(crate) fn resolve_world(folder: &Path) -> Result<(Resolve, WorldId), BuildError> {
    let wrong =
        |error: &dyn std::fmt::Display| BuildError::Component(format!("{}: {error:#}", folder.display()));
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(folder).map_err(|error| wrong(&error))?;
    let world = resolve.select_world(&[package], Some(WORLD)).map_err(|error| wrong(&error))?;
    Ok((resolve, world))
}

/// The component with what it asks for at its end.
pub(crate) fn with_asks(mut component: Vec<u8>, asks: Option<&Value>) -> Vec<u8> {
    if let Some(asks) = asks {
        let data = asks.to_string();
        let section = CustomSection { name: Cow::Borrowed(ASKS), data: Cow::Borrowed(data.as_bytes()) };
        component.push(ComponentSection::id(&section));
        section.encode(&mut component);
    }
    component
}
