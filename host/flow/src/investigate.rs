//! Investigations: taken from the store's queue, run to an end, a few at a time.
//!
//! Invariant: an event is in the store before it takes effect. So a run that was cut off anywhere goes on from its
//! transcript, in this process or the next.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{Notify, watch};
use tokio::task::{self, JoinError, JoinSet};
use watchkeeper_domain::approval::Answer;
use watchkeeper_domain::brain::{Brain, BrainError, Brains};
use watchkeeper_domain::gate::{Effect, Gate, Judgement, Verdict};
use watchkeeper_domain::investigation::*;
use watchkeeper_domain::store::{Store, StoreError};
use watchkeeper_domain::tool::Tool;
use watchkeeper_domain::{InvestigationId, Timestamp};

use crate::approvals::Expiry;
use crate::brief::{brief, nonce};

/// How often the queue is looked into when nobody says that there is something: another process may have put it there.
const LOOK: Duration = Duration::from_millis(500);

/// How long runs may take to reach their next event once the host stops; they go on after the restart.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Pause after the store failed a run.
const RETRY: Duration = Duration::from_secs(1);

/// The most calls that a brain may propose at once (`wit/`).
const MAX_CALLS: usize = 8;

#[derive(Clone, Debug)]
pub struct Options {
    pub budget: Budget,
    pub max_concurrent: usize,
}

/// What investigations work with.
pub struct Investigator {
    pub store: Arc<dyn Store>,
    pub brains: Arc<dyn Brains>,
    pub gate: Arc<Gate>,
    pub tools: BTreeMap<String, Arc<dyn Tool>>,
    pub options: Options,
}

/// Tells the service that the queue has something. Cheap to clone.
#[derive(Clone, Default)]
pub struct Handle(Arc<Notify>);

impl Handle {
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Since it was last asked, too.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}

