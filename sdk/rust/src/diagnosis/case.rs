//! What is known so far, and the next step of a plan.

use crate::{Briefing, Call, Evidence, Outcome, OutcomeStatus, Report, Step};

use super::cut;

/// How many actions an investigation may take (the host's default).
pub const MAX_ACTIONS: usize = 20;

/// How many calls one step may propose.
pub const MAX_CALLS: usize = 8;

/// The host gives up at the third failure, so a playbook stops asking at the second and reports what it has.
const MAX_FAILURES: usize = 2;

/// A briefing and the outcomes so far.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// What the investigation is about.
    pub briefing: &'a Briefing,
    /// All that was done, oldest first.
    pub outcomes: &'a [Outcome],
}

impl<'a> Case<'a> {
    /// What [`crate::Playbook::next`] was handed.
    pub fn new(briefing: &'a Briefing, outcomes: &'a [Outcome]) -> Self {
        Case { briefing, outcomes }
    }

    /// What `call` showed when it first ran (however a command exited).
    pub fn seen(&self, call: &Call) -> Option<Seen<'a>> {
        self.nth(call, 0)
    }

    /// What `call` showed when it ran for the `n`th time, from 0: for two samples of the same file.
    pub fn nth(&self, call: &Call, n: usize) -> Option<Seen<'a>> {
        self.outcomes_of(call).filter(|seen| seen.outcome.status == OutcomeStatus::Ran).nth(n)
    }

    /// Calls that gave nothing, with the reason why: failed, stopped at their deadline, refused.
    pub fn failures(&self) -> impl Iterator<Item = Seen<'a>> {
        let outcomes = self.outcomes;
        (0..)
            .zip(outcomes)
            .map(|(index, outcome)| Seen { index, outcome })
            .filter(|seen| is_failure(seen.outcome.status))
    }

    /// Did this very call fail, or hit its deadline?
    pub fn failed(&self, call: &Call) -> bool {
        self.outcomes_of(call).any(|seen| is_failure(seen.outcome.status))
    }

    fn outcomes_of(&self, call: &Call) -> impl Iterator<Item = Seen<'a>> {
        let outcomes = self.outcomes;
        (0..)
            .zip(outcomes)
            .map(|(index, outcome)| Seen { index, outcome })
            .filter(move |seen| same(&seen.outcome.call, call))
    }

    /// How often `call` needn't be made again. An interrupted one may: what it would have shown is unknown. But not for ever.
    fn times_made(&self, call: &Call) -> usize {
        let (mut made, mut interrupted) = (0, 0);
        for seen in self.outcomes_of(call) {
            match seen.outcome.status {
                OutcomeStatus::Interrupted => interrupted += 1,
                _ => made += 1,
            }
        }
        made + interrupted / 2
    }

    fn may_go_on(&self) -> bool {
        self.outcomes.len() < MAX_ACTIONS && self.failures().count() < MAX_FAILURES
    }
}

fn is_failure(status: OutcomeStatus) -> bool {
    matches!(status, OutcomeStatus::Failed | OutcomeStatus::TimedOut | OutcomeStatus::Refused)
}

/// The purpose is prose, and the host may have written the input's JSON anew.
fn same(a: &Call, b: &Call) -> bool {
    a.tool == b.tool
        && (a.input == b.input || parsed(&a.input).is_some_and(|input| parsed(&b.input) == Some(input)))
}

fn parsed(json: &str) -> Option<serde_json::Value> {
    serde_json::from_str(json).ok()
}

/// The next step of a plan: the calls of the first stage that has some left to make, or the conclusion.
///
/// A stage is asked again at every step, with ever more outcomes, so what it wants may depend on earlier stages alone. The
/// same call wanted twice is made twice. After 20 actions or two failures the plan ends early; `conclude` says what that
/// leaves open.
pub fn next(case: &Case, stages: &[fn(&Case) -> Vec<Call>], conclude: fn(&Case) -> Report) -> Step {
    let mut earlier: Vec<Call> = Vec::new();
    for stage in stages {
        if !case.may_go_on() {
            break;
        }
        let wanted = stage(case);
        let mut calls = Vec::new();
        for call in wanted {
            let needed = 1 + earlier.iter().filter(|known| same(known, &call)).count();
            if case.times_made(&call) < needed {
                calls.push(call.clone());
            }
            earlier.push(call);
        }
        calls.truncate(MAX_CALLS.min(MAX_ACTIONS - case.outcomes.len()));
        if !calls.is_empty() {
            return Step::Calls(calls);
        }
    }
    Step::Conclude(conclude(case))
}

