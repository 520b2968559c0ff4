//! What a plugin asks for, and what the operator grants it: outgoing HTTP, by scheme, host, port and method; and TCP, by host and
//! port, for plugins that hold a subscription themselves.
//!
//! A request goes out where both the plugin's [`Asks`] and the source's `allow_hosts` have a rule for it. A plugin declares
//! its asks in a custom section of the component (`watchkeeper:asks`, JSON, which `watchkeeper plugin build` writes) or in
//! `<name>.yaml` beside it; the file counts where there are both, for it is what an operator can read and edit.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};

/// The custom section's name.
const SECTION: &str = "watchkeeper:asks";

/// A declaration larger than this is none.
pub(crate) const MAX_DECLARATION: u64 = 64 * 1024;

/// Rules that one plugin may declare, and ports and methods of each: a new version's are compared with those before, each with each.
const MAX_RULES: usize = 256;
const MAX_PORTS: usize = 64;
const MAX_METHODS: usize = 16;

/// What one plugin wants of the host beyond clocks, random numbers and its log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asks {
    pub http: Vec<HostRule>,
    /// Connections of a `live-source`: `tcp://broker.example.com:1883`.
    pub tcp: Vec<HostRule>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sidecar {
    asks: Asks,
}

impl Asks {
    /// Of a component and the text of the `<name>.yaml` beside it, if there is one.
    pub(crate) fn of(component: &[u8], sidecar: Option<&str>) -> Result<Self, String> {
        let asks = match sidecar {
            Some(text) => Self::of_yaml(text),
            None => match declared(component) {
                Some(json) => serde_json::from_slice(json)
                    .map_err(|error| format!("its custom section `{SECTION}` can't be read: {error}")),
                None => Ok(Self::default()),
            },
        }?;
        let count = asks.hosts().count();
        if count > MAX_RULES {
            return Err(format!(
                "it asks for {count} hosts; the most is {MAX_RULES}: ask for `*.…` of a domain"
            ));
        }
        let lists = [("http", &asks.http, false), ("tcp", &asks.tcp, true)];
        for (list, rules, tcp) in lists {
            if let Some(rule) = rules.iter().find(|rule| (rule.scheme == Scheme::Tcp) != tcp) {
                return Err(format!(
                    "it asks for {rule} under `asks.{list}`: tcp://… belongs under `tcp`, others under `http`"
                ));
            }
        }
        Ok(asks)
    }

    /// All that it wants to reach.
    pub fn hosts(&self) -> impl Iterator<Item = &HostRule> {
        self.http.iter().chain(&self.tcp)
    }

    fn of_yaml(text: &str) -> Result<Self, String> {
        // An empty file asks for nothing.
        let sidecar: Option<Sidecar> = serde_yaml::from_str(text).map_err(|error| {
            let error = error.to_string();
            // The parser's own words have the text in them, and the file may be a link to what isn't a plugin's to show.
            let why = match error.starts_with("invalid type") {
                true => "it has no keys, such as `asks: { http: [api.example.com] }`",
                false => &error,
            };
            format!("the .yaml file beside it can't be read: {why}")
        })?;
        Ok(sidecar.unwrap_or_default().asks)
    }

    /// The rules that ask for more than `before` did, where `granted` would let them.
    pub(crate) fn widened<'a>(
        &'a self,
        before: &'a Asks,
        granted: &'a [HostRule],
    ) -> impl Iterator<Item = &'a HostRule> {
        self.beyond(before).filter(|rule| granted.iter().any(|grant| grant.meets(rule)))
    }

    /// The rules that ask for more than `before` did.
    pub(crate) fn beyond<'a>(&'a self, before: &'a Asks) -> impl Iterator<Item = &'a HostRule> {
        self.hosts().filter(|rule| !before.hosts().any(|old| old.covers(rule)))
    }
}

/// The name of the file that may stand beside a component, with what it declares.
pub(crate) fn sidecar(component: &Path) -> std::path::PathBuf {
    component.with_extension("yaml")
}

fn declared(component: &[u8]) -> Option<&[u8]> {
    let mut sections = outermost(component).filter_map(|payload| match payload {
        Payload::CustomSection(section) if section.name() == SECTION => Some(section.data()),
        _ => None,
    });
    sections.next().filter(|data| data.len() as u64 <= MAX_DECLARATION)
}

