//! `watchkeeper:experimental/live-source@0.1`: the functions of an instance that holds a subscription of its own.
//!
//! Its engine runs everything asynchronously, so `source.configure` is called from here, too, with the contract's own types.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use wasmtime::component::{
    ComponentNamedList, Instance, Lift, Lower, Source, StreamConsumer, StreamReader, StreamResult, TypedFunc,
};
use wasmtime::{Result, Store, StoreContextMut};
use watchkeeper_domain::plugin::{Feed, ReadError, Sink};

use super::v0_1::{self, Answer, PluginError, WitAlert, WitError, WitFeed};
use crate::calls::HostStops;
use crate::guest::Guest;
use crate::live::{drive, drive_within_share};
use crate::waits::WaitedTooLong;

/// The WIT package, without its version.
pub(crate) const PACKAGE: &str = "watchkeeper:experimental";

/// Alerts that are taken at once: one commit.
const AT_ONCE: usize = 100;

type Configure = TypedFunc<(String,), (std::result::Result<WitFeed, WitError>,)>;
type Subscribe = TypedFunc<(), (std::result::Result<StreamReader<WitAlert>, WitError>,)>;

pub(crate) struct Live {
    configure: Configure,
    subscribe: Subscribe,
}

impl Live {
    /// The functions of an instance. Fails where their types aren't the interface's.
    pub(crate) fn load(store: &mut Store<Guest>, instance: &Instance) -> Result<Self> {
        let configure = function(store, instance, &format!("{}/source", v0_1::PACKAGE), "configure")?;
        let subscribe = function(store, instance, &format!("{PACKAGE}/live-source"), "subscribe")?;
        Ok(Self { configure, subscribe })
    }

    pub(crate) fn configure(&self, store: &mut Store<Guest>, config: &str) -> Answer<Feed> {
        let (woken, limit) = (store.data().woken(), store.data().times().1);
        let configured = drive(&woken, async {
            let call = self.configure.call_async(store, (config.to_owned(),));
            within(limit, call).await
        });
        Ok(configured?.0.map(v0_1::feed).map_err(PluginError::from))
    }

    /// Subscribes within `limit`, and hands on what comes, until the guest ends it, `until` is dropped or the host stops.
    pub(crate) fn subscribe(
        &self,
        store: &mut Store<Guest>,
        limit: Duration,
        sink: Arc<dyn Sink>,
        until: oneshot::Receiver<()>,
        slowed: impl FnOnce(),
    ) -> Answer<()> {
        let (woken, calls) = (store.data().woken(), store.data().calls().clone());
        let subscribed = store.run_concurrent(async |store| {
            let stream = match within(limit, self.subscribe.call_concurrent(store, ())).await? {
                (Ok(stream),) => stream,
                (Err(error),) => return Ok(Err(error.into())),
            };
            let (over, ended) = oneshot::channel();
            store.with(|store| stream.pipe(store, Taker { sink, keeping: None, over: Some(over) }))?;
            Ok(match ended.await {
                Ok(why) => Err(PluginError::Read(ReadError::Unavailable {
                    reason: why.into(),
                    retry_after_ms: None,
                })),
                // The guest let go of it.
                Err(_) => Ok(()),
            })
        });
        let held = async {
            tokio::select! {
                biased;
                _ = until => Ok(Ok(())),
                () = calls.ending() => Err(HostStops.into()),
                ended = subscribed => ended?,
            }
        };
        drive_within_share(&woken, held, slowed)
    }
}

/// `interface` without its version.
fn function<P, R>(
    store: &mut Store<Guest>,
    instance: &Instance,
    interface: &str,
    name: &str,
) -> Result<TypedFunc<P, R>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let versioned = format!("{interface}@0.1.0");
    let missing = || wasmtime::format_err!("the component doesn't export {versioned} with {name}");
    let interface = instance.get_export_index(&mut *store, None, &versioned).ok_or_else(missing)?;
    let index = instance.get_export_index(&mut *store, Some(&interface), name).ok_or_else(missing)?;
    instance.get_typed_func(store, index).map_err(|error| error.context(format!("{versioned}, {name}")))
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(WaitedTooLong.into()))
}

type Keeping = dyn Future<Output = std::result::Result<(), String>> + Send;

/// Takes alerts from the guest as fast as they are kept, and no faster.
struct Taker {
    sink: Arc<dyn Sink>,
    /// Alerts that are on their way to the store. The guest's write is complete once they are there.
    keeping: Option<Pin<Box<Keeping>>>,
    /// Told why the host ends the stream; dropped with it where the guest does.
    over: Option<oneshot::Sender<String>>,
}

impl Taker {
    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<StreamResult> {
        let Some(keeping) = &mut self.keeping else { return Poll::Ready(StreamResult::Completed) };
        let kept = ready!(keeping.as_mut().poll(cx));
        self.keeping = None;
        Poll::Ready(match kept {
            Ok(()) => StreamResult::Completed,
            Err(why) => {
                if let Some(over) = self.over.take() {
                    // Nobody listens where the subscription is being ended anyhow.
                    let _ = over.send(why);
                }
                StreamResult::Dropped
            }
        })
    }
}

impl StreamConsumer<Guest> for Taker {
    type Item = WitAlert;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<Guest>,
        mut source: Source<'_, WitAlert>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        if self.keeping.is_some() {
            return self.poll_kept(cx).map(Ok);
        }
        if finish {
            return Poll::Ready(Ok(StreamResult::Cancelled));
        }
        let mut alerts = Vec::with_capacity(AT_ONCE.min(source.remaining(&mut store)));
        source.read(&mut store, &mut alerts)?;
        if alerts.is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let sink = self.sink.clone();
        let alerts = v0_1::raw_alerts(alerts);
        self.keeping = Some(Box::pin(async move { sink.keep(alerts).await }));
        self.poll_kept(cx).map(Ok)
    }
}
