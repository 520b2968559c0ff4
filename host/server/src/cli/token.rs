//! `watchkeeper token`: who may use the API, and for what.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::access::{self, Role};
use watchkeeper_domain::store::NewToken;

use super::{DataDir, Ended, Output, print_json};
use crate::config::parse_duration;
use crate::render::Table;
use watchkeeper_domain::untrusted::visible;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a token and show it, once
    Create(CreateOptions),
    /// Every token that ever was: role, state, last use
    List(ListOptions),
    /// Let a token in no more
    Revoke(RevokeOptions),
}

#[derive(Args)]
pub(super) struct CreateOptions {
    /// Whose it is, or what for
    name: String,
    /// viewer reads, responder also approves and denies, admin may everything
    #[arg(long)]
    role: Role,
    /// Good for so long (such as 12h or 90d) or until then (RFC 3339) [default: until it is revoked]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(super) struct ListOptions {
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(super) struct RevokeOptions {
    name: String,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(command: &Command) -> Result<Ended> {
    match command {
        Command::Create(options) => create(options).await,
        Command::List(options) => list(options).await,
        Command::Revoke(options) => revoke(options).await,
    }
}

async fn create(options: &CreateOptions) -> Result<Ended> {
    access::check_name(&options.name).map_err(anyhow::Error::msg)?;
    let expires_at = options.expires.as_deref().map(expiry).transpose()?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("the system gives no random numbers")?;
    let text = access::text(&random);
    let new = NewToken {
        name: options.name.clone(),
        role: options.role,
        hash: access::hash(&text),
        expires_at,
        by: "cli".into(),
    };
    // The first token is often made before the first start.
    let token = options.data.open()?.create_token(new).await?;
    if options.output.json {
        let mut shown = serde_json::to_value(&token)?;
        shown["token"] = text.into();
        print_json(&shown)?;
        return Ok(Ended::Well);
    }
    eprintln!(
        "{} is a {} now. This is shown once, and kept by nobody but you:",
        visible(&token.name),
        token.role
    );
    println!("{text}");
    Ok(Ended::Well)
}

fn expiry(text: &str) -> Result<Timestamp> {
    let now = Timestamp::now();
    let end = match parse_duration(text) {
        Some(span) => now.plus(span),
        None => text.parse().ok().with_context(|| {
            format!("--expires: `{text}` is neither a time such as 90d or 12h, nor RFC 3339")
        })?,
    };
    if end <= now {
        bail!("--expires: {end} is over already");
    }
    Ok(end)
}

async fn list(options: &ListOptions) -> Result<Ended> {
    let tokens = options.data.store()?.tokens().await?;
    if options.output.json {
        print_json(&json!({ "items": tokens }))?;
        return Ok(Ended::Well);
    }
    let mut table = Table::new(["ID", "NAME", "ROLE", "STATE", "CREATED", "EXPIRES", "LAST USED"]);
    let time = |time: Option<Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
    for token in &tokens {
        table.row([
            token.id.to_string(),
            token.name.clone(),
            token.role.to_string(),
            token.status(Timestamp::now()).into(),
            token.created_at.to_string(),
            time(token.expires_at),
            time(token.last_used_at),
        ]);
    }
    table.print(None);
    Ok(Ended::Well)
}

async fn revoke(options: &RevokeOptions) -> Result<Ended> {
    let token = options.data.store()?.revoke_token(&options.name, "cli").await?;
    if options.output.json {
        print_json(&token)?;
    } else {
        println!("{} is let in no more", visible(&token.name));
    }
    Ok(Ended::Well)
}
