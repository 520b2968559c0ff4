//! A notice as text, of bounded length and with nothing unseen in it, for whichever channel wants it.

#![cfg_attr(not(feature = "smtp"), allow(dead_code, reason = "each channel uses a part"))]

use std::fmt::Write;

use watchkeeper_domain::Untrusted;
use watchkeeper_domain::escalation::{Notice, NoticeKind};

/// At most so many characters; what is cut ends in an ellipsis.
pub(super) fn short(text: &Untrusted, most: usize) -> String {
    cut(text.visible(), most)
}

/// As [`short`], on one line.
pub(super) fn line(text: &Untrusted, most: usize) -> String {
    cut(text.line().split_whitespace().collect::<Vec<_>>().join(" "), most)
}

fn cut(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

pub(super) fn headline(notice: &Notice, most: usize) -> String {
    let title = line(&notice.title, most);
    let text = match notice.kind {
        NoticeKind::Escalated => format!("A human is needed: {title}"),
        NoticeKind::Asked => format!("Approval is needed: {title}"),
        NoticeKind::Closed => format!("Over: {title}"),
    };
    cut(text, most)
}

/// The whole of it, for people.
pub(super) fn plain(notice: &Notice) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let mut put = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {value}");
    };
    // Further lines are set in, so that none looks like one of ours.
    let shown = |value: &Untrusted| short(value, 4000).replace('\n', "\n    ");
    put("Incident", &notice.incident.to_string());
    put("Severity", notice.severity.as_str());
    put("Title", &shown(&notice.title));
    put("Reason", &shown(&notice.reason));
    put("At", &notice.escalated_at.to_string());
    put("Investigation", &notice.investigation.to_string());
    if let Some(approval) = &notice.approval {
        put("\nWould run", &shown(&approval.what));
        put("Approve", &format!("watchkeeper approve {}", approval.id));
        put("Deny", &format!("watchkeeper deny {} --reason …", approval.id));
        put("Until", &approval.expires_at.to_string());
    }
    let Some(report) = &notice.report else { return text };
    put("\nSummary", &shown(&report.summary));
    put("Root cause", &report.root_cause.as_ref().map_or("not found".into(), shown));
    put("Confidence", &format!("{:.2}", report.confidence));
    report.findings.iter().take(20).for_each(|finding| put("Finding", &shown(&finding.statement)));
    report.recommendations.iter().take(20).for_each(|advice| put("Recommended", &shown(advice)));
    text
}
