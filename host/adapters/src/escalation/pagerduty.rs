//! Escalation to PagerDuty, by its Events API v2: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
//!
//! An incident of ours is an alert of theirs: a notice triggers it, another reason adds to it, and the end of the incident
//! resolves it. `dedup_key` is the incident's key, so a repetition is no second alert.
//!
//! They answer 202 for what they took; 400 for what they never will, 429 and 5xx for what is to be sent again.

use async_trait::async_trait;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};
use watchkeeper_domain::escalation::{Channel, ChannelError, Notice, NoticeKind};
use watchkeeper_domain::{Severity, Untrusted};

use super::text::{line, short};
use super::{Authorities, http};

/// For accounts in Europe it is https://events.eu.pagerduty.com/v2/enqueue.
const URL: &str = "https://events.pagerduty.com/v2/enqueue";

/// What they cut a summary at.
const SUMMARY: usize = 1024;

/// The whole event may have 512 KB; these keep it far below.
const DETAIL: usize = 4000;
const DETAILS: usize = 20;

pub struct PagerDuty {
    name: String,
    url: Url,
    routing_key: String,
    client: Client,
}

impl PagerDuty {
    pub fn new(
        name: &str,
        routing_key: &str,
        url: Option<&str>,
        authorities: &Authorities,
    ) -> Result<Self, (&'static str, String)> {
        if routing_key.len() != 32 || !routing_key.chars().all(|c| c.is_ascii_alphanumeric()) {
            let reason = "is no integration key: 32 letters and digits, from an Events API v2 integration of the service";
            return Err(("routing_key", reason.into()));
        }
        let url = http::url(url.unwrap_or(URL)).map_err(|reason| ("url", reason))?;
        let client = http::client(authorities)?;
        Ok(Self { name: name.to_owned(), url, routing_key: routing_key.to_owned(), client })
    }

    fn event(&self, notice: &Notice) -> Value {
        let (routing_key, dedup_key) = (&self.routing_key, &notice.key);
        if notice.kind == NoticeKind::Closed {
            return json!({ "routing_key": routing_key, "event_action": "resolve", "dedup_key": dedup_key });
        }
        let words = [&notice.title, &notice.reason].map(|text| text.expose_untrusted().as_str());
        let summary = Untrusted::from(words.join(": "));
        json!({
            "routing_key": routing_key,
            "event_action": "trigger",
            "dedup_key": dedup_key,
            "client": "Watchkeeper",
            "payload": {
                "summary": line(&summary, SUMMARY),
                "source": format!("watchkeeper {}", notice.incident),
                "severity": severity(notice.severity),
                "timestamp": notice.escalated_at,
                "class": "watchkeeper escalation",
                "custom_details": details(notice),
            },
        })
    }
}

/// Theirs are critical, error, warning and info.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

fn details(notice: &Notice) -> Value {
    let mut details = json!({
        "reason": short(&notice.reason, DETAIL),
        "incident": notice.incident,
        "investigation": notice.investigation,
    });
    if let Some(approval) = &notice.approval {
        details["would_run"] = short(&approval.what, DETAIL).into();
        details["approve"] = format!("watchkeeper approve {}", approval.id).into();
        details["until"] = approval.expires_at.to_string().into();
    }
    if let Some(report) = &notice.report {
        let all = |texts: &mut dyn Iterator<Item = &Untrusted>| -> Vec<String> {
            texts.take(DETAILS).map(|text| short(text, DETAIL)).collect()
        };
        details["summary"] = short(&report.summary, DETAIL).into();
        details["root_cause"] = report.root_cause.as_ref().map(|cause| short(cause, DETAIL)).into();
        details["confidence"] = report.confidence.into();
        details["findings"] = all(&mut report.findings.iter().map(|finding| &finding.statement)).into();
        details["recommendations"] = all(&mut report.recommendations.iter()).into();
    }
    details
}

#[async_trait]
impl Channel for PagerDuty {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), ChannelError> {
        let answer = http::send(self.client.post(self.url.clone()).json(&self.event(notice))).await?;
        if answer.status == StatusCode::ACCEPTED { Ok(()) } else { Err(answer.failure()) }
    }
}