impl Investigator {
    /// Runs until `stop` turns true; then lets runs reach their next event, and returns.
    pub async fn serve(self: Arc<Self>, handle: Handle, mut stop: watch::Receiver<bool>) {
        let mut runs: JoinSet<()> = JoinSet::new();
        let mut running: HashMap<task::Id, InvestigationId> = HashMap::new();
        let mut expiry = Expiry::default();
        while !*stop.borrow() {
            self.take_up(&mut runs, &mut running, &mut expiry, &stop).await;
            gauge!("agent_investigations_running").set(running.len() as f64);
            tokio::select! {
                Some(ended) = runs.join_next_with_id(), if !runs.is_empty() => {
                    let task = ended.as_ref().map_or_else(JoinError::id, |(task, ())| *task);
                    let investigation = running.remove(&task);
                    if let (Err(error), Some(id)) = (ended, investigation) {
                        self.note_panic(id, &error).await;
                    }
                }
                () = handle.woken() => {}
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
        }
        let drained = async { while runs.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_GRACE, drained).await;
    }

    /// A bug of ours. It counts as an error of the run, so that one that comes each time ends in an escalation.
    async fn note_panic(&self, id: InvestigationId, error: &JoinError) {
        tracing::error!(investigation = %id, %error, "an investigation's run panicked");
        let noted = async {
            let next = self.store.transcript(id, 0).await?.last().map_or(0, |entry| entry.seq + 1);
            let error = format!("the host failed in this run: {error}").into();
            self.store.append(id, next, Event::BrainFailed { error }).await
        };
        if let Err(error) = noted.await {
            tracing::error!(investigation = %id, %error, "and that can't be noted in its transcript");
        }
    }

    async fn take_up(
        self: &Arc<Self>,
        runs: &mut JoinSet<()>,
        running: &mut HashMap<task::Id, InvestigationId>,
        expiry: &mut Expiry,
        stop: &watch::Receiver<bool>,
    ) {
        let free = self.options.max_concurrent.saturating_sub(runs.len());
        if free == 0 {
            return;
        }
        let open = match self.open(expiry).await {
            Ok(open) => open,
            Err(error) => {
                tracing::error!(%error, "the queue of investigations can't be read");
                return;
            }
        };
        let mine: HashSet<InvestigationId> = running.values().copied().collect();
        for id in open.into_iter().filter(|id| !mine.contains(id)).take(free) {
            let (this, stop) = (self.clone(), stop.clone());
            let task = runs.spawn(async move {
                if let Err(error) = this.run(id, stop).await {
                    tracing::error!(investigation = %id, %error, "an investigation was interrupted; it goes on later");
                    // The store isn't well. Don't come back at once.
                    tokio::time::sleep(RETRY).await;
                }
            });
            running.insert(task.id(), id);
        }
    }

    /// Those to be taken up: open ones, and ones whose question nobody answered in time.
    async fn open(&self, expiry: &mut Expiry) -> Result<Vec<InvestigationId>, StoreError> {
        let mut open = self.store.open_investigations(self.options.max_concurrent as u32 * 2).await?;
        open.extend(expiry.due(&*self.store).await?);
        Ok(open)
    }

    /// One investigation, from wherever it stands to its end, or to the next event after `stop` turns true.
    pub async fn run(&self, id: InvestigationId, stop: watch::Receiver<bool>) -> Result<(), StoreError> {
        let entries = self.store.transcript(id, 0).await?;
        let mut run =
            Run { investigator: self, id, progress: Progress::of(&entries), brain: None, prompt: None };
        run.prompt = entries.into_iter().find_map(|entry| match entry.event {
            Event::Briefed { prompt, .. } => Some(prompt),
            _ => None,
        });
        if run.progress.state.is_none_or(State::is_over) {
            return Ok(());
        }
        // It may be looked at again and again while it waits; that is no event.
        if matches!(run.next_move(), Move::Wait { .. }) {
            return Ok(());
        }
        if run.progress.state == Some(State::Started) {
            counter!("agent_investigations_started_total").increment(1);
        }
        run.record(Event::Running).await?;
        while !*stop.borrow() {
            let next = run.next_move();
            // One that waits for a person takes up nobody's time: the answer, or its end, puts it back into the queue.
            if matches!(next, Move::Nothing | Move::Wait { .. }) {
                break;
            }
            run.make(next).await?;
        }
        Ok(())
    }
}

struct Run<'a> {
    investigator: &'a Investigator,
    id: InvestigationId,
    progress: Progress,
    brain: Option<Arc<dyn Brain>>,
    prompt: Option<Prompt>,
}

