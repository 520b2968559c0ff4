//! What the channels over HTTP have in common: the client, and what an answer means.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, RequestBuilder, StatusCode, Url, redirect};
use watchkeeper_domain::escalation::ChannelError;

use super::Authorities;
use super::authorities::with_remedy;
use super::text::line;

/// For one request, answer included. The outbox's own deadline for a channel is longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Of an answer, the most that is read. Nobody has more to say to a notice.
const MOST: usize = 64 * 1024;

/// What of an answer is told.
const SHOWN: usize = 300;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// Without redirects: a notice, and what it is sent with, are for one place.
pub(super) fn client(authorities: &Authorities) -> Result<Client, (&'static str, String)> {
    let mut builder = Client::builder()
        .user_agent(concat!("watchkeeper/", env!("CARGO_PKG_VERSION")))
        .timeout(DEADLINE)
        .redirect(redirect::Policy::none());
    if let Authorities::Own(pem) = authorities {
        let wrong =
            |error: reqwest::Error| ("ca_file", format!("is no list of certificates: {}", chain(&error)));
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(pem).map_err(wrong)?);
    }
    builder.build().map_err(|error| ("ca_file", format!("no HTTP client can be made: {}", chain(&error))))
}

/// Over TLS, or to this machine: a notice tells what is broken where.
pub(super) fn url(text: &str) -> Result<Url, String> {
    // An address that can't be read is not told: it may be a secret.
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    let here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("names no host".into()),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if here => Ok(url),
        "http" => Err("is plain HTTP, which is taken to this machine alone: use https".into()),
        other => Err(format!("begins with {other}: use https")),
    }
}

pub(super) async fn send(request: RequestBuilder) -> Result<Answer, ChannelError> {
    // reqwest's own message may name the URL, which with some vendors is the secret.
    let failed = |error: reqwest::Error| ChannelError::new(with_remedy(chain(&error.without_url())));
    let mut response = request.send().await.map_err(failed)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while body.len() < MOST {
        match response.chunk().await.map_err(failed)? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => break,
        }
    }
    body.truncate(MOST);
    Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// reqwest says the reason in the errors beneath.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(beneath) = source {
        text = format!("{text}: {beneath}");
        source = beneath.source();
    }
    text
}

impl Answer {
    /// What an answer that isn't what was hoped for means.
    pub(super) fn failure(&self) -> ChannelError {
        let said = format!("{}: {}", self.status, line(&self.body.as_str().into(), SHOWN));
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => match self.retry_after() {
                Some(wait) => ChannelError::after(said, wait),
                None => ChannelError::new(said),
            },
            StatusCode::REQUEST_TIMEOUT => ChannelError::new(said),
            // Where it points to isn't told: a vendor's address may be the secret.
            status if status.is_redirection() => ChannelError::refused(format!(
                "{status}: no redirect is followed; give the address that it leads to"
            )),
            status if status.is_server_error() => ChannelError::new(said),
            _ => ChannelError::refused(said),
        }
    }

    /// In seconds, as all of them say it.
    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}
