//! An investigation: one run from briefing to report, kept as events.
//!
//! Every move is an event in the store before it takes effect, so [`Progress`], folded from the events, is all that a
//! worker needs to go on after a crash, and [`Progress::next_move`] is the whole state machine.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::alert::Alert;
use crate::approval::{Answer, Question};
use crate::gate::{Effect, Verdict};
use crate::prompt::Nonce;
use crate::{IncidentId, Timestamp, Untrusted};

/// Written `inv-7`; read with or without the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvestigationId(pub i64);

crate::incident::id_as_text!(InvestigationId, "inv-", "an investigation's id");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted, in the queue.
    Started,
    Running,
    /// For a person's answer.
    Waiting,
    Completed,
    Failed,
    /// A human was called.
    Escalated,
}

impl State {
    pub const ALL: [State; 6] =
        [State::Started, State::Running, State::Waiting, State::Completed, State::Failed, State::Escalated];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Started => "started",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Completed => "completed",
            State::Failed => "failed",
            State::Escalated => "escalated",
        }
    }

    /// Nothing comes after it.
    pub fn is_over(self) -> bool {
        matches!(self, State::Completed | State::Failed | State::Escalated)
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        State::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            format!("`{text}` is no state: one of started, running, waiting, completed, failed, escalated")
        })
    }
}

/// A step that a brain proposes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub tool: Untrusted,
    /// The tool's input: `{"command": "uptime"}` for bash, `{"path": "/var/log/syslog"}` for read_file.
    pub input: Untrusted<Value>,
    /// Why, for the people who watch.
    #[serde(default)]
    pub purpose: Untrusted,
}

impl Call {
    /// What it is about, for people: the command or path, where its input has one, else the input.
    pub fn words(&self) -> Untrusted {
        let input = self.input.expose_untrusted();
        let words = ["command", "path"].iter().find_map(|key| input.get(key)?.as_str());
        words.map_or_else(|| input.to_string().into(), Untrusted::from)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    /// The tool ran; a command's own failure is its exit code.
    Ran,
    /// The tool could not do it.
    Failed,
    TimedOut,
    /// The gate, or the person who was asked, said no.
    Refused,
    /// The host stopped while it ran.
    Interrupted,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub status: OutcomeStatus,
    pub output: Untrusted,
    /// The middle of the output was left out, for its length.
    pub truncated: bool,
    pub exit_code: Option<i32>,
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
}

impl Outcome {
    /// One that no tool gave: refused, interrupted, failed before it ran.
    pub fn without_run(status: OutcomeStatus, why: impl Into<Untrusted>) -> Self {
        Self { status, output: why.into(), truncated: false, exit_code: None, duration: Duration::ZERO }
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_millis() as u64)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// Which outcome shows a finding, and the words in it that do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The call's number in the transcript, from 0.
    pub call: u32,
    pub excerpt: Untrusted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub statement: Untrusted,
    pub evidence: Vec<Evidence>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub summary: Untrusted,
    pub root_cause: Option<Untrusted>,
    pub findings: Vec<Finding>,
    pub recommendations: Vec<Untrusted>,
    /// 0 to 1.
    pub confidence: f64,
}

/// A tool, as a brain is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolDescription {
    pub name: String,
    pub description: String,
    /// JSON schema.
    pub input_schema: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastReport {
    pub incident: IncidentId,
    pub title: Untrusted,
    pub ended_at: Timestamp,
    pub report: Report,
}

/// What is known when an investigation begins; a brain sees this and the outcomes, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Briefing {
    pub incident: IncidentId,
    pub source: String,
    pub alert: Alert,
    pub related: Vec<Alert>,
    pub history: Vec<PastReport>,
    pub tools: Vec<ToolDescription>,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    pub instructions: Untrusted,
    pub task: Untrusted,
    pub first_steps: Vec<Call>,
}

/// What a brain answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Calls(Vec<Call>),
    Conclude(Report),
}

