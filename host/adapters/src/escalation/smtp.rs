//! Escalation by e-mail, over SMTP (RFC 5321).
//!
//! A notice and its repetitions have one `Message-ID`, by which mailboxes show them once; what follows of the same incident
//! refers to it, by which they show it as one thread.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls as LettreTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use watchkeeper_domain::audit::Digest;
use watchkeeper_domain::escalation::{Channel, ChannelError, Notice, NoticeKind};

use super::Authorities;
use super::authorities::with_remedy;
use super::text::{headline, line, plain};

/// For each answer of the server.
const DEADLINE: Duration = Duration::from_secs(15);

/// Of a subject: RFC 5322's longest line is 998 with its name, and people read less.
const SUBJECT: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tls {
    /// From the first byte; port 465.
    Implicit,
    /// By STARTTLS, and nothing is sent without; port 587.
    StartTls,
    /// To this machine alone; port 25.
    None,
}

/// Where mail goes, and how.
pub struct Mail<'a> {
    pub host: &'a str,
    pub port: Option<u16>,
    pub tls: Tls,
    pub credentials: Option<(&'a str, &'a str)>,
    pub authorities: &'a Authorities,
    pub from: &'a str,
    pub to: &'a [String],
}

pub struct Smtp {
    name: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Smtp {
    pub fn new(name: &str, mail: &Mail<'_>) -> Result<Self, (&'static str, String)> {
        let mailbox = |key: &'static str, text: &str| {
            text.parse::<Mailbox>().map_err(|error| (key, format!("`{text}` is no address: {error}")))
        };
        let from = mailbox("from", mail.from)?;
        let to = mail.to.iter().map(|text| mailbox("to", text)).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(("to", "names nobody: give at least one address".into()));
        }
        let here = mail.host == "localhost"
            || mail.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let (tls, port) = match mail.tls {
            Tls::None if !here => {
                return Err(("tls", "none is taken to this machine alone: use starttls or implicit".into()));
            }
            Tls::None if mail.credentials.is_some() => {
                return Err((
                    "tls",
                    "none would send the password in clear: use starttls or implicit".into(),
                ));
            }
            Tls::None => (LettreTls::None, 25),
            Tls::StartTls => (LettreTls::Required(parameters(mail)?), 587),
            Tls::Implicit => (LettreTls::Wrapper(parameters(mail)?), 465),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(mail.host)
            .port(mail.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(DEADLINE));
        if let Some((user, password)) = mail.credentials {
            builder = builder.credentials(Credentials::new(user.to_owned(), password.to_owned()));
        }
        Ok(Self { name: name.to_owned(), from, to, transport: builder.build() })
    }

    fn message(&self, notice: &Notice) -> Result<Message, String> {
        let domain = self.from.email.domain();
        let thread = format!("<{}@{domain}>", notice.key);
        // The same for a repetition, another for another reason.
        let asked = notice.approval.as_ref().map_or("", |approval| &approval.id);
        let told = format!(
            "{}\n{}\n{}{asked}",
            notice.kind.as_str(),
            notice.reason.expose_untrusted(),
            notice.escalated_at
        );
        let id = format!("<{}.{}@{domain}>", notice.key, &Digest::of(told.as_bytes()).to_string()[..16]);
        let severity = notice.severity.as_str().to_uppercase();
        let subject = match notice.kind {
            NoticeKind::Escalated | NoticeKind::Asked => {
                format!("[{severity}] {}", headline(notice, SUBJECT - 12))
            }
            NoticeKind::Closed => headline(notice, SUBJECT),
        };
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .message_id(Some(id))
            .references(thread.clone())
            .in_reply_to(thread)
            .header(ContentType::TEXT_PLAIN);
        for mailbox in &self.to {
            message = message.to(mailbox.clone());
        }
        message.body(plain(notice)).map_err(|error| error.to_string())
    }
}

fn parameters(mail: &Mail<'_>) -> Result<TlsParameters, (&'static str, String)> {
    let mut builder = TlsParameters::builder(mail.host.to_owned());
    if let Authorities::Own(pem) = mail.authorities {
        let own = Certificate::from_pem(pem).map_err(|error| ("ca_file", error.to_string()))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(own);
    }
    builder.build().map_err(|error| ("ca_file", format!("no TLS can be made with it: {error}")))
}

#[async_trait]
impl Channel for Smtp {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), ChannelError> {
        let message = self.message(notice).map_err(ChannelError::refused)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            // 5yz: RFC 5321, 4.2.1.
            Err(error) if error.is_permanent() => Err(ChannelError::refused(told(&error))),
            Err(error) => Err(ChannelError::new(told(&error))),
        }
    }
}

/// lettre's message has the reason in it, but calls what a server can't do an error of the client.
fn told(error: &lettre::transport::smtp::Error) -> String {
    let said = error.to_string();
    let said = if said.contains("STARTTLS is not supported") {
        "the server offers no STARTTLS, and nothing is sent without TLS: mend it, or use tls: implicit".into()
    } else if said.contains("No compatible authentication mechanism") {
        "the server offers neither AUTH PLAIN nor AUTH LOGIN, so it can't be logged in to".into()
    } else {
        with_remedy(said)
    };
    line(&said.into(), 300)
}
