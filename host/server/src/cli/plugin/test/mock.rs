//! `NAME.mock.yaml`: what stands behind a plugin instead of the world; and whether the plugin asked for it, and asked as it should.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use http::{HeaderMap, Request, Response, Uri};
use serde::Deserialize;
use serde_json::Value;
use watchkeeper_domain::Timestamp;
use watchkeeper_wasm::{HttpMock, Secrets};

use super::difference::lines;
use crate::config::parse_as_written;

/// What is told of wrong requests; a plugin may send as many as it likes.
const MOST: usize = 20;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mock {
    pub(super) http: Http,
    /// When it is.
    pub(super) now: Option<Timestamp>,
    /// What `${NAME}` stands for.
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) cursor: Option<String>,
    /// Of the payload that this stands beside.
    pub(super) content_type: Option<String>,
    pub(super) attributes: BTreeMap<String, String>,
}

impl Mock {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{}: can't be read", path.display()))?;
        Ok(parse_as_written(path, &text)?)
    }
}

/// Answers, each to a request that is described. Of several that fit, each is given in turn, and the last one from then on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<Exchange>")]
pub(super) struct Http(Arc<Exchanges>);

#[derive(Debug, Default)]
struct Exchanges {
    described: Vec<Exchange>,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// Those that something was sent for, right or not, by their index.
    met: BTreeSet<usize>,
    /// What was wrong about it.
    wrong: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    #[serde(default = "get")]
    method: String,
    url: String,
    /// What the request must have; secrets are put in, in both.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// What it must be: a text to the letter, anything else as JSON. No secret is ever put in here.
    request_body: Option<Value>,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    response_headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
}

fn get() -> String {
    "GET".into()
}

fn ok() -> u16 {
    200
}

impl From<Vec<Exchange>> for Http {
    fn from(described: Vec<Exchange>) -> Self {
        Self(Arc::new(Exchanges { described, asked: Mutex::default() }))
    }
}

impl Http {
    /// What was asked for otherwise than it is described, and what nobody asked for.
    pub(super) fn complaints(&self) -> Vec<String> {
        let asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let unmet = self.0.described.iter().enumerate().filter(|(index, _)| !asked.met.contains(index));
        let unmet = unmet.map(|(index, Exchange { method, url, .. })| {
            format!("http[{index}]: nobody asked for {method} {url}; take it out, or mend what was to ask")
        });
        asked.wrong.iter().take(MOST).cloned().chain(unmet).collect()
    }
}

impl HttpMock for Http {
    fn answer(&self, request: &Request<&[u8]>, secrets: &Secrets) -> Result<Response<Vec<u8>>, String> {
        let described = &self.0.described;
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Asked { met, wrong } = &mut *asked;
        let differences = |index: usize| described[index].differences(index, request, secrets);
        let fitting: Vec<usize> =
            (0..described.len()).filter(|index| differences(*index).is_empty()).collect();
        let next = |fit: &[usize], met: &BTreeSet<usize>| {
            fit.iter().find(|index| !met.contains(index)).or(fit.last()).copied()
        };
        let place = format!("{} {}", request.method(), request.uri());
        if let Some(index) = next(&fitting, met) {
            met.insert(index);
            return described[index]
                .response()
                .map_err(|error| format!("the mocked answer http[{index}] to {place} is no HTTP: {error}"));
        }
        let Some(index) = next(&self.meant(request, met), met) else {
            return Err(format!("no mocked answer fits {place}"));
        };
        let differences = differences(index);
        let why = format!("no mocked answer fits {place}: {}", differences.join(", "));
        met.insert(index);
        wrong.extend(differences);
        Err(why)
    }
}

impl Http {
    /// Those that a request was meant for that fits none: of its method and URL; else of its URL; else, of those that nobody asked
    /// for yet, of its path.
    fn meant(&self, request: &Request<&[u8]>, met: &BTreeSet<usize>) -> Vec<usize> {
        let of = |like: &dyn Fn(usize, &Exchange) -> bool| -> Vec<usize> {
            let all = self.0.described.iter().enumerate();
            all.filter(|(index, one)| like(*index, one)).map(|(index, _)| index).collect()
        };
        let url = request.uri().to_string();
        let path = |url: &str| url.split('?').next().unwrap_or_default().to_owned();
        let mut meant = of(&|_, one| one.is_of(request.method().as_str()) && one.url() == url);
        if meant.is_empty() {
            meant = of(&|_, one| one.url() == url);
        }
        if meant.is_empty() {
            meant = of(&|index, one| !met.contains(&index) && path(&one.url()) == path(&url));
        }
        meant
    }
}

impl Exchange {
    fn is_of(&self, method: &str) -> bool {
        self.method.eq_ignore_ascii_case(method)
    }

    /// As a request spells it: `https://a.example` is `https://a.example/`.
    fn url(&self) -> String {
        self.url.parse::<Uri>().map_or_else(|_| self.url.clone(), |url| url.to_string())
    }