impl Run<'_> {
    fn next_move(&self) -> Move {
        self.progress.next_move(&self.investigator.options.budget, Timestamp::now())
    }

    /// Into the store, and only then into what this run knows.
    async fn record(&mut self, event: Event) -> Result<(), StoreError> {
        let entry = self.investigator.store.append(self.id, self.progress.next_seq, event).await?;
        self.progress.apply(&entry);
        match &entry.event {
            Event::Completed => counter!("agent_investigations_completed_total").increment(1),
            Event::Escalated { .. } => counter!("agent_investigations_escalated_total").increment(1),
            Event::Failed { .. } => counter!("agent_investigations_failed_total").increment(1),
            Event::Judged { verdict, .. } => {
                let verdict = match verdict {
                    Verdict::Allow => "allow",
                    Verdict::Ask => "ask",
                    Verdict::Block => "block",
                };
                counter!("agent_gate_verdicts_total", "verdict" => verdict).increment(1);
            }
            _ => {}
        }
        Ok(())
    }

    async fn make(&mut self, next: Move) -> Result<(), StoreError> {
        match next {
            Move::Brief => self.open().await,
            Move::Judge { call } => self.judge(call).await,
            Move::Ask { call } => self.ask_person(call).await,
            Move::Wait { .. } => Ok(()),
            Move::Expire { call } => self.record(Event::Answered { call, answer: Answer::Expired }).await,
            Move::Act { call } | Move::ActAgain { call } => self.act(call).await,
            Move::MarkInterrupted { call } => {
                let why = "the host stopped while this ran; what it did is unknown, so it is not run again";
                let outcome = Outcome::without_run(OutcomeStatus::Interrupted, why);
                self.record(Event::Acted { call, outcome }).await
            }
            Move::AskBrain => self.ask_brain().await,
            Move::Complete => self.record(Event::Completed).await,
            Move::Escalate { reason } => self.record(Event::Escalated { reason }).await,
            Move::Nothing => Ok(()),
        }
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        let investigator = self.investigator;
        let tools = investigator.tools.values().map(|tool| tool.describe()).collect();
        let investigation = investigator.store.investigation(self.id).await?;
        let briefing = match investigation {
            Some(investigation) => brief(&*investigator.store, investigation.incident, tools).await?,
            None => None,
        };
        let Some(briefing) = briefing else {
            return self.record(Event::Failed { reason: "its incident has no alert any more".into() }).await;
        };
        match investigator.brains.open(&briefing.alert, &briefing).await {
            Ok(opening) if opening.prompt.first_steps.len() > MAX_CALLS => {
                let (by, count) = (opening.prompt_by, opening.prompt.first_steps.len());
                let reason =
                    format!("plugin {by} proposes {count} first steps; the most is {MAX_CALLS}").into();
                self.record(Event::Escalated { reason }).await
            }
            Ok(opening) => {
                let briefed = Event::Briefed {
                    briefing: Box::new(briefing),
                    brain: opening.brain.name().to_owned(),
                    prompt_by: opening.prompt_by,
                    prompt: opening.prompt.clone(),
                    nonce: nonce(),
                };
                self.brain = Some(opening.brain);
                self.prompt = Some(opening.prompt);
                self.record(briefed).await
            }
            Err(BrainError(error)) => self.record(Event::Escalated { reason: error }).await,
        }
    }

    async fn judge(&mut self, call: u32) -> Result<(), StoreError> {
        let Some(open) = self.progress.calls.get(call as usize) else { return Ok(()) };
        let judgement = self.investigator.gate.judge(&open.call);
        let (verdict, reason, rule) = (judgement.verdict, judgement.reason, judgement.rule);
        self.record(Event::Judged { call, verdict, reason, rule }).await
    }

    async fn act(&mut self, call: u32) -> Result<(), StoreError> {
        let Some(open) = self.progress.calls.get(call as usize).map(|open| open.call.clone()) else {
            return Ok(());
        };
        // Judged again, since only the gate makes an approved call, and its policy may be another after a restart.
        let gate = &self.investigator.gate;
        let hash = self.progress.calls[call as usize].approved();
        let approved = hash.is_some();
        let judged = match hash {
            Some(hash) => gate.by_approval(&open, hash),
            None => {
                let judgement = gate.judge(&open);
                judgement.clone().into_approved().ok_or(judgement)
            }
        };
        let approved = match judged {
            Ok(approved) => approved,
            // What was approved is another call by now, by another version of this host.
            Err(Judgement { verdict: Verdict::Ask, reason, .. }) if approved => {
                let outcome = Outcome::without_run(OutcomeStatus::Refused, reason);
                return self.record(Event::Acted { call, outcome }).await;
            }
            Err(judgement) => {
                let Judgement { verdict, reason, rule, .. } = judgement;
                return self.record(Event::Judged { call, verdict, reason, rule }).await;
            }
        };
        let effect: Effect = approved.effect();
        let Some(tool) = self.investigator.tools.get(open.tool.expose_untrusted()) else {
            let why = format!("there is no tool `{}`", open.tool.line());
            let outcome = Outcome::without_run(OutcomeStatus::Failed, why);
            return self.record(Event::Acted { call, outcome }).await;
        };
        self.record(Event::Acting { call, effect }).await?;
        let left = self.time_left();
        let outcome = tokio::time::timeout(left, tool.run(approved)).await.unwrap_or_else(|_| {
            let why = "the investigation's time was spent while this ran";
            Outcome { duration: left, ..Outcome::without_run(OutcomeStatus::TimedOut, why) }
        });
        self.record(Event::Acted { call, outcome }).await
    }

    /// What nobody could run exactly so isn't asked about: the brain hears why, and may say it otherwise.
    async fn ask_person(&mut self, call: u32) -> Result<(), StoreError> {
        let Some(open) = self.progress.calls.get(call as usize) else { return Ok(()) };
        match self.investigator.gate.question(&open.call) {
            Some(question) => {
                let expires_at =
                    Timestamp::now().plus(self.investigator.options.budget.approval_expires_after);
                self.record(Event::Asked { call, question, expires_at }).await
            }
            None => {
                let reason = open.verdict.as_ref().map_or("", |(_, reason)| reason.expose_untrusted());
                let why = format!("It was not run, and nobody can approve it as it stands: {reason}.");
                let outcome = Outcome::without_run(OutcomeStatus::Refused, why);
                self.record(Event::Acted { call, outcome }).await
            }
        }
    }

    fn time_left(&self) -> Duration {
        let started = self.progress.running_since.unwrap_or_else(Timestamp::now);
        let spent = Timestamp::now().since(started).saturating_sub(self.progress.waited);
        self.investigator.options.budget.max_duration.saturating_sub(spent)
    }

    async fn ask_brain(&mut self) -> Result<(), StoreError> {
        match self.next_step().await {
            Ok(Step::Calls(calls)) => self.record(Event::Proposed { calls }).await,
            Ok(Step::Conclude(report)) => self.record(Event::Concluded { report }).await,
            Err(BrainError(error)) => self.record(Event::BrainFailed { error }).await,
        }
    }

    async fn next_step(&mut self) -> Result<Step, BrainError> {
        let (Some(briefing), Some(prompt)) = (&self.progress.briefing, &self.prompt) else {
            return Err(BrainError::new("the run has no briefing"));
        };
        let brain = match &self.brain {
            Some(brain) => brain.clone(),
            None => {
                let name = self.progress.brain.as_deref().unwrap_or_default();
                self.investigator.brains.resume(name).await?
            }
        };
        let done: Vec<(Call, Outcome)> = self
            .progress
            .calls
            .iter()
            .filter_map(|call| Some((call.call.clone(), call.outcome.clone()?)))
            .collect();
        let next = tokio::time::timeout(self.time_left(), brain.next(briefing, prompt, &done));
        let step = next.await.map_err(|_| BrainError::new("its time was spent before it answered"))??;
        self.brain = Some(brain);
        check(step, done.len())
    }
}

/// What a brain answers is held to the contract, whoever the brain is.
pub fn check(step: Step, outcomes: usize) -> Result<Step, BrainError> {
    let wrong = |what: String| Err(BrainError::new(format!("the brain's answer is not valid: {what}")));
    match &step {
        Step::Calls(calls) if calls.is_empty() => wrong("it proposes no calls and concludes nothing".into()),
        Step::Calls(calls) if calls.len() > MAX_CALLS => {
            wrong(format!("it proposes {} calls at once; the most is {MAX_CALLS}", calls.len()))
        }
        Step::Conclude(report) if !(0.0..=1.0).contains(&report.confidence) => {
            wrong(format!("its confidence is {}, not within 0 and 1", report.confidence))
        }
        Step::Conclude(report) => {
            let mut cited = report.findings.iter().flat_map(|finding| &finding.evidence);
            match cited.find(|evidence| evidence.call as usize >= outcomes) {
                Some(evidence) => wrong(format!("it cites outcome {} of {outcomes}", evidence.call)),
                None => Ok(step),
            }
        }
        Step::Calls(_) => Ok(step),
    }
}