/// An outcome and its place among all of them, from which evidence is made.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    index: u32,
    outcome: &'a Outcome,
}

impl<'a> Seen<'a> {
    /// What the tool printed.
    pub fn text(&self) -> &'a str {
        &self.outcome.output
    }

    /// The call that was made.
    pub fn call(&self) -> &'a Call {
        &self.outcome.call
    }

    /// How it ended.
    pub fn status(&self) -> OutcomeStatus {
        self.outcome.status
    }

    /// Did it end well: a file that was read, a command that exited with 0?
    pub fn succeeded(&self) -> bool {
        self.outcome.status == OutcomeStatus::Ran && self.outcome.exit_code.unwrap_or(0) == 0
    }

    /// Words of this output that show something. Only the first line that isn't blank is kept, up to 300 bytes, and they
    /// must be in the output literally.
    pub fn evidence(&self, excerpt: &str) -> Evidence {
        debug_assert!(self.text().contains(excerpt), "{excerpt:?} is not in the output");
        let line = excerpt.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        Evidence { outcome: self.index, excerpt: cut(line, 300).to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{bash, read_file};
    use super::*;
    use crate::testing;

    fn ran(call: Call) -> Outcome {
        Outcome {
            call,
            status: OutcomeStatus::Ran,
            output: "x".into(),
            truncated: false,
            exit_code: None,
            duration_ms: 1,
        }
    }

    fn conclude(_: &Case) -> Report {
        super::super::Diagnosis::new().report("done")
    }

    fn first(_: &Case) -> Vec<Call> {
        vec![read_file("/proc/stat", "before"), bash("uptime", "")]
    }

    fn second(_: &Case) -> Vec<Call> {
        vec![read_file("/proc/stat", "after")]
    }

    fn step(outcomes: &[Outcome]) -> Step {
        next(&Case::new(&testing::briefing(testing::alert("x")), outcomes), &[first, second], conclude)
    }

    #[test]
    fn stages_follow_each_other_and_a_call_wanted_twice_is_made_twice() {
        assert_eq!(step(&[]), Step::Calls(vec![read_file("/proc/stat", "before"), bash("uptime", "")]));
        let mut done = vec![ran(read_file("/proc/stat", "")), ran(bash("uptime", ""))];
        assert_eq!(step(&done), Step::Calls(vec![read_file("/proc/stat", "after")]));
        let mut spaced = read_file("/proc/stat", "");
        spaced.input = r#"{ "path" : "/proc/stat" }"#.into();
        done.push(ran(spaced));
        assert!(matches!(step(&done), Step::Conclude(_)));
    }

    #[test]
    fn an_interrupted_call_is_made_once_more_and_two_failures_end_the_plan() {
        let interrupted = || Outcome { status: OutcomeStatus::Interrupted, ..ran(bash("uptime", "")) };
        let stat = ran(read_file("/proc/stat", ""));
        assert_eq!(step(&[stat.clone(), interrupted()]), Step::Calls(vec![bash("uptime", "")]));
        assert_eq!(
            step(&[stat.clone(), interrupted(), interrupted()]),
            Step::Calls(vec![read_file("/proc/stat", "after")])
        );
        let failed = Outcome { status: OutcomeStatus::Failed, ..ran(bash("uptime", "")) };
        assert!(matches!(step(&[stat.clone(), failed.clone()]), Step::Calls(_)));
        assert!(matches!(step(&[failed.clone(), failed]), Step::Conclude(_)));
        assert!(matches!(step(&vec![stat; MAX_ACTIONS]), Step::Conclude(_)));
    }
}
