//! Watchkeeper's host beside Extism: the same parser's code, in one process, in turns.
//!
//! `calls GUEST PLUGIN`: what a call costs. `loads GUESTS PLUGINS GUEST PLUGIN`: how soon compiled plugins of a folder are ready,
//! and one large one. `cargo xtask bench extism` builds what is named here.

mod calls;
mod loads;
#[path = "../../../../../host/wasm/benches/payload/mod.rs"]
mod payload;
mod rounds;
mod theirs;
#[path = "../../guest/src/wire.rs"]
mod wire;

use std::path::Path;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["calls", guest, plugin] => calls::run(Path::new(guest), Path::new(plugin)),
        ["loads", guests, plugins, guest, plugin] => {
            loads::folders(Path::new(guests), Path::new(plugins))?;
            loads::files(Path::new(guest), Path::new(plugin))
        }
        _ => bail!("usage: beside-extism calls GUEST PLUGIN | loads GUESTS PLUGINS GUEST PLUGIN"),
    }
}
