//! `escalation:` of `watchkeeper.yaml`: whom notices go to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use watchkeeper_adapters::escalation as channels;
use watchkeeper_domain::escalation::Channel;
use watchkeeper_domain::redact::looks_random;

use super::text::{self, Environment, Problem};
use crate::http::SlackApp;

/// More than anybody looks at.
const MOST: usize = 32;

/// A webhook's secret shorter than this is guessed.
const SECRET: usize = 16;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Escalation {
    #[serde(deserialize_with = "super::host::duration")]
    pub give_up_after: Duration,
    channels: Vec<Keys>,
}

impl Default for Escalation {
    fn default() -> Self {
        let log = Keys::Log { name: "log".into() };
        Self { give_up_after: Duration::from_secs(72 * 3600), channels: vec![log] }
    }
}

/// One channel's, by its type.
#[derive(Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Keys {
    Log {
        name: String,
    },
    Webhook {
        name: String,
        url: String,
        secret: String,
        ca_file: Option<PathBuf>,
    },
    Slack {
        name: String,
        token: Option<String>,
        channel: Option<String>,
        api_url: Option<String>,
        webhook_url: Option<String>,
        ca_file: Option<PathBuf>,
        /// Of the app whose buttons count.
        signing_secret: Option<String>,
        /// Members that may press them.
        #[serde(default)]
        approvers: Vec<String>,
    },
    Pagerduty {
        name: String,
        routing_key: String,
        url: Option<String>,
        ca_file: Option<PathBuf>,
    },
    Smtp {
        name: String,
        host: String,
        port: Option<u16>,
        #[serde(default)]
        tls: Tls,
        username: Option<String>,
        password: Option<String>,
        ca_file: Option<PathBuf>,
        from: String,
        to: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tls {
    #[default]
    Starttls,
    Implicit,
    None,
}

/// Secrets are in there.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.kind())
    }
}

/// A channel that can't be made of its keys: which, and what to mend.
struct Wrong {
    at: usize,
    name: String,
    key: &'static str,
    reason: String,
}