/// A component's own sections, up to where it can't be read: what a nested module carries is its toolchain's business.
pub(crate) fn outermost(component: &[u8]) -> impl Iterator<Item = Payload<'_>> {
    let mut depth = 0_u32;
    let payloads = Parser::new(0).parse_all(component).map_while(Result::ok);
    payloads.filter(move |payload| {
        let nested = depth > 0;
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        !nested
    })
}

/// Where requests may go. Written as `api.example.com` (HTTPS, port 443), `*.example.com` (its subdomains, not itself),
/// `http://10.0.0.7:9093`, `tcp://10.0.0.7:1883`, or as `{ host: …, ports: […], methods: […] }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct HostRule {
    scheme: Scheme,
    host: HostPattern,
    ports: Vec<u16>,
    /// Upper case; none: any.
    methods: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    Http,
    Tcp,
}

impl Scheme {
    const ALL: [Scheme; 3] = [Scheme::Https, Scheme::Http, Scheme::Tcp];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scheme::Https => "https",
            Scheme::Http => "http",
            Scheme::Tcp => "tcp",
        }
    }

    /// What is meant where none is written.
    fn usual_port(self) -> Option<u16> {
        match self {
            Scheme::Https => Some(443),
            Scheme::Http => Some(80),
            Scheme::Tcp => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Name(String),
    /// What stands behind `*.`.
    Below(String),
    Address(IpAddr),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a host such as api.example.com, or { host, ports, methods }")]
enum Written {
    Text(String),
    Keys(Keys),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    host: String,
    #[serde(default)]
    ports: Vec<u16>,
    #[serde(default)]
    methods: Vec<String>,
}

impl TryFrom<Written> for HostRule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let keys = match written {
            // As `Display` writes it, the methods before the host.
            Written::Text(text) => {
                let (methods, host) = text.rsplit_once(' ').unwrap_or(("", &text));
                let methods = methods.split([',', ' ']).filter(|method| !method.is_empty());
                if methods.clone().any(|method| !method.bytes().all(|byte| byte.is_ascii_uppercase())) {
                    return Err(format!("`{text}` is no host; methods before it are in upper case"));
                }
                Keys {
                    host: host.to_owned(),
                    ports: Vec::new(),
                    methods: methods.map(str::to_owned).collect(),
                }
            }
            Written::Keys(keys) => keys,
        };
        Self::read(&keys)
    }
}

impl From<HostRule> for String {
    fn from(rule: HostRule) -> Self {
        rule.to_string()
    }
}

impl HostRule {
    fn read(keys: &Keys) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "`{}` {what}; write a host such as api.example.com, *.example.com, http://10.0.0.7:9093 or tcp://10.0.0.7:1883",
                keys.host
            )
        };
        let (scheme, rest) = match keys.host.split_once("://") {
            Some((scheme, rest)) => {
                let known = Scheme::ALL.into_iter().find(|known| known.as_str() == scheme);
                (known.ok_or_else(|| wrong("has a scheme that is neither https, http nor tcp"))?, rest)
            }
            None => (Scheme::Https, keys.host.as_str()),
        };
        let (host, written) = split_ports(rest).ok_or_else(|| wrong("has a port that is none"))?;
        let host = HostPattern::read(host).ok_or_else(|| wrong("is no host"))?;
        let mut ports = [written, keys.ports.clone()].concat();
        if ports.is_empty() {
            ports.push(scheme.usual_port().ok_or_else(|| wrong("has no port"))?);
        }
        let methods: Vec<String> = keys.methods.iter().map(|method| method.to_ascii_uppercase()).collect();
        let token = |method: &String| !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
        if ports.len() > MAX_PORTS || methods.len() > MAX_METHODS {
            return Err(wrong(&format!("has more than {MAX_PORTS} ports or {MAX_METHODS} methods")));
        }
        if scheme == Scheme::Tcp && !methods.is_empty() {
            return Err(wrong("has methods, which TCP doesn't"));
        }
        match methods.iter().all(token) {
            true => Ok(Self { scheme, host, ports, methods }),
            false => Err(wrong("has methods that are none")),
        }
    }

    /// Whether this rule lets a request pass. `host` as in the request's URL, a name in lower case.
    pub(crate) fn allows(&self, request: &Target<'_>) -> bool {
        self.scheme == request.scheme
            && self.ports.contains(&request.port)
            && (self.methods.is_empty() || self.methods.iter().any(|method| method == request.method))
            && self.host.matches(request.host)
    }

    /// Whether it lets connections to this host pass, on some port.
    pub(crate) fn allows_name(&self, scheme: Scheme, host: &str) -> bool {
        self.scheme == scheme && self.host.matches(host)
    }

    /// Whether it stands for any number of hosts.
    pub(crate) fn is_of_many(&self) -> bool {
        matches!(self.host, HostPattern::Below(_))
    }

    /// The address that it grants, if it grants one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self.host {
            HostPattern::Address(address) => Some(address),
            HostPattern::Name(_) | HostPattern::Below(_) => None,
        }
    }

    /// Whether all that `other` allows is allowed by this rule.
    fn covers(&self, other: &HostRule) -> bool {
        let methods = self.methods.is_empty()
            || !other.methods.is_empty() && other.methods.iter().all(|method| self.methods.contains(method));
        self.scheme == other.scheme
            && self.host.covers(&other.host)
            && other.ports.iter().all(|port| self.ports.contains(port))
            && methods
    }

    /// Whether there is a request that both allow.
    fn meets(&self, other: &HostRule) -> bool {
        let methods = self.methods.is_empty()
            || other.methods.is_empty()
            || other.methods.iter().any(|method| self.methods.contains(method));
        self.scheme == other.scheme
            && (self.host.covers(&other.host) || other.host.covers(&self.host))
            && other.ports.iter().any(|port| self.ports.contains(port))
            && methods
    }
}

