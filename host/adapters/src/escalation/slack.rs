//! Escalation to Slack: `chat.postMessage` with a bot's token (https://docs.slack.dev/reference/methods/chat.postMessage), or
//! an incoming webhook (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).
//!
//! A message is Block Kit (https://docs.slack.dev/reference/block-kit/blocks). Whatever came from outside stands in
//! `plain_text`, in which Slack reads no mention, link or markup, so no alert can call a whole channel.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use watchkeeper_domain::Untrusted;
use watchkeeper_domain::escalation::{Approval, Channel, ChannelError, Notice, NoticeKind};

use super::Authorities;
use super::http::{self, Answer};
use super::text::{headline, line, short};

const API: &str = "https://slack.com/api/";

/// Slack's limits of a header's text, and of a section's; and how many sections a message gets, far below its limit of 50 blocks.
const HEADER: usize = 150;
const SECTION: usize = 3000;
const SECTIONS: usize = 10;

/// Of a section, for our own words before what is told.
const WORDS: usize = 100;

/// What `text` is cut at by them is 40,000; it is what a phone shows.
const TEXT: usize = 3000;

pub struct Slack {
    name: String,
    way: Target,
    client: Client,
}

/// How it is told.
pub enum Way<'a> {
    /// With a bot's token (`xoxb-…`, scope `chat:write`), to a channel that it is a member of. `api` where it isn't slack.com's.
    Bot { token: &'a str, channel: &'a str, api: Option<&'a str> },
    /// An incoming webhook's address is its secret, and its channel.
    Webhook { url: &'a str },
}

enum Target {
    Bot { url: Url, token: String, channel: String },
    Webhook { url: Url },
}

impl Slack {
    pub fn new(name: &str, way: &Way<'_>, authorities: &Authorities) -> Result<Self, (&'static str, String)> {
        let client = http::client(authorities)?;
        let way = match way {
            Way::Webhook { url } => {
                Target::Webhook { url: http::url(url).map_err(|reason| ("webhook_url", reason))? }
            }
            Way::Bot { token, channel, api } => {
                let api = http::url(api.unwrap_or(API)).map_err(|reason| ("api_url", reason))?;
                let url = api.join("chat.postMessage").map_err(|error| ("api_url", error.to_string()))?;
                Target::Bot { url, token: (*token).to_owned(), channel: (*channel).to_owned() }
            }
        };
        Ok(Self { name: name.to_owned(), way, client })
    }
}

fn message(notice: &Notice) -> Value {
    let mut blocks = vec![json!({
        "type": "header",
        "text": plain(&headline(notice, HEADER)),
    })];
    if notice.kind != NoticeKind::Closed {
        blocks.push(json!({
            "type": "section",
            "fields": [
                plain(&format!("Severity: {}", notice.severity)),
                plain(&format!("Incident: {}", notice.incident)),
                plain(&format!("Investigation: {}", notice.investigation)),
            ],
        }));
    }
    blocks.extend(
        paragraphs(notice)
            .iter()
            .take(SECTIONS)
            .map(|text| json!({ "type": "section", "text": plain(text) })),
    );
    let buttons = buttons(notice);
    if !buttons.is_empty() {
        blocks.push(json!({ "type": "actions", "elements": buttons }));
    }
    json!({
        // In this one Slack reads markup, so what it reads is taken out of it.
        "text": escaped(&format!("{} ({})", headline(notice, HEADER), line(&notice.reason, TEXT))),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
        "link_names": false,
    })
}

fn paragraphs(notice: &Notice) -> Vec<String> {
    let shown = |text: &Untrusted| short(text, SECTION - WORDS);
    let mut texts = vec![format!("Reason: {}", shown(&notice.reason))];
    if let Some(Approval { id, what, expires_at, .. }) = &notice.approval {
        texts.push(format!("Would run ({id}, until {expires_at}): {}", shown(what)));
    }
    if let Some(report) = &notice.report {
        texts.push(format!("Summary (confidence {:.2}): {}", report.confidence, shown(&report.summary)));
        texts.extend(report.root_cause.iter().map(|cause| format!("Root cause: {}", shown(cause))));
        texts.extend(report.recommendations.iter().map(|advice| format!("Recommended: {}", shown(advice))));
    }
    texts
}

/// What a person can answer in Slack itself, where the app's interactions come to `/slack/interactions`
/// (https://docs.slack.dev/reference/block-kit/block-elements/button-element).
fn buttons(notice: &Notice) -> Vec<Value> {
    let Some(approval) = &notice.approval else { return Vec::new() };
    let value = format!("{} {}", approval.id, approval.hash);
    let button = |action: &str, text: &str, style: &str| json!({ "type": "button", "action_id": action, "value": value, "text": plain(text), "style": style });
    vec![button("watchkeeper_approve", "Approve", "primary"), button("watchkeeper_deny", "Deny", "danger")]
}

/// Slack refuses an empty one.
fn plain(text: &str) -> Value {
    let text = if text.trim().is_empty() { "-" } else { text };
    json!({ "type": "plain_text", "text": text, "emoji": false })
}

/// https://docs.slack.dev/messaging/formatting-message-text#escaping
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// `chat.postMessage` answers 200 also when it refuses.
#[derive(Deserialize)]
struct Said {
    ok: bool,
    #[serde(default)]
    error: String,
}

fn said(answer: &Answer) -> Result<(), ChannelError> {
    let said: Said = serde_json::from_str(&answer.body).map_err(|_| {
        ChannelError::new(format!(
            "this is no answer of Slack's: {}",
            line(&answer.body.as_str().into(), 100)
        ))
    })?;
    match said.error.as_str() {
        _ if said.ok => Ok(()),
        error @ ("ratelimited" | "rate_limited") => Err(ChannelError::after(error, Duration::from_secs(30))),
        error @ ("fatal_error" | "internal_error" | "service_unavailable" | "request_timeout") => {
            Err(ChannelError::new(error))
        }
        "not_in_channel" => Err(ChannelError::refused("not_in_channel: invite the bot to the channel")),
        error => Err(ChannelError::refused(line(&error.into(), 200))),
    }
}

#[async_trait]
impl Channel for Slack {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), ChannelError> {
        let mut message = message(notice);
        match &self.way {
            Target::Webhook { url } => {
                let answer = http::send(self.client.post(url.clone()).json(&message)).await?;
                if answer.status.is_success() { Ok(()) } else { Err(answer.failure()) }
            }
            Target::Bot { url, token, channel } => {
                message["channel"] = channel.as_str().into();
                let request = self.client.post(url.clone()).bearer_auth(token).json(&message);
                let answer = http::send(request).await?;
                if answer.status.is_success() { said(&answer) } else { Err(answer.failure()) }
            }
        }
    }
}
