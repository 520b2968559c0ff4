//! Escalation to the host's own log: the channel that is always there.

use async_trait::async_trait;
use watchkeeper_domain::escalation::{Channel, ChannelError, Notice};

/// Writes a notice as one warning.
pub struct LogChannel;

#[async_trait]
impl Channel for LogChannel {
    fn name(&self) -> &str {
        "log"
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), ChannelError> {
        tracing::warn!(
            incident = %notice.incident,
            investigation = %notice.investigation,
            severity = %notice.severity,
            reason = %notice.reason,
            summary = notice.report.as_ref().map(|report| report.summary.as_str()),
            "a human is needed: {}",
            notice.title,
        );
        Ok(())
    }
}
