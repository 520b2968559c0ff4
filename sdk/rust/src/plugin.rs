//! What a plugin implements: one trait for each interface of the contract.
//!
//! Calls come one at a time, many to an instance, and the host may start a fresh instance between any two. So nothing but
//! what [`Source::configure`] set up may be remembered from call to call. A panic ends the instance, and its message
//! reaches the operator; prefer an [`Error`].

use serde::de::DeserializeOwned;

use crate::{Alert, Batch, Briefing, Error, Feed, Outcome, Payload, Prompt, Reply, Step};

/// An origin of alerts that an operator configures: a file in `config/alert-sources/` whose `type` is the plugin's name.
pub trait Source: Sized {
    /// The source file's own keys (those that the host keeps for itself, such as `name` and `auth`, are left out).
    /// A `#[derive(Deserialize)]` struct: its unknown and missing keys are refused by name before `configure` is called.
    /// A value that the operator wrote as `${NAME}` is a placeholder here, never the secret.
    type Config: DeserializeOwned;

    /// Checks the configuration and says how the source wants to be fed. The value is `self` of all later calls.
    ///
    /// # Errors
    /// [`Error::invalid_config`] where a value is of the right type but makes no sense. The source stays disabled until
    /// the operator mends its file.
    fn configure(config: Self::Config) -> Result<(Self, Feed), Error>;
}

/// Turns what arrived into alerts. `self` is what [`Source::configure`] made; a parser that isn't registered together
/// with a source is made with `Default`.
pub trait Parser {
    /// All of the payload's alerts, or an error for the whole of it. No alerts is an answer, too.
    ///
    /// # Errors
    /// [`Error::invalid_payload`] where the sender is wrong: it is answered 400 with the text, so say where
    /// (`alerts[3].labels`) and what.
    fn parse(&self, payload: Payload) -> Result<Vec<Alert>, Error>;
}

/// Answers a sender directly: subscription handshakes, challenges.
pub trait Responder {
    /// The answer, or `None` where this is no handshake and the payload is to be parsed.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where the sender isn't who it says.
    fn respond(&self, payload: Payload) -> Result<Option<Reply>, Error>;
}

/// Fetches alerts from somewhere that doesn't push, over `wasi:http`, from the hosts that the operator granted.
pub trait Poller {
    /// `cursor` is that of the last batch that is durably stored (`None` at the very first call), so it is safe to
    /// acknowledge it upstream here. Deadline 30 s.
    ///
    /// # Errors
    /// [`Error::unavailable`] where the other side is down for now; [`Error::Unauthorized`] stops the polling until the
    /// source's file changes.
    fn fetch(&self, cursor: Option<String>) -> Result<Batch, Error>;
}

/// Tells whether the plugin can do its work: credentials accepted, other side reachable.
pub trait Health {
    /// Called at start, then once a minute.
    ///
    /// # Errors
    /// Whatever stands in the way, sorted by who can act on it.
    fn check(&self) -> Result<(), Error>;
}

/// Writes the briefing for a brain: what to look for, where to start.
pub trait PromptBuilder {
    /// How well this plugin knows alerts like this one. 0: not mine. The highest wins, among equals the first by name.
    /// The bundled ones answer 100 for an alert name that they know, 60 for a word in the title.
    fn score(alert: &Alert) -> u32;

    /// Instructions, the task, and the calls to make before the brain is first asked.
    ///
    /// # Errors
    /// [`Error::failed`] where the briefing can't be worked with; the investigation then escalates.
    fn build(briefing: &Briefing) -> Result<Prompt, Error>;
}

/// A brain without a model. [`crate::diagnosis`] has what most playbooks need.
pub trait Playbook {
    /// The next step, given everything that was done so far (first steps included), oldest first. It keeps no state: the
    /// same input gives the same answer, so that a run can go on anywhere after a crash.
    ///
    /// # Errors
    /// [`Error::failed`] where it can't go on; the investigation then escalates.
    fn next(briefing: &Briefing, outcomes: &[Outcome]) -> Result<Step, Error>;
}
