//! A playbook led to its conclusion, with scripted tools.

use serde_json::Value;

use crate::diagnosis::{MAX_ACTIONS, MAX_CALLS};
use crate::{Briefing, Call, Error, Outcome, OutcomeStatus, Playbook, Report, Step};

use super::rules::broken_rule_of_report;

/// What a scripted tool answers.
#[derive(Clone, Debug)]
pub struct Answer {
    status: OutcomeStatus,
    output: String,
    exit_code: Option<i32>,
}

impl Answer {
    /// It ran and printed this; a command exited with 0.
    pub fn ran(output: impl Into<String>) -> Self {
        Answer { status: OutcomeStatus::Ran, output: output.into(), exit_code: Some(0) }
    }

    /// The command exited with this code.
    pub fn exited(code: i32, output: impl Into<String>) -> Self {
        Answer { status: OutcomeStatus::Ran, output: output.into(), exit_code: Some(code) }
    }

    /// The tool could not do it: no such file, no such program.
    pub fn failed(reason: impl Into<String>) -> Self {
        Answer { status: OutcomeStatus::Failed, output: reason.into(), exit_code: None }
    }

    /// It was stopped at its deadline, having printed this.
    pub fn timed_out(output: impl Into<String>) -> Self {
        Answer { status: OutcomeStatus::TimedOut, output: output.into(), exit_code: None }
    }

    fn outcome(self, call: Call) -> Outcome {
        let exit_code = self.exit_code.filter(|_| call.tool == "bash");
        Outcome {
            call,
            status: self.status,
            output: self.output,
            truncated: false,
            exit_code,
            duration_ms: 1,
        }
    }
}

/// How an investigation went.
#[derive(Clone, Debug)]
pub struct Investigation {
    /// The conclusion.
    pub report: Report,
    /// Everything that was done, oldest first.
    pub outcomes: Vec<Outcome>,
}

/// Leads the playbook to its conclusion; `tool` answers each call.
///
/// ```
/// # use watchkeeper_sdk::{*, diagnosis::{self, Case, Diagnosis, read_file}};
/// # struct Uptime;
/// # fn first(_: &Case) -> Vec<Call> { vec![read_file("/proc/uptime", "how long it is up")] }
/// # fn conclude(_: &Case) -> Report { Diagnosis::new().report("Looked.") }
/// # impl Playbook for Uptime {
/// #     fn next(briefing: &Briefing, outcomes: &[Outcome]) -> Result<Step, Error> {
/// #         Ok(diagnosis::next(&Case::new(briefing, outcomes), &[first], conclude))
/// #     }
/// # }
/// use watchkeeper_sdk::testing::{self, Answer};
///
/// let briefing = testing::briefing(testing::alert("web-1 restarted"));
/// let went = testing::investigate::<Uptime>(&briefing, |_call| Answer::ran("350.7 12.3"))?;
/// assert_eq!(went.outcomes.len(), 1);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// What the playbook answers.
///
/// # Panics
/// If it breaks the contract: more than 20 actions, no call or more than 8 in a step, a call that is none of the
/// briefing's tools or that the gate could never allow, three failures, another answer to the same question, evidence
/// that isn't there.
pub fn investigate<P: Playbook>(
    briefing: &Briefing,
    tool: impl FnMut(&Call) -> Answer,
) -> Result<Investigation, Error> {
    investigate_from::<P>(briefing, Vec::new(), tool)
}

/// The same, after the first steps of a [`crate::Prompt`].
///
/// # Errors
/// What the playbook answers.
///
/// # Panics
/// As [`investigate`].
pub fn investigate_from<P: Playbook>(
    briefing: &Briefing,
    first_steps: Vec<Call>,
    mut tool: impl FnMut(&Call) -> Answer,
) -> Result<Investigation, Error> {
    let mut outcomes = Vec::new();
    let mut calls = first_steps;
    loop {
        for call in calls {
            assert_can_be_allowed(briefing, &call);
            let answer = tool(&call);
            outcomes.push(answer.outcome(call));
        }
        assert!(outcomes.len() <= MAX_ACTIONS, "{} actions, more than {MAX_ACTIONS}", outcomes.len());
        let failures = outcomes.iter().filter(|outcome| outcome.status != OutcomeStatus::Ran).count();
        assert!(failures < 3, "three failures, where the host escalates: {outcomes:#?}");

        let step = P::next(briefing, &outcomes)?;
        assert_eq!(step, P::next(briefing, &outcomes)?, "the same question was answered in two ways");
        match step {
            Step::Calls(next) => {
                assert!(
                    (1..=MAX_CALLS).contains(&next.len()),
                    "{} calls in a step, not 1 to {MAX_CALLS}",
                    next.len()
                );
                calls = next;
            }
            Step::Conclude(report) => {
                if let Some(rule) = broken_rule_of_report(&report, &outcomes) {
                    panic!("the report breaks the contract: {rule}");
                }
                return Ok(Investigation { report, outcomes });
            }
        }
    }
}

fn assert_can_be_allowed(briefing: &Briefing, call: &Call) {
    let known = briefing.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>();
    assert!(known.contains(&call.tool.as_str()), "{:?} is none of the tools {known:?}", call.tool);
    assert!(!call.purpose.trim().is_empty(), "a call without a purpose: {}", call.input);
    let input: Value = serde_json::from_str(&call.input).expect("a call's input is JSON");
    match call.tool.as_str() {
        "bash" => assert_no_shell(input["command"].as_str().expect("bash takes a `command`")),
        _ => {
            let path = input["path"].as_str().expect("a `path`");
            assert!(path.starts_with('/') && !path.contains("/../"), "{path:?} is not an absolute path");
        }
    }
}

/// The gate's grammar: programs and literal arguments joined by `|`, `&&`, `||`, `;`.
fn assert_no_shell(command: &str) {
    let mut bare = command.replace("2>/dev/null", "");
    while let Some(start) = bare.find(['\'', '"']) {
        let quote = &bare[start..=start];
        let end = start + 1 + bare[start + 1..].find(quote).expect("a closing quote");
        assert!(
            quote == "'" || !bare[start..end].contains(['$', '`', '\\']),
            "expansion in quotes: {command}"
        );
        bare.replace_range(start..=end, "");
    }
    let lone_ampersand = bare.replace("&&", "").contains('&');
    let odd =
        bare.contains(['$', '`', '*', '?', '[', '<', '>', '(', ')', '{', '}', '~', '#', '!', '\\', '\n']);
    assert!(!odd && !lone_ampersand, "not a plan of literal commands: {command}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::bash;
    use crate::testing;

    #[test]
    fn plans_pass_and_shell_does_not() {
        for plan in
            ["ps -eo pid,comm | head -n 5", "dmesg 2>/dev/null | grep -E \"a|b\" || cat '/x y'", "a && b; c"]
        {
            assert_no_shell(plan);
        }
        for shell in ["ls *", "cat $HOME", "a > /x", "a & b", "echo \"$(id)\"", "cat ~/x"] {
            assert!(std::panic::catch_unwind(|| assert_no_shell(shell)).is_err(), "{shell}");
        }
    }

    struct Endless;

    impl Playbook for Endless {
        fn next(_: &Briefing, outcomes: &[Outcome]) -> Result<Step, Error> {
            Ok(Step::Calls(vec![bash(&format!("echo {}", outcomes.len()), "again")]))
        }
    }

    #[test]
    #[should_panic(expected = "21 actions, more than 20")]
    fn a_playbook_that_never_concludes_is_stopped() {
        let _ = testing::investigate::<Endless>(&testing::briefing(testing::alert("x")), |_| Answer::ran(""));
    }
}
