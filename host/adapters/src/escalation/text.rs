//! A notice as text, of bounded length and without control characters, for whichever channel wants it.

#![cfg_attr(not(feature = "smtp"), allow(dead_code, reason = "each channel uses a part"))]

use std::fmt::Write;

use watchkeeper_domain::escalation::{Notice, NoticeKind};

/// At most so many characters; what is cut ends in an ellipsis.
pub(super) fn short(text: &str, most: usize) -> String {
    let text = visible(text);
    if text.chars().count() <= most {
        return text;
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// As [`short`], on one line.
pub(super) fn line(text: &str, most: usize) -> String {
    short(&text.split_whitespace().collect::<Vec<_>>().join(" "), most)
}

/// Control characters, and those that turn the direction of what is read, would say something else on the other side.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

pub(super) fn headline(notice: &Notice, most: usize) -> String {
    match notice.kind {
        NoticeKind::Escalated => line(&format!("A human is needed: {}", notice.title), most),
        NoticeKind::Asked => line(&format!("Approval is needed: {}", notice.title), most),
        NoticeKind::Closed => line(&format!("Over: {}", notice.title), most),
    }
}

/// The whole of it, for people.
pub(super) fn plain(notice: &Notice) -> String {
    let mut text = String::new();
    let mut put = |name: &str, value: &str| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{name}: {}", short(value, 4000));
    };
    put("Incident", &notice.incident.to_string());
    put("Severity", notice.severity.as_str());
    put("Title", &notice.title);
    put("Reason", &notice.reason);
    put("At", &notice.escalated_at.to_string());
    put("Investigation", &notice.investigation.to_string());
    if let Some(approval) = &notice.approval {
        put("\nWould run", &approval.what);
        put("Approve", &format!("watchkeeper approve {}", approval.id));
        put("Deny", &format!("watchkeeper deny {} --reason …", approval.id));
        put("Until", &approval.expires_at.to_string());
    }
    let Some(report) = &notice.report else { return text };
    put("\nSummary", &report.summary);
    put("Root cause", report.root_cause.as_deref().unwrap_or("not found"));
    put("Confidence", &format!("{:.2}", report.confidence));
    report.findings.iter().take(20).for_each(|finding| put("Finding", &finding.statement));
    report.recommendations.iter().take(20).for_each(|advice| put("Recommended", advice));
    text
}
