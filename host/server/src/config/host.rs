//! `watchkeeper.yaml`.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use watchkeeper_domain::Severity;
use watchkeeper_domain::gate::{Approval, StandingOrders};
use watchkeeper_domain::incident::Correlation;
use watchkeeper_domain::investigation::Budget;

use super::escalation::Escalation;
use super::plugins::Plugins;
use super::sandbox::SandboxKeys;
use super::text::{self, Environment, Problem};

/// For so long payloads are kept at least.
const LEAST_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    pub server: Server,
    correlation: CorrelationKeys,
    pub investigation: Investigation,
    pub escalation: Escalation,
    pub plugins: Plugins,
    pub sandbox: SandboxKeys,
    pub store: StoreKeys,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreKeys {
    /// None: for ever.
    #[serde(deserialize_with = "optional_duration")]
    pub keep_payloads: Option<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    pub body_limit_mib: u32,
    pub rate_limit: RateLimit,
    pub trusted_proxies: Vec<IpAddr>,
    pub api_token: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    pub per_second: u32,
    pub burst: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CorrelationKeys {
    group_by: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Investigation {
    severities: Vec<Severity>,
    max_actions: u32,
    #[serde(deserialize_with = "duration")]
    max_duration: Duration,
    #[serde(deserialize_with = "duration")]
    approval_expires_after: Duration,
    escalate_on_confidence_below: f64,
    escalate_on_multiple_errors: u32,
    pub max_concurrent: usize,
    max_queued: u32,
    allowed_tools: Option<Vec<String>>,
    blocked_commands: Vec<String>,
    allowed_directories: Option<Vec<String>>,
    require_human_approval: RequireHumanApproval,
    confirm_before_restart: bool,
    confirm_before_delete: bool,
}

/// Of no call, of all, or of commands in which one of these texts occurs.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "true, false, or a list of texts such as [\"systemctl restart\"]")]
enum RequireHumanApproval {
    Always(bool),
    Commands(Vec<String>),
}

impl Default for Server {
    fn default() -> Self {
        Self {
            body_limit_mib: 10,
            rate_limit: RateLimit { per_second: 50_000, burst: 50_000 },
            trusted_proxies: Vec::new(),
            api_token: None,
        }
    }
}

impl Default for CorrelationKeys {
    fn default() -> Self {
        Self { group_by: ["alertname", "cluster", "namespace", "service", "job"].map(str::to_owned).to_vec() }
    }
}

impl Default for Investigation {
    fn default() -> Self {
        let budget = Budget::default();
        Self {
            severities: vec![Severity::Critical],
            max_actions: budget.max_actions,
            max_duration: budget.max_duration,
            approval_expires_after: budget.approval_expires_after,
            escalate_on_confidence_below: budget.escalate_on_confidence_below,
            escalate_on_multiple_errors: budget.escalate_on_multiple_errors,
            max_concurrent: 5,
            max_queued: 1000,
            allowed_tools: None,
            blocked_commands: Vec::new(),
            allowed_directories: None,
            require_human_approval: RequireHumanApproval::Always(false),
            confirm_before_restart: true,
            confirm_before_delete: true,
        }
    }
}

impl HostConfig {
    pub(super) fn parse(file: &Path, text: &str, environment: &Environment) -> Result<Self, Problem> {
        let mut config = Self::read(file, text)?;
        if let Some(token) = &mut config.server.api_token {
            let key = "server.api_token";
            let expanded = environment.expand(token);
            *token = expanded.map_err(|name| Problem::of_key(file, text, key, text::not_set(&name)))?;
        }
        config.escalation.resolve(file, text, environment)?;
        config.check().map_err(|(key, reason)| Problem::of_key(file, text, key, reason))?;
        Ok(config)
    }

    /// With each `${NAME}` as it is written.
    pub(super) fn read(file: &Path, text: &str) -> Result<Self, Problem> {
        // An empty file, or one of comments alone, is all defaults.
        let parsed: Option<Self> = text::parse(file, text)?;
        Ok(parsed.unwrap_or_default())
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let at_least_one: [(&str, u64); 8] = [
            ("server.body_limit_mib", self.server.body_limit_mib.into()),
            ("server.rate_limit.per_second", self.server.rate_limit.per_second.into()),
            ("server.rate_limit.burst", self.server.rate_limit.burst.into()),
            ("investigation.max_actions", self.investigation.max_actions.into()),
            ("investigation.max_concurrent", self.investigation.max_concurrent as u64),
            (
                "investigation.escalate_on_multiple_errors",
                self.investigation.escalate_on_multiple_errors.into(),
            ),
            (
                "investigation.approval_expires_after",
                self.investigation.approval_expires_after.as_millis() as u64,
            ),
            ("investigation.max_duration", self.investigation.max_duration.as_millis() as u64),
        ];
        if let Some((key, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err((key, "must be more than 0".into()));
        }
        let confidence = self.investigation.escalate_on_confidence_below;
        if !(0.0..=1.0).contains(&confidence) {
            let key = "investigation.escalate_on_confidence_below";
            return Err((key, format!("must be within 0 and 1, is {confidence}")));
        }
        if self.server.api_token.as_deref().is_some_and(|token| token.len() < 16) {
            return Err(("server.api_token", "must have at least 16 characters".into()));
        }
        // So that nothing is removed that a new version of a plugin was to be tried on today.
        if self.store.keep_payloads.is_some_and(|keep| keep < LEAST_KEPT) {
            return Err((
                "store.keep_payloads",
                "must be 1d or more; left out, payloads are kept for ever".into(),
            ));
        }
        self.plugins.check()
    }

    /// Whatever nobody else may read.
    pub(super) fn secrets(&self) -> impl Iterator<Item = String> {
        self.server.api_token.clone().into_iter().chain(self.escalation.secrets())
    }

    pub fn budget(&self) -> Budget {
        Budget {
            max_actions: self.investigation.max_actions,
            max_duration: self.investigation.max_duration,
            approval_expires_after: self.investigation.approval_expires_after,
            escalate_on_confidence_below: self.investigation.escalate_on_confidence_below,
            escalate_on_multiple_errors: self.investigation.escalate_on_multiple_errors,
        }
    }

    /// What the gate holds beside its policy.
    pub fn orders(&self) -> StandingOrders {
        let keys = &self.investigation;
        StandingOrders {
            allowed_tools: keys.allowed_tools.clone(),
            blocked_commands: keys.blocked_commands.clone(),
            allowed_directories: keys.allowed_directories.clone(),
            require_human_approval: match &keys.require_human_approval {
                RequireHumanApproval::Always(false) => Approval::AsThePolicySays,
                RequireHumanApproval::Always(true) => Approval::Always,
                RequireHumanApproval::Commands(list) => Approval::Commands(list.clone()),
            },
            confirm_before_restart: keys.confirm_before_restart,
            confirm_before_delete: keys.confirm_before_delete,
        }
    }

    pub fn correlation(&self) -> Correlation {
        Correlation {
            group_by: self.correlation.group_by.clone(),
            investigate: self.investigation.severities.clone(),
            max_queued: self.investigation.max_queued,
        }
    }
}

fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// `500ms`, `30s`, `15m`, `1h`, `30d`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        de::Error::custom(format!(
            "`{text}` is no duration: write a number and ms, s, m, h or d, such as 15m"
        ))
    })
}

