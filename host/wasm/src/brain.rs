//! Plugins that write prompts, and playbooks as brains.

use std::sync::Arc;

use async_trait::async_trait;
use watchkeeper_domain::Alert;
use watchkeeper_domain::brain::{Brain, BrainError, Brains, Opening};
use watchkeeper_domain::investigation::{Briefing, Call, Outcome, Prompt, Step};

use crate::loader::Interface;
use crate::pool::{CallError, Pool};
use crate::registry::Registry;

/// The name of a playbook's brain, in transcripts.
const PREFIX: &str = "playbook ";

struct Playbook {
    name: String,
    pool: Pool,
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
        let (briefing, done) = (briefing.clone(), done.to_vec());
        let step =
            self.pool.call(move |instance| instance.functions.next(&mut instance.store, &briefing, &done));
        Ok(step.await?)
    }
}

impl From<CallError> for BrainError {
    fn from(error: CallError) -> Self {
        BrainError(error.to_string())
    }
}

#[async_trait]
impl Brains for Registry {
    async fn open(&self, alert: &Alert, briefing: &Briefing) -> Result<Opening, BrainError> {
        let pool = self.best_for(alert).await?;
        let plugin = pool.plugin().clone();
        let given = briefing.clone();
        let prompt = pool.call(move |instance| instance.functions.build(&mut instance.store, &given)).await?;
        if !plugin.has(Interface::Playbook) {
            let name = &plugin.name;
            return Err(BrainError(format!(
                "plugin {name} knows this alert but is no playbook, and no model is configured"
            )));
        }
        let brain = Arc::new(Playbook { name: format!("{PREFIX}{}", plugin.name), pool });
        Ok(Opening { prompt_by: plugin.name.clone(), prompt, brain })
    }

    async fn resume(&self, name: &str) -> Result<Arc<dyn Brain>, BrainError> {
        let pool = name.strip_prefix(PREFIX).and_then(|plugin| self.prompt_builder(plugin));
        let pool = pool.ok_or_else(|| {
            BrainError(format!(
                "`{name}` proposed the steps so far, and is not there any more: put its plugin back"
            ))
        })?;
        Ok(Arc::new(Playbook { name: name.to_owned(), pool }))
    }
}

impl Registry {
    /// The plugin with the highest score; the first by name among equals.
    async fn best_for(&self, alert: &Alert) -> Result<Pool, BrainError> {
        let mut best: Option<(u32, Pool)> = None;
        let mut failed = Vec::new();
        for pool in self.prompt_builders() {
            let given = alert.clone();
            let scored = pool
                .call(move |instance| instance.functions.score(&mut instance.store, &given).map(Ok))
                .await;
            match scored {
                Ok(score) if score > best.as_ref().map_or(0, |(best, _)| *best) => best = Some((score, pool)),
                Ok(_) => {}
                Err(error) => failed.push(error.to_string()),
            }
        }
        for error in &failed {
            tracing::error!(%error, "a plugin failed to score an alert");
        }
        best.map(|(_, pool)| pool).ok_or_else(|| {
            let failed = if failed.is_empty() { String::new() } else { format!("; {}", failed.join("; ")) };
            BrainError(format!("no plugin knows alerts like `{}`{failed}", alert.title))
        })
    }
}
