//! `watchkeeper escalate`: what is on its way to whom, and whether a channel works.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use watchkeeper_domain::escalation::{Notice, NoticeKind};
use watchkeeper_domain::store::{DeliveryQuery, Page};
use watchkeeper_domain::{IncidentId, InvestigationId, Severity, Timestamp};

use super::{ConfigDir, DataDir, Ended, Output, print_json};
use crate::config::Environment;
use crate::query::Filters;
use crate::render::Table;
use crate::secrets::redactor;
use watchkeeper_domain::untrusted::visible;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Notices and how far they came, newest first
    List(ListOptions),
    /// Send a test message by one channel, now, and say what came of it
    Test(TestOptions),
}

#[derive(Args)]
pub(super) struct ListOptions {
    /// By this channel alone
    #[arg(long)]
    channel: Option<String>,
    /// pending, delivered or given_up
    #[arg(long)]
    status: Option<String>,
    /// Of this incident alone
    #[arg(long)]
    incident: Option<String>,
    /// How many, up to 1000
    #[arg(long)]
    limit: Option<String>,
    /// `next` of the page before
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(super) struct TestOptions {
    /// The channel's name in watchkeeper.yaml
    channel: String,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(command: &Command) -> Result<Ended> {
    match command {
        Command::List(options) => list(options).await,
        Command::Test(options) => test(options).await,
    }
}

async fn list(options: &ListOptions) -> Result<Ended> {
    let filters = Filters {
        channel: options.channel.clone(),
        status: options.status.clone(),
        incident: options.incident.clone(),
        limit: options.limit.clone(),
        cursor: options.cursor.clone(),
        ..Filters::default()
    };
    let query: DeliveryQuery = filters.deliveries().map_err(anyhow::Error::msg)?;
    options.config.tell_secrets();
    let Page { items, next } = options.data.store()?.deliveries(query).await?;
    let page = Page { items: items.iter().map(|item| redactor().delivery(item)).collect::<Vec<_>>(), next };
    if options.output.json {
        print_json(&page)?;
        return Ok(Ended::Well);
    }
    let mut table = Table::new([
        "ID",
        "AT",
        "CHANNEL",
        "INCIDENT",
        "KIND",
        "STATUS",
        "ATTEMPTS",
        "NEXT",
        "REASON",
        "LAST ERROR",
    ]);
    for one in &page.items {
        table.row([
            one.id.to_string(),
            one.created_at.to_string(),
            one.channel.clone(),
            one.incident.to_string(),
            one.kind.as_str().into(),
            one.status.as_str().into(),
            one.attempts.to_string(),
            one.next_at.map_or("-".into(), |at| at.to_string()),
            one.reason.line(),
            one.last_error.clone().unwrap_or("-".into()),
        ]);
    }
    table.print(page.next.as_deref());
    Ok(Ended::Well)
}

async fn test(options: &TestOptions) -> Result<Ended> {
    let config = options.config.load(&Environment::of_process())?;
    let channels = config.host.escalation.channels()?;
    let names: Vec<&str> = channels.iter().map(|channel| channel.name()).collect();
    let channel = channels.iter().find(|channel| channel.name() == options.channel).with_context(|| {
        format!(
            "`{}` is no channel: escalation.channels in watchkeeper.yaml has {}",
            options.channel,
            names.join(", ")
        )
    })?;
    let now = Timestamp::now();
    // Of a pager it opens an alert, and closes it again.
    let notice = |kind, reason: &str| Notice {
        kind,
        key: format!("wk-test-{}", now.as_millis()),
        incident: IncidentId(0),
        investigation: InvestigationId(0),
        title: "this is a test of Watchkeeper's escalation".into(),
        severity: Severity::Info,
        reason: reason.into(),
        report: None,
        approval: None,
        escalated_at: now,
    };
    let told =
        channel.deliver(&notice(NoticeKind::Escalated, "somebody ran `watchkeeper escalate test`")).await;
    let told = match told {
        Ok(()) => channel.deliver(&notice(NoticeKind::Closed, "the test is over")).await,
        failed => failed,
    };
    let error = told.err().map(|error| redactor().redact(&error.message).text);
    let name = channel.name();
    if options.output.json {
        print_json(&json!({ "channel": name, "ok": error.is_none(), "error": error }))?;
    } else {
        match &error {
            None => println!("{name} took the message; see whether it arrived"),
            Some(error) => println!("{name} did not take the message: {}", visible(error)),
        }
    }
    Ok(if error.is_none() { Ended::Well } else { Ended::Badly })
}
