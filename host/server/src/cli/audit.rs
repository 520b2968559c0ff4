//! `watchkeeper audit`: what was done, by whom, and whether the log of it is whole. It needs no host, and of the key only the
//! public half.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use watchkeeper_adapters::store::{AuditFile, AuditKey, PublicKey};
use watchkeeper_domain::audit::{Entry, Head};

use super::{DataDir, Ended, Output, print_json};
use crate::render::{Table, safe};
use crate::secrets::redactor;

/// Entries of one look at the log.
const PAGE: u32 = 1000;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Find entries that were changed, deleted, moved, cut off or not signed
    Verify(VerifyOptions),
    /// The last entry, to be kept elsewhere: `verify --anchor` tells by it whether the log was cut off
    Head(HeadOptions),
    /// The entries, oldest first
    Show(ShowOptions),
}

#[derive(Args)]
pub(super) struct VerifyOptions {
    /// What `audit head` said once
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(super) struct HeadOptions {
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    data: DataDir,
}

#[derive(Args)]
pub(super) struct ShowOptions {
    /// Only entries above this number
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    after: u64,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Key {
    /// The public key, in PEM or base64 [default: audit.pub beside the audit log's key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Key {
    fn read(&self, data: &DataDir) -> Result<PublicKey> {
        let file = match &self.key {
            Some(file) => file.clone(),
            None => {
                let key = data.audit_key();
                let public = AuditKey::public_file(&key);
                if public.exists() { public } else { key }
            }
        };
        PublicKey::read(&file).map_err(anyhow::Error::msg)
    }
}

pub(super) fn run(command: &Command) -> Result<Ended> {
    match command {
        Command::Verify(options) => verify(options),
        Command::Head(options) => head(options),
        Command::Show(options) => show(options),
    }
}

fn file(data: &DataDir) -> Result<AuditFile> {
    AuditFile::open(&data.data).map_err(anyhow::Error::msg)
}

fn verify(options: &VerifyOptions) -> Result<Ended> {
    let key = options.key.read(&options.data)?;
    let anchor = options.anchor.as_ref().map(|path| {
        let text = std::fs::read(path).with_context(|| format!("{}: can't be read", path.display()))?;
        let head: Head = serde_json::from_slice(&text)
            .with_context(|| format!("{}: is nothing that `watchkeeper audit head` says", path.display()))?;
        anyhow::Ok(head)
    });
    let anchor = anchor.transpose()?;
    let of_another_key = anchor.as_ref().filter(|head| head.key != key.to_string());
    if let Some(head) = of_another_key {
        anyhow::bail!(
            "the anchor is of the key {}, and this is {key}: name the right one with --key",
            head.key
        );
    }
    let (entries, faults) = file(&options.data)?.verify(&key, anchor).map_err(anyhow::Error::msg)?;
    if options.output.json {
        print_json(&json!({ "ok": faults.is_empty(), "entries": entries, "faults": faults }))?;
    } else {
        for fault in &faults {
            println!("{}", safe(&fault.to_string()));
        }
        match faults.len() {
            0 => println!("fine: {entries} entries, each in its place, unchanged, and signed by {key}"),
            count => println!("NOT fine: {count} faults in {entries} entries"),
        }
    }
    Ok(if faults.is_empty() { Ended::Well } else { Ended::Badly })
}

fn head(options: &HeadOptions) -> Result<Ended> {
    let key = options.key.read(&options.data)?;
    let head = file(&options.data)?.head(&key).map_err(anyhow::Error::msg)?;
    print_json(&head.context("the audit log has no entry: all were deleted; `audit verify` says more")?)?;
    Ok(Ended::Well)
}

fn show(options: &ShowOptions) -> Result<Ended> {
    let file = file(&options.data)?;
    let (mut after, mut all) = (options.after, Vec::new());
    let mut table = Table::new(["SEQ", "AT", "ACTOR", "ACTION", "SUBJECT", "DETAIL"]);
    loop {
        let entries = file.entries(after, PAGE).map_err(anyhow::Error::msg)?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        for entry in &entries {
            if options.output.json {
                all.push(shown(entry)?);
            } else {
                let detail = redactor().redact(&entry.detail).text;
                let seq = entry.seq.to_string();
                let of = |text: &String| text.clone();
                table.row([
                    seq,
                    entry.at.to_string(),
                    of(&entry.actor),
                    of(&entry.action),
                    of(&entry.subject),
                    detail,
                ]);
            }
        }
    }
    match options.output.json {
        true => print_json(&all)?,
        false => table.print(None),
    }
    Ok(Ended::Well)
}

/// What people see is redacted. So its detail may not be what the hash is of; the digest is.
pub(crate) fn shown(entry: &Entry) -> Result<Value> {
    let mut shown = serde_json::to_value(entry)?;
    let detail = redactor().redact(&entry.detail).text;
    shown["detail"] = serde_json::from_str(&detail).unwrap_or(Value::String(detail));
    Ok(shown)
}
