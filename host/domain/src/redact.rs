//! Secrets are taken out of a text before it leaves: for a model, a channel, the log, a listing of what was sent.
//!
//! Three nets: formats that are known, values that the configuration calls secret, and assignments to names that secrets
//! have. What is found becomes `[redacted: what it was]`, and is counted. A text that was redacted is redacted no further.
//! What is stored stays as it came; so does what the audit log's hashes are of.
//!
//! Linear in the text, whatever the text: the expressions are `regex`'s, and what is longer than [`MAX`] is cut.

use std::collections::BTreeMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use regex::{Captures, Regex, RegexSet};
use serde_json::Value;

use crate::approval::{Pending, Question};
use crate::escalation::{Approval, Delivery, Notice};
use crate::investigation::{Evidence, Finding, Report};

/// Bytes of a text that leaves; the rest is cut off.
pub const MAX: usize = 4 << 20;

/// A configured value shorter than this is a word, not a secret.
const SHORTEST: usize = 6;

/// How many configured values are looked for.
const MOST: usize = 4096;

/// Redacting may bring together what makes another secret; each pass sees what the one before left.
const PASSES: usize = 4;

const BEGIN: &str = "[redacted: ";

/// What was found, and how often.
pub type Counts = BTreeMap<&'static str, u32>;

#[derive(Clone, Debug, PartialEq)]
pub struct Redacted {
    pub text: String,
    pub counts: Counts,
}

/// One for a host; it learns the configured secrets as they are read.
#[derive(Default)]
pub struct Redactor {
    secrets: RwLock<Vec<String>>,
}

type IsSecret = fn(&str) -> bool;

/// What a rule takes out: the group `s` where it has one, else all that it matches.
struct Rule {
    name: &'static str,
    expression: Regex,
    /// Whether what the group holds is a secret.
    is_secret: IsSecret,
}

