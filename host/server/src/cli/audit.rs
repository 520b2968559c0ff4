//! `watchkeeper audit`: what was done, by whom, and whether the log of it is whole. It needs no host, and, but to let the key
//! make way for another, only its public half.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use watchkeeper_adapters::store::{AuditFile, AuditKey, PublicKey, Verified};
use watchkeeper_domain::audit::{Entry, Head};
use watchkeeper_domain::untrusted::visible;

use super::{ConfigDir, DataDir, Ended, Output, print_json};
use crate::orders::{self, Order};
use crate::render::Table;
use crate::secrets::redactor;
use crate::wiring::{DataLock, PLUGINS};

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
    /// Go on by a new key, which the last entry of the old one introduces; the old one is deleted
    Rotate(RotateOptions),
}

#[derive(Args)]
pub(super) struct RotateOptions {
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
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
    config: ConfigDir,
    #[command(flatten)]
    data: DataDir,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Key {
    /// The public keys from the first on, in PEM, or the first's base64 [default: audit.pub beside the audit log's key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Key {
    fn read(&self, data: &DataDir) -> Result<Vec<PublicKey>> {
        let file = match &self.key {
            Some(file) => file.clone(),
            None => {
                let key = data.audit_key();
                let public = AuditKey::public_file(&key);
                if public.exists() { public } else { key }
            }
        };
        PublicKey::read_all(&file).map_err(anyhow::Error::msg)
    }
}

pub(super) fn run(command: &Command) -> Result<Ended> {
    match command {
        Command::Verify(options) => verify(options),
        Command::Head(options) => head(options),
        Command::Show(options) => show(options),
        Command::Rotate(options) => rotate(options),
    }
}

fn file(data: &DataDir) -> Result<AuditFile> {
    AuditFile::open(&data.data).map_err(anyhow::Error::msg)
}

fn verify(options: &VerifyOptions) -> Result<Ended> {
    let keys = options.key.read(&options.data)?;
    let anchor = options.anchor.as_ref().map(|path| {
        let text = std::fs::read(path).with_context(|| format!("{}: can't be read", path.display()))?;
        let head: Head = serde_json::from_slice(&text)
            .with_context(|| format!("{}: is nothing that `watchkeeper audit head` says", path.display()))?;
        anyhow::Ok(head)
    });
    let anchor = anchor.transpose()?;
    let Verified { entries, faults, keys: signed } =
        file(&options.data)?.verify(&keys, anchor.clone()).map_err(anyhow::Error::msg)?;
    let is_known =
        |head: &Head| signed.contains(&head.key) || keys.iter().any(|key| key.to_string() == head.key);
    if let Some(head) = anchor.filter(|head| !is_known(head)) {
        anyhow::bail!(
            "the anchor is of the key {}, and these are {}: name the right ones with --key",
            head.key,
            signed.join(", ")
        );
    }
    if options.output.json {
        let ok = faults.is_empty();
        print_json(&json!({ "ok": ok, "entries": entries, "keys": signed, "faults": faults }))?;
    } else {
        for fault in &faults {
            println!("{}", visible(&fault.to_string()));
        }
        match faults.len() {
            0 => println!(
                "fine: {entries} entries, each in its place, unchanged, and signed by {}",
                signed.join(", then by ")
            ),
            count => println!("NOT fine: {count} faults in {entries} entries"),
        }
    }
    Ok(if faults.is_empty() { Ended::Well } else { Ended::Badly })
}

fn head(options: &HeadOptions) -> Result<Ended> {
    let keys = options.key.read(&options.data)?;
    let head = file(&options.data)?.head(&keys[0]).map_err(anyhow::Error::msg)?;
    print_json(&head.context("the audit log has no entry: all were deleted; `audit verify` says more")?)?;
    Ok(Ended::Well)
}

/// By the host that works on the data folder, whose key it is; or here, where none does.
fn rotate(options: &RotateOptions) -> Result<Ended> {
    let data = &options.data.data;
    let store = options.data.store()?;
    let rotated = match DataLock::take(data)? {
        None => orders::give(&data.join(PLUGINS), &Order::RotateAuditKey)?,
        Some(_lock) => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().context("no runtime")?;
            runtime.block_on(store.rotate_audit_key("cli")).map_err(|error| error.to_string())
        }
    };
    let public = AuditKey::public_file(&options.data.audit_key());
    if options.output.json {
        print_json(
            &json!({ "ok": rotated.is_ok(), "key": rotated.as_ref().ok(), "error": rotated.as_ref().err() }),
        )?;
    } else {
        match &rotated {
            Ok(key) => println!(
                "the audit log goes on by the key {key}; {} lists it, behind those before it: keep that file elsewhere, too",
                public.display()
            ),
            Err(error) => println!("the key stays: {}", visible(error)),
        }
    }
    Ok(if rotated.is_ok() { Ended::Well } else { Ended::Badly })
}

fn show(options: &ShowOptions) -> Result<Ended> {
    options.config.tell_secrets();
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
                let detail = shown(entry)?["detail"].to_string();
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
    let mut detail = serde_json::from_str(&entry.detail).unwrap_or(Value::String(entry.detail.clone()));
    redactor().json(&mut detail);
    shown["detail"] = detail;
    Ok(shown)
}
