//! A diagnosis of full disks, without a model.

use watchkeeper_sdk::{
    Alert, Briefing, Call, Error, Evidence, Finding, Outcome, OutcomeStatus, Playbook, Prompt, PromptBuilder, Report, Step,
};

pub struct @Type@;

impl PromptBuilder for @Type@ {
    fn score(alert: &Alert) -> u32 {
        if alert.title.to_ascii_lowercase().contains("disk") { 60 } else { 0 }
    }

    fn build(briefing: &Briefing) -> Result<Prompt, Error> {
        Ok(Prompt {
            instructions: "Find out what fills the disk, and since when. Change nothing.".to_owned(),
            task: format!(
                "{} (source {}). Which file system is full, and what filled it?",
                briefing.alert.title, briefing.source
            ),
            first_steps: vec![df()],
        })
    }
}

impl Playbook for @Type@ {
    fn next(_: &Briefing, outcomes: &[Outcome]) -> Result<Step, Error> {
        let Some((last, before)) = outcomes.split_last() else {
            return Ok(Step::Calls(vec![df()]));
        };
        let fullest = if last.status == OutcomeStatus::Ran { fullest(&last.output) } else { None };
        Ok(Step::Conclude(match fullest {
            Some((line, percent)) => full(before.len(), line, percent),
            None => unknown(),
        }))
    }
}

/// The line with the highest percentage, and that.
fn fullest(output: &str) -> Option<(&str, u32)> {
    let percent = |line: &str| {
        line.split_whitespace().filter_map(|word| word.strip_suffix('%')?.parse::<u32>().ok()).max()
    };
    let lines = output.lines().filter_map(|line| Some((line.trim(), percent(line)?)));
    lines.reduce(|best, one| if one.1 > best.1 { one } else { best })
}

fn full(outcome: usize, line: &str, percent: u32) -> Report {
    let statement = format!("The fullest file system is at {percent} %.");
    let evidence = vec![Evidence { outcome: outcome as u32, excerpt: line.to_owned() }];
    Report {
        summary: statement.clone(),
        root_cause: None,
        findings: vec![Finding { statement, evidence }],
        recommendations: vec!["Free space, or grow the file system.".to_owned()],
        confidence: if percent >= 90 { 0.8 } else { 0.4 },
    }
}

fn unknown() -> Report {
    Report {
        summary: "df answered nothing that could be read.".to_owned(),
        root_cause: None,
        findings: Vec::new(),
        recommendations: Vec::new(),
        confidence: 0.1,
    }
}

fn df() -> Call {
    Call {
        tool: "bash".to_owned(),
        input: r#"{"command":"df -h"}"#.to_owned(),
        purpose: "which file system is full".to_owned(),
    }
}

watchkeeper_sdk::register! { prompt_builder: @Type@, playbook: @Type@ }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_line_is_found() {
        let output = "Filesystem Size Used Avail Use% Mounted on\n/dev/a 9G 1G 8G 11% /\n/dev/b 9G 9G 0 97% /var\n";
        assert_eq!(fullest(output), Some(("/dev/b 9G 9G 0 97% /var", 97)));
        assert_eq!(fullest("df: not found"), None);
    }
}
