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

use crate::Untrusted;
use crate::approval::{Pending, Question};
use crate::escalation::{Approval, Delivery, Notice};
use crate::investigation::{Evidence, Finding, Report};
use crate::untrusted::{is_unsafe, visible};

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

/// What may stand before a format: no letter or digit, or the end of what only looks like one: an escape in JSON or a URL, a
/// terminal's colour.
const EDGE: &str = r"(?:(?-u:\b)|\\[bfnrt]|\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2}|\x1b\[[0-9;]{0,12}m)";

/// Formats that say themselves what they are, as their makers document them or by the prefixes that they registered with
/// secret scanners (https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns).
const FORMATS: &[(&str, &str)] = &[
    ("age-key", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    ("jwt", r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
    ("aws-access-key-id", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    ("aws-session-token", r"(?:IQoJb3JpZ2lu|FwoGZXIvYXdz|FQoGZXIvYXdz)[A-Za-z0-9+/=_-]{40,}"),
    ("aws-bedrock-key", r"ABSK[A-Za-z0-9+/]{60,}={0,2}"),
    ("alibaba-key", r"LTAI[A-Za-z0-9]{12,30}\b"),
    (
        "yandex-key",
        r"(?:AQVN[A-Za-z0-9_-]{35}|YC[A-Za-z0-9_-]{38}\b|t1\.[A-Za-z0-9_-]{8,}={0,2}\.[A-Za-z0-9_-]{86})",
    ),
    ("gcp-api-key", r"AIza[0-9A-Za-z_-]{35}"),
    ("gcp-oauth-token", r"(?:ya29\.[0-9A-Za-z_-]{20,}|1//0[0-9A-Za-z_-]{30,})"),
    ("gcp-client-secret", r"GOCSPX-[0-9A-Za-z_-]{28}"),
    ("github-token", r"(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
    (
        "gitlab-token",
        r"(?:(?:glpat|gldt|glptt|glrt|glrtr|glcbt|glft|glimt|glagent|gloas|glsoat|glffct)-[0-9A-Za-z_.-]{20,}|GR1348941[0-9A-Za-z_-]{20,})",
    ),
    ("slack-token", r"(?:xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,})"),
    ("stripe-key", r"(?:(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,})"),
    ("npm-token", r"npm_[A-Za-z0-9]{36}"),
    ("pypi-token", r"pypi-AgE[A-Za-z0-9_-]{50,}"),
    ("rubygems-key", r"rubygems_[0-9a-f]{48}"),
    ("nuget-key", r"oy2[a-z0-9]{43}\b"),
    ("clojars-token", r"CLOJARS_[a-z0-9]{60}"),
    ("crates-io-token", r"cio[A-Za-z0-9]{32}\b"),
    ("sendgrid-key", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    ("mailgun-key", r"key-[0-9a-f]{32}\b"),
    ("mailchimp-key", r"[0-9a-f]{32}-us[0-9]{1,2}\b"),
    ("brevo-key", r"x(?:key|smtp)sib-[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    ("twilio-key", r"SK[0-9a-f]{32}\b"),
    ("azure-client-secret", r"[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}"),
    ("anthropic-key", r"sk-ant-[A-Za-z0-9_-]{20,}"),
    ("openai-key", r"sk-(?:(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]*T3BlbkFJ[A-Za-z0-9_-]+|[A-Za-z0-9]{40,})"),
    ("hugging-face-token", r"(?:hf_[A-Za-z]{34}|api_org_[A-Za-z]{34})"),
    ("groq-key", r"gsk_[A-Za-z0-9]{48,}"),
    ("replicate-token", r"r8_[A-Za-z0-9]{37}"),
    ("xai-key", r"xai-[A-Za-z0-9]{60,}"),
    ("perplexity-key", r"pplx-[A-Za-z0-9]{48}"),
    ("langsmith-key", r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    ("vault-token", r"hv[sbr]\.[A-Za-z0-9_-]{24,}"),
    ("terraform-token", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,}"),
    ("pulumi-token", r"pul-[0-9a-f]{40}\b"),
    ("doppler-token", r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}\b"),
    (
        "one-password-token",
        r"(?:ops_eyJ[A-Za-z0-9+/=_-]{60,}|A3-[A-Z0-9]{6}-[A-Z0-9]{6}-?[A-Z0-9]{5}(?:-[A-Z0-9]{5}){3})",
    ),
    ("digitalocean-token", r"do[opr]_v1_[a-f0-9]{64}"),
    ("docker-token", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{27,}"),
    ("fly-token", r"(?:fm[12][ar]?_[A-Za-z0-9+/=_-]{60,}|fo1_[A-Za-z0-9_-]{43})"),
    ("heroku-key", r"HRKU-[0-9A-Za-z_-]{36,}"),
    ("netlify-token", r"nf[pcoub]_[A-Za-z0-9]{36,}"),
    ("supabase-token", r"(?:sbp_[0-9a-f]{40}|sb_secret_[A-Za-z0-9_-]{20,})"),
    ("planetscale-token", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,}"),
    ("tailscale-key", r"tskey-(?:auth|api|client|scim|webhook)-[A-Za-z0-9]{8,}(?:-[A-Za-z0-9]{16,})?"),
    ("cloudflare-ca-key", r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}"),
    ("openshift-token", r"sha256~[A-Za-z0-9_-]{43}"),
    ("shopify-token", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("square-token", r"sq0[a-z]{3}-[A-Za-z0-9_-]{22,}"),
    ("facebook-token", r"EAA[A-Za-z0-9_-]{60,}"),
    ("plaid-token", r"access-(?:sandbox|development|production)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ("flutterwave-key", r"FLW(?:PUB|SEC)K(?:_TEST)?-[0-9A-Za-z]{12,}(?:-X)?"),
    ("easypost-key", r"EZ[AT]K[A-Za-z0-9]{54}"),
    ("duffel-token", r"duffel_(?:test|live)_[A-Za-z0-9_=-]{43}"),
    ("shippo-token", r"shippo_(?:live|test)_[0-9a-f]{40}"),
    ("grafana-token", r"gl(?:sa|c)_[A-Za-z0-9+/=_-]{32,}"),
    ("new-relic-key", r"(?:NR(?:AK|JS|II|RA|AA)-[A-Za-z0-9_-]{19,}|[0-9a-zA-Z]{32,36}NRAL\b)"),
    ("dynatrace-token", r"dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    ("datadog-key", r"dd(?:app|pat|apk)_[A-Za-z0-9]{30,}"),
    ("sentry-token", r"sntr[ysu]_[A-Za-z0-9+/=_-]{40,}"),
    ("pagerduty-key", r"pdu[a-z]\+[A-Za-z0-9_+-]{15,}"),
    ("sonar-token", r"sq[aup]_[0-9a-f]{40}\b"),
    ("sourcegraph-token", r"sgp_(?:[0-9a-fA-F]{16}_|local_)?[0-9a-fA-F]{40}"),
    ("atlassian-token", r"(?:ATATT3|ATCTT3|ATBB)[A-Za-z0-9_=-]{28,}"),
    ("databricks-token", r"dapi[0-9a-f]{32}(?:-[0-9])?\b"),
    ("artifactory-key", r"(?:AKCp[A-Za-z0-9]{60,}|cmVmd[A-Za-z0-9]{59}\b)"),
    ("telegram-token", r"(?:bot)?(?P<s>[0-9]{8,10}:AA[A-Za-z0-9_-]{33})"),
    ("discord-token", r"[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}"),
    ("linear-key", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    ("notion-token", r"(?:ntn_[0-9]{8,}[A-Za-z0-9]{32,}|secret_[A-Za-z0-9]{43}\b)"),
    ("airtable-token", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    ("hubspot-token", r"pat-(?:na|eu|ap)[0-9]-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ("postman-key", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    ("figma-token", r"fig[dou]_[A-Za-z0-9_-]{40,}"),
    ("contentful-token", r"CFPAT-[A-Za-z0-9_-]{43}"),
    ("typeform-token", r"tfp_[A-Za-z0-9_=.-]{40,}"),
    ("frame-io-token", r"fio-u-[A-Za-z0-9_=-]{64}"),
    ("mapbox-token", r"sk\.eyJ[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{20,}"),
    ("maxmind-key", r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk"),
    ("circleci-token", r"CCI(?:PAT|PRJ)_[A-Za-z0-9]{22}_[0-9a-f]{40}"),
    ("buildkite-token", r"bk(?:ua|aj|ct)_[A-Za-z0-9]{40}"),
    ("octopus-key", r"API-[A-Z0-9]{26,}\b"),
    ("prefect-token", r"pn[ub]_[A-Za-z0-9]{36}\b"),
    ("readme-key", r"rdme_[a-z0-9]{70}"),
    ("infracost-key", r"ico-[A-Za-z0-9]{32}\b"),
    ("watchkeeper-token", r"wk_[0-9a-f]{64}\b"),
    // Base64 of a private key's first line.
    (
        "private-key",
        r"LS0tLS1CRUdJTi(?:BQUklW|BSU0EgUFJJ|BFQyBQUkl|BPUEVOU1NI|BFTkNSWVBU|BEU0EgUFJJ)[A-Za-z0-9+/=_-]{40,}",
    ),
];

/// Formats that nothing needs to stand before, and that end by themselves.
const WHOLE: &[(&str, &str)] = &[
    (
        "private-key",
        // Of one without its end, whatever a key may have in it: its quote stays, where it is a value of JSON.
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=\s\\:,.-]*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s\\:,.-]*)",
    ),
    ("password-hash", r"\$(?:2[abxy]|argon2(?:id|i|d)|apr1|scrypt|y|[156])\$[A-Za-z0-9./$=,+_-]{20,}"),
    ("slack-webhook", r"https://hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]+"),
    ("discord-webhook", r"https://(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks/[0-9]+/[A-Za-z0-9_-]+"),
    ("teams-webhook", r"https://[a-z0-9-]+\.webhook\.office\.com/webhookb2/[A-Za-z0-9@/_-]+"),
    ("zapier-webhook", r"https://hooks\.zapier\.com/hooks/catch/[0-9]+/[A-Za-z0-9]+"),
];

/// Names of what is no word: a part of an expression. `pass` only as a word of its own: `bypass` and `compass` end so, too.
const PASSWORDS: &str =
    r"(?:password|passwd|passphrase|pwd|passwort|(?:[_.-]|\b)p(?:ass|w)|(?-i:[a-z]Pass))[0-9]{0,2}";
const SECRETS: &str = r"(?:secret|token|credentials?|(?:api|app|application|access|auth|private|secret|signing|encryption|decryption|routing|integration|account|license|licence|master|shared|consumer|hmac|aes|webhook|deploy|admin|jwt|ingest|ingestion|instrumentation|subscription|service)[_.-]?key|secret[_.-]?key[_.-]?base|client[_.-]?key[_.-]?data|session[_.-]?(?:id|key)|phpsessid|api[_.-]?pass(?:code)?)";

/// What stands between a name and what is assigned to it, and around that: `s` where it is quoted, else `t`.
const ASSIGNED: &str =
    r#"\\?["']?\s{0,4}(?:=>|:=|=|:)\s{0,4}(?:\\?["'](?P<s>[^"'\\\r\n]+)|(?P<t>[^\s"'\\,;&)}\]<]+))"#;

/// What makes a secret of what stands beside it. In an expression, `PASSWORDS`, `SECRETS` and `ASSIGNED` stand for those.
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
    (
        "url-signature",
        r#"(?i)[?&](?:X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|Signature|Policy)=(?P<s>[^&\s"'\\]{16,})"#,
        anything,
    ),
    // curl -u user:password
    (
        "command-password",
        r#"(?:\s-u|\s--user|\s--proxy-user|\s--auth)[ =]['"]?[^\s:'"]+:(?P<s>[^\s'"\\]+)"#,
        anything,
    ),
    (
        "command-password",
        r#"(?i)\s--?(?:[a-z0-9]+-)*(?:password|passwd|passphrase|secret|token|api-?key|secret-key|auth-key)\s+['"]?(?P<s>[^\s'"\\-][^\s'"\\]*)"#,
        is_secret_word,
    ),
    // Programs whose flag for a password is a letter, which is another thing's with other programs.
    (
        "command-password",
        r#"\b(?:mysql|mariadb)[a-z_-]{0,10}\s(?:[^\n|;&]{0,200}?\s)?-p['"]?(?P<s>[^\s'"\\|;&]+)"#,
        is_secret_word,
    ),
    (
        "command-password",
        r#"\b(?:sshpass|docker|podman|skopeo|buildah|helm|oras|crane|az|oc|mongo|mongosh|mongodump|plink|pscp|cqlsh)\s(?:[^\n|;&]{0,200}?\s)?(?:-p|-pw)\s*['"]?(?P<s>[^\s'"\\|;&]+)"#,
        looks_chosen,
    ),
    (
        "command-password",
        r#"\b(?:redis-cli|ldap(?:search|modify|add|delete|whoami|passwd|compare)|sqlcmd|bcp|ipmitool|mosquitto_[a-z]+|ssh-keygen|snmp[a-z]+)\s(?:[^\n|;&]{0,200}?\s)?-(?:a|w|P|A)\s*['"]?(?P<s>[^\s'"\\|;&]+)"#,
        looks_chosen,
    ),
    (
        "command-password",
        r#"\b(?:snmp[a-z]+|ssh-keygen)\s[^\n|;&]{0,200}?\s-(?:X|N)\s*['"]?(?P<s>[^\s'"\\|;&]+)"#,
        looks_chosen,
    ),
    // --ssl-key …, where it is no file.
    ("command-password", r#"(?i)\s--(?:[a-z0-9]+-)*key[ =]['"]?(?P<s>[^\s'"\\]{16,})"#, looks_random),
    // Oracle's user/password@host
    (
        "url-password",
        r#"(?i)\b(?:jdbc:oracle:[a-z]+:|sqlplus\s+(?:-\S+\s+)*)[^\s/@"']+/(?P<s>[^\s@"'\\]+)@"#,
        anything,
    ),
    ("command-password", r#"\s-U\s*['"]?[^\s%'"]+%(?P<s>[^\s'"\\]+)"#, anything),
    (
        "command-password",
        r#"\b(?:htpasswd\s+-\w*b\w*\s+\S+\s+\S+|rabbitmqctl\s+(?:add_user|change_password)\s+\S+)\s+['"]?(?P<s>[^\s'"\\]+)"#,
        anything,
    ),
    ("command-password", r#"\bpass:(?P<s>[^\s'"\\]{4,})"#, is_secret_word),
    (
        "command-password",
        r#"\b(?:echo|printf)\s+(?:-n\s+)?['"]?(?P<s>[^\s'"\\|]+)['"]?\s*\|[^\n]{0,200}?-stdin\b"#,
        is_secret_word,
    ),
    // `aws configure set aws_secret_access_key …`, `npm config set //registry/:_authToken …`
    ("secret", r#"(?i)\bset\s+(?:-\S+\s+)*\S{0,100}?SECRETS\s+['"]?(?P<s>[^\s'"\\]+)"#, looks_random),
    // IDENTIFIED BY 'x', PASSWORD 'x', PASSWORD('x')
    ("sql-password", r"(?i)\b(?:identified\s+by|password)\s*\(?\s*'(?P<s>[^'\\\r\n]+)'", anything),
    (
        "password",
        r#"(?i)\b(?:password|passphrase)\s+(?:is|was|set\s+to)\s+[`'"]?(?P<s>[^\s`'"\\]{8,})"#,
        looks_random,
    ),
    // .netrc, redis.conf, .pgpass
    ("password", r#"(?i)\blogin\s+\S+\s+password\s+(?P<s>[^\s"'\\]+)"#, anything),
    ("password", r#"(?im)^\s*(?:requirepass|masterauth)\s+"?(?P<s>[^\s"'\\]+)"#, anything),
    ("password", r#"(?m)^[^\s:/]+:(?:[0-9]{2,5}|\*):[^\s:]+:[^\s:]+:(?P<s>[^\s:"'\\]+)$"#, looks_random),
    ("password", r#"(?i)(?:^|[^A-Za-z0-9])[A-Za-z0-9_.-]{0,64}?PASSWORDSASSIGNED"#, is_secret_word),
    ("secret", r#"(?i)(?:^|[^A-Za-z0-9])[A-Za-z0-9_.-]{0,64}?SECRETSASSIGNED"#, looks_random),
    // Docker's `"auth": "…"`.
    ("secret", r#"(?i)["']auth\\?["']\s{0,4}:\s{0,4}\\?["'](?P<s>[A-Za-z0-9+/=_-]{12,})"#, looks_random),
    // <password>…</password>
    (
        "password",
        r#"(?i)<[A-Za-z0-9_.:-]{0,64}?(?:password|passwd|passphrase)>(?P<s>[^<>"'\\\r\n]+)<"#,
        is_secret_word,
    ),
    ("secret", r#"(?i)<[A-Za-z0-9_.:-]{0,64}?SECRETS>(?P<s>[^<>"'\\\r\n]+)<"#, looks_random),
    // name="ApiSecret" value="…", also in YAML and JSON.
    (
        "secret",
        r#"(?i)\b(?:name|key)\\?["']?\s{0,4}[:=]\s{0,4}\\?["']?[A-Za-z0-9_.:-]{0,64}?(?:SECRETS|PASSWORDS)\\?["']?(?:,|\s|\\n){1,40}\\?["']?value\\?["']?\s{0,4}[:=]\s{0,4}\\?["']?(?P<s>[^\s"'\\,;&)}\]<]+)"#,
        looks_chosen,
    ),
    // As people say it: the api key …, auth token: …
    (
        "secret",
        r#"(?i)\b(?:(?:api|auth|authentication|access|secret|license|licence|bot|refresh|session|signing|service|deploy|security|personal access)[ -](?:key|token)|token)(?: is| was)?:?\s+[`'"(]?(?P<s>[A-Za-z0-9+/=_.~-]{20,})"#,
        looks_random,
    ),
];

/// Rules, in their order.
struct Group {
    all: Vec<Rule>,
    /// Of the same expressions: which of them match at all.
    set: RegexSet,
}

/// Expressions of ours, which the tests compile; one that didn't would be left out, and said so by its test.
struct Rules {
    whole: Group,
    formats: Group,
    contexts: Group,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules {
    whole: Group::new(WHOLE.iter().map(|(name, text)| (*name, (*text).to_owned(), anything as IsSecret))),
    formats: Group::new(FORMATS.iter().map(|(name, text)| (*name, bordered(text), anything as IsSecret))),
    contexts: Group::new(CONTEXTS.iter().map(|(name, text, secret)| (*name, spelled_out(text), *secret))),
});

impl Group {
    fn new(rules: impl Iterator<Item = (&'static str, String, IsSecret)>) -> Self {
        let rules = rules.filter_map(|(name, text, is_secret)| {
            let expression = Regex::new(&text).ok()?;
            Some((text, Rule { name, expression, is_secret }))
        });
        let (texts, all): (Vec<String>, Vec<Rule>) = rules.unzip();
        Self { all, set: RegexSet::new(texts).unwrap_or_default() }
    }

    /// Each rule that matches, once; none where nothing was found.
    fn apply(&self, text: &str, counts: &mut Counts) -> Option<String> {
        let mut result: Option<String> = None;
        for rule in self.set.matches(text).into_iter().map(|at| &self.all[at]) {
            let mut found = 0;
            let before = result.as_deref().unwrap_or(text);
            let replaced = rule
                .expression
                .replace_all(before, |captures: &Captures<'_>| rule.replace(captures, &mut found))
                .into_owned();
            if found > 0 {
                result = Some(replaced);
                *counts.entry(rule.name).or_default() += found;
            }
        }
        result
    }

    /// As [`Group::apply`], of rules that none spans lines: of each line, so that a text with many secrets isn't read by each of
    /// the rules as a whole.
    fn apply_by_line(&self, text: &str, counts: &mut Counts) -> Option<String> {
        if !self.set.is_match(text) {
            return None;
        }
        let (mut result, mut any) = (String::with_capacity(text.len()), false);
        for line in text.split_inclusive('\n') {
            let applied = self.apply(line, counts);
            any |= applied.is_some();
            result.push_str(applied.as_deref().unwrap_or(line));
        }
        any.then_some(result)
    }
}

/// Behind its edge; what of it is the secret may be named already.
fn bordered(format: &str) -> String {
    let format = of_bytes(format);
    let secret = if format.contains("(?P<s>") { format } else { format!("(?P<s>{format})") };
    format!("{EDGE}{secret}")
}

fn spelled_out(context: &str) -> String {
    let names = [("PASSWORDS", PASSWORDS), ("SECRETS", SECRETS), ("ASSIGNED", ASSIGNED)];
    of_bytes(&names.iter().fold(context.to_owned(), |text, (name, part)| text.replace(name, part)))
}

/// Unicode's boundaries of words are no other here, and slow.
fn of_bytes(expression: &str) -> String {
    expression.replace(r"\b", r"(?-u:\b)")
}

fn anything(_: &str) -> bool {
    true
}

/// `Authorization: required` speaks of one.
fn is_no_word(value: &str) -> bool {
    value.len() >= 8 && !(value.len() < 20 && value.chars().all(|c| c.is_ascii_lowercase() || c == ' '))
}

/// Of `password: …`: anything but what stands for a value.
fn is_secret_word(value: &str) -> bool {
    let stands_for = [
        "true",
        "false",
        "null",
        "none",
        "nil",
        "yes",
        "no",
        "required",
        "empty",
        "unset",
        "missing",
        "incorrect",
        "invalid",
        "wrong",
        "expired",
        "changed",
        "unknown",
        "optional",
        "disabled",
        "enabled",
        // /etc/nsswitch.conf
        "files",
        "compat",
        "systemd",
    ];
    let lower = value.to_ascii_lowercase();
    value.len() >= 4 && !stands_for.contains(&lower.as_str()) && !is_reference(value) && !is_code(value)
}

/// Of a flag's value: no path, no port mapping, no word of a sentence.
fn looks_chosen(value: &str) -> bool {
    let has = |class: fn(&char) -> bool| value.chars().any(|c| class(&c));
    let mixed = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
    let others = has(char::is_ascii_alphabetic) && value.chars().any(|c| !c.is_ascii_alphabetic());
    is_secret_word(value) && value.len() >= 6 && (mixed || others) && !value.contains([':', '[', '/'])
}

/// A place, a variable, or stars: what is written where a secret is not.
fn is_reference(value: &str) -> bool {
    let begins =
        ["/", "./", "../", "~/", "$", "<", "{{", "%(", "file:", "vault:", "arn:", "http://", "https://"];
    begins.iter().any(|begin| value.starts_with(begin)) || value.chars().all(|c| "*xX.-_•…#".contains(c))
}

/// What a program's text says of where a value is to be had: `os.environ["X"]`, `var.db_password`, `getToken()`, `!vault`.
fn is_code(value: &str) -> bool {
    const ROOTS: [&str; 20] = [
        "var", "local", "data", "module", "process", "os", "env", "ENV", "config", "settings", "self",
        "this", "params", "secrets", "values", "Values", "ctx", "args", "options", "request",
    ];
    let root = value.split(['.', '[', '(']).next().unwrap_or_default();
    let tag = value.strip_prefix('!').is_some_and(|tag| tag.chars().all(|c| c.is_ascii_alphabetic()));
    tag || value.ends_with("()") || (root.len() < value.len() && ROOTS.contains(&root))
}

/// `prod/db-a1B2c3`: words in front of a last part, and shorter than a key of which base64 has a slash.
fn is_path(value: &str) -> bool {
    let word =
        |part: &str| part.len() >= 2 && part.chars().all(|c| c.is_ascii_lowercase() || "-_.".contains(c));
    value.len() < 32 && value.rsplit_once('/').is_some_and(|(folders, _)| folders.split('/').all(word))
}

/// Of `token: …` and its like, which people also write of names and numbers: what nobody would choose.
pub fn looks_random(value: &str) -> bool {
    // Nobody's key has a blank in it; what people write has.
    let blank = value.contains(char::is_whitespace);
    if value.len() < 8 || blank || is_reference(value) || is_code(value) || is_path(value) {
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
        if is_word(trimmed) {
            return;
        }
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        for form in forms(trimmed) {
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
            let (next, found) = pass(text, &mut counts);
            text = next;
            if !found {
                break;
            }
        }
        Redacted { text, counts }
    }

    /// Redacted, and with nothing unseen in it: for whoever reads it elsewhere.
    pub fn shown(&self, text: &Untrusted) -> String {
        visible(&self.redact_hidden(text.expose_untrusted()).text)
    }

    /// As [`Redactor::redact`], of a text that may hide a secret from it by characters that nobody sees: if it does, without them.
    pub fn redact_hidden(&self, text: &str) -> Redacted {
        let redacted = self.redact(text);
        let is_seen = |c: &char| !is_unsafe(*c) || matches!(c, '\n' | '\t');
        if redacted.text.chars().all(|c| is_seen(&c)) {
            return redacted;
        }
        let mut bare = self.redact(&redacted.text.chars().filter(is_seen).collect::<String>());
        if bare.counts.is_empty() {
            return redacted;
        }
        redacted.counts.iter().for_each(|(name, count)| *bare.counts.entry(name).or_default() += count);
        bare
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
        Delivery {
            title: self.clean(&delivery.title),
            reason: self.clean(&delivery.reason),
            last_error: delivery.last_error.as_deref().map(|error| self.redact(error).text),
            ..delivery.clone()
        }
    }

    /// As its notice was sent. The hash stays that of what would run.
    pub fn question(&self, question: &Question) -> Question {
        Question {
            what: self.clean(&question.what),
            reason: self.clean(&question.reason),
            ..question.clone()
        }
    }

    pub fn pending(&self, pending: &Pending) -> Pending {
        Pending {
            title: self.clean(&pending.title),
            purpose: self.clean(&pending.purpose),
            question: self.question(&pending.question),
            ..pending.clone()
        }
    }

    fn clean(&self, text: &Untrusted) -> Untrusted {
        self.redact_hidden(text.expose_untrusted()).text.into()
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
        let alone = self.redact_hidden(text);
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
        let mut clean = |text: &Untrusted| {
            let redacted = self.redact_hidden(text.expose_untrusted());
            redacted.counts.iter().for_each(|(name, count)| *counts.entry(name).or_default() += count);
            Untrusted::from(redacted.text)
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

fn clean_report(report: &Report, clean: &mut impl FnMut(&Untrusted) -> Untrusted) -> Report {
    let findings = report.findings.iter().map(|finding| {
        let evidence = finding.evidence.iter();
        let evidence =
            evidence.map(|one| Evidence { call: one.call, excerpt: clean(&one.excerpt) }).collect();
        Finding { statement: clean(&finding.statement), evidence }
    });
    Report {
        findings: findings.collect(),
        summary: clean(&report.summary),
        root_cause: report.root_cause.as_ref().map(&mut *clean),
        recommendations: report.recommendations.iter().map(clean).collect(),
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
fn pass(text: String, counts: &mut Counts) -> (String, bool) {
    let mut now = (text, false);
    let go_on = |found: Option<String>, now: &mut (String, bool)| {
        if let Some(text) = found {
            *now = (text, true);
        }
    };
    go_on(RULES.whole.apply(&now.0, counts), &mut now);
    go_on(RULES.formats.apply_by_line(&now.0, counts), &mut now);
    go_on(RULES.contexts.apply(&now.0, counts), &mut now);
    now
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

/// Whether a configured value is too short to be looked for wherever it may stand.
pub fn is_word(value: &str) -> bool {
    value.len() < SHORTEST
}

/// How a value may be met: as it is, in JSON, in a URL, in base64.
pub fn forms(value: &str) -> impl Iterator<Item = String> + use<> {
    let json = serde_json::to_string(value).unwrap_or_default();
    let whole = [
        value.to_owned(),
        json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(&json).to_owned(),
        url_encoded(value),
        STANDARD.encode(value),
        STANDARD_NO_PAD.encode(value),
        URL_SAFE_NO_PAD.encode(value),
    ];
    whole.into_iter().chain(within_base64(value))
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
