//! What all languages' builds share about components: the world that a project exports, and the custom section of what it asks.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::Value;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasm_encoder::{ComponentSection, CustomSection, Encode};
use wit_bindgen_core::Files;
use wit_component::ComponentEncoder;
use wit_parser::{Resolve, WorldId};

use crate::build::BuildError;
use crate::places::{self, Places};
use crate::project::Project;

/// The world that [`write_world`] adds to the contract: what the project exports, and the log.
pub(crate) const WORLD: &str = "plugin";

/// The custom section whose contents are the JSON text of a project's `asks`.
const ASKS: &str = "watchkeeper:asks";

/// Writes the contract and, in its package, the world [`WORLD`] into the project's scratch folder; answers the WIT's folder.
pub(crate) fn write_world(project: &Project) -> Result<PathBuf, BuildError> {
    let folder = project.scratch().join("wit");
    let failed = |what: &Path| BuildError::io(format!("{}: can't be used", what.display()));
    empty(&folder)?;
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

/// A world of that folder, read.
pub(crate) fn resolve_world(folder: &Path, world: &str) -> Result<(Resolve, WorldId), BuildError> {
    let wrong =
        |error: &dyn std::fmt::Display| BuildError::Component(format!("{}: {error:#}", folder.display()));
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(folder).map_err(|error| wrong(&error))?;
    let world = resolve.select_world(&[package], Some(world)).map_err(|error| wrong(&error))?;
    Ok((resolve, world))
}

/// Generated files into a folder of their own, which is answered.
pub(crate) fn write_files(folder: &Path, files: &Files) -> Result<PathBuf, BuildError> {
    empty(folder)?;
    for (name, bytes) in files.iter() {
        let path = folder.join(name);
        let failed = |error| BuildError::io(format!("{}: can't be written", path.display()))(error);
        std::fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(failed)?;
        std::fs::write(&path, bytes).map_err(failed)?;
    }
    Ok(folder.to_owned())
}

/// The folder, with nothing in it.
fn empty(folder: &Path) -> Result<(), BuildError> {
    let failed = |error| BuildError::io(format!("{}: can't be made", folder.display()))(error);
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
        _ => std::fs::create_dir_all(folder).map_err(failed),
    }
}

/// A component of the core module in this file, which carries its component's type. Where the module uses WASI's first version,
/// an adapter leads that to the second.
pub(crate) fn from_module(module: &Path, out: &Path) -> Result<(), BuildError> {
    write(out, &of_module(module, &read(module)?)?)
}

/// The same, of a module that `file` is named for; where its code comes from is in a section of its own, in place of the module's
/// debug information and names.
pub(crate) fn from_debug_module(project: &Project, file: &Path, out: &Path) -> Result<(), BuildError> {
    let module = read(file)?;
    let wrong = |error| BuildError::Component(format!("{}: can't be read: {error}", file.display()));
    let places = Places::read(&module, project).map_err(wrong)?;
    let mut component = of_module(file, &places::stripped(&module).map_err(wrong)?)?;
    if let Some(section) = places.section(&component) {
        append(&mut component, places::SECTION, &section);
    }
    write(out, &component)
}

fn of_module(file: &Path, module: &[u8]) -> Result<Vec<u8>, BuildError> {
    encode(module)
        .map_err(|error| BuildError::Component(format!("{}: is no plugin: {error:#}", file.display())))
}

fn read(file: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(file).map_err(BuildError::io(format!("{}: can't be read", file.display())))
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    std::fs::write(file, bytes).map_err(BuildError::io(format!("{}: can't be written", file.display())))
}

fn encode(module: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut encoder = ComponentEncoder::default();
    encoder
        .validate(true)
        .module(module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?;
    Ok(encoder.encode()?)
}

/// The component with what it asks for at its end.
pub(crate) fn with_asks(mut component: Vec<u8>, asks: Option<&Value>) -> Vec<u8> {
    if let Some(asks) = asks {
        append(&mut component, ASKS, &asks.to_string());
    }
    component
}

/// One more custom section, behind the others.
fn append(component: &mut Vec<u8>, name: &str, data: &str) {
    let section = CustomSection { name: Cow::Borrowed(name), data: Cow::Borrowed(data.as_bytes()) };
    component.push(ComponentSection::id(&section));
    section.encode(component);
}