/// What began an investigation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The incident's severity is one that `investigate` in watchkeeper.yaml names.
    Automatic,
    /// A person asked for it.
    Requested,
}

/// One entry of the transcript. Calls are numbered from 0 in the order of their proposal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Started {
        trigger: Trigger,
    },
    /// A worker took it up; more than once if the host was stopped in between.
    Running,
    Briefed {
        briefing: Box<Briefing>,
        /// Who proposes the steps: `playbook high-cpu`.
        brain: String,
        /// The plugin that wrote the prompt.
        prompt_by: String,
        prompt: Prompt,
        /// Marks what a model is given as data. None of an investigation that was briefed before there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<Nonce>,
    },
    Proposed {
        calls: Vec<Call>,
    },
    Judged {
        call: u32,
        verdict: Verdict,
        reason: Untrusted,
        rule: Option<String>,
    },
    /// A person must agree to the call; the investigation waits.
    Asked {
        call: u32,
        #[serde(flatten)]
        question: Question,
        expires_at: Timestamp,
    },
    /// The first answer; there is no second.
    Answered {
        call: u32,
        #[serde(flatten)]
        answer: Answer,
    },
    /// Written before the tool starts.
    Acting {
        call: u32,
        effect: Effect,
    },
    Acted {
        call: u32,
        outcome: Outcome,
    },
    /// The brain failed to answer.
    BrainFailed {
        error: Untrusted,
    },
    Concluded {
        report: Report,
    },
    Completed,
    Failed {
        reason: Untrusted,
    },
    /// A human is called; the notice is in the outbox with this very commit.
    Escalated {
        reason: Untrusted,
    },
}

impl Event {
    /// The state that this event moves the investigation to, if it moves it.
    pub fn state(&self) -> Option<State> {
        match self {
            Event::Started { .. } => Some(State::Started),
            Event::Running | Event::Answered { .. } => Some(State::Running),
            Event::Asked { .. } => Some(State::Waiting),
            Event::Completed => Some(State::Completed),
            Event::Failed { .. } => Some(State::Failed),
            Event::Escalated { .. } => Some(State::Escalated),
            _ => None,
        }
    }
}

/// An event as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// From 0, without gaps.
    pub seq: u32,
    pub at: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}

/// An investigation without its transcript.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Investigation {
    pub id: InvestigationId,
    pub incident: IncidentId,
    pub state: State,
    pub trigger: Trigger,
    /// The incident's title.
    pub title: Untrusted,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub report: Option<Report>,
    /// Why it failed or escalated.
    pub reason: Option<Untrusted>,
}

/// What one investigation may use. Defaults and names are the original design's `InvestigationConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    pub max_actions: u32,
    pub max_duration: Duration,
    pub escalate_on_confidence_below: f64,
    pub escalate_on_multiple_errors: u32,
    /// How long a person has for an answer.
    pub approval_expires_after: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            max_actions: 20,
            max_duration: Duration::from_secs(15 * 60),
            escalate_on_confidence_below: 0.7,
            escalate_on_multiple_errors: 3,
            approval_expires_after: Duration::from_secs(30 * 60),
        }
    }
}

/// A question, and its answer once there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub question: Question,
    pub at: Timestamp,
    pub expires_at: Timestamp,
    pub answer: Option<Answer>,
}

/// A call and how far it came.
#[derive(Clone, Debug, PartialEq)]
pub struct CallProgress {
    pub call: Call,
    pub verdict: Option<(Verdict, Untrusted)>,
    pub asked: Option<Asked>,
    pub acting: Option<Effect>,
    pub outcome: Option<Outcome>,
}

impl CallProgress {
    /// The hash of what a person approved.
    pub fn approved(&self) -> Option<&str> {
        let asked = self.asked.as_ref()?;
        matches!(asked.answer, Some(Answer::Approved { .. })).then_some(asked.question.hash.as_str())
    }
}

