//! `watchkeeper approvals`, `approve`, `deny`: what waits for a person, and the person's answer.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use watchkeeper_domain::approval::{Answer, ApprovalId, Pending, Person};
use watchkeeper_domain::untrusted::visible;
use watchkeeper_flow::approvals;

use super::{ConfigDir, DataDir, Ended, Output, print_json};
use crate::render::Table;
use crate::secrets::{redactor, shown};

#[derive(Args)]
pub(super) struct ListOptions {
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(super) struct ApproveOptions {
    /// The approval's id, such as inv-7.2
    id: ApprovalId,
    /// Only if this is what waits: the hash that `approvals` shows
    #[arg(long)]
    hash: Option<String>,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(super) struct DenyOptions {
    #[command(flatten)]
    which: ApproveOptions,
    /// Why; whoever proposed the call hears it
    #[arg(long)]
    reason: String,
}

pub(super) async fn list(options: &ListOptions) -> Result<Ended> {
    options.config.tell_secrets();
    let pending = approvals::pending(&*options.data.store()?).await?;
    let pending: Vec<Pending> = pending.iter().map(|pending| redactor().pending(pending)).collect();
    if options.output.json {
        print_json(&json!({ "items": pending }))?;
        return Ok(Ended::Well);
    }
    let mut table = Table::new(["ID", "EXPIRES", "INCIDENT", "HASH", "WHAT WOULD RUN", "WHY IT IS ASKED"]);
    for one in &pending {
        table.row([
            one.id.to_string(),
            one.expires_at.to_string(),
            one.incident.to_string(),
            one.question.hash[..12].to_owned(),
            one.question.what.line(),
            one.question.reason.line(),
        ]);
    }
    table.print(None);
    Ok(Ended::Well)
}

pub(super) async fn approve(options: &ApproveOptions) -> Result<Ended> {
    give(options, |by| Answer::Approved { by }).await
}

pub(super) async fn deny(options: &DenyOptions) -> Result<Ended> {
    give(&options.which, |by| Answer::Denied { by, reason: options.reason.as_str().into() }).await
}

async fn give(options: &ApproveOptions, answer: impl FnOnce(Person) -> Answer) -> Result<Ended> {
    options.config.tell_secrets();
    let store = options.data.store()?;
    let pending = approvals::pending(&*store).await?;
    let waiting: Option<&Pending> = pending.iter().find(|pending| pending.id == options.id);
    let answer = answer(person());
    let Some(Pending { question, .. }) = waiting else {
        // Not there, or answered: the same words as for one that came too late.
        approvals::answer(&*store, options.id, "", answer).await?;
        bail!("there is no approval {}", options.id);
    };
    if let Some(hash) = &options.hash
        && (hash.len() < 8 || !question.hash.starts_with(hash.as_str()))
    {
        bail!(
            "{} is about another call than the one with the hash {hash}: {}",
            options.id,
            redactor().question(question).what.visible()
        );
    }
    approvals::answer(&*store, options.id, &question.hash, answer.clone()).await?;
    let question = redactor().question(question);
    let said = json!({ "id": options.id, "answer": answer, "question": question });
    match options.output.json {
        true => print_json(&shown(&said)?)?,
        false => {
            let answer = redactor().redact(&answer.to_string()).text;
            println!("{}: {}: {}", options.id, visible(&answer), question.what.visible());
        }
    }
    Ok(Ended::Well)
}

/// Who can write the data folder is the operator; the account is what is known of them.
fn person() -> Person {
    let uid = rustix::process::getuid().as_raw();
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let name = named.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("uid {uid}"));
    Person {
        credential: format!("the account with uid {uid} on this machine, by the command line"),
        name: name.into(),
    }
}
