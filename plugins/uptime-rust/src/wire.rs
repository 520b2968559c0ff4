//! What monitors send: `{"checks": [{"id": "db-1", "name": "database", "state": "down", …}]}`. Each mistake is named with its
//! place, the first one of a payload.

use std::fmt;

use watchkeeper_sdk::Error;

use crate::json::Json;

/// Beyond this, not every language's numbers are whole.
const MOST: u64 = (1 << 53) - 1;

pub(crate) struct Check {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) failures: u64,
    /// In seconds.
    pub(crate) since: Option<u64>,
    pub(crate) message: String,
    /// In the order they came.
    pub(crate) tags: Vec<(String, String)>,
}

#[derive(Clone, Copy)]
pub(crate) enum State {
    Down,
    Up,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Down => "down",
            State::Up => "up",
        })
    }
}

pub(crate) fn checks(body: &[u8]) -> Result<Vec<Check>, Error> {
    let payload: Json =
        serde_json::from_slice(body).map_err(|error| Error::invalid_payload(format!("not JSON: {error}")))?;
    let Some(Json::List(checks)) = payload.get("checks") else {
        return Err(Error::invalid_payload("checks: must be a list"));
    };
    checks.iter().enumerate().map(|(index, check)| Reader { index, check }.read()).collect()
}

/// One check of the list.
struct Reader<'a> {
    index: usize,
    check: &'a Json,
}

impl Reader<'_> {
    fn read(&self) -> Result<Check, Error> {
        Ok(Check {
            id: self.text("id")?.ok_or_else(|| self.wrong("id", "must be a text"))?,
            name: self.text("name")?.ok_or_else(|| self.wrong("name", "must be a text"))?,
            state: self.state()?,
            failures: self.whole("failures")?.unwrap_or(1),
            since: self.whole("since")?,
            message: self.text("message")?.unwrap_or_default(),
            tags: self.tags()?,
        })
    }

    fn wrong(&self, key: &str, what: &str) -> Error {
        Error::invalid_payload(format!("checks[{}].{key}: {what}", self.index))
    }

    /// `null` is as good as nothing.
    fn get(&self, key: &str) -> Option<&Json> {
        self.check.get(key).filter(|value| !matches!(value, Json::Null))
    }

    fn text(&self, key: &str) -> Result<Option<String>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(key, "must be a text")),
        }
    }

    fn state(&self) -> Result<State, Error> {
        match self.text("state")?.as_deref() {
            Some("down") => Ok(State::Down),
            Some("up") => Ok(State::Up),
            Some(odd) => Err(self.wrong("state", &format!("`{odd}` is neither `down` nor `up`"))),
            None => Err(self.wrong("state", "must be a text")),
        }
    }

    fn whole(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Whole(number)) if *number <= MOST => Ok(Some(*number)),
            Some(_) => Err(self.wrong(key, "must be a whole number")),
        }
    }

    fn tags(&self) -> Result<Vec<(String, String)>, Error> {
        let wrong = || self.wrong("tags", "must be an object of texts");
        let tag = |(key, value): &(String, Json)| match value {
            Json::Text(value) => Ok((key.clone(), value.clone())),
            _ => Err(wrong()),
        };
        match self.get("tags") {
            None => Ok(Vec::new()),
            Some(Json::Object(tags)) => tags.iter().map(tag).collect(),
            Some(_) => Err(wrong()),
        }
    }
}