pub fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.find(|character: char| !character.is_ascii_digit())?;
    let number: u64 = text[..unit].parse().ok()?;
    let millis = match &text[unit..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<HostConfig, String> {
        HostConfig::parse(Path::new("w.yaml"), text, &Environment::default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_that_ships_says_the_defaults() {
        let shipped = parse(super::super::embedded::HOST).unwrap();
        let defaults = parse("").unwrap();
        assert_eq!(format!("{shipped:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn mistakes_are_placed() {
        let cases = [
            ("investigation:\n  max_action: 3\n", "w.yaml:2: ", "max_actions"),
            ("server: { body_limit_mib: -1 }\n", "w.yaml:1: ", "body_limit_mib"),
            ("investigation:\n  max_duration: 15\n", "w.yaml:2: ", "max_duration"),
            ("investigation:\n  max_duration: 15y\n", "w.yaml:2: ", "such as 15m"),
            ("investigation:\n  severities: [urgent]\n", "w.yaml:2: ", "critical"),
            ("server:\n  rate_limit: {per_second: 0, burst: 1}\n", "w.yaml:2: ", "must be more than 0"),
            ("server:\n  api_token: ${NOPE}\n", "w.yaml:2: server.api_token: ", "set NOPE"),
            ("investigation:\n  require_human_approval: maybe\n", "w.yaml:2: ", "true, false, or a list"),
            ("investigation:\n  blocked_commands: rm\n", "w.yaml:2: ", "blocked_commands"),
            ("plugins:\n  keys: [RWQ]\n", "w.yaml:2: plugins.keys[0]: ", "minisign.pub"),
            ("server: [\n", "w.yaml:", "server: "),
            ("store:\n  keep_payloads: 23h\n", "w.yaml:2: store.keep_payloads: ", "must be 1d or more"),
        ];
        for (text, place, words) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(place) && error.contains(words), "{text:?} gave: {error}");
        }
    }
}
