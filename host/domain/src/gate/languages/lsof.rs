//! lsof's `-i`: `[46][protocol][:ports]`. A host would be asked of a name server.

pub(super) fn address(text: &str) -> Result<(), String> {
    let (before, ports) = text.split_once(':').unwrap_or((text, "0"));
    let protocol = before.strip_prefix(['4', '6']).unwrap_or(before);
    let known = ["", "tcp", "udp"].contains(&protocol.to_ascii_lowercase().as_str());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-,".contains(&byte);
    let fits = known && !text.is_empty() && !ports.is_empty() && ports.bytes().all(plain);
    if fits { Ok(()) } else { Err(format!("the address `{}`: protocol and port alone", text.escape_debug())) }
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn protocol_and_port_and_no_host() {
        holds(
            Language::LsofAddress,
            &[":8080", "TCP:443", "tcp", "4", "6udp:53", ":80,443", ":https", "4TCP"],
            &["", "@evil.example", "TCP@evil.example:80", "evil.example", "tcp:", ":a.b", "5"],
        );
    }
}
