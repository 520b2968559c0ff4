//! Is the host that we look at the host that the alert is about?

use std::net::IpAddr;

use crate::{Alert, Call, Evidence};

use super::{Case, bash, read_file};

/// Labels that name a host, the most telling first.
const HOST_LABELS: [&str; 9] =
    ["instance", "host", "hostname", "nodename", "node", "kubernetes_node", "server", "machine", "host_name"];

/// Where the alert's host is, seen from here.
#[derive(Clone, Debug, PartialEq)]
pub enum Whereabouts {
    /// It is this host: by name, by address, or because the alert says `localhost`.
    Here(Vec<Evidence>),
    /// The alert names no host.
    Unstated,
    /// The alert names a host, and this one's name or addresses could not be read or compared.
    Unproven {
        /// What the alert says, `instance=web-1:9100`.
        label: String,
    },
    /// It is another host.
    Elsewhere {
        /// What the alert says, `instance=web-1:9100`.
        label: String,
        /// This host's own name.
        here: String,
        /// Where that was read.
        evidence: Vec<Evidence>,
    },
}

impl Case<'_> {
    /// The calls that tell which host this is; put them into the first stage.
    pub fn host_calls(&self) -> Vec<Call> {
        let mut calls = vec![hostname_call()];
        if let Some((_, _, host)) = named_host(&self.briefing.alert)
            && host.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback())
        {
            calls.push(addresses_call());
        }
        calls
    }

    /// Whether this is the alert's host, as far as [`Case::host_calls`] have shown.
    pub fn whereabouts(&self) -> Whereabouts {
        let Some((name, value, host)) = named_host(&self.briefing.alert) else {
            return Whereabouts::Unstated;
        };
        let label = format!("{name}={value}");
        if host.eq_ignore_ascii_case("localhost") {
            return Whereabouts::Here(Vec::new());
        }
        match host.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() => Whereabouts::Here(Vec::new()),
            Ok(address) => self.by_address(label, address),
            Err(_) => self.by_name(label, host),
        }
    }

    fn by_name(&self, label: String, host: &str) -> Whereabouts {
        let Some(seen) = self.seen(&hostname_call()).filter(|seen| !seen.text().trim().is_empty()) else {
            return Whereabouts::Unproven { label };
        };
        let here = seen.text().trim();
        let evidence = vec![seen.evidence(here)];
        match same_name(host, here) {
            true => Whereabouts::Here(evidence),
            false => Whereabouts::Elsewhere { label, here: here.to_owned(), evidence },
        }
    }

    /// An address that isn't ours may still be ours behind NAT or in a container, so it proves nothing.
    fn by_address(&self, label: String, address: IpAddr) -> Whereabouts {
        let address = address.to_string();
        let found = self.seen(&addresses_call()).and_then(|seen| {
            let line = seen
                .text()
                .lines()
                .find(|line| line.split_whitespace().next_back() == Some(address.as_str()))?;
            Some(seen.evidence(line))
        });
        found.map_or(Whereabouts::Unproven { label }, |evidence| Whereabouts::Here(vec![evidence]))
    }
}

fn hostname_call() -> Call {
    read_file("/proc/sys/kernel/hostname", "which host this is")
}

fn addresses_call() -> Call {
    bash("cat /proc/net/fib_trie", "this host's own addresses")
}

/// The label that names the host, its value, and the host's part of it.
fn named_host(alert: &Alert) -> Option<(&'static str, &str, &str)> {
    HOST_LABELS.iter().find_map(|name| {
        let value = alert.label(name)?.trim();
        let host = without_port(value.split_once("://").map_or(value, |(_, rest)| rest).split('/').next()?);
        (!host.is_empty()).then_some((*name, value, host))
    })
}

fn without_port(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

/// `web-1` and `web-1.example.com` are the same host; `web-1.a.com` and `web-1.b.com` are not.
fn same_name(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim_end_matches('.').to_ascii_lowercase(), b.trim_end_matches('.').to_ascii_lowercase());
    let (short, long) = if a.len() <= b.len() { (&a, &b) } else { (&b, &a) };
    short == long
        || (!short.contains('.')
            && long.strip_prefix(short.as_str()).is_some_and(|rest| rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use crate::{Outcome, OutcomeStatus};

    fn whereabouts(instance: Option<&str>, hostname: &str, addresses: &str) -> Whereabouts {
        let mut alert = testing::alert("x");
        alert.labels.extend(instance.map(|value| ("instance".to_owned(), value.to_owned())));
        let outcome = |call, output: &str| Outcome {
            call,
            status: OutcomeStatus::Ran,
            output: output.to_owned(),
            truncated: false,
            exit_code: None,
            duration_ms: 1,
        };
        let outcomes = [outcome(hostname_call(), hostname), outcome(addresses_call(), addresses)];
        Case::new(&testing::briefing(alert), &outcomes).whereabouts()
    }

    #[test]
    fn a_host_is_told_by_name_or_address() {
        assert_eq!(whereabouts(None, "web-1\n", ""), Whereabouts::Unstated);
        for here in [
            "localhost:9100",
            "127.0.0.1:9100",
            "[::1]:9100",
            "web-1:9100",
            "WEB-1.example.com",
            "https://web-1/x",
        ] {
            assert!(matches!(whereabouts(Some(here), "web-1\n", ""), Whereabouts::Here(_)), "{here}");
        }
        for elsewhere in ["web-2:9100", "web-10", "web"] {
            assert!(
                matches!(whereabouts(Some(elsewhere), "web-1\n", ""), Whereabouts::Elsewhere { .. }),
                "{elsewhere}"
            );
        }
        let trie = "Main:\n        |-- 10.0.0.7\n           /32 host LOCAL\n";
        assert!(matches!(whereabouts(Some("10.0.0.7:9100"), "web-1", trie), Whereabouts::Here(_)));
        assert!(matches!(whereabouts(Some("10.0.0.70:9100"), "web-1", trie), Whereabouts::Unproven { .. }));
        assert!(matches!(whereabouts(Some("web-1"), "", ""), Whereabouts::Unproven { .. }));
    }
}
