//! What decides the next step of an investigation: a playbook plugin, or a model.

use async_trait::async_trait;

use crate::Untrusted;
use crate::alert::Alert;
use crate::investigation::{Briefing, Call, Outcome, Prompt, Step};

/// Contract: an answer depends on the arguments alone, so that a run can go on in another process after a crash. A brain
/// proposes; it never acts. It ends by itself, within its deadline.
#[async_trait]
pub trait Brain: Send + Sync {
    /// For the transcript: `playbook high-cpu`.
    fn name(&self) -> &str;

    /// The next step, given all that was done so far, oldest first.
    async fn next(
        &self,
        briefing: &Briefing,
        prompt: &Prompt,
        done: &[(Call, Outcome)],
    ) -> Result<Step, BrainError>;
}

/// Why a brain gave no step. Counted; the third ends the investigation with an escalation.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.line())]
pub struct BrainError(pub Untrusted);

impl BrainError {
    pub fn new(words: impl Into<Untrusted>) -> Self {
        Self(words.into())
    }
}

/// The prompt that opens an investigation, and who goes on from it.
pub struct Opening {
    pub prompt_by: String,
    pub prompt: Prompt,
    pub brain: std::sync::Arc<dyn Brain>,
}

/// Finds who knows an alert best. Implemented by the plugin registry (playbooks) and wrapped by model brains.
#[async_trait]
pub trait Brains: Send + Sync {
    /// The opening of an investigation: the prompt of the builder that scores highest, and its brain.
    /// An error when nobody knows the alert, or the one who does fails: then a human is called.
    async fn open(&self, alert: &Alert, briefing: &Briefing) -> Result<Opening, BrainError>;

    /// The brain of a run that goes on after a restart, by its [`Brain::name`].
    async fn resume(&self, name: &str) -> Result<std::sync::Arc<dyn Brain>, BrainError>;
}
