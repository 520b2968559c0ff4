//! Escalation to the host's own log: the channel that is always there.

use async_trait::async_trait;
use watchkeeper_domain::escalation::{Channel, ChannelError, Notice, NoticeKind};

/// Writes a notice as one warning.
pub struct LogChannel {
    name: String,
}

impl LogChannel {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

#[async_trait]
impl Channel for LogChannel {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), ChannelError> {
        match notice.kind {
            NoticeKind::Escalated => tracing::warn!(
                incident = %notice.incident,
                investigation = %notice.investigation,
                severity = %notice.severity,
                reason = notice.reason.line(),
                summary = notice.report.as_ref().map(|report| report.summary.line()),
                "a human is needed: {}",
                notice.title.line(),
            ),
            NoticeKind::Asked => tracing::warn!(
                incident = %notice.incident,
                approval = notice.approval.as_ref().map(|approval| approval.id.as_str()),
                what = notice.approval.as_ref().map(|approval| approval.what.line()),
                reason = notice.reason.line(),
                "approval is needed: {}",
                notice.title.line(),
            ),
            NoticeKind::Closed => tracing::info!(
                incident = %notice.incident,
                "an incident that a human was called for is over: {}",
                notice.title.line(),
            ),
        }
        Ok(())
    }
}
