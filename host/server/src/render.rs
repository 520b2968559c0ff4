//! Text for terminals: tables, transcripts, reports.
//!
//! Invariant: nothing that came from outside is printed but through [`safe`]: alerts and outputs may hold control sequences.

use std::fmt::Write;

use watchkeeper_domain::investigation::*;

/// Lines of a call's output that a transcript shows; the store has them all.
const OUTPUT_LINES: usize = 12;

/// Characters of one such line.
const LINE: usize = 160;

/// `text` with control characters made visible; line breaks and tabs stay.
pub fn safe(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            // Also those that reorder what is read: https://www.unicode.org/reports/tr9/
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

fn one_line(text: &str) -> String {
    safe(text).replace(['\n', '\t'], " ")
}

/// Columns as wide as their widest cell.
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned)] }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| one_line(&cell)));
    }

    /// `next` is the listing's cursor.
    pub fn print(&self, next: Option<&str>) {
        for row in &self.rows {
            println!("{}", self.line(row));
        }
        if let Some(next) = next {
            println!("more: --cursor {next}");
        }
    }

    fn line(&self, row: &[String; N]) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let padded: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:<width$}", width = width(column)))
            .collect();
        padded.join("  ").trim_end().to_owned()
    }
}

/// Says each event in a line or a few.
#[derive(Default)]
pub struct TranscriptPrinter {
    progress: Progress,
}

impl TranscriptPrinter {
    pub fn event(&mut self, entry: &Entry) -> String {
        self.progress.apply(entry);
        let mut text = String::new();
        let at = entry.at.to_string();
        let clock = at.get(11..23).unwrap_or(&at).to_owned();
        // Writing to a String can't fail.
        let _ = self.write(&mut text, &clock, &entry.event);
        text
    }

    fn write(&self, out: &mut String, at: &str, event: &Event) -> std::fmt::Result {
        match event {
            Event::Started { trigger: Trigger::Automatic } => writeln!(out, "{at}  started, by its severity"),
            Event::Started { trigger: Trigger::Requested } => writeln!(out, "{at}  started, on request"),
            Event::Running => writeln!(out, "{at}  running"),
            Event::Briefed { briefing, brain, prompt, .. } => {
                let title = one_line(&briefing.alert.title);
                writeln!(
                    out,
                    "{at}  briefed: {title} ({}), incident {}",
                    briefing.alert.severity, briefing.incident
                )?;
                writeln!(
                    out,
                    "              brain: {}; {} first steps",
                    one_line(brain),
                    prompt.first_steps.len()
                )
            }
            Event::Proposed { calls } => writeln!(out, "{at}  proposes {} calls", calls.len()),
            Event::Judged { call, verdict, reason, rule } => {
                let rule = rule.as_deref().map(|rule| format!(" [{}]", one_line(rule))).unwrap_or_default();
                writeln!(out, "{at}  #{call} {}", self.call(*call))?;
                writeln!(out, "              {verdict}{rule}: {}", one_line(reason))
            }
            Event::Asked { call, question, expires_at } => {
                let what = one_line(&question.what);
                writeln!(out, "{at}  [{call}] waits until {expires_at} for a person: {what}")
            }
            Event::Answered { call, answer } => {
                writeln!(out, "{at}  [{call}] {}", one_line(&answer.to_string()))
            }
            Event::Acting { .. } => Ok(()),
            Event::Acted { call, outcome } => {
                writeln!(out, "{at}  #{call} {} in {} ms", ended(outcome), outcome.duration.as_millis())?;
                write_output(out, &outcome.output)?;
                writeln!(out, "              progress: {} calls done", self.done())
            }
            Event::BrainFailed { error } => writeln!(out, "{at}  the brain failed: {}", one_line(error)),
            Event::Concluded { report } => {
                writeln!(out, "{at}  concluded, with a confidence of {:.2}", report.confidence)
            }
            Event::Completed => writeln!(out, "{at}  completed"),
            Event::Failed { reason } => writeln!(out, "{at}  failed: {}", one_line(reason)),
            Event::Escalated { reason } => {
                writeln!(out, "{at}  escalated, a human is called: {}", one_line(reason))
            }
        }
    }

    fn call(&self, number: u32) -> String {
        let Some(progress) = self.progress.calls.get(number as usize) else { return String::new() };
        let call = &progress.call;
        let input = ["command", "path"].iter().find_map(|key| call.input.get(key)?.as_str());
        let input = input.map_or_else(|| call.input.to_string(), str::to_owned);
        let purpose =
            if call.purpose.is_empty() { String::new() } else { format!("  ({})", one_line(&call.purpose)) };
        format!("{}: {}{purpose}", one_line(&call.tool), one_line(&input))
    }

    fn done(&self) -> String {
        let done = self.progress.calls.iter().filter(|call| call.outcome.is_some()).count();
        format!("{done} of {}", self.progress.calls.len())
    }
}

fn ended(outcome: &Outcome) -> String {
    match (outcome.status, outcome.exit_code) {
        (OutcomeStatus::Ran, Some(0) | None) => "ran".into(),
        (OutcomeStatus::Ran, Some(code)) => format!("ran, exit code {code}"),
        (OutcomeStatus::Failed, _) => "failed".into(),
        (OutcomeStatus::TimedOut, _) => "timed out".into(),
        (OutcomeStatus::Refused, _) => "refused".into(),
        (OutcomeStatus::Interrupted, _) => "interrupted".into(),
    }
}

fn write_output(out: &mut String, output: &str) -> std::fmt::Result {
    let output = safe(output);
    let lines: Vec<&str> = output.lines().collect();
    for line in lines.iter().take(OUTPUT_LINES) {
        writeln!(out, "              │ {}", line.chars().take(LINE).collect::<String>())?;
    }
    match lines.len().checked_sub(OUTPUT_LINES) {
        Some(more) if more > 0 => writeln!(out, "              │ … {more} more lines"),
        _ => Ok(()),
    }
}

/// How it ended, and the report if there is one.
pub fn conclusion(investigation: &Investigation) -> String {
    let mut text = String::new();
    let _ = write_conclusion(&mut text, investigation);
    text
}

fn write_conclusion(out: &mut String, investigation: &Investigation) -> std::fmt::Result {
    writeln!(out, "\n{} of {}: {}", investigation.id, investigation.incident, investigation.state)?;
    if let Some(reason) = &investigation.reason {
        writeln!(out, "  {}", one_line(reason))?;
    }
    let Some(report) = &investigation.report else { return Ok(()) };
    writeln!(out, "\nReport: {}", one_line(&investigation.title))?;
    writeln!(out, "  {}", one_line(&report.summary))?;
    let cause = report.root_cause.as_deref().unwrap_or("not known");
    writeln!(out, "\n  Root cause: {}", one_line(cause))?;
    writeln!(out, "  Confidence: {:.2}", report.confidence)?;
    writeln!(out, "\n  Findings")?;
    for finding in &report.findings {
        writeln!(out, "  - {}", one_line(&finding.statement))?;
        for evidence in &finding.evidence {
            writeln!(out, "      #{}: {}", evidence.call, one_line(&evidence.excerpt))?;
        }
    }
    writeln!(out, "\n  Recommendations")?;
    for (number, recommendation) in report.recommendations.iter().enumerate() {
        writeln!(out, "  {}. {}", number + 1, one_line(recommendation))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_do_not_reach_the_terminal() {
        assert_eq!(safe("a\u{1b}[31mb\u{202e}\r\nc\td"), "a\u{fffd}[31mb\u{fffd}\u{fffd}\nc\td");
    }
}
