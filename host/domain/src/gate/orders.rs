//! Standing orders beside the policy's rules: the keys that a site sets in `watchkeeper.yaml`. Each makes the gate stricter,
//! but for two, by which a site takes upon itself that it isn't asked; a rule of the policy says what that opens.

use super::Verdict;

#[derive(Clone, Debug, PartialEq)]
pub struct StandingOrders {
    /// The tools that may be called at all; none given, all of them.
    pub allowed_tools: Option<Vec<String>>,
    /// A command in which one of these texts occurs, quoted or not, never runs.
    pub blocked_commands: Vec<String>,
    /// Instead of the policy's.
    pub allowed_directories: Option<Vec<String>>,
    pub require_human_approval: Approval,
    pub confirm_before_restart: bool,
    pub confirm_before_delete: bool,
}

/// Which calls that the policy allows a person has to agree to all the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Approval {
    #[default]
    AsThePolicySays,
    Always,
    /// Commands in which one of these texts occurs.
    Commands(Vec<String>),
}

/// What a site may take upon itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Confirm {
    Restart,
    Delete,
}

impl Default for StandingOrders {
    fn default() -> Self {
        Self {
            allowed_tools: None,
            blocked_commands: Vec::new(),
            allowed_directories: None,
            require_human_approval: Approval::AsThePolicySays,
            confirm_before_restart: true,
            confirm_before_delete: true,
        }
    }
}

impl StandingOrders {
    pub(super) fn confirms(&self, what: Confirm) -> bool {
        match what {
            Confirm::Restart => self.confirm_before_restart,
            Confirm::Delete => self.confirm_before_delete,
        }
    }

    /// As texts are looked for; an empty one would be found everywhere.
    pub(super) fn squeezed(mut self) -> Self {
        squeeze(&mut self.blocked_commands);
        if let Approval::Commands(list) = &mut self.require_human_approval {
            squeeze(list);
        }
        self
    }

    /// Whatever the rules say of it.
    pub(super) fn tool_is_barred(&self, tool: &str) -> bool {
        self.allowed_tools.as_ref().is_some_and(|allowed| !allowed.iter().any(|known| known == tool))
    }

    /// At least this, for a command that reads so.
    pub(super) fn at_least(&self, texts: &Texts) -> Option<(Verdict, &'static str, String)> {
        if let Some(found) = texts.mention(&self.blocked_commands) {
            return Some((
                Verdict::Block,
                "blocked_commands",
                format!("`{found}` is among the blocked commands"),
            ));
        }
        let (rule, found) = match &self.require_human_approval {
            Approval::AsThePolicySays => return None,
            Approval::Always => ("require_human_approval", "a person has to agree to every call".to_owned()),
            Approval::Commands(list) => {
                let found = texts.mention(list)?;
                ("require_human_approval", format!("a person has to agree to `{found}`"))
            }
        };
        Some((Verdict::Ask, rule, found))
    }
}

pub(super) fn squeeze(list: &mut Vec<String>) {
    list.iter_mut().for_each(|text| *text = squeezed(text));
    list.retain(|text| !text.is_empty());
}

/// A command as it was written, and as its words are once the quotes are gone; blanks count as one.
pub(super) struct Texts(Vec<String>);

impl Texts {
    pub(super) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(texts.into_iter().map(squeezed).collect())
    }

    /// The first of these that occurs; each is [`squeezed`].
    pub(super) fn mention<'a>(&self, list: &'a [String]) -> Option<&'a str> {
        let mentioned = |wanted: &&String| self.0.iter().any(|text| text.contains(wanted.as_str()));
        list.iter().find(mentioned).map(String::as_str)
    }
}

/// Blanks as one, and none around.
pub(super) fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
