//! What a host's tools answer, written as a terminal shows it. The SDKs' recorded hosts are written the same.
//!
//! `$ df -h` begins a command's output, `$ read_file /proc/stat` a file's, `$ list_files /var/log` a folder's. Where the next
//! line is `! exit 1`, `! failed`, `! timed out` or `! refused`, it ended so. A call that occurs several times gets its outputs in turn,
//! and the last one from then on. What isn't there fails, as on a host without it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Result, bail};
use watchkeeper_domain::investigation::{Call, Outcome, OutcomeStatus};

pub(super) struct Transcript(BTreeMap<String, VecDeque<Outcome>>);

impl Transcript {
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut answers: BTreeMap<String, VecDeque<Outcome>> = BTreeMap::new();
        for section in format!("\n{text}").split("\n$ ").skip(1) {
            let (call, output) = section.split_once('\n').unwrap_or((section, ""));
            answers.entry(call.trim().to_owned()).or_default().push_back(answer(output)?);
        }
        if answers.is_empty() && !text.trim().is_empty() {
            bail!("host: has no line like `$ df -h` before the output");
        }
        Ok(Self(answers))
    }

    pub(super) fn answer(&mut self, call: &Call) -> Outcome {
        let missing = || {
            let why = format!("no such file or program: {}", words(call));
            Outcome::without_run(OutcomeStatus::Failed, why)
        };
        let Some(answers) = self.0.get_mut(&words(call)) else { return missing() };
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        next.unwrap_or_else(missing)
    }
}

/// How a transcript writes a call.
pub(super) fn words(call: &Call) -> String {
    let (tool, argument) = (call.tool.expose_untrusted(), call.words().into_exposed());
    if tool == "bash" { argument } else { format!("{tool} {argument}") }
}

fn answer(output: &str) -> Result<Outcome> {
    let (first, rest) = output.split_once('\n').unwrap_or((output, ""));
    let without_run = |status| Ok(Outcome::without_run(status, rest.trim_end_matches('\n')));
    match first.strip_prefix("! ") {
        None => Ok(ran(output, 0)),
        Some("failed") => without_run(OutcomeStatus::Failed),
        Some("timed out") => without_run(OutcomeStatus::TimedOut),
        Some("refused") => without_run(OutcomeStatus::Refused),
        Some(other) => match other.strip_prefix("exit ").and_then(|code| code.parse().ok()) {
            Some(code) => Ok(ran(rest, code)),
            None => bail!("host: `! {other}` is none of: ! exit N, ! failed, ! timed out, ! refused"),
        },
    }
}

fn ran(output: &str, code: i32) -> Outcome {
    Outcome {
        status: OutcomeStatus::Ran,
        output: format!("{}\n", output.trim_end_matches('\n')).into(),
        truncated: false,
        exit_code: Some(code),
        duration: Duration::ZERO,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bash(command: &str) -> Call {
        Call { tool: "bash".into(), input: json!({ "command": command }).into(), purpose: "".into() }
    }

    #[test]
    fn a_call_gets_its_outputs_in_turn() {
        let text =
            "$ df -h\nfull\n\n$ read_file /proc/stat\n! failed\nno such file\n$ df -h\n! exit 1\nless\n";
        let mut transcript = Transcript::read(text).unwrap();
        let first = transcript.answer(&bash("df -h"));
        assert_eq!((first.exit_code, first.output.expose_untrusted().as_str()), (Some(0), "full\n"));
        for _ in 0..2 {
            let next = transcript.answer(&bash("df -h"));
            assert_eq!((next.exit_code, next.output.expose_untrusted().as_str()), (Some(1), "less\n"));
        }
        let read = Call {
            tool: "read_file".into(),
            input: json!({ "path": "/proc/stat" }).into(),
            purpose: "".into(),
        };
        assert_eq!(transcript.answer(&read).status, OutcomeStatus::Failed);
        let missing = transcript.answer(&bash("nosuch"));
        assert_eq!(missing.output.expose_untrusted(), "no such file or program: nosuch");
    }

    #[test]
    fn what_is_no_transcript_is_refused() {
        assert!(Transcript::read("df -h\nfull\n").is_err());
        assert!(Transcript::read("$ df -h\n! exploded\n").is_err());
        assert!(Transcript::read("").is_ok());
    }
}
