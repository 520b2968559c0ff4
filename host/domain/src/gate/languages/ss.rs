//! ss: states, and comparisons of numeric addresses and ports. A name of a host would be asked of a name server.

use std::net::IpAddr;

const WORDS: &[&str] = &[
    "state",
    "exclude",
    "all",
    "connected",
    "synchronized",
    "bucket",
    "big",
    "established",
    "syn-sent",
    "syn-recv",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "closed",
    "close-wait",
    "last-ack",
    "listening",
    "closing",
    "dst",
    "src",
    "dport",
    "sport",
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "neq",
    "gt",
    "lt",
    "ge",
    "le",
    "geq",
    "leq",
    "=",
    "==",
    "!=",
    ">",
    "<",
    ">=",
    "<=",
    "(",
    ")",
    "!",
    "&&",
    "||",
];

pub(super) fn filter(text: &str) -> Result<(), String> {
    let mut tokens = text.split_whitespace();
    match tokens.find(|token| !is_known(token)) {
        Some(unknown) => {
            Err(format!("`{}` in a socket filter: addresses and ports as numbers", unknown.escape_debug()))
        }
        None => Ok(()),
    }
}

fn is_known(token: &str) -> bool {
    let bare = token.trim_matches(['(', ')']);
    bare.is_empty() || WORDS.contains(&token) || WORDS.contains(&bare) || is_address(bare)
}

/// `10.0.0.1`, `10.0.0.0/8:443`, `[::1]:22`, `*:80`, `:443`, `:https`
fn is_address(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => (text, "0"),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let (ip, prefix) = host.split_once('/').unwrap_or((host, "0"));
    let service = !port.is_empty()
        && port.len() <= 16
        && port.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let digits = !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let numeric = |text: &str| text.parse::<u16>().is_ok();
    let known = matches!(ip, "" | "*") || ip.parse::<IpAddr>().is_ok();
    known && digits && (numeric(port) || port == "*" || (ip.is_empty() && host == ip && service))
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn states_addresses_and_ports_by_number() {
        holds(
            Language::Ss,
            &[
                "state",
                "time-wait",
                "sport = :22",
                "( dport = :443 or sport = :443 )",
                "(sport = :80)",
                "10.0.0.5",
                "10.1.2.3:443",
                "[::1]:22",
                "dst 10.0.0.0/8",
                ":https",
                "::1",
            ],
            &[
                "evil.example",
                "dst evil.example",
                "[evil.example]",
                "evil.example:443",
                "x=1",
                "dev eth0",
                "10.0.0.1:x.y",
            ],
        );
    }
}
