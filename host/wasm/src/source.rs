//! What a source's file says that concerns its plugin.

use std::sync::Arc;
use std::time::Duration;

use watchkeeper_domain::plugin::Feed;

use crate::asks::HostRule;
use crate::limits::Limits;
use crate::outgoing::{HttpMock, Secrets};

#[derive(Clone, Debug, Default)]
pub struct SourceSpec {
    pub name: String,
    /// The plugin's own keys, as a JSON object; secrets are placeholders.
    pub config: String,
    /// How a transport of the host's own feeds it; none: as the plugin's `configure` says.
    pub feed: Option<Feed>,
    pub limits: Limits,
    /// Where the plugin may send requests to, if it asks for it, too.
    pub allow_hosts: Vec<HostRule>,
    pub secrets: Secrets,
    /// The plugin sees secrets in plain text; to be shown.
    pub reveals_secrets: bool,
    /// Answers instead of the network; for `plugin test`.
    pub mock: Option<Arc<dyn HttpMock>>,
    /// A clock that stands still, as time since the Unix epoch; for `plugin test`.
    pub now: Option<Duration>,
}