/// `host`, `host:1,2` and `[::1]:1`.
fn split_ports(text: &str) -> Option<(&str, Vec<u16>)> {
    let (host, ports) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None if text.parse::<IpAddr>().is_ok() => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, ports)| (host, Some(ports))),
    };
    let ports = ports.map_or(Some(Vec::new()), |ports| {
        ports.split(',').map(|port| port.parse().ok().filter(|port| *port > 0)).collect()
    });
    Some((host, ports?))
}

impl HostPattern {
    fn read(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // A last label of digits makes resolvers read the whole as an address in one of its older spellings.
        let last_is_a_name =
            name.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
        if name.len() > 253 || !name.split('.').all(label) || !last_is_a_name || below && !name.contains('.')
        {
            return None;
        }
        let name = name.to_ascii_lowercase();
        Some(if below { Self::Below(name) } else { Self::Name(name) })
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Name(name) => host == name,
            Self::Below(parent) => {
                host.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            Self::Address(address) => host.parse() == Ok(*address),
        }
    }

    fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (Self::Below(_), Self::Name(name)) => self.matches(name),
            (Self::Below(parent), Self::Below(child)) => parent == child || self.matches(child),
            _ => self == other,
        }
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join(","))?;
        }
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            HostPattern::Name(name) => f.write_str(name)?,
            HostPattern::Below(parent) => write!(f, "*.{parent}")?,
            HostPattern::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            HostPattern::Address(address) => write!(f, "{address}")?,
        }
        if self.scheme.usual_port().is_some_and(|usual| self.ports == [usual]) {
            return Ok(());
        }
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        write!(f, ":{}", ports.join(","))
    }
}

