//! Plugins that are measured, made of a bundled one: many that differ, one that is large, one whose version shows.
//!
//! A section behind the others is all that takes: <https://webassembly.github.io/spec/core/binary/modules.html#sections>.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

const CUSTOM: u8 = 0;
/// A component within a component.
const COMPONENT: u8 = 4;

/// Does the same, and is another: modules and components alike.
pub(crate) fn numbered(wasm: &[u8], number: usize) -> Vec<u8> {
    with_custom(wasm, number.to_string().as_bytes())
}

/// At least `size` bytes, of which those that are added are data.
pub(crate) fn padded(wasm: &[u8], size: usize) -> Vec<u8> {
    with_custom(wasm, &vec![b'.'; size.saturating_sub(wasm.len())])
}

/// At least `size` bytes of code like the component's own: it carries copies of itself, which are compiled with it.
pub(crate) fn enlarged(component: &[u8], size: usize) -> Vec<u8> {
    let mut enlarged = component.to_vec();
    while enlarged.len() < size {
        section(&mut enlarged, COMPONENT, component);
    }
    enlarged
}

/// The annotation in which the Prometheus plugin keeps `generatorURL`, in this version.
pub(crate) fn annotation(version: usize) -> String {
    format!("generator_v{version:02}")
}

/// The Prometheus plugin as if its author had renamed an annotation, to [`annotation`].
pub(crate) fn versioned(component: &[u8], version: usize) -> Result<Vec<u8>> {
    const NAME: &[u8] = b"generator_url";
    let new = annotation(version);
    ensure!(new.len() == NAME.len(), "there are 100 versions");
    let found: Vec<usize> =
        (0..=component.len() - NAME.len()).filter(|&at| component[at..].starts_with(NAME)).collect();
    ensure!(found.len() == 1, "the plugin holds `generator_url` {} times", found.len());
    let mut versioned = component.to_vec();
    versioned[found[0]..found[0] + NAME.len()].copy_from_slice(new.as_bytes());
    Ok(versioned)
}

/// `p000.wasm` and so on.
pub(crate) fn write_numbered(folder: &Path, wasm: &[u8], count: usize) -> Result<()> {
    fs::create_dir_all(folder)?;
    for number in 0..count {
        fs::write(folder.join(name(number)).with_extension("wasm"), numbered(wasm, number))?;
    }
    Ok(())
}

/// Of the plugin with this number.
pub(crate) fn name(number: usize) -> String {
    format!("p{number:03}")
}

fn with_custom(wasm: &[u8], data: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"bench";
    let content = [&length(NAME.len())[..], NAME, data].concat();
    let mut longer = wasm.to_vec();
    section(&mut longer, CUSTOM, &content);
    longer
}

fn section(wasm: &mut Vec<u8>, id: u8, content: &[u8]) {
    wasm.push(id);
    wasm.extend(length(content.len()));
    wasm.extend(content);
}

/// LEB128.
fn length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
