//! A source's plugin as the pipeline sees it: whichever version is in service.

use std::sync::Arc;

use async_trait::async_trait;
use watchkeeper_domain::plugin::{Batch, Payload, ReadError, Reader, Reading, Sink};

use crate::bindings::v0_1::{self, PluginError};
use crate::live::Counted;
use crate::pool::{CallError, Instance, Pool, Time};
use crate::service::{Generation, Recent, Remembered, Slot};

pub(crate) struct PluginReader {
    pub(crate) slot: Arc<Slot>,
    pub(crate) source: String,
    pub(crate) recent: Arc<Recent>,
    /// How much for the next version.
    pub(crate) remembered: Remembered,
}

impl PluginReader {
    fn pool(&self) -> impl Fn(&Generation) -> Option<Pool> {
        |generation| Some(generation.bound(&self.source)?.pool.clone())
    }

    /// As `read`, on this thread.
    pub(crate) fn read_here(&self, payload: &Payload) -> Result<Reading, ReadError> {
        let live = self.slot.live().ok_or_else(|| self.slot.unloaded())?;
        let pool = self.pool()(&live).ok_or_else(|| self.slot.unloaded())?;
        let most = pool.limits().alerts;
        let payload = v0_1::payload(payload);
        Ok(pool.call_here(Time::Call, |instance| read(instance, &payload, most))?)
    }

    /// As `fetch`, on this thread.
    pub(crate) fn fetch_here(&self, cursor: Option<&str>) -> Result<Batch, ReadError> {
        let live = self.slot.live().ok_or_else(|| self.slot.unloaded())?;
        let pool = self.pool()(&live).ok_or_else(|| self.slot.unloaded())?;
        let most = pool.limits().alerts;
        Ok(pool.call_here(Time::Fetch, |instance| fetch(instance, cursor, most))?)
    }
}

#[async_trait]
impl Reader for PluginReader {
    async fn read(&self, payload: &Arc<Payload>) -> Result<Reading, ReadError> {
        let given = payload.clone();
        let reading = self.slot.call(self.pool(), Time::Call, move |instance| {
            let most = instance.most_alerts;
            read(instance, &v0_1::payload(&given), most)
        });
        let reading = reading.await?;
        self.recent.push(payload, &self.remembered);
        Ok(reading)
    }

    async fn fetch(&self, cursor: Option<&str>) -> Result<Batch, ReadError> {
        let cursor = cursor.map(str::to_owned);
        let fetched = self.slot.call(self.pool(), Time::Fetch, move |instance| {
            let most = instance.most_alerts;
            fetch(instance, cursor.as_deref(), most)
        });
        Ok(fetched.await?)
    }

    /// Begins again at once with a version that comes into service meanwhile.
    async fn subscribe(&self, sink: Arc<dyn Sink>) -> Result<(), ReadError> {
        loop {
            let live = self.slot.live().ok_or_else(|| self.slot.unloaded())?;
            let pool = self.pool()(&live).ok_or_else(|| self.slot.unloaded())?;
            let sink = Arc::new(Counted { sink: sink.clone(), slot: self.slot.clone(), live: live.clone() });
            let ended = tokio::select! {
                ended = pool.subscribe(sink) => ended,
                () = self.slot.replaced(&live) => continue,
            };
            if let Err(error @ CallError::Failed { .. }) = &ended {
                self.slot.failed(&live, error);
            }
            return Ok(ended?);
        }
    }

    fn version(&self) -> Option<String> {
        Some(self.slot.live()?.plugin.version.clone())
    }

    async fn check(&self) -> Result<(), ReadError> {
        let checked = self.slot.call(self.pool(), Time::Fetch, |instance: &mut Instance| {
            instance.functions.check(&mut instance.store)
        });
        Ok(checked.await?)
    }
}

impl From<CallError> for ReadError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Plugin { error: PluginError::Read(error), .. } => error,
            CallError::Busy { .. } | CallError::HostStops { .. } => {
                ReadError::Unavailable { reason: error.to_string().into(), retry_after_ms: Some(1000) }
            }
            CallError::Failed { .. } | CallError::Plugin { .. } => {
                ReadError::Failed(error.to_string().into())
            }
            CallError::Quarantined { .. } => ReadError::NotAsked(error.to_string().into()),
        }
    }
}

/// More alerts than a source's limit.
#[derive(Debug, thiserror::Error)]
#[error("it returned {count} alerts, over its limit of {most} (limits.alerts)")]
pub(crate) struct TooManyAlerts {
    count: usize,
    most: usize,
}

fn bounded(count: usize, most: usize) -> wasmtime::Result<()> {
    if count > most { Err(TooManyAlerts { count, most }.into()) } else { Ok(()) }
}

pub(crate) fn read(
    instance: &mut Instance,
    payload: &v0_1::WitPayload,
    most: usize,
) -> wasmtime::Result<Result<Reading, PluginError>> {
    let Instance { store, functions, .. } = instance;
    match functions.respond(store, payload)? {
        Ok(None) => {}
        Ok(Some(reply)) => return Ok(Ok(Reading::Reply(reply))),
        Err(error) => return Ok(Err(error)),
    }
    match functions.parse(store, payload)? {
        Ok(alerts) => {
            bounded(alerts.len(), most)?;
            Ok(Ok(Reading::Alerts(v0_1::raw_alerts(alerts))))
        }
        Err(error) => Ok(Err(error)),
    }
}

fn fetch(
    instance: &mut Instance,
    cursor: Option<&str>,
    most: usize,
) -> wasmtime::Result<Result<Batch, PluginError>> {
    let batch = instance.functions.fetch(&mut instance.store, cursor)?;
    if let Ok(batch) = &batch {
        bounded(batch.alerts.len(), most)?;
    }
    Ok(batch)
}
