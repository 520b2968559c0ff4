//! An investigation as it goes on, from the store: it may run in this process or in another.

use std::time::Duration;

use anyhow::{Context, Result};
use watchkeeper_domain::InvestigationId;
use watchkeeper_domain::investigation::Investigation;
use watchkeeper_domain::store::Store;
use watchkeeper_domain::untrusted::visible_json;

use super::Output;
use crate::render;
use crate::secrets::{redactor, shown};

/// How often is looked for what comes next.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Prints each event as it is stored (as a JSON line, or for a person), and the report; returns once it is over.
pub(super) async fn follow(store: &dyn Store, id: InvestigationId, output: &Output) -> Result<Investigation> {
    let mut printer = render::TranscriptPrinter::default();
    let mut next = 0;
    loop {
        // Asked before the transcript, so that an end that is seen has all of its events.
        let investigation = store.investigation(id).await?.with_context(|| format!("there is no {id}"))?;
        for entry in store.transcript(id, next).await? {
            next = entry.seq + 1;
            if output.json {
                println!("{}", visible_json(&shown(&entry)?.to_string()));
            } else {
                print!("{}", redactor().redact(&printer.event(&entry)).text);
            }
        }
        if investigation.state.is_over() {
            if !output.json {
                print!("{}", redactor().redact(&render::conclusion(&investigation)).text);
            }
            return Ok(investigation);
        }
        tokio::time::sleep(LOOK).await;
    }
}