/// Formats that say themselves what they are, as their makers document them or by the prefixes that they registered with
/// secret scanners (https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns).
const FORMATS: &[(&str, &str)] = &[
    (
        "private-key",
        // Of one without its end, whatever a key may have in it: its quote stays, where it is a value of JSON.
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=\s\\:,.-]*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s\\:,.-]*)",
    ),
    ("age-key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
    ("aws-access-key-id", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    ("gcp-api-key", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("gcp-oauth-token", r"\bya29\.[0-9A-Za-z_-]{20,}"),
    ("gcp-client-secret", r"\bGOCSPX-[0-9A-Za-z_-]{28}"),
    ("github-token", r"\bgh[pousr]_[A-Za-z0-9]{36,255}|\bgithub_pat_[A-Za-z0-9_]{22,255}"),
    (
        "gitlab-token",
        r"\b(?:glpat|gldt|glptt|glrt|glrtr|glcbt|glft|glimt|glagent|gloas|glsoat|glffct)-[0-9A-Za-z_.-]{20,}|\bGR1348941[0-9A-Za-z_-]{20,}",
    ),
    ("slack-token", r"\bxox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|\bxapp-[0-9]-[A-Za-z0-9-]{10,}"),
    ("slack-webhook", r"https://hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]+"),
    ("discord-webhook", r"https://(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks/[0-9]+/[A-Za-z0-9_-]+"),
    ("stripe-key", r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}|\bwhsec_[A-Za-z0-9+/=]{24,}"),
    ("npm-token", r"\bnpm_[A-Za-z0-9]{36}"),
    ("pypi-token", r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
    ("rubygems-key", r"\brubygems_[0-9a-f]{48}"),
    ("crates-io-token", r"\bcio[A-Za-z0-9]{32}\b"),
    ("sendgrid-key", r"\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    ("mailgun-key", r"\bkey-[0-9a-f]{32}\b"),
    ("twilio-key", r"\bSK[0-9a-f]{32}\b"),
    ("azure-client-secret", r"\b[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}"),
    ("anthropic-key", r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    (
        "openai-key",
        r"\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]*T3BlbkFJ[A-Za-z0-9_-]+|\bsk-[A-Za-z0-9]{40,}",
    ),
    ("vault-token", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
    ("digitalocean-token", r"\bdo[opr]_v1_[a-f0-9]{64}"),
    ("docker-token", r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{27,}"),
    ("hugging-face-token", r"\bhf_[A-Za-z]{34}"),
    ("shopify-token", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("grafana-token", r"\bgl(?:sa|c)_[A-Za-z0-9+/=_-]{32,}"),
    ("new-relic-key", r"\bNRAK-[A-Z0-9]{27}\b"),
    ("atlassian-token", r"\bATATT3[A-Za-z0-9_=-]{100,}"),
    ("databricks-token", r"\bdapi[0-9a-f]{32}\b"),
    ("sentry-token", r"\bsntr[ysu]_[A-Za-z0-9+/=_-]{40,}"),
    ("telegram-token", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    ("linear-key", r"\blin_api_[A-Za-z0-9]{32,}"),
    ("datadog-key", r"\bdd(?:app|pat|apk)_[A-Za-z0-9]{30,}"),
    ("pagerduty-key", r"\bpdu[a-z]\+[A-Za-z0-9_+-]{15,}"),
    ("watchkeeper-token", r"\bwk_[0-9a-f]{64}\b"),
];

/// What makes a secret of what stands beside it.
const CONTEXTS: &[(&str, &str, IsSecret)] = &[
    // `Authorization: Basic …`, also of proxies, also quoted as in JSON or a command.
    (
        "authorization",
        r#"(?i)\b(?:proxy-)?authorization\b\\?["']?\s{0,4}[:=]\s{0,4}\\?["']?(?:(?:bearer|basic|digest|negotiate|apikey|token|bot|sso-key|aws4-hmac-sha256)\s+)?(?P<s>[^\s"'\\][^\r\n"'\\]*)"#,
        is_no_word,
    ),
    ("bearer-token", r"(?i)\bbearer\s+(?P<s>[A-Za-z0-9._~+/=-]{16,})", looks_random),
    ("cookie", r#"(?i)\b(?:set-)?cookie\s{0,4}:\s{0,4}(?P<s>[^\s"'][^\r\n"']*)"#, |value| {
        value.contains('=')
    }),
    // postgres://user:password@host, https://user:password@host
    ("url-password", r#"(?i)\b[a-z][a-z0-9+.-]{1,30}://[^\s/?#@:"'<>]*:(?P<s>[^\s/?#@"'<>]+)@"#, anything),
    (
        "azure-key",
        r"(?i)\b(?:AccountKey|SharedAccessKey|SharedAccessSignature)\s{0,4}=\s{0,4}(?P<s>[A-Za-z0-9+/=%&_.-]{20,})",
        anything,
    ),
    ("azure-signature", r"(?i)[?&]sig=(?P<s>[A-Za-z0-9%+/=_-]{20,})", anything),
    ("aws-signature", r"(?i)[?&]X-Amz-(?:Signature|Credential|Security-Token)=(?P<s>[^&\s]{16,})", anything),
    // curl -u user:password
    ("command-password", r#"(?:\s-u|\s--user|\s--proxy-user)[ =]['"]?[^\s:'"]+:(?P<s>[^\s'"]+)"#, anything),
    (
        "command-password",
        r#"(?i)\s--?(?:[a-z0-9]+-)*(?:password|passwd|passphrase|secret|token|api-?key|secret-key|auth-key)\s+['"]?(?P<s>[^\s'"-][^\s'"]*)"#,
        is_secret_word,
    ),
    // IDENTIFIED BY 'x'
    ("sql-password", r"(?i)\bidentified\s+by\s+'(?P<s>[^']+)'", anything),
    (
        "password",
        r#"(?i)(?:^|[^A-Za-z0-9])[A-Za-z0-9_.-]{0,64}?(?:password|passwd|passphrase|pwd|passwort)[0-9]{0,2}\\?["']?\s{0,4}(?:=>|:=|=|:)\s{0,4}(?:\\?["'](?P<s>[^"'\\\r\n]+)|(?P<t>[^\s"'\\,;&)}\]]+))"#,
        is_secret_word,
    ),
    (
        "secret",
        r#"(?i)(?:^|[^A-Za-z0-9])[A-Za-z0-9_.-]{0,64}?(?:secret|token|credentials?|api[_.-]?key|app[_.-]?key|application[_.-]?key|access[_.-]?key|auth[_.-]?key|private[_.-]?key|secret[_.-]?key|signing[_.-]?key|encryption[_.-]?key|routing[_.-]?key|integration[_.-]?key|account[_.-]?key|license[_.-]?key|session[_.-]?(?:id|key))\\?["']?\s{0,4}(?:=>|:=|=|:)\s{0,4}(?:\\?["'](?P<s>[^"'\\\r\n]+)|(?P<t>[^\s"'\\,;&)}\]]+))"#,
        looks_random,
    ),
];

struct Rules {
    all: Vec<Rule>,
    /// Of the same expressions: which of them match at all.
    set: RegexSet,
}

/// Expressions of ours, which the tests compile; one that didn't would be left out, and said so by its test.
static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let formats = FORMATS.iter().map(|(name, expression)| (*name, *expression, anything as IsSecret));
    let contexts = CONTEXTS.iter().copied();
    let rules = formats.chain(contexts).filter_map(|(name, expression, is_secret)| {
        Some((expression, Rule { name, expression: Regex::new(expression).ok()?, is_secret }))
    });
    let (texts, all): (Vec<&str>, Vec<Rule>) = rules.unzip();
    Rules { all, set: RegexSet::new(texts).unwrap_or_default() }
});

fn anything(_: &str) -> bool {
    true
}

/// `Authorization: required` speaks of one.
fn is_no_word(value: &str) -> bool {
    value.len() >= 8 && !(value.len() < 20 && value.chars().all(|c| c.is_ascii_lowercase() || c == ' '))
}

/// Of `password: …`: anything but what stands for a value.
fn is_secret_word(value: &str) -> bool {
    let stands_for = ["true", "false", "null", "none", "nil", "yes", "no", "required", "empty", "unset"];
    let lower = value.to_ascii_lowercase();
    value.len() >= 4 && !stands_for.contains(&lower.as_str()) && !is_reference(value)
}

/// A place, a variable, or stars: what is written where a secret is not.
fn is_reference(value: &str) -> bool {
    let begins =
        ["/", "./", "../", "~/", "$", "<", "{{", "%(", "file:", "vault:", "arn:", "http://", "https://"];
    begins.iter().any(|begin| value.starts_with(begin)) || value.chars().all(|c| "*xX.-_•…#".contains(c))
}

/// Of `token: …` and its like, which people also write of names and numbers: what nobody would choose.
pub fn looks_random(value: &str) -> bool {
    // Nobody's key has a blank in it; what people write has.
    if value.len() < 8 || is_reference(value) || value.contains(char::is_whitespace) {
        return false;
    }
    let has = |class: fn(&char) -> bool| value.chars().any(|c| class(&c));
    let digits = has(char::is_ascii_digit);
    let (lower, upper) = (has(char::is_ascii_lowercase), has(char::is_ascii_uppercase));
    let mixed = (digits && (lower || upper)) || (lower && upper && value.len() >= 16);
    mixed && entropy(value) >= if value.len() < 16 { 2.75 } else { 3.0 }
}

/// Shannon's, in bits a character.
fn entropy(text: &str) -> f64 {
    let mut counts: BTreeMap<char, f64> = BTreeMap::new();
    text.chars().for_each(|c| *counts.entry(c).or_default() += 1.0);
    let all: f64 = counts.values().sum();
    counts.values().map(|count| count / all).map(|share| -share * share.log2()).sum()
}

impl Redactor {
    /// A value that the configuration calls secret, in every form that it may be met in.
    pub fn learn(&self, secret: &str) {
        let trimmed = secret.trim();
        if trimmed.len() < SHORTEST {
            return;
        }
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        let json = serde_json::to_string(trimmed).unwrap_or_default();
        let forms = [
            trimmed.to_owned(),
            json.trim_matches('"').to_owned(),
            url_encoded(trimmed),
            STANDARD.encode(trimmed),
            STANDARD_NO_PAD.encode(trimmed),
            URL_SAFE_NO_PAD.encode(trimmed),
        ];
        for form in forms.into_iter().chain(within_base64(trimmed)) {
            if secrets.len() < MOST && !secrets.contains(&form) {
                secrets.push(form);
            }
        }
        // Of two that begin alike the longer is taken out whole.
        secrets.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    pub fn redact(&self, text: &str) -> Redacted {
        let mut counts = Counts::new();
        let mut text = self.without_configured(bounded(text), &mut counts);
        for _ in 0..PASSES {
            let (next, found) = pass(&text, &mut counts);
            text = next;
            if !found {
                break;
            }
        }
        Redacted { text, counts }
    }

    fn without_configured(&self, mut text: String, counts: &mut Counts) -> String {
        const NAME: &str = "configured-secret";
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets.iter().filter(|secret| !is_of_a_mark(secret)) {
            let found = text.matches(secret.as_str()).count();
            if found > 0 {
                text = text.replace(secret.as_str(), &mark(NAME));
                *counts.entry(NAME).or_default() += found as u32;
            }
        }
        text
    }

    /// What a listing shows of a notice's way: what was sent, and what was said to it.
    pub fn delivery(&self, delivery: &Delivery) -> Delivery {
        let clean = |text: &str| self.redact(text).text;
        Delivery {
            title: clean(&delivery.title),
            reason: clean(&delivery.reason),
            last_error: delivery.last_error.as_deref().map(clean),
            ..delivery.clone()
        }
    }

    /// As its notice was sent. The hash stays that of what would run.
    pub fn question(&self, question: &Question) -> Question {
        let clean = |text: &str| self.redact(text).text;
        Question { what: clean(&question.what), reason: clean(&question.reason), ..question.clone() }
    }

    pub fn pending(&self, pending: &Pending) -> Pending {
        let clean = |text: &str| self.redact(text).text;
        Pending {
            title: clean(&pending.title),
            purpose: clean(&pending.purpose),
            question: self.question(&pending.question),
            ..pending.clone()
        }
    }

    /// Every text in it; an object's key is the name that its value is assigned to.
    pub fn json(&self, value: &mut Value) {
        self.json_of("", value);
    }

    fn json_of(&self, key: &str, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.assigned(key, text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.json_of(key, value)),
            Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| self.json_of(key, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn assigned(&self, key: &str, text: &str) -> String {
        let alone = self.redact(text);
        if key.is_empty() || !alone.counts.is_empty() {
            return alone.text;
        }
        let assigned = self.redact(&format!("{}:{}", Value::from(key), Value::from(text)));
        match assigned.counts.keys().next() {
            Some(kind) => mark(kind),
            None => alone.text,
        }
    }

    /// Every text of it.
    pub fn notice(&self, notice: &Notice) -> (Notice, Counts) {
        let mut counts = Counts::new();
        let mut clean = |text: &str| {
            let redacted = self.redact(text);
            redacted.counts.iter().for_each(|(name, count)| *counts.entry(name).or_default() += count);
            redacted.text
        };
        let notice = Notice {
            title: clean(&notice.title),
            reason: clean(&notice.reason),
            report: notice.report.as_ref().map(|report| clean_report(report, &mut clean)),
            // Its hash stays that of what would run.
            approval: notice
                .approval
                .as_ref()
                .map(|approval| Approval { what: clean(&approval.what), ..approval.clone() }),
            ..notice.clone()
        };
        (notice, counts)
    }
}

fn clean_report(report: &Report, clean: &mut impl FnMut(&str) -> String) -> Report {
    let findings = report.findings.iter().map(|finding| {
        let evidence = finding.evidence.iter();
        let evidence =
            evidence.map(|one| Evidence { call: one.call, excerpt: clean(&one.excerpt) }).collect();
        Finding { statement: clean(&finding.statement), evidence }
    });
    Report {
        findings: findings.collect(),
        summary: clean(&report.summary),
        root_cause: report.root_cause.as_deref().map(&mut *clean),
        recommendations: report.recommendations.iter().map(|text| clean(text)).collect(),
        confidence: report.confidence,
    }
}

fn mark(name: &str) -> String {
    format!("{BEGIN}{name}]")
}

/// A configured value such as `redacted` would be found in every mark.
fn is_of_a_mark(secret: &str) -> bool {
    mark("configured-secret").contains(secret)
}

/// At most [`MAX`], and no half of a secret at the cut: from there back to the last blank is left out, too.
fn bounded(text: &str) -> String {
    if text.len() <= MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX);
    let word =
        text[..end].rfind(char::is_whitespace).filter(|blank| end - blank < 64 << 10).unwrap_or(end / 2);
    let word = text.floor_char_boundary(word);
    format!("{}\n[cut: {} more bytes]", &text[..word], text.len() - word)
}

/// Each rule once, in its order; and whether any found something.
fn pass(text: &str, counts: &mut Counts) -> (String, bool) {
    let mut text = text.to_owned();
    let matching: Vec<usize> = RULES.set.matches(&text).into_iter().collect();
    let mut any = false;
    for rule in matching.into_iter().map(|at| &RULES.all[at]) {
        let mut found = 0;
        let replaced =
            rule.expression.replace_all(&text, |captures: &Captures<'_>| rule.replace(captures, &mut found));
        if found > 0 {
            text = replaced.into_owned();
            *counts.entry(rule.name).or_default() += found;
            any = true;
        }
    }
    (text, any)
}

impl Rule {
    fn replace(&self, captures: &Captures<'_>, found: &mut u32) -> String {
        let whole = captures.get_match();
        let secret = captures.name("s").or_else(|| captures.name("t")).unwrap_or(whole);
        let value = secret.as_str();
        if value.contains(BEGIN.trim_end()) || !(self.is_secret)(value) {
            return whole.as_str().to_owned();
        }
        *found += 1;
        let (before, after) = (secret.start() - whole.start(), secret.end() - whole.start());
        format!("{}{}{}", &whole.as_str()[..before], mark(self.name), &whole.as_str()[after..])
    }
}

/// What is of a value's alone wherever it stands in a longer one that is written as base64, as in `Basic` and AUTH PLAIN.
fn within_base64(text: &str) -> Vec<String> {
    let at = |offset: usize| {
        let bytes = [&[0; 2][..offset], text.as_bytes()].concat();
        let from = (offset * 8).div_ceil(6);
        let to = bytes.len() * 8 / 6;
        [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)].map(|form| form[from..to].to_owned())
    };
    (0..3).flat_map(at).collect()
}

fn url_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
#[path = "redact_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