/// How far an investigation came: the fold of its events.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// When a worker took it up first: what waits in the queue spends no time.
    pub running_since: Option<Timestamp>,
    /// Spent waiting for people, which costs it nothing.
    pub waited: Duration,
    pub state: Option<State>,
    pub briefing: Option<Box<Briefing>>,
    pub brain: Option<String>,
    pub calls: Vec<CallProgress>,
    pub errors: u32,
    pub last_error: Option<Untrusted>,
    pub report: Option<Report>,
    pub next_seq: u32,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    Brief,
    Judge {
        call: u32,
    },
    /// Put a question to a person.
    Ask {
        call: u32,
    },
    /// For a person's answer, until then.
    Wait {
        until: Timestamp,
    },
    /// Nobody answered in time.
    Expire {
        call: u32,
    },
    Act {
        call: u32,
    },
    /// It was running when the host stopped, and only reads: run it again.
    ActAgain {
        call: u32,
    },
    /// It was running when the host stopped, and may have changed something: report that.
    MarkInterrupted {
        call: u32,
    },
    AskBrain,
    Complete,
    Escalate {
        reason: Untrusted,
    },
    /// It is over.
    Nothing,
}

impl Progress {
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut progress = Self::default();
        for entry in entries {
            progress.apply(entry);
        }
        progress
    }

    pub fn apply(&mut self, entry: &Entry) {
        self.next_seq = entry.seq + 1;
        if let Some(state) = entry.event.state() {
            self.state = Some(state);
        }
        match &entry.event {
            Event::Running => {
                self.running_since.get_or_insert(entry.at);
            }
            Event::Briefed { briefing, brain, prompt, .. } => {
                self.briefing = Some(briefing.clone());
                self.brain = Some(brain.clone());
                self.propose(&prompt.first_steps);
            }
            Event::Proposed { calls } => self.propose(calls),
            Event::Judged { call, verdict, reason, .. } => {
                self.at(*call, |progress| progress.verdict = Some((*verdict, reason.clone())));
            }
            Event::Asked { call, question, expires_at } => {
                let (question, at, expires_at) = (question.clone(), entry.at, *expires_at);
                self.at(*call, |progress| {
                    progress.asked = Some(Asked { question, at, expires_at, answer: None })
                });
            }
            Event::Answered { call, answer } => self.answered(*call, answer, entry.at),
            Event::Acting { call, effect } => self.at(*call, |progress| progress.acting = Some(*effect)),
            Event::Acted { call, outcome } => {
                let bad = [OutcomeStatus::Failed, OutcomeStatus::TimedOut, OutcomeStatus::Refused];
                if bad.contains(&outcome.status) {
                    self.err(outcome.output.clone());
                }
                self.at(*call, |progress| progress.outcome = Some(outcome.clone()));
            }
            Event::BrainFailed { error } => self.err(error.clone()),
            Event::Concluded { report } => self.report = Some(report.clone()),
            Event::Started { .. } | Event::Completed | Event::Failed { .. } | Event::Escalated { .. } => {}
        }
    }

    fn propose(&mut self, calls: &[Call]) {
        self.calls.extend(calls.iter().map(|call| CallProgress {
            call: call.clone(),
            verdict: None,
            asked: None,
            acting: None,
            outcome: None,
        }));
    }

    fn answered(&mut self, call: u32, answer: &Answer, at: Timestamp) {
        let mut waited = Duration::ZERO;
        self.at(call, |progress| {
            if let Some(asked) = &mut progress.asked {
                waited = at.since(asked.at);
                asked.answer = Some(answer.clone());
            }
            if let Answer::Denied { .. } = answer {
                let refused = OutcomeStatus::Refused;
                progress.outcome = Some(Outcome::without_run(refused, format!("It was not run: {answer}.")));
            }
        });
        self.waited += waited;
    }

    /// The question that waits, if one does, without what only the store knows.
    pub fn pending(&self) -> Option<(u32, &Asked)> {
        let call = self
            .calls
            .iter()
            .position(|call| matches!(&call.asked, Some(asked) if asked.answer.is_none()))?;
        Some((call as u32, self.calls[call].asked.as_ref()?))
    }

    fn err(&mut self, error: Untrusted) {
        self.errors += 1;
        self.last_error = Some(error);
    }

    fn at(&mut self, call: u32, change: impl FnOnce(&mut CallProgress)) {
        if let Some(progress) = self.calls.get_mut(call as usize) {
            change(progress);
        }
    }

    /// Calls that a tool was started for.
    pub fn actions(&self) -> u32 {
        self.calls.iter().filter(|call| call.acting.is_some()).count() as u32
    }

    /// The state machine. A worker stores a call's outcome before it asks for the next move; so a call that is acting
    /// here was left behind by a host that stopped.
    pub fn next_move(&self, budget: &Budget, now: Timestamp) -> Move {
        if self.state.is_some_and(State::is_over) {
            return Move::Nothing;
        }
        if let Some(report) = &self.report {
            return Self::close(report, budget);
        }
        if let Some(reason) = self.stopped() {
            return Move::Escalate { reason: reason.into() };
        }
        if let Some((call, asked)) = self.pending() {
            let until = asked.expires_at;
            return if now < until { Move::Wait { until } } else { Move::Expire { call } };
        }
        if let Some(reason) = self.over_budget(budget, now) {
            return Move::Escalate { reason: reason.into() };
        }
        if self.briefing.is_none() {
            return Move::Brief;
        }
        self.next_call(budget).unwrap_or(Move::AskBrain)
    }

    fn close(report: &Report, budget: &Budget) -> Move {
        let (confidence, needed) = (report.confidence, budget.escalate_on_confidence_below);
        if confidence >= needed {
            return Move::Complete;
        }
        let reason = format!("the report's confidence of {confidence:.2} is below {needed:.2}");
        Move::Escalate { reason: reason.into() }
    }

    /// What a person must hear of at once: a call that is blocked, a question that nobody answered.
    fn stopped(&self) -> Option<String> {
        self.calls.iter().enumerate().find_map(|(number, call)| match (&call.verdict, &call.asked) {
            (Some((Verdict::Block, reason)), _) => {
                Some(format!("call {number} must not run: {}", reason.expose_untrusted()))
            }
            (_, Some(asked)) if asked.answer == Some(Answer::Expired) => {
                let Question { what, reason, .. } = &asked.question;
                Some(format!(
                    "call {number}, `{}`, waited for approval and nobody answered in time: {}",
                    what.expose_untrusted(),
                    reason.expose_untrusted()
                ))
            }
            _ => None,
        })
    }

    fn over_budget(&self, budget: &Budget, now: Timestamp) -> Option<String> {
        if self.errors >= budget.escalate_on_multiple_errors {
            let last = self.last_error.as_ref().map_or("", |error| error.expose_untrusted());
            return Some(format!("{} errors, the last: {last}", self.errors));
        }
        let spent = now.since(self.running_since?).saturating_sub(self.waited);
        (spent >= budget.max_duration).then(|| {
            format!("its time is spent: {} s of {} s", spent.as_secs(), budget.max_duration.as_secs())
        })
    }

    fn next_call(&self, budget: &Budget) -> Option<Move> {
        let (number, open) = self.calls.iter().enumerate().find(|(_, call)| call.outcome.is_none())?;
        let call = number as u32;
        Some(match (&open.verdict, open.acting) {
            (None, _) => Move::Judge { call },
            (Some((Verdict::Allow, _)), Some(Effect::Read)) => Move::ActAgain { call },
            // What the policy no longer allows isn't run a second time either.
            (Some(_), Some(_)) => Move::MarkInterrupted { call },
            (Some(_), None) if self.actions() >= budget.max_actions => {
                Move::Escalate { reason: format!("its {} actions are spent", budget.max_actions).into() }
            }
            (Some((Verdict::Allow, _)), None) => Move::Act { call },
            (Some(_), None) if open.approved().is_some() => Move::Act { call },
            (Some(_), None) => Move::Ask { call },
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