/// Where a request wants to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) scheme: Scheme,
    /// In lower case; an IPv6 address without brackets.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Empty where the scheme has none.
    pub(crate) method: &'a str,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule(text: &str) -> HostRule {
        serde_yaml::from_str(text).unwrap()
    }

    fn allows(text: &str, tls: bool, host: &str, port: u16, method: &str) -> bool {
        let scheme = if tls { Scheme::Https } else { Scheme::Http };
        rule(text).allows(&Target { scheme, host, port, method })
    }

    #[test]
    fn a_rule_allows_what_it_says_and_nothing_beside() {
        assert!(allows("api.example.com", true, "api.example.com", 443, "POST"));
        assert!(!allows("api.example.com", false, "api.example.com", 443, "GET"));
        assert!(!allows("api.example.com", true, "api.example.com", 8443, "GET"));
        assert!(!allows("api.example.com", true, "evil-api.example.com", 443, "GET"));
        assert!(!allows("api.example.com", true, "api.example.com.evil.org", 443, "GET"));
        assert!(allows("'*.example.com'", true, "a.b.example.com", 443, "GET"));
        assert!(!allows("'*.example.com'", true, "example.com", 443, "GET"));
        assert!(!allows("'*.example.com'", true, "evilexample.com", 443, "GET"));
        assert!(!allows("'*.example.com'", true, ".example.com", 443, "GET"));
        assert!(allows("http://10.0.0.7:9093", false, "10.0.0.7", 9093, "GET"));
        assert!(allows("'http://[::1]:80'", false, "::1", 80, "GET"));
        assert!(allows("{ host: a.example, ports: [1, 2], methods: [get] }", true, "a.example", 2, "GET"));
        assert!(!allows("{ host: a.example, ports: [1, 2], methods: [get] }", true, "a.example", 2, "POST"));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_an_example() {
        for text in [
            "'*'",
            "'*.com'",
            "ftp://a.b",
            "a b.c",
            "''",
            "a.b:0",
            "a.b:x",
            "a/b",
            "2130706433",
            "127.1",
            "{ host: a.b, port: 1 }",
            "tcp://a.b",
            "{ host: 'tcp://a.b:1', methods: [GET] }",
        ] {
            assert!(serde_yaml::from_str::<HostRule>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "api.example.com",
            "'*.example.com'",
            "http://10.0.0.7:9093",
            "'http://[::1]:80'",
            "tcp://10.0.0.7:1883",
            "'tcp://*.example.com:1883,8883'",
            "{ host: a.example, ports: [1, 2], methods: [get, post] }",
        ] {
            let rule = rule(text);
            assert_eq!(
                serde_json::from_str::<HostRule>(&serde_json::to_string(&rule).unwrap()).unwrap(),
                rule,
                "{text}"
            );
        }
    }

    #[test]
    fn asking_for_more_is_seen_where_it_would_be_granted() {
        let asks =
            |rules: &[&str]| Asks { http: rules.iter().map(|text| rule(text)).collect(), tcp: Vec::new() };
        let widened = |new: &[&str], old: &[&str], granted: &[&str]| {
            let granted: Vec<_> = granted.iter().map(|text| rule(text)).collect();
            asks(new).widened(&asks(old), &granted).count()
        };
        assert_eq!(widened(&["a.x.org", "b.y.org"], &["a.x.org"], &["'*.x.org'"]), 0);
        assert_eq!(widened(&["a.x.org", "b.x.org"], &["a.x.org"], &["'*.x.org'"]), 1);
        assert_eq!(widened(&["a.x.org", "b.x.org"], &["a.x.org"], &["a.x.org"]), 0);
        assert_eq!(widened(&["a.x.org"], &["'*.x.org'"], &["'*.x.org'"]), 0);
        assert_eq!(widened(&["a.x.org"], &["{ host: a.x.org, methods: [GET] }"], &["a.x.org"]), 1);
        assert_eq!(widened(&["{ host: a.x.org, methods: [GET] }"], &["a.x.org"], &["a.x.org"]), 0);
    }

    #[test]
    fn a_component_declares_what_it_asks() {
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        let json = br#"{"http":["api.example.com"]}"#;
        component.extend([0, (1 + SECTION.len() + json.len()) as u8, SECTION.len() as u8]);
        component.extend(SECTION.as_bytes());
        component.extend(json);
        assert_eq!(Asks::of(&component, None).unwrap().http, [rule("api.example.com")]);
        assert_eq!(
            Asks::of(&component, Some("asks: { http: [b.example] }")).unwrap().http,
            [rule("b.example")]
        );
        assert_eq!(Asks::of(&component, Some("# nothing")).unwrap(), Asks::default());
        assert!(Asks::of(&component, Some("asks: { htp: [] }")).is_err());
    }

    #[test]
    fn a_declaration_has_bounds_and_what_is_none_is_not_shown() {
        let of = |text: &str| Asks::of(b"", Some(text)).unwrap_err();
        let many = format!("asks: {{ http: [{}] }}", "a.b,".repeat(MAX_RULES + 1));
        assert!(of(&many).contains("asks for 257 hosts; the most is 256"), "{}", of(&many));
        let ports = format!("asks: {{ http: ['a.b:{}1'] }}", "1,".repeat(MAX_PORTS));
        assert!(of(&ports).contains("more than 64 ports"), "{}", of(&ports));
        for text in ["hunter2-is-the-password", "[hunter2]", "- hunter2", "'hunter2'"] {
            let error = of(text);
            assert!(error.contains("it has no keys") && !error.contains("hunter2"), "{error}");
        }
    }
}