    /// A line for each field in which the request isn't the one that is described.
    fn differences(&self, index: usize, request: &Request<&[u8]>, secrets: &Secrets) -> Vec<String> {
        let at = format!("http[{index}]");
        let mut differences = Vec::new();
        let mut compare = |field: &str, got: Value, expected: Value| {
            differences.extend(lines(&format!("{at}.{field}"), &got, &expected));
        };
        if !self.is_of(request.method().as_str()) {
            compare("method", request.method().as_str().into(), self.method.as_str().into());
        }
        compare("url", request.uri().to_string().into(), self.url().into());
        let mut headers = serde_json::Map::new();
        for (name, expected) in &self.headers {
            let Some(got) = header(request.headers(), name) else { continue };
            let same = secrets.put_into(&got) == secrets.put_into(expected);
            // What the plugin wrote is shown: a placeholder, not what it stands for.
            headers.insert(name.clone(), if same { expected.clone() } else { got }.into());
        }
        compare("headers", headers.into(), serde_json::json!(self.headers));
        if let Some(expected) = &self.request_body {
            let text = || Value::from(String::from_utf8_lossy(request.body()));
            let got = match expected {
                Value::String(_) => text(),
                _ => serde_json::from_slice(request.body()).unwrap_or_else(|_| text()),
            };
            compare("request_body", got, expected.clone());
        }
        differences
    }

    fn response(&self) -> Result<Response<Vec<u8>>, http::Error> {
        let body = match &self.body {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.response_headers {
            response = response.header(name, value);
        }
        response.body(body.into())
    }
}

/// All that a request says under this name.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn http(yaml: &str) -> Http {
        serde_yaml::from_str(yaml).unwrap()
    }

    fn ask(http: &Http, method: &str, url: &str, header: Option<&str>, body: &str) -> Result<String, String> {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(value) = header {
            request = request.header("Authorization", value);
        }
        let secrets = Secrets::new([("${KEY}".to_owned(), "s3cret".to_owned())]);
        let answer = http.answer(&request.body(body.as_bytes()).unwrap(), &secrets)?;
        Ok(String::from_utf8(answer.into_body()).unwrap())
    }

    #[test]
    fn what_nobody_asks_for_is_told() {
        let http =
            http("[{ url: 'https://a.example/1', body: one }, { method: put, url: 'https://a.example' }]");
        assert_eq!(ask(&http, "GET", "https://a.example/1", None, "").unwrap(), "one");
        assert_eq!(
            http.complaints(),
            ["http[1]: nobody asked for put https://a.example; take it out, or mend what was to ask"]
        );
        assert_eq!(ask(&http, "PUT", "https://a.example/", None, "").unwrap(), "");
        assert_eq!(http.complaints(), Vec::<String>::new());
    }

    #[test]
    fn answers_to_the_same_request_come_in_turn() {
        let http =
            http("[{ url: 'https://a.example/', body: one }, { url: 'https://a.example/', body: two }]");
        for body in ["one", "two", "two"] {
            assert_eq!(ask(&http, "GET", "https://a.example/", None, "").unwrap(), body);
        }
    }

    #[test]
    fn a_header_is_compared_with_its_secrets_and_shown_without() {
        for expected in ["Bearer s3cret", "Bearer ${KEY}"] {
            let http = http(&format!(
                "[{{ url: 'https://a.example/', headers: {{ authorization: '{expected}' }} }}]"
            ));
            assert!(ask(&http, "GET", "https://a.example/", Some("Bearer ${KEY}"), "").is_ok());
            let wrong = ask(&http, "GET", "https://a.example/", Some("Basic ${KEY}"), "").unwrap_err();
            let told =
                format!("http[0].headers.authorization: got \"Basic ${{KEY}}\", expected \"{expected}\"");
            assert_eq!(wrong, format!("no mocked answer fits GET https://a.example/: {told}"));
            let missing = ask(&http, "GET", "https://a.example/", None, "").unwrap_err();
            assert!(missing.contains("authorization: got nothing"), "{missing}");
            assert_eq!(http.complaints()[0], told);
        }
    }

    #[test]
    fn a_body_is_compared_as_json_or_to_the_letter() {
        let json =
            "[{ method: POST, url: 'https://a.example/', request_body: { query: { from: 7 }, all: true } }]";
        let json = http(json);
        let post = |http: &Http, body: &str| ask(http, "POST", "https://a.example/", None, body);
        assert!(post(&json, r#"{"all":true,"query":{"from":7}}"#).is_ok());
        post(&json, r#"{"all":true,"query":{"from":8}}"#).unwrap_err();
        post(&json, "from=7").unwrap_err();
        assert_eq!(
            json.complaints(),
            [
                "http[0].request_body.query.from: got 8, expected 7",
                r#"http[0].request_body: got "from=7", expected {"all":true,"query":{"from":7}}"#,
            ]
        );
        // A secret in a body stays what the plugin was given for it.
        let text = http("[{ method: POST, url: 'https://a.example/', request_body: 'key=s3cret' }]");
        let wrong = post(&text, "key=${KEY}").unwrap_err();
        assert!(wrong.contains(r#"request_body: got "key=${KEY}", expected "key=s3cret""#), "{wrong}");
    }

    #[test]
    fn what_a_request_was_meant_for_is_named() {
        let described = "[{ url: 'https://a.example/?page=1' }, { url: 'https://a.example/?page=2' }]";
        let one = http(described);
        let wrong = ask(&one, "POST", "https://a.example/?page=2", None, "").unwrap_err();
        assert!(wrong.ends_with(r#"http[1].method: got "POST", expected "GET""#), "{wrong}");
        let wrong = ask(&one, "GET", "https://a.example/?page=3", None, "").unwrap_err();
        assert!(wrong.contains("http[0].url: got \"https://a.example/?page=3\""), "{wrong}");
        // Of those that were asked for it can't be one.
        let wrong = ask(&one, "GET", "https://a.example/?page=4", None, "").unwrap_err();
        assert_eq!(wrong, "no mocked answer fits GET https://a.example/?page=4");
    }
}
