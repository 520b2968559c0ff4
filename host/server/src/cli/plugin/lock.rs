//! `watchkeeper plugin lock`: pins each plugin of the folder as it is now; and how a plugin's trust is shown.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use watchkeeper_wasm::{Entry, Pin, Pins, Refusal, Runtime, Vouched};

use crate::cli::{ConfigDir, Ended, Output, PluginsDir, print_json};
use crate::config;
use crate::render::Table;
use crate::wiring;
use watchkeeper_domain::untrusted::visible;

/// As much of a key as tells it from others.
const KEY_SHOWN: usize = 12;

#[derive(Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    plugins: PluginsDir,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    output: Output,
}

/// What the new lock file says of a plugin, compared with the old one.
struct Change {
    name: String,
    digest: String,
    change: &'static str,
}

pub(super) fn run(runtime: Runtime, options: &Options) -> Result<Ended> {
    let file = config::lock_file(options.config.folder());
    // A lock file that can't be read isn't written over: it may hold what somebody meant.
    let old = config::read_pins(&file).map_err(anyhow::Error::msg)?.unwrap_or_default();
    // Keys count here, too: what isn't signed isn't pinned. The old pins don't.
    let runtime = runtime.with_trust(options.config.trust(false)?.unlocked());
    let (mut new, mut refused) = (Pins::new(), Vec::new());
    for entry in wiring::plugins(&runtime, &options.plugins.plugins)?.entries() {
        match entry {
            Entry::Loaded(plugin) => {
                new.insert(plugin.name.clone(), format!("sha256:{}", plugin.digest));
            }
            Entry::Refused(refusal) => refused.push(refusal),
        }
    }
    config::write_pins(&file, &new)?;
    let changes = changes(&old, &new);
    if options.output.json {
        print_json(&as_json(&file, &changes, &refused))?;
    } else {
        print(&file, &changes, &refused);
    }
    Ok(if refused.is_empty() { Ended::Well } else { Ended::Badly })
}

fn changes(old: &Pins, new: &Pins) -> Vec<Change> {
    let of_new = new.iter().map(|(name, digest)| Change {
        name: name.clone(),
        digest: digest.clone(),
        change: match old.get(name) {
            None => "added",
            Some(old) if old == digest => "kept",
            Some(_) => "changed",
        },
    });
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    let gone =
        gone.map(|(name, digest)| Change { name: name.clone(), digest: digest.clone(), change: "removed" });
    of_new.chain(gone).collect()
}

fn as_json(file: &std::path::Path, changes: &[Change], refused: &[Refusal]) -> Value {
    let plugins: Vec<Value> = changes
        .iter()
        .map(|Change { name, digest, change }| json!({ "name": name, "digest": digest, "change": change }))
        .collect();
    let refused: Vec<String> = refused.iter().map(Refusal::to_string).collect();
    json!({ "file": file, "plugins": plugins, "refused": refused })
}

fn print(file: &std::path::Path, changes: &[Change], refused: &[Refusal]) {
    let mut table = Table::new(["PLUGIN", "PIN", "DIGEST"]);
    for Change { name, digest, change } in changes {
        table.row([name.clone(), (*change).to_owned(), digest.clone()]);
    }
    table.print(None);
    for refusal in refused {
        println!("not pinned, for it isn't loaded: {}", visible(&refusal.to_string()));
    }
    println!("written: {}", visible(&file.display().to_string()));
}

/// For tables.
pub(super) fn trust(vouched: &Vouched) -> String {
    let pin = match vouched.pin {
        Pin::None => None,
        Pin::Same => Some("pinned".to_owned()),
        Pin::Other => Some("pinned otherwise".to_owned()),
    };
    let signed =
        vouched.signed_by.as_ref().map(|key| format!("signed {}…", key.get(..KEY_SHOWN).unwrap_or(key)));
    let all: Vec<String> = pin.into_iter().chain(signed).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

/// For JSON.
pub(super) fn pin(vouched: &Vouched) -> Option<&'static str> {
    match vouched.pin {
        Pin::None => None,
        Pin::Same => Some("same"),
        Pin::Other => Some("other"),
    }
}
