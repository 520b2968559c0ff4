//! Text for terminals: tables, transcripts, reports.
//!
//! What came from outside is [`Untrusted`](watchkeeper_domain::Untrusted), and its exits make it fit for a terminal. A cell of a
//! table may hold an error in words, too, so a table makes all of its cells so.

use std::fmt::Write;

use watchkeeper_domain::Untrusted;
use watchkeeper_domain::investigation::*;
use watchkeeper_domain::untrusted;

/// Lines of a call's output that a transcript shows; the store has them all.
const OUTPUT_LINES: usize = 12;

/// Characters of one such line.
const LINE: usize = 160;

/// Columns as wide as their widest cell.
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned)] }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| untrusted::line(&cell)));
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
                let title = briefing.alert.title.line();
                writeln!(
                    out,
                    "{at}  briefed: {title} ({}), incident {}",
                    briefing.alert.severity, briefing.incident
                )?;
                writeln!(
                    out,
                    "              brain: {}; {} first steps",
                    untrusted::line(brain),
                    prompt.first_steps.len()
                )
            }
            Event::Proposed { calls } => writeln!(out, "{at}  proposes {} calls", calls.len()),
            Event::Judged { call, verdict, reason, rule } => {
                let rule =
                    rule.as_deref().map(|rule| format!(" [{}]", untrusted::line(rule))).unwrap_or_default();
                writeln!(out, "{at}  #{call} {}", self.call(*call))?;
                writeln!(out, "              {verdict}{rule}: {}", reason.line())
            }
            Event::Asked { call, question, expires_at } => {
                let what = question.what.line();
                writeln!(out, "{at}  [{call}] waits until {expires_at} for a person: {what}")
            }
            Event::Answered { call, answer } => {
                writeln!(out, "{at}  [{call}] {answer}")
            }
            Event::Acting { .. } => Ok(()),
            Event::Acted { call, outcome } => {
                writeln!(out, "{at}  #{call} {} in {} ms", ended(outcome), outcome.duration.as_millis())?;
                write_output(out, &outcome.output)?;
                writeln!(out, "              progress: {} calls done", self.done())
            }
            Event::BrainFailed { error } => writeln!(out, "{at}  the brain failed: {}", error.line()),
            Event::Concluded { report } => {
                writeln!(out, "{at}  concluded, with a confidence of {:.2}", report.confidence)
            }
            Event::Completed => writeln!(out, "{at}  completed"),
            Event::Failed { reason } => writeln!(out, "{at}  failed: {}", reason.line()),
            Event::Escalated { reason } => {
                writeln!(out, "{at}  escalated, a human is called: {}", reason.line())
            }
        }
    }

    fn call(&self, number: u32) -> String {
        let Some(progress) = self.progress.calls.get(number as usize) else { return String::new() };
        let call = &progress.call;
        let purpose = match call.purpose.is_empty() {
            true => String::new(),
            false => format!("  ({})", call.purpose.line()),
        };
        format!("{}: {}{purpose}", call.tool.line(), call.words().line())
    }

    fn done(&self) -> String {
        let done = self.progress.calls.iter().filter(|call| call.outcome.is_some()).count();
        format!("{done} of {}", self.progress.calls.len())
    }
}

pub fn ended(outcome: &Outcome) -> String {
    match (outcome.status, outcome.exit_code) {
        (OutcomeStatus::Ran, Some(0) | None) => "ran".into(),
        (OutcomeStatus::Ran, Some(code)) => format!("ran, exit code {code}"),
        (OutcomeStatus::Failed, _) => "failed".into(),
        (OutcomeStatus::TimedOut, _) => "timed out".into(),
        (OutcomeStatus::Refused, _) => "refused".into(),
        (OutcomeStatus::Interrupted, _) => "interrupted".into(),
    }
}

fn write_output(out: &mut String, output: &Untrusted) -> std::fmt::Result {
    let output = output.visible();
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
        writeln!(out, "  {}", reason.line())?;
    }
    let Some(report) = &investigation.report else { return Ok(()) };
    writeln!(out, "\nReport: {}", investigation.title.line())?;
    writeln!(out, "  {}", report.summary.line())?;
    let cause = report.root_cause.as_ref().map_or("not known".into(), |cause| cause.line());
    writeln!(out, "\n  Root cause: {cause}")?;
    writeln!(out, "  Confidence: {:.2}", report.confidence)?;
    writeln!(out, "\n  Findings")?;
    for finding in &report.findings {
        writeln!(out, "  - {}", finding.statement.line())?;
        for evidence in &finding.evidence {
            writeln!(out, "      #{}: {}", evidence.call, evidence.excerpt.line())?;
        }
    }
    writeln!(out, "\n  Recommendations")?;
    for (number, recommendation) in report.recommendations.iter().enumerate() {
        writeln!(out, "  {}. {}", number + 1, recommendation.line())?;
    }
    Ok(())
}
