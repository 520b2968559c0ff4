//! A person's answer to a call that the gate asks about.
//!
//! Invariant: an approval is of one call of one investigation, and of exactly what was shown: its hash covers the words, the
//! folder, the machine and what the program may reach. It is used once, for the call that asked; the host, not the brain, says
//! how wide it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{IncidentId, InvestigationId, Timestamp, Untrusted};

/// Written `inv-7.2`: the call of an investigation that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApprovalId {
    pub investigation: InvestigationId,
    pub call: u32,
}

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.investigation, self.call)
    }
}

impl FromStr for ApprovalId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no approval's id, such as inv-7.2");
        let (investigation, call) = text.rsplit_once('.').ok_or_else(wrong)?;
        let investigation = investigation.parse().map_err(|_| wrong())?;
        Ok(Self { investigation, call: call.parse().map_err(|_| wrong())? })
    }
}

impl Serialize for ApprovalId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a person is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The tool.
    pub tool: Untrusted,
    /// What would run, word by word: it is parsed to the very same plan again.
    pub what: Untrusted,
    /// SHA-256, in hex, of tool, words, folder, machine and what each program may reach.
    pub hash: String,
    /// Why it doesn't run by itself.
    pub reason: Untrusted,
    pub rule: Option<String>,
}

/// Who answered, and what showed who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub name: Untrusted,
    /// `token wk_3f…`, `user root (uid 0) on the command line`, `Slack U024BE7LH in T0001`.
    pub credential: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Answer {
    Approved {
        by: Person,
    },
    /// The brain hears the reason.
    Denied {
        by: Person,
        reason: Untrusted,
    },
    /// Nobody answered in time.
    Expired,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Approved { by } => write!(f, "{} approved it", by.name.line()),
            Answer::Denied { by, reason } if reason.is_empty() => write!(f, "{} denied it", by.name.line()),
            Answer::Denied { by, reason } => write!(f, "{} denied it: {}", by.name.line(), reason.line()),
            Answer::Expired => f.write_str("nobody answered in time"),
        }
    }
}

/// A question that waits for its answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pending {
    pub id: ApprovalId,
    pub incident: IncidentId,
    /// The incident's title.
    pub title: Untrusted,
    /// Why the brain wants it.
    pub purpose: Untrusted,
    #[serde(flatten)]
    pub question: Question,
    pub asked_at: Timestamp,
    pub expires_at: Timestamp,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = ApprovalId { investigation: InvestigationId(7), call: 2 };
        assert_eq!(id.to_string(), "inv-7.2");
        assert_eq!("inv-7.2".parse(), Ok(id));
        for wrong in ["", "inv-7", "inv-7.", "inv-7.x", ".2", "inv-x.2", "inv-7.-1"] {
            assert!(wrong.parse::<ApprovalId>().unwrap_err().contains("such as inv-7.2"), "{wrong}");
        }
    }
}
