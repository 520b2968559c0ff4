//! What is fetched: `registry/repository:tag` or `registry/repository@sha256:…`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// As the distribution specification bounds a tag.
const MAX_TAG: usize = 128;

/// As most registries bound a repository's name.
const MAX_REPOSITORY: usize = 255;

#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Host and port, as it was written.
    pub registry: String,
    pub repository: String,
    pub version: Version,
    /// `https://` was written before it: no loopback's plain HTTP.
    tls: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Version {
    Tag(String),
    /// Of the manifest.
    Digest(String),
}

impl Reference {
    /// What a plugin of it is called unless told otherwise: the last part of the repository.
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or(&self.repository)
    }

    /// Whether the registry is this machine, where plain HTTP is what is spoken.
    pub(super) fn is_loopback(&self) -> bool {
        let with_port = self.registry.rsplit_once(':').filter(|_| !self.registry.ends_with(']'));
        is_loopback(with_port.map_or(&self.registry, |(host, _)| host))
    }

    pub(super) fn wants_tls(&self) -> bool {
        self.tls
    }

    /// Host and port of the API, which for Docker's own registry isn't what people write.
    pub(super) fn host(&self) -> &str {
        match self.registry.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        }
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Tag(version) | Version::Digest(version) => f.write_str(version),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if matches!(self.version, Version::Tag(_)) { ':' } else { '@' };
        write!(f, "{}/{}{sign}{}", self.registry, self.repository, self.version)
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |what: &str| format!("`{text}` {what}; write it as in registry.example.org/acme/prometheus:1.0");
        let (tls, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None if text.contains("://") => return Err(wrong("has a scheme that isn't https")),
            None => (false, text),
        };
        let (registry, rest) = rest.split_once('/').ok_or_else(|| wrong("names no registry"))?;
        if !is_host(registry) {
            return Err(wrong("doesn't begin with a registry's host"));
        }
        let (repository, version) = match (rest.split_once('@'), rest.split_once(':')) {
            (Some((repository, digest)), _) => (repository, Version::Digest(digest.to_owned())),
            (None, Some((repository, tag))) => (repository, Version::Tag(tag.to_owned())),
            (None, None) => (rest, Version::Tag("latest".into())),
        };
        // With a digest, a tag says nothing more.
        let repository = match &version {
            Version::Digest(_) => repository.split(':').next().unwrap_or_default(),
            Version::Tag(_) => repository,
        };
        if !is_repository(repository) {
            return Err(wrong("has no repository of lower-case letters, digits, `.`, `_`, `-` and `/`"));
        }
        match &version {
            Version::Tag(tag) if !is_tag(tag) => return Err(wrong("has an impossible tag")),
            Version::Digest(digest) if !is_digest(digest) => {
                return Err(wrong("has a digest that isn't sha256: and 64 hex digits"));
            }
            _ => {}
        }
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), version, tls })
    }
}

/// A host is told from a repository's first part by its dot or port, or by being this machine.
fn is_host(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    let host = text.contains('.') || text.contains(':');
    (host || text.eq_ignore_ascii_case("localhost"))
        && text.bytes().all(fine)
        && !text.starts_with(['.', '-', ':'])
}

fn is_repository(text: &str) -> bool {
    let part = |part: &str| {
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let all = part.bytes().all(|byte| fine(byte) || matches!(byte, b'.' | b'_' | b'-'));
        all && part.bytes().next().is_some_and(fine) && part.bytes().next_back().is_some_and(fine)
    };
    text.len() <= MAX_REPOSITORY && text.split('/').all(part)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let all = text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
    text.len() <= MAX_TAG && all && text.bytes().next().is_some_and(word)
}

pub(super) fn is_digest(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|digest| digest.len() == 64 && digest.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn what_is_a_reference_is_taken_apart() {
        let digest = format!("127.0.0.1:5000/a/b:1@{DIGEST}");
        let table = [
            ("r.example/acme/prometheus", "r.example", "acme/prometheus", "latest", "prometheus"),
            ("r.example/acme/prometheus:1.0", "r.example", "acme/prometheus", "1.0", "prometheus"),
            ("localhost/x:V_1-2", "localhost", "x", "V_1-2", "x"),
            ("[::1]:5000/x.y/z-0", "[::1]:5000", "x.y/z-0", "latest", "z-0"),
            (&digest, "127.0.0.1:5000", "a/b", DIGEST, "b"),
        ];
        for (text, registry, repository, version, name) in table {
            let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{error}"));
            let parts = (&*reference.registry, &*reference.repository, &*reference.version.to_string());
            assert_eq!(parts, (registry, repository, version), "{text}");
            assert_eq!(reference.name(), name, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_said() {
        let upper = format!("r.example/x@{}", DIGEST.to_uppercase());
        let wrong = [
            "",
            "prometheus",
            "acme/prometheus",
            "http://127.0.0.1:5000/x",
            "oci://r.example/x",
            "r.example/",
            "r.example/Acme",
            "r.example/a//b",
            "r.example/../b",
            "r.example/a/",
            "r.example/a:",
            "r.example/a:-1",
            "r.example/a:1/b",
            "r.example/a?x:1",
            "r.example/a@sha256:12",
            "r.example/a@sha512:12",
            &upper,
            "user@r.example/a",
            "r.example#/a",
        ];
        for text in wrong {
            assert!(text.parse::<Reference>().is_err(), "{text:?} is taken");
        }
    }

    #[test]
    fn this_machine_is_known_in_every_spelling() {
        for registry in ["localhost", "LOCALHOST:5000", "127.0.0.1", "127.9.8.7:1", "[::1]:5000", "[::1]"] {
            let reference: Reference =
                format!("{registry}/x").parse().unwrap_or_else(|error| panic!("{error}"));
            assert!(reference.is_loopback(), "{registry}");
        }
        for registry in ["r.example", "128.0.0.1:5000", "localhost.example.org", "127.0.0.1.example.org:80"] {
            let reference: Reference =
                format!("{registry}/x").parse().unwrap_or_else(|error| panic!("{error}"));
            assert!(!reference.is_loopback(), "{registry}");
        }
    }
}
