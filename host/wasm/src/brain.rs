//! Plugins that write prompts, and playbooks as brains.

use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use watchkeeper_domain::Alert;
use watchkeeper_domain::brain::{Brain, BrainError, Brains, Opening};
use watchkeeper_domain::investigation::{Briefing, Call, Outcome, Prompt, Step};

use crate::bindings::v0_1::PluginError;
use crate::loader::Interface;
use crate::pool::{CallError, Instance, Time};
use crate::registry::Registry;
use crate::service::Slot;

/// The name of a playbook's brain, in transcripts.
const PREFIX: &str = "playbook ";

/// Asks whichever version is in service: a playbook keeps no state, so a run may go on with the next one.
struct Playbook {
    name: String,
    slot: Arc<Slot>,
}

#[async_trait]
impl Brain for Playbook {
    fn name(&self) -> &str {
        &self.name
    }

    async fn next(
        &self,
        briefing: &Briefing,
        _: &Prompt,
        done: &[(Call, Outcome)],
    ) -> Result<Step, BrainError> {
        let given = Arc::new((briefing.clone(), done.to_vec()));
        let next = move |instance: &mut Instance| {
            let (briefing, done) = &*given;
            instance.functions.next(&mut instance.store, briefing, done)
        };
        Ok(self.slot.call(|generation| generation.prompts(), Time::Call, next).await?)
    }
}

impl From<CallError> for BrainError {
    fn from(error: CallError) -> Self {
        BrainError::new(error.to_string())
    }
}

async fn score(slot: &Slot, alert: &Alert) -> Result<u32, CallError> {
    let alert = Arc::new(alert.clone());
    let score = move |instance: &mut Instance| {
        instance.functions.score(&mut instance.store, &alert).map(Ok::<_, PluginError>)
    };
    slot.call(|generation| generation.prompts(), Time::Call, score).await
}

async fn build(slot: &Slot, briefing: &Briefing) -> Result<Prompt, CallError> {
    let briefing = Arc::new(briefing.clone());
    let build = move |instance: &mut Instance| instance.functions.build(&mut instance.store, &briefing);
    slot.call(|generation| generation.prompts(), Time::Call, build).await
}

#[async_trait]
impl Brains for Registry {
    async fn open(&self, alert: &Alert, briefing: &Briefing) -> Result<Opening, BrainError> {
        let known = self.best_for(alert).await?;
        // There is no model: what only writes prompts is no brain, and must not stand before a playbook that knows the alert, too.
        let playbook = known.iter().find(|slot| is_playbook(slot));
        let slot = playbook.unwrap_or(&known[0]).clone();
        let prompt = build(&slot, briefing).await?;
        slot.remember(alert, briefing);
        let name = &slot.name;
        if playbook.is_none() {
            return Err(BrainError::new(format!(
                "plugin {name} knows this alert but is no playbook, and no model is configured"
            )));
        }
        let (prompt_by, name) = (name.clone(), format!("{PREFIX}{name}"));
        Ok(Opening { prompt_by, prompt, brain: Arc::new(Playbook { name, slot }) })
    }

    async fn resume(&self, name: &str) -> Result<Arc<dyn Brain>, BrainError> {
        let slot = name.strip_prefix(PREFIX).and_then(|plugin| self.slot(plugin));
        let slot = slot.filter(|slot| Registry::prompts_of(slot).is_some()).ok_or_else(|| {
            BrainError::new(format!(
                "`{name}` proposed the steps so far, and is not there any more: put its plugin back"
            ))
        })?;
        Ok(Arc::new(Playbook { name: name.to_owned(), slot }))
    }
}

fn is_playbook(slot: &Slot) -> bool {
    slot.live().is_some_and(|live| live.plugin.has(Interface::Playbook))
}

impl Registry {
    /// The plugins that know the alert, that with the highest score first, and by name among equals. At least one.
    async fn best_for(&self, alert: &Alert) -> Result<Vec<Arc<Slot>>, BrainError> {
        let (mut known, mut failed) = (Vec::new(), Vec::new());
        for slot in self.prompt_builders() {
            match score(&slot, alert).await {
                Ok(0) => {}
                Ok(score) => known.push((Reverse(score), slot)),
                Err(error) => failed.push(error.to_string()),
            }
        }
        known.sort_by_key(|(score, _)| *score);
        for error in &failed {
            tracing::error!(%error, "a plugin failed to score an alert");
        }
        if known.is_empty() {
            let failed = if failed.is_empty() { String::new() } else { format!("; {}", failed.join("; ")) };
            let reason = format!("no plugin knows alerts like `{}`{failed}", alert.title.line());
            return Err(BrainError::new(reason));
        }
        Ok(known.into_iter().map(|(_, slot)| slot).collect())
    }
}
