//! `watchkeeper alerts`, `incidents`, `investigations`.

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use watchkeeper_domain::InvestigationId;
use watchkeeper_domain::investigation::Entry;
use watchkeeper_domain::prompt;
use watchkeeper_domain::untrusted::line;

use super::{ConfigDir, DataDir, Ended, ListOptions, Output, print_json};
use crate::config::Environment;
use crate::http::Transcribed;
use crate::page::page;
use crate::query::Filters;
use crate::render::{self, Table};
use crate::secrets::{redactor, shown};

#[derive(Args)]
pub(super) struct InvestigationsOptions {
    /// One investigation, with its transcript
    id: Option<InvestigationId>,
    /// It as a page of HTML that needs nothing else, without secrets: for a browser, or a ticket
    #[arg(long, requires = "id", conflicts_with = "json")]
    html: bool,
    /// Exactly what a model would be given of it now
    #[arg(long, requires = "id", conflicts_with = "html")]
    prompt: bool,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

fn wrong(reason: String) -> anyhow::Error {
    anyhow::anyhow!(reason)
}

pub(super) async fn alerts(options: &ListOptions) -> Result<Ended> {
    let page = options.data.store()?.alerts(options.filters.alerts().map_err(wrong)?).await?;
    if options.output.json {
        print_json(&page)?;
        return Ok(Ended::Well);
    }
    let mut table = Table::new(["RECEIVED", "SOURCE", "SEVERITY", "STATUS", "INCIDENT", "TITLE"]);
    for alert in &page.items {
        table.row([
            alert.received_at.to_string(),
            alert.source.clone(),
            alert.severity.to_string(),
            alert.status.to_string(),
            alert.incident.map_or("-".into(), |id| id.to_string()),
            alert.title.line(),
        ]);
    }
    table.print(page.next.as_deref());
    Ok(Ended::Well)
}

pub(super) async fn incidents(options: &ListOptions) -> Result<Ended> {
    let page = options.data.store()?.incidents(options.filters.incidents().map_err(wrong)?).await?;
    if options.output.json {
        print_json(&page)?;
        return Ok(Ended::Well);
    }
    let mut table =
        Table::new(["ID", "OPENED", "STATUS", "SEVERITY", "ALERTS", "FIRING", "INVESTIGATION", "TITLE"]);
    for incident in &page.items {
        table.row([
            incident.id.to_string(),
            incident.opened_at.to_string(),
            incident.status.as_str().into(),
            incident.severity.to_string(),
            incident.alerts.to_string(),
            incident.firing.to_string(),
            incident.investigation.map_or("-".into(), |id| id.to_string()),
            incident.title.line(),
        ]);
    }
    table.print(page.next.as_deref());
    Ok(Ended::Well)
}

pub(super) async fn investigations(options: &InvestigationsOptions) -> Result<Ended> {
    // A page and a prompt leave this machine: they are made with all secrets known, or not at all.
    match options.html || options.prompt {
        true => learn_secrets(&options.config)?,
        false => options.config.tell_secrets(),
    }
    if let Some(id) = options.id {
        return one(options, id).await;
    }
    let page = options.data.store()?.investigations(options.filters.investigations().map_err(wrong)?).await?;
    if options.output.json {
        print_json(&shown(&page)?)?;
        return Ok(Ended::Well);
    }
    let mut table = Table::new(["ID", "STARTED", "STATE", "INCIDENT", "CONFIDENCE", "TITLE"]);
    for investigation in &page.items {
        let report = investigation.report.as_ref();
        table.row([
            investigation.id.to_string(),
            investigation.started_at.to_string(),
            investigation.state.to_string(),
            investigation.incident.to_string(),
            report.map_or("-".into(), |report| format!("{:.2}", report.confidence)),
            line(&redactor().shown(&investigation.title)),
        ]);
    }
    table.print(page.next.as_deref());
    Ok(Ended::Well)
}

async fn one(options: &InvestigationsOptions, id: InvestigationId) -> Result<Ended> {
    let store = options.data.store()?;
    let investigation =
        store.investigation(id).await?.with_context(|| format!("there is no investigation {id}"))?;
    let transcript = store.transcript(id, 0).await?;
    if options.html {
        println!("{}", page(&investigation, &transcript, redactor()));
        return Ok(Ended::Well);
    }
    if options.prompt {
        return print_prompt(id, &transcript, &options.output);
    }
    if options.output.json {
        print_json(&shown(&Transcribed { investigation, transcript })?)?;
        return Ok(Ended::Well);
    }
    let mut printer = render::TranscriptPrinter::default();
    for entry in &transcript {
        print!("{}", redactor().redact(&printer.event(entry)).text);
    }
    print!("{}", redactor().redact(&render::conclusion(&investigation)).text);
    Ok(Ended::Well)
}

/// What isn't known can't be left out, so all of the configuration has to be.
fn learn_secrets(config: &ConfigDir) -> Result<()> {
    let config = config.load(&Environment::of_process())?;
    match config.sources.iter().find_map(|source| source.as_ref().err()) {
        Some(problem) => bail!(
            "its secrets couldn't be left out, since they aren't known: {problem}; mend that, give the environment that `serve` \
             has, or ask the host itself: GET /api/v1/investigations/ID, with `Accept: text/html`"
        ),
        None => Ok(()),
    }
}

fn print_prompt(id: InvestigationId, transcript: &[Entry], output: &Output) -> Result<Ended> {
    let messages = prompt::compose(transcript, redactor()).with_context(|| id.to_string())?;
    if output.json {
        print_json(&json!({ "messages": messages }))?;
        return Ok(Ended::Well);
    }
    for message in &messages {
        println!("──── {} ────", message.role.as_str());
        message.parts.iter().for_each(|part| println!("{}", part.text()));
    }
    Ok(Ended::Well)
}
