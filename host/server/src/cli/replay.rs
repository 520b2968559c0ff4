//! `watchkeeper replay`: dead letters, read again. The alerts are stored as if they had just come.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use watchkeeper_domain::plugin::{Batch, Feed};
use watchkeeper_domain::store::{DeadLetter, PayloadId};
use watchkeeper_flow::ingest::{Ingest, Source};

use super::{ConfigDir, DataDir, Ended, Locked, Output, PluginsDir, print_json};
use crate::config::{Config, Environment};
use crate::render::Table;
use crate::secrets::redactor;
use crate::{sources, wiring};

/// Letters in memory at once; each may have a body of the whole limit.
const BATCH: u32 = 8;

/// What to do with an alert that a live source's plugin handed on.
const HANDED_ON: &str = "its plugin handed it on so, and reads no payload again: mend the plugin, and have the upstream send it again";

#[derive(Args)]
pub(super) struct Options {
    /// The payload's id, such as pay-7; without one, all
    payload: Option<PayloadId>,
    /// Of this source alone
    #[arg(long)]
    source: Option<String>,
    /// Only list them
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    plugins: PluginsDir,
    #[command(flatten)]
    locked: Locked,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

/// What came of one letter.
struct Replayed {
    id: PayloadId,
    source: String,
    bytes: usize,
    result: Result<String, String>,
}

pub(super) async fn run(options: &Options) -> Result<Ended> {
    let store = options.data.store()?;
    let config = options.config.load(&Environment::of_process())?;
    let runtime = wiring::runtime(&options.data.data, config.trust(options.locked.locked))?;
    let registry = wiring::plugins_in_service(&runtime, &options.plugins.plugins, &options.data.data)?;
    wiring::announce_refused(&registry);
    let ingest = Ingest::new(store.clone(), config.host.correlation());
    let mut replayed = Vec::new();
    let mut after = options.payload.map(|id| PayloadId(id.0 - 1));
    loop {
        let letters = store.dead_letters(options.source.as_deref(), after, BATCH).await?;
        let Some(last) = letters.last() else { break };
        after = Some(last.id);
        for letter in letters {
            if options.payload.is_some_and(|wanted| wanted != letter.id) {
                after = Some(PayloadId(i64::MAX));
                break;
            }
            replayed.push(one(options, &config, &registry, &ingest, letter).await);
        }
    }
    print(&replayed, &options.output)?;
    let all_fine = replayed.iter().all(|replayed| replayed.result.is_ok());
    let found = options.payload.is_none() || !replayed.is_empty();
    if !found {
        eprintln!("there is no such dead letter; `watchkeeper replay --list` lists them");
    }
    Ok(if all_fine && found { Ended::Well } else { Ended::Badly })
}

async fn one(
    options: &Options,
    config: &Config,
    registry: &watchkeeper_wasm::Registry,
    ingest: &Ingest,
    letter: DeadLetter,
) -> Replayed {
    let (id, source, bytes) = (letter.id, letter.source.clone(), letter.payload.body.len());
    let result = match options.list {
        true => Ok(listed(letter)),
        false => again(config, registry, ingest, letter).await,
    };
    let shown = |text: String| redactor().redact(&text).text;
    Replayed { id, source, bytes, result: result.map(shown).map_err(shown) }
}

fn listed(letter: DeadLetter) -> String {
    match Batch::of_payload(&letter.payload) {
        Some(_) => format!("{}; {HANDED_ON}", letter.error.visible()),
        None => letter.error.visible(),
    }
}

async fn again(
    config: &Config,
    registry: &watchkeeper_wasm::Registry,
    ingest: &Ingest,
    letter: DeadLetter,
) -> Result<String, String> {
    let file = config.sources.iter().flatten().find(|file| file.name == letter.source);
    let file = file.ok_or_else(|| format!("there is no source `{}` in the configuration", letter.source))?;
    let binding = sources::bind(file, registry).map_err(|problem| problem.to_string())?;
    let source = Source::new(&file.name, binding.reader(), file.dedup_window);
    let replayed = match binding.feed() {
        Some(Feed::Live) => {
            let replayed = ingest.replay_handed_on(&source, letter).await;
            replayed.map_err(|error| format!("{error}; {HANDED_ON}"))
        }
        _ => ingest.replay(&source, letter).await.map_err(|error| error.to_string()),
    };
    let receipt = replayed?;
    Ok(format!(
        "stored: {} new, {} known",
        receipt.new,
        receipt.heard + receipt.resolved + receipt.reopened + receipt.stale
    ))
}

fn print(replayed: &[Replayed], output: &Output) -> Result<()> {
    if output.json {
        let items: Vec<Value> = replayed
            .iter()
            .map(|replayed| {
                json!({
                    "payload": replayed.id,
                    "source": replayed.source,
                    "bytes": replayed.bytes,
                    "ok": replayed.result.is_ok(),
                    "result": replayed.result.as_ref().unwrap_or_else(|error| error),
                })
            })
            .collect();
        return print_json(&json!({ "items": items }));
    }
    let mut table = Table::new(["PAYLOAD", "SOURCE", "BYTES", "RESULT"]);
    for replayed in replayed {
        let result = match &replayed.result {
            Ok(result) => result.clone(),
            Err(error) => format!("stays: {error}"),
        };
        table.row([replayed.id.to_string(), replayed.source.clone(), replayed.bytes.to_string(), result]);
    }
    table.print(None);
    Ok(())
}
