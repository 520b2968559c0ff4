//! Who asks: credentials, and what a registry wants to see of them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use reqwest::blocking::RequestBuilder;
use serde::Deserialize;

/// Larger than any Docker configuration.
const MAX_FILE: u64 = 1 << 20;

/// How Docker's own registry is named in its configuration file.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

pub enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// `user:password` in base64, as Docker's configuration file has it.
    Encoded(String),
    /// A program knows them, and isn't asked.
    Helper(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    pub(super) fn add_to(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Credentials::Password { user, password } => request.basic_auth(user, Some(password)),
            Credentials::Encoded(text) => request.header("authorization", format!("Basic {text}")),
            Credentials::Helper(_) => request,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, Login>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// What Docker's configuration file, as `docker login` writes it, has for a registry. No file is no credentials.
pub fn docker_config(registry: &str) -> Result<Option<Credentials>, String> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
    match folder {
        Some(folder) => of_file(&folder.join("config.json"), registry),
        None => Ok(None),
    }
}

fn of_file(file: &Path, registry: &str) -> Result<Option<Credentials>, String> {
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: can't be read: {error}", file.display())),
        Ok(_) => {}
    }
    let config: DockerConfig = serde_json::from_str(&text)
        .map_err(|error| format!("{}: is no configuration of Docker: {error}", file.display()))?;
    Ok(config.login(registry))
}

impl DockerConfig {
    fn login(mut self, registry: &str) -> Option<Credentials> {
        let mut keys = ["", "/", "/v1/", "/v2/"]
            .iter()
            .flat_map(|path| [format!("{registry}{path}"), format!("https://{registry}{path}")])
            .collect::<Vec<_>>();
        if matches!(registry, "docker.io" | "index.docker.io") {
            keys.push(DOCKER_HUB.into());
        }
        let login = keys.iter().find_map(|key| self.auths.remove(key)).unwrap_or_default();
        let helper = keys.iter().find_map(|key| self.helpers.remove(key)).or(self.store);
        match login {
            Login { auth: Some(auth), .. } if !auth.is_empty() => Some(Credentials::Encoded(auth)),
            Login { username: Some(user), password: Some(password), .. } => {
                Some(Credentials::Password { user, password })
            }
            _ => helper.map(Credentials::Helper),
        }
    }
}

/// What a 401 asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Challenge {
    Basic,
    /// A token is to be fetched here, with these queries.
    Bearer {
        realm: String,
        query: Vec<(String, String)>,
    },
}

impl Challenge {
    /// Of the header `WWW-Authenticate`; a token is preferred, as it says less.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let challenges = http_auth::parse_challenges(header).ok()?;
        let bearer = challenges.iter().find(|one| one.scheme.eq_ignore_ascii_case("bearer"));
        if let Some(bearer) = bearer {
            let parameter = |name: &str| {
                let found = bearer.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            let query = ["service", "scope"];
            let query = query.into_iter().filter_map(|name| Some((name.to_owned(), parameter(name)?)));
            return Some(Challenge::Bearer { realm: parameter("realm")?, query: query.collect() });
        }
        let basic = challenges.iter().any(|one| one.scheme.eq_ignore_ascii_case("basic"));
        basic.then_some(Challenge::Basic)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_login_is_found_in_each_of_its_spellings() {
        let config = r#"{"auths": {"a.io": {"auth": "YTph"}, "https://b.io/v1/": {"username": "u", "password": "p"},
            "c.io": {}, "https://index.docker.io/v1/": {"auth": "ZDpk"}}, "credHelpers": {"c.io": "pass"},
            "HttpHeaders": {}}"#;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, config).unwrap();
        let login = |registry: &str| of_file(&file, registry).unwrap();
        assert!(matches!(login("a.io"), Some(Credentials::Encoded(auth)) if auth == "YTph"));
        assert!(matches!(login("b.io"), Some(Credentials::Password { user, .. }) if user == "u"));
        assert!(matches!(login("c.io"), Some(Credentials::Helper(helper)) if helper == "pass"));
        assert!(matches!(login("docker.io"), Some(Credentials::Encoded(auth)) if auth == "ZDpk"));
        assert!(login("d.io").is_none());
        assert!(of_file(&folder.path().join("nope"), "a.io").unwrap().is_none());
        std::fs::write(&file, "[").unwrap();
        assert!(of_file(&file, "a.io").unwrap_err().contains("config.json: is no configuration"));
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = r#"Bearer realm="https://auth.io/token",service="auth.io",scope="repository:a/b:pull""#;
        let query = [("service", "auth.io"), ("scope", "repository:a/b:pull")];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let expected = Challenge::Bearer { realm: "https://auth.io/token".into(), query };
        assert_eq!(Challenge::parse(bearer), Some(expected));
        assert_eq!(Challenge::parse(r#"Basic realm="registry""#), Some(Challenge::Basic));
        for header in ["", "Negotiate", r#"Bearer service="x""#, "\u{1}"] {
            assert_eq!(Challenge::parse(header), None, "{header:?}");
        }
    }
}
