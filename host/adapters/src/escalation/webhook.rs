//! Escalation to any HTTP server, signed.
//!
//! `POST` of a JSON object: `event` (`incident.escalated`, `incident.closed`), `key` (the incident's, the same in each
//! repetition), and the notice. A receiver answers 2xx once it has it; anything else is sent again.
//!
//! To know that a request is ours and fresh, a receiver
//! 1. takes `t` and each `v1` out of the header `Watchkeeper-Signature: t=1790000000,v1=5257a8…`,
//! 2. computes HMAC-SHA256, keyed by the channel's `secret`, of `t`, a full stop, and the body's bytes as they came,
//! 3. compares its hex with `v1` in constant time, and refuses a `t` (Unix seconds) that is more than five minutes off.
//!
//! The scheme is Stripe's (https://docs.stripe.com/webhooks#verify-manually), so that their receivers' code can be used.

use async_trait::async_trait;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use ring::hmac;
use serde_json::json;
use watchkeeper_domain::Timestamp;
use watchkeeper_domain::escalation::{Channel, ChannelError, Notice, NoticeKind};

use super::{Authorities, http};

const SIGNATURE: &str = "Watchkeeper-Signature";

pub struct Webhook {
    name: String,
    url: Url,
    key: hmac::Key,
    client: Client,
}

impl Webhook {
    pub fn new(
        name: &str,
        url: &str,
        secret: &str,
        authorities: &Authorities,
    ) -> Result<Self, (&'static str, String)> {
        let url = http::url(url).map_err(|reason| ("url", reason))?;
        let client = http::client(authorities)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Ok(Self { name: name.to_owned(), url, key, client })
    }

    fn signature(&self, at: Timestamp, body: &str) -> String {
        let seconds = at.as_millis() / 1000;
        let tag = hmac::sign(&self.key, format!("{seconds}.{body}").as_bytes());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={seconds},v1={hex}")
    }
}

#[async_trait]
impl Channel for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), ChannelError> {
        let event = match notice.kind {
            NoticeKind::Escalated => "incident.escalated",
            NoticeKind::Asked => "approval.asked",
            NoticeKind::Closed => "incident.closed",
        };
        let body = json!({
            "event": event,
            "key": notice.key,
            "incident": notice.incident,
            "investigation": notice.investigation,
            "title": notice.title,
            "severity": notice.severity,
            "reason": notice.reason,
            "report": notice.report,
            "approval": notice.approval,
            "at": notice.escalated_at,
        });
        let body = body.to_string();
        let signature = self.signature(Timestamp::now(), &body);
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        let answer = http::send(request.header(SIGNATURE, signature).body(body)).await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.failure()) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Made by `printf '1790000000.{"a":1}' | openssl dgst -sha256 -hmac 'a secret of the receiver'`.
    #[test]
    fn a_signature_is_what_others_compute() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let channel =
            Webhook::new("w", "https://example.com/", "a secret of the receiver", &Authorities::System)
                .unwrap();
        let signature = channel.signature(Timestamp::from_millis(1_790_000_000_999), "{\"a\":1}");
        assert_eq!(
            signature,
            "t=1790000000,v1=cc0fee45c40b998f6dd8bf6bf1112780bb896b4677bf7736a7a38e24a68e1823"
        );
    }

    #[test]
    fn notices_go_over_tls_or_to_this_machine() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let new = |url: &str| {
            Webhook::new("w", url, "secret", &Authorities::System).err().map(|(_, reason)| reason)
        };
        for fine in ["https://example.com/x", "http://127.0.0.1:80/", "http://localhost/x", "http://[::1]:1/"]
        {
            assert_eq!(new(fine), None, "{fine}");
        }
        for (wrong, words) in [("http://example.com/", "https"), ("ftp://a/", "https"), ("nothing", "no URL")]
        {
            assert!(new(wrong).unwrap().contains(words), "{wrong}");
        }
    }
}
