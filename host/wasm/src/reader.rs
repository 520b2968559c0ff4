//! A plugin bound to a source: configured with its keys, read through by the pipeline.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use watchkeeper_domain::alert::RawAlert;
use watchkeeper_domain::plugin::{Batch, Feed, Payload, ReadError, Reader, Reading};

use crate::bindings::v0_1::{self, PluginError};
use crate::limits::Limits;
use crate::loader::{Interface, Plugin};
use crate::pool::{CallError, Instance, Pool};

/// What a source's file says that concerns its plugin.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    pub name: String,
    /// The plugin's own keys, as a JSON object.
    pub config: String,
    pub limits: Limits,
}

/// Why a source can't be had. The source is disabled; others don't notice.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BindError {
    /// The operator mends the file: this key, if the plugin says which.
    #[error("{reason}")]
    InvalidConfig { key: Option<String>, reason: String },
    #[error("{0}")]
    Failed(String),
}

impl From<CallError> for BindError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Plugin { error: PluginError::InvalidConfig { key, reason }, .. } => {
                BindError::InvalidConfig { key, reason }
            }
            error => BindError::Failed(error.to_string()),
        }
    }
}

/// Reads through whichever generation of its plugin is the current one: a swap is one pointer.
pub(crate) struct PluginReader {
    pool: ArcSwap<Pool>,
}

/// Configures `plugin` for a source.
pub(crate) fn bind(plugin: Arc<Plugin>, spec: SourceSpec) -> Result<(Feed, Arc<PluginReader>), BindError> {
    for needed in [Interface::Source, Interface::Parser] {
        if !plugin.has(needed) {
            let has: Vec<_> = plugin.interfaces.iter().map(|(interface, _)| interface.as_str()).collect();
            let reason = format!("plugin {} exports no {needed}, only {}", plugin.name, has.join(", "));
            return Err(BindError::Failed(reason));
        }
    }
    let (pool, feed) = Pool::configured(&spec.name, plugin, spec.limits, spec.config)?;
    Ok((feed, Arc::new(PluginReader { pool: ArcSwap::from_pointee(pool) })))
}

#[async_trait]
impl Reader for PluginReader {
    async fn read(&self, payload: &Arc<Payload>) -> Result<Reading, ReadError> {
        let pool = Pool::clone(&self.pool.load());
        let payload = v0_1::payload(payload);
        let reading = pool.call(move |instance| read(instance, &payload)).await?;
        bounded(&pool, reading).map_err(ReadError::from)
    }

    async fn fetch(&self, cursor: Option<&str>) -> Result<Batch, ReadError> {
        let pool = Pool::clone(&self.pool.load());
        let cursor = cursor.map(str::to_owned);
        let fetch =
            move |instance: &mut Instance| instance.functions.fetch(&mut instance.store, cursor.as_deref());
        let batch = pool.call(fetch).await?;
        within_limit(&pool, &batch.alerts)?;
        Ok(batch)
    }

    async fn check(&self) -> Result<(), ReadError> {
        let pool = Pool::clone(&self.pool.load());
        Ok(pool.call(|instance| instance.functions.check(&mut instance.store)).await?)
    }
}

impl PluginReader {
    /// As `read`, on this thread.
    pub(crate) fn read_here(&self, payload: &Payload) -> Result<Reading, ReadError> {
        let pool = self.pool.load();
        let payload = v0_1::payload(payload);
        let reading = pool.call_here(|instance| read(instance, &payload))?;
        bounded(&pool, reading).map_err(ReadError::from)
    }
}

fn read(
    instance: &mut Instance,
    payload: &v0_1::WitPayload,
) -> wasmtime::Result<Result<Reading, PluginError>> {
    let Instance { store, functions, .. } = instance;
    match functions.respond(store, payload)? {
        Ok(None) => {}
        Ok(Some(reply)) => return Ok(Ok(Reading::Reply(reply))),
        Err(error) => return Ok(Err(error)),
    }
    let alerts = functions.parse(store, payload)?;
    Ok(alerts.map(|alerts| Reading::Alerts(v0_1::raw_alerts(alerts))))
}

fn bounded(pool: &Pool, reading: Reading) -> Result<Reading, CallError> {
    if let Reading::Alerts(alerts) = &reading {
        within_limit(pool, alerts)?;
    }
    Ok(reading)
}

fn within_limit(pool: &Pool, alerts: &[RawAlert]) -> Result<(), CallError> {
    match (alerts.len(), pool.limits().alerts) {
        (count, max) if count > max => {
            Err(pool.failed(format!("it returned {count} alerts, over its limit of {max} (limits.alerts)")))
        }
        _ => Ok(()),
    }
}