type Built = Result<Arc<dyn Channel>, (&'static str, String)>;

impl Keys {
    fn name(&self) -> &str {
        match self {
            Keys::Log { name }
            | Keys::Webhook { name, .. }
            | Keys::Slack { name, .. }
            | Keys::Pagerduty { name, .. }
            | Keys::Smtp { name, .. } => name,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Keys::Log { .. } => "log",
            Keys::Webhook { .. } => "webhook",
            Keys::Slack { .. } => "slack",
            Keys::Pagerduty { .. } => "pagerduty",
            Keys::Smtp { .. } => "smtp",
        }
    }

    /// Of the authorities that may vouch for its server, where the system's aren't to.
    fn ca_file(&mut self) -> Option<&mut PathBuf> {
        match self {
            Keys::Log { .. } => None,
            Keys::Webhook { ca_file, .. }
            | Keys::Slack { ca_file, .. }
            | Keys::Pagerduty { ca_file, .. }
            | Keys::Smtp { ca_file, .. } => ca_file.as_mut(),
        }
    }

    /// Every text in which `${NAME}` may stand, with its key.
    fn texts(&mut self) -> Vec<(&'static str, &mut String)> {
        match self {
            Keys::Log { .. } => Vec::new(),
            Keys::Webhook { url, secret, .. } => vec![("url", url), ("secret", secret)],
            Keys::Slack { token, channel, api_url, webhook_url, signing_secret, .. } => {
                let texts = [
                    ("signing_secret", signing_secret),
                    ("token", token),
                    ("channel", channel),
                    ("api_url", api_url),
                    ("webhook_url", webhook_url),
                ];
                texts.into_iter().filter_map(|(key, text)| Some((key, text.as_mut()?))).collect()
            }
            Keys::Pagerduty { routing_key, url, .. } => {
                let url = url.as_mut().map(|url| ("url", url));
                [("routing_key", routing_key)].into_iter().chain(url).collect()
            }
            Keys::Smtp { host, username, password, from, to, .. } => {
                let user = username.as_mut().map(|text| ("username", text));
                let password = password.as_mut().map(|text| ("password", text));
                let to = to.iter_mut().map(|text| ("to", text));
                [("host", host), ("from", from)].into_iter().chain(user).chain(password).chain(to).collect()
            }
        }
    }

    /// The app whose buttons count, if the channel has one.
    fn app(&self) -> Option<SlackApp> {
        let Keys::Slack { signing_secret: Some(secret), approvers, .. } = self else { return None };
        Some(SlackApp { signing_secret: secret.clone(), approvers: approvers.clone() })
    }

    /// What nobody else may read, whether it came from the environment or stands in the file.
    fn secrets(&self) -> Vec<String> {
        match self {
            Keys::Log { .. } => Vec::new(),
            Keys::Webhook { url, secret, .. } => {
                [secret.clone()].into_iter().chain(of_address(url)).collect()
            }
            Keys::Slack { token, webhook_url, signing_secret, .. } => {
                let url = webhook_url.iter().flat_map(|url| of_hook(url));
                [token, webhook_url, signing_secret].into_iter().flatten().cloned().chain(url).collect()
            }
            Keys::Pagerduty { routing_key, .. } => vec![routing_key.clone()],
            Keys::Smtp { password, .. } => password.iter().cloned().collect(),
        }
    }

    fn build(&self) -> Built {
        match self {
            Keys::Log { name } => Ok(Arc::new(channels::LogChannel::new(name))),
            Keys::Webhook { name, url, secret, ca_file } => {
                webhook(name, url, secret, &authorities(ca_file.as_deref())?)
            }
            Keys::Slack { signing_secret: None, approvers, .. } if !approvers.is_empty() => Err((
                "signing_secret",
                "is missing beside approvers: the app's, from its Basic Information".into(),
            )),
            Keys::Slack { signing_secret: Some(_), approvers, .. } if approvers.is_empty() => Err((
                "approvers",
                "is missing: the ids of the members that may answer, such as U024BE7LH".into(),
            )),
            Keys::Slack { name, token, channel, api_url, webhook_url, ca_file, .. } => {
                let keys = [token, channel, api_url, webhook_url].map(Option::as_deref);
                slack(name, keys, &authorities(ca_file.as_deref())?)
            }
            Keys::Pagerduty { name, routing_key, url, ca_file } => {
                pagerduty(name, routing_key, url.as_deref(), &authorities(ca_file.as_deref())?)
            }
            Keys::Smtp { .. } => self.smtp(),
        }
    }

    #[cfg(feature = "smtp")]
    fn smtp(&self) -> Built {
        let Keys::Smtp { name, host, port, tls, username, password, ca_file, from, to } = self else {
            return Err(("type", "is not smtp".into()));
        };
        let credentials = match (username, password) {
            (Some(username), Some(password)) => Some((username.as_str(), password.as_str())),
            (None, None) => None,
            (Some(_), None) => return Err(("password", "is missing beside username".into())),
            (None, Some(_)) => return Err(("username", "is missing beside password".into())),
        };
        let tls = match tls {
            Tls::Starttls => channels::SmtpTls::StartTls,
            Tls::Implicit => channels::SmtpTls::Implicit,
            Tls::None => channels::SmtpTls::None,
        };
        let authorities = &authorities(ca_file.as_deref())?;
        let mail = channels::Mail { host, port: *port, tls, credentials, authorities, from, to };
        channels::Smtp::new(name, &mail).map(|channel| Arc::new(channel) as _)
    }

    #[cfg(not(feature = "smtp"))]
    fn smtp(&self) -> Built {
        Err(absent("smtp"))
    }
}

fn authorities(ca_file: Option<&Path>) -> Result<channels::Authorities, (&'static str, String)> {
    channels::Authorities::read(ca_file).map_err(|reason| ("ca_file", reason))
}

/// What of an address lets somebody in: its password, and what nobody would choose of its path and its query.
fn of_address(url: &str) -> Vec<String> {
    let Ok(url) = url::Url::parse(url) else { return Vec::new() };
    let segments = url.path_segments().into_iter().flatten().map(str::to_owned);
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let told = segments.chain(values).filter(|part| looks_random(part));
    url.password().map(str::to_owned).into_iter().chain(told).collect()
}

/// Of one that is a secret: its path is what a server might say back.
fn of_hook(url: &str) -> Vec<String> {
    let Ok(url) = url::Url::parse(url) else { return Vec::new() };
    let last = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
    vec![url.path().to_owned(), last.to_owned()]
}

#[cfg(feature = "webhook")]
fn webhook(name: &str, url: &str, secret: &str, authorities: &channels::Authorities) -> Built {
    if secret.len() < SECRET {
        let reason = format!("must have at least {SECRET} characters: `openssl rand -hex 32` makes one");
        return Err(("secret", reason));
    }
    channels::Webhook::new(name, url, secret, authorities).map(|channel| Arc::new(channel) as _)
}

#[cfg(feature = "slack")]
fn slack(name: &str, keys: [Option<&str>; 4], authorities: &channels::Authorities) -> Built {
    let way = match keys {
        [None, None, None, Some(url)] => channels::SlackWay::Webhook { url },
        [Some(token), Some(channel), api, None] => channels::SlackWay::Bot { token, channel, api },
        [_, _, _, Some(_)] => {
            return Err(("webhook_url", "has its own channel and token: leave the others out".into()));
        }
        [None, ..] => return Err(("token", "is missing: a bot's xoxb-…, or else webhook_url".into())),
        _ => {
            return Err(("channel", "is missing: the id or #name of one that the bot is a member of".into()));
        }
    };
    channels::Slack::new(name, &way, authorities).map(|channel| Arc::new(channel) as _)
}

#[cfg(feature = "pagerduty")]
fn pagerduty(name: &str, routing_key: &str, url: Option<&str>, authorities: &channels::Authorities) -> Built {
    channels::PagerDuty::new(name, routing_key, url, authorities).map(|channel| Arc::new(channel) as _)
}

#[cfg(not(feature = "webhook"))]
fn webhook(_: &str, _: &str, _: &str, _: &channels::Authorities) -> Built {
    Err(absent("webhook"))
}

#[cfg(not(feature = "slack"))]
fn slack(_: &str, _: [Option<&str>; 4], _: &channels::Authorities) -> Built {
    Err(absent("slack"))
}

#[cfg(not(feature = "pagerduty"))]
fn pagerduty(_: &str, _: &str, _: Option<&str>, _: &channels::Authorities) -> Built {
    Err(absent("pagerduty"))
}

#[cfg(not(all(feature = "webhook", feature = "slack", feature = "pagerduty", feature = "smtp")))]
fn absent(kind: &str) -> (&'static str, String) {
    ("type", format!("is {kind}, which this binary was built without: build it with --features {kind}"))
}

impl Escalation {
    /// Puts in what `${NAME}` stands for, and sees that names tell channels apart.
    pub(super) fn resolve(
        &mut self,
        file: &Path,
        text: &str,
        environment: &Environment,
    ) -> Result<(), Problem> {
        let whole = |reason: String| Problem::of_key(file, text, "escalation.channels", reason);
        if self.channels.is_empty() || self.channels.len() > MOST {
            let reason = format!("must be 1 to {MOST}; `- {{ name: log, type: log }}` is the least");
            return Err(whole(reason));
        }
        let mut names = Vec::new();
        for (at, channel) in self.channels.iter_mut().enumerate() {
            let name = channel.name().to_owned();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
                return Err(problem(
                    file,
                    text,
                    at,
                    &name,
                    "name",
                    "must be 1 to 64 letters, digits, - and _".into(),
                ));
            }
            if names.contains(&name) {
                return Err(problem(
                    file,
                    text,
                    at,
                    &name,
                    "name",
                    format!("`{name}` is another channel's: give it another"),
                ));
            }
            for (key, value) in channel.texts() {
                *value = environment
                    .expand(value)
                    .map_err(|missing| problem(file, text, at, &name, key, text::not_set(&missing)))?;
            }
            // As every path in a file: from where the file is.
            if let (Some(ca_file), Some(folder)) = (channel.ca_file(), file.parent()) {
                *ca_file = folder.join(&*ca_file);
            }
            names.push(name);
        }
        let built = self.built().map(drop);
        built.map_err(|wrong| problem(file, text, wrong.at, &wrong.name, wrong.key, wrong.reason))
    }

    /// Apps whose buttons answer approvals.
    pub fn slack_apps(&self) -> Vec<SlackApp> {
        self.channels.iter().filter_map(Keys::app).collect()
    }

    /// Every channel, in the file's order.
    pub fn channels(&self) -> anyhow::Result<Vec<Arc<dyn Channel>>> {
        self.built().map_err(|Wrong { at, name, key, reason }| {
            anyhow::anyhow!("escalation.channels[{at}] ({name}): {key}: {reason}")
        })
    }

    fn built(&self) -> Result<Vec<Arc<dyn Channel>>, Wrong> {
        let build = |(at, keys): (usize, &Keys)| {
            let wrong = |(key, reason)| Wrong { at, name: keys.name().to_owned(), key, reason };
            keys.build().map_err(wrong)
        };
        self.channels.iter().enumerate().map(build).collect()
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = String> {
        self.channels.iter().flat_map(Keys::secrets)
    }
}

/// At the line that names the channel.
fn problem(file: &Path, text: &str, at: usize, name: &str, key: &str, reason: String) -> Problem {
    let names = |line: &str| {
        line.split_once("name:")
            .is_some_and(|(_, rest)| rest.trim_start().trim_start_matches(['"', '\'']).starts_with(name))
    };
    let section = Problem::of_key(file, text, "escalation.channels", "").line.unwrap_or(0);
    let line = text.lines().skip(section.saturating_sub(1)).position(names).map(|line| line + section.max(1));
    let key = Some(format!("escalation.channels[{at}].{key}"));
    Problem { file: file.to_owned(), line: line.or(Some(section)), key, reason }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::host::HostConfig;
    use super::*;

    fn parse(channels: &str) -> Result<Vec<String>, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut environment = Environment::default();
        environment.set("SECRET", "0123456789abcdef0123456789abcdef");
        let text = format!("escalation:\n  channels:\n{channels}");
        let config =
            HostConfig::parse(Path::new("w.yaml"), &text, &environment).map_err(|error| error.to_string())?;
        Ok(config.escalation.channels().unwrap().iter().map(|channel| channel.name().to_owned()).collect())
    }

    #[test]
    fn each_type_is_read() {
        let names = parse(
            "  - { name: log, type: log }
  - { name: hook, type: webhook, url: 'https://example.com/x', secret: '${SECRET}' }
  - { name: chat, type: slack, token: '${SECRET}', channel: '#ops' }
  - { name: chat2, type: slack, webhook_url: 'https://hooks.slack.com/services/T/B/x' }
  - { name: pager, type: pagerduty, routing_key: ${SECRET} }
  - { name: mail, type: smtp, host: mail.example.com, from: a@example.com, to: [b@example.com], username: a, password: '${SECRET}' }
",
        );
        assert_eq!(names.unwrap(), ["log", "hook", "chat", "chat2", "pager", "mail"]);
    }

    #[test]
    fn mistakes_are_placed() {
        let cases = [
            ("  - { name: a, type: fax }\n", "w.yaml", "webhook"),
            ("  - { name: a, type: log, level: 1 }\n", "w.yaml", "level"),
            (
                "  - { name: log, type: log }\n  - { name: a, type: webhook, url: 'https://x/', secret: '${NOPE}' }\n",
                "w.yaml:4: escalation.channels[1].secret: ",
                "set NOPE",
            ),
            (
                "  - { name: a, type: webhook, url: 'https://x/', secret: short }\n",
                "w.yaml:3: escalation.channels[0].secret: ",
                "openssl rand",
            ),
            (
                "  - { name: a, type: webhook, url: 'http://example.com/', secret: '${SECRET}' }\n",
                "w.yaml:3: escalation.channels[0].url: ",
                "https",
            ),
            (
                "  - { name: a, type: slack, token: x }\n",
                "w.yaml:3: escalation.channels[0].channel: ",
                "member",
            ),
            (
                "  - { name: a, type: slack, channel: x }\n",
                "w.yaml:3: escalation.channels[0].token: ",
                "webhook_url",
            ),
            (
                "  - { name: a, type: pagerduty, routing_key: x }\n",
                "w.yaml:3: escalation.channels[0].routing_key: ",
                "integration",
            ),
            (
                "  - { name: a, type: smtp, host: x, from: nobody, to: [b@x] }\n",
                "w.yaml:3: escalation.channels[0].from: ",
                "address",
            ),
            (
                "  - { name: a, type: smtp, host: x, tls: none, from: a@x, to: [b@x] }\n",
                "w.yaml:3: escalation.channels[0].tls: ",
                "starttls",
            ),
            (
                "  - { name: a, type: smtp, host: localhost, tls: none, from: a@x, to: [b@x], username: a, password: b }\n",
                "w.yaml:3: escalation.channels[0].tls: ",
                "in clear",
            ),
            (
                "  - { name: a, type: pagerduty, routing_key: '${SECRET}', ca_file: nowhere.pem }\n",
                "w.yaml:3: escalation.channels[0].ca_file: ",
                "nowhere.pem: can't be read",
            ),
            ("  - { name: a, type: log, ca_file: x }\n", "w.yaml", "ca_file"),
            (
                "  - { name: a, type: smtp, host: x, from: a@x, to: [b@x], username: a }\n",
                "w.yaml:3: escalation.channels[0].password: ",
                "missing",
            ),
            (
                "  - { name: a, type: log }\n  - { name: a, type: log }\n",
                "w.yaml:3: escalation.channels[1].name: ",
                "another",
            ),
            ("  - { name: a b, type: log }\n", "w.yaml:3: escalation.channels[0].name: ", "letters"),
            ("  # nobody\n", "w.yaml:2: escalation.channels: ", "type: log"),
        ];
        for (text, place, words) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(place) && error.contains(words), "{text:?} gave: {error}");
        }
    }
}
