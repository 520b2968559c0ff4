//! What an investigation acts with. The only door to it is a call that the gate has approved.

use async_trait::async_trait;

use crate::gate::ApprovedCall;
use crate::investigation::{Outcome, ToolDescription};

/// Contract: does exactly what the [`ApprovedCall`] holds, within its own deadline and output cap, and leaves nothing
/// running behind. It never fails: what goes wrong is an [`Outcome`] that a brain can read.
#[async_trait]
pub trait Tool: Send + Sync {
    fn describe(&self) -> ToolDescription;

    async fn run(&self, call: ApprovedCall) -> Outcome;
}
