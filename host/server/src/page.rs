//! One investigation as a page of HTML that needs nothing else: no script, no font, no request. For a browser, or a ticket.
//!
//! It leaves the host, so every text of it is redacted; maud escapes what is markup in it, and takes no `Untrusted` at all.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use watchkeeper_domain::alert::Alert;
use watchkeeper_domain::approval::Answer;
use watchkeeper_domain::gate::Verdict;
use watchkeeper_domain::investigation::*;
use watchkeeper_domain::redact::Redactor;
use watchkeeper_domain::{Timestamp, Untrusted};

const STYLE: &str = include_str!("page.css");

/// What a page may do: be styled by the style that it has. As a header it also forbids to be framed.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    let style = STANDARD.encode(digest);
    format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'")
});

pub fn page(investigation: &Investigation, transcript: &[Entry], redactor: &Redactor) -> String {
    Page { redactor, transcript, progress: Progress::of(transcript) }.whole(investigation).into_string()
}

struct Page<'a> {
    redactor: &'a Redactor,
    transcript: &'a [Entry],
    progress: Progress,
}

impl Page<'_> {
    /// The only way for such a text into the page.
    fn text(&self, text: &Untrusted) -> String {
        self.redactor.shown(text)
    }

    /// Together, since a name says that its value is a secret.
    fn pair(&self, name: &Untrusted, value: &Untrusted) -> String {
        let both = [name, value].map(|text| text.expose_untrusted().as_str());
        self.text(&both.join("=").into())
    }

    fn whole(&self, investigation: &Investigation) -> Markup {
        let title = self.text(&investigation.title);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY.as_str());
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="referrer" content="no-referrer";
                    meta name="color-scheme" content="light dark";
                    title { (investigation.id) ": " (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        (self.head(investigation, &title))
                        @if let Some(report) = &investigation.report { (self.report(report)) }
                        @if let Some(briefing) = &self.progress.briefing { (self.briefing(briefing)) }
                        (self.steps())
                    }
                    footer {
                        "Written by Watchkeeper at " (time(Timestamp::now())) ". Secrets are left out, and characters that can't \
                        be seen are written out. What alerts, plugins and programs said is as they said it."
                    }
                }
            }
        }
    }

    fn head(&self, investigation: &Investigation, title: &str) -> Markup {
        let briefing = self.progress.briefing.as_ref();
        html! {
            header {
                p.tags {
                    span.tag.(investigation.state.as_str()) { (investigation.state) }
                    @if let Some(briefing) = briefing {
                        span.tag.(briefing.alert.severity.as_str()) { (briefing.alert.severity) }
                    }
                    span.tag { (investigation.id) " of " (investigation.incident) }
                }
                h1 { (title) }
                @if let Some(reason) = &investigation.reason { p.reason { (self.text(reason)) } }
                dl.facts {
                    dt { "Started" } dd { (time(investigation.started_at)) ", " (trigger(&investigation.trigger)) }
                    @if let Some(at) = investigation.ended_at { dt { "Ended" } dd { (time(at)) } }
                    @if let Some(briefing) = briefing { dt { "Source" } dd { (self.text(&briefing.source.as_str().into())) } }
                    @if let Some(brain) = &self.progress.brain { dt { "Brain" } dd { (self.text(&brain.as_str().into())) } }
                }
            }
        }
    }

    fn report(&self, report: &Report) -> Markup {
        html! {
            section {
                h2 { "Report" }
                p.lead { (self.text(&report.summary)) }
                p {
                    "Confidence " meter min="0" max="1" low="0.5" high="0.7" optimum="1" value=(report.confidence) {}
                    " " (format!("{:.2}", report.confidence))
                }
                h3 { "Root cause" }
                p.words { @match &report.root_cause {
                    Some(cause) => { (self.text(cause)) }
                    None => { "Not found." }
                } }
                @if !report.findings.is_empty() {
                    h3 { "Findings" }
                    ul { @for finding in &report.findings { li {
                        p.words { (self.text(&finding.statement)) }
                        @for evidence in &finding.evidence { blockquote {
                            a href={ "#call-" (evidence.call) } { "#" (evidence.call) }
                            pre { (self.text(&evidence.excerpt)) }
                        } }
                    } } }
                }
                @if !report.recommendations.is_empty() {
                    h3 { "Recommended" }
                    ol { @for advice in &report.recommendations { li.words { (self.text(advice)) } } }
                }
            }
        }
    }

    fn briefing(&self, briefing: &Briefing) -> Markup {
        html! {
            section {
                h2 { "Alert" }
                (self.alert(&briefing.alert))
                @if !briefing.related.is_empty() {
                    details {
                        summary { (briefing.related.len()) " more of the same incident" }
                        @for alert in &briefing.related { article { h3 { (self.text(&alert.title)) } (self.alert(alert)) } }
                    }
                }
                @if !briefing.history.is_empty() {
                    details {
                        summary { (briefing.history.len()) " past reports that resemble it" }
                        @for past in &briefing.history { article {
                            h3 { (past.incident) ": " (self.text(&past.title)) }
                            p.words { (time(past.ended_at)) ": " (self.text(&past.report.summary)) }
                        } }
                    }
                }
            }
        }
    }

    fn alert(&self, alert: &Alert) -> Markup {
        html! {
            @if !alert.description.is_empty() { p.words { (self.text(&alert.description)) } }
            p.labels { @for (name, value) in alert.labels.iter() { code { (self.pair(name, value)) } " " } }
            ul.annotations {
                @for (name, value) in alert.annotations.iter().filter(|(_, value)| *value != &alert.description) {
                    li.words { (self.pair(name, value)) }
                }
            }
        }
    }

    fn steps(&self) -> Markup {
        html! {
            section {
                h2 { "Steps" }
                @if self.progress.calls.is_empty() { p { "None." } }
                @for (number, step) in self.progress.calls.iter().enumerate() { (self.step(number as u32, step)) }
                @for entry in self.transcript {
                    @if let Event::BrainFailed { error } = &entry.event {
                        p.reason { (time(entry.at)) ": the brain failed: " (self.text(error)) }
                    }
                }
            }
        }
    }

    fn step(&self, number: u32, step: &CallProgress) -> Markup {
        html! {
            article.step id={ "call-" (number) } {
                h3 { "#" (number) " " (self.text(&step.call.tool)) }
                pre.command { (self.text(&step.call.words())) }
                @if !step.call.purpose.is_empty() { p.purpose { (self.text(&step.call.purpose)) } }
                @if let Some((verdict, reason)) = &step.verdict {
                    p {
                        span.tag.(verdict_class(*verdict)) { (verdict) }
                        @if let Some(rule) = self.rule_of(number) { " " code { (self.text(&rule.into())) } }
                        " " (self.text(reason))
                    }
                }
                @if let Some(asked) = &step.asked { (self.asked(asked)) }
                @if let Some(outcome) = &step.outcome { (self.outcome(outcome)) }
            }
        }
    }

    /// Of its last judgement.
    fn rule_of(&self, number: u32) -> Option<&str> {
        self.transcript.iter().rev().find_map(|entry| match &entry.event {
            Event::Judged { call, rule, .. } if *call == number => Some(rule.as_deref()),
            _ => None,
        })?
    }

    fn asked(&self, asked: &Asked) -> Markup {
        html! {
            div.asked {
                p { "A person was asked at " (time(asked.at)) ", until " (time(asked.expires_at)) ", whether this may run:" }
                pre.command { (self.text(&asked.question.what)) }
                p.hash { "hash " (asked.question.hash) }
                p { @match &asked.answer {
                    None => { "Nobody has answered yet." }
                    Some(Answer::Expired) => { "Nobody answered in time." }
                    Some(answer) => { (self.text(&answer.to_string().into())) "." }
                } }
            }
        }
    }

    fn outcome(&self, outcome: &Outcome) -> Markup {
        let output = self.text(&outcome.output);
        html! {
            details open[output.len() < 2000] {
                summary { (crate::render::ended(outcome)) " in " (outcome.duration.as_millis()) " ms"
                    @if outcome.truncated { ", the middle of the output left out" } }
                @if output.is_empty() { p { "No output." } } @else { pre { (output) } }
            }
        }
    }
}

fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "completed",
        Verdict::Ask => "waiting",
        Verdict::Block => "critical",
    }
}

fn trigger(trigger: &Trigger) -> &'static str {
    match trigger {
        Trigger::Automatic => "by its severity",
        Trigger::Requested => "on request",
    }
}

fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (at) } }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use watchkeeper_domain::{IncidentId, InvestigationId};

    use super::*;

    fn investigation(title: &str) -> Investigation {
        Investigation {
            id: InvestigationId(7),
            incident: IncidentId(3),
            state: State::Started,
            trigger: Trigger::Requested,
            title: title.into(),
            started_at: Timestamp::from_millis(0),
            ended_at: None,
            report: None,
            reason: None,
        }
    }

    #[test]
    fn the_policy_is_of_the_style_that_the_page_has() {
        let page = page(&investigation("disk full"), &[], &Redactor::default());
        let (_, style) = page.split_once("<style>").unwrap();
        let (style, _) = style.split_once("</style>").unwrap();
        let digest = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, style.as_bytes()));
        assert!(POLICY.contains(&format!("style-src 'sha256-{digest}'")), "{}", *POLICY);
        assert!(!page.contains("style="), "a style of its own is one that the policy forbids");
    }

    /// One that waits in the queue has no briefing, and no steps.
    #[test]
    fn a_page_of_what_has_only_begun_is_a_page() {
        let page = page(&investigation("</title><b>\u{202e}"), &[], &Redactor::default());
        assert!(page.contains("<h1>&lt;/title&gt;&lt;b&gt;\\u{202e}</h1>"), "{page}");
        assert!(page.contains("inv-7 of inc-3") && page.ends_with("</html>"), "{page}");
    }
}
