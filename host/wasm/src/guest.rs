//! What one instance has of the host: an empty WASI, its log, its limits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::Result;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::random::{insecure, random};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::ResolveAddressStream;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, Network};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use watchkeeper_domain::untrusted;

use crate::calls::Calls;
use crate::limits::Limiter;
use crate::live::Woken;
use crate::memory::Share;
use crate::outgoing::{self, Hooks, Outgoing};
use crate::sockets::{self, Dialing};
use crate::waits::{self, WaitedTooLong, Waits};

/// How much of what a guest prints is kept for the error of the call that failed.
const KEPT_OUTPUT: usize = 4 * 1024;

/// Lines that a plugin may log in a second; what is over is counted, and said once.
const LOG_LINES: u32 = 100;

/// And all its sources together.
const LOG_LINES_OF_PLUGIN: u32 = 1000;

/// The longest line.
const LOG_LINE: usize = 4 * 1024;

/// A resource table's bound: handles a guest may hold, each with what stands behind it. Toolchains hold some tens.
const HANDLES: usize = 1024;

/// And one that holds a subscription: its sockets are the host's files, of which a process may have a thousand.
const LIVE_HANDLES: usize = 128;

/// Bytes of headers behind one handle, with what holds them; and of an answer's.
pub(crate) const FIELDS: usize = 32 * 1024;

/// How many others a guest may wait for at once: no epoch ends what a longer list takes.
pub(crate) const MOST_WAITS: usize = 4096;

/// Random bytes that a guest may ask for at once: no epoch ends that. Toolchains ask for some tens.
const RANDOM: u64 = 256 * 1024;

/// The state of one store.
pub(crate) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) log: GuestLog,
    pub(crate) output: Output,
    http: WasiHttpCtx,
    pub(crate) hooks: Hooks,
    /// When the call that is under way began, and must be over.
    began: Instant,
    deadline: Instant,
    /// Of a plugin that failed lately.
    pub(crate) suspicion: Option<Suspicion>,
    /// How often the call met the engine's clock: what it computed, in ticks.
    pub(crate) ticks: u32,
    calls: Calls,
    /// Of a guest that holds a subscription.
    live: Option<Live>,
}

/// What is thought of a call of a plugin that failed lately.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Suspicion {
    /// How much it may compute before it stands back, in the engine's ticks.
    pub(crate) patience: u32,
    /// And before it is slowed down, if it ever is.
    pub(crate) slowed_after: Option<u32>,
}

struct Live {
    woken: Arc<Woken>,
    dialing: Arc<Dialing>,
    /// How long it may compute between two waits.
    slice: Duration,
}

/// What stands behind an instance's imports, besides an empty WASI.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    /// Plugin and source, for the log.
    pub(crate) who: Arc<str>,
    /// Bytes.
    pub(crate) memory: usize,
    pub(crate) outgoing: Arc<Outgoing>,
    /// A clock that stands still, for `plugin test`: time since the Unix epoch.
    pub(crate) now: Option<Duration>,
    /// It holds a subscription, and may compute for so long between two waits.
    pub(crate) live: Option<Duration>,
    pub(crate) calls: Calls,
    pub(crate) log: Arc<LogRate>,
    /// Of the plugin's sources together.
    pub(crate) log_of_plugin: Arc<LogRate>,
}

struct Still(Duration);

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl Guest {
    pub(crate) fn new(around: &Surroundings, share: Share) -> Self {
        let output = Output::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(if around.live.is_some() { LIVE_HANDLES } else { HANDLES });
        let mut wasi = WasiCtx::builder();
        wasi.stdout(output.clone()).stderr(output.clone()).allow_tcp(false).allow_udp(false);
        wasi.max_random_size(RANDOM);
        if let Some(now) = around.now {
            wasi.wall_clock(Still(now));
        }
        let live = around.live.map(|slice| {
            let dialing = Arc::new(Dialing::new(around.outgoing.clone()));
            let check = dialing.clone();
            wasi.allow_tcp(true).socket_addr_check(move |address, usage| {
                let permitted = check.permits(address, usage);
                Box::pin(async move { permitted })
            });
            Live { woken: Arc::default(), dialing, slice }
        });
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS);
        let hooks = Hooks::new(around.outgoing.clone(), share.room().clone());
        let limiter = Limiter::new(around.memory, share);
        Self {
            wasi: wasi.build(),
            table,
            limiter,
            log: GuestLog {
                who: around.who.clone(),
                rate: around.log.clone(),
                of_plugin: around.log_of_plugin.clone(),
            },
            output,
            http,
            hooks,
            began: Instant::now(),
            deadline: Instant::now(),
            suspicion: None,
            ticks: 0,
            calls: around.calls.clone(),
            live,
        }
    }

    pub(crate) fn begin(&mut self, now: Instant, limit: Duration, suspicion: Option<Suspicion>) {
        (self.began, self.deadline) = (now, now + limit);
        (self.suspicion, self.ticks) = (suspicion, 0);
        self.limiter.begin();
        self.hooks.begin(self.deadline);
    }

    /// How long the call has been under way, and what is left of its time; of a guest that holds a subscription, since it was
    /// woken.
    pub(crate) fn times(&self) -> (Duration, Duration) {
        let now = Instant::now();
        let began = self.live.as_ref().map_or(self.began, |live| live.woken.at());
        (now.saturating_duration_since(began), self.deadline().saturating_duration_since(now))
    }

    /// When the last call began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// When it must be over.
    pub(crate) fn deadline(&self) -> Instant {
        self.live.as_ref().map_or(self.deadline, |live| live.woken.at() + live.slice)
    }

    /// For what a guest may call with as much as it likes: past its deadline, it is ended there. Between two such calls in a row there
    /// need be nothing that meets an epoch.
    pub(crate) fn in_time(&mut self) -> Result<&mut Self> {
        if Instant::now() >= self.deadline() { Err(WaitedTooLong.into()) } else { Ok(self) }
    }

    /// As [`Guest::in_time`], for so many bytes that the host keeps.
    pub(crate) fn takes(&mut self, bytes: usize) -> Result<&mut Self> {
        if let Err(full) = self.in_time()?.hooks.take(bytes) {
            self.limiter.full = Some((full.clone(), 0));
            return Err(full.into());
        }
        Ok(self)
    }

    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// The host stops, and with it every call.
    pub(crate) fn is_to_end(&self) -> bool {
        self.calls.are_ending()
    }

    /// `wasi:io` for the call that is under way.
    pub(crate) fn waits(&mut self) -> Waits<'_> {
        Waits { table: &mut self.table, deadline: self.deadline, calls: &self.calls }
    }

    pub(crate) fn woken(&self) -> Arc<Woken> {
        self.live.as_ref().map(|live| live.woken.clone()).unwrap_or_default()
    }

    pub(crate) fn dialing(&self) -> Option<Arc<Dialing>> {
        self.live.as_ref().map(|live| live.dialing.clone())
    }

    /// What the host refused it in the call that ended, in words for the operator.
    pub(crate) fn denied(&self) -> Vec<String> {
        match &self.live {
            Some(live) => live.dialing.take_denied(),
            None => self.hooks.denied(),
        }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// WASI with nothing behind it: clocks and random numbers are real, files, environment and sockets are empty; HTTP goes
/// through [`Hooks`]. Every toolchain's runtime links against it; waiting is bounded by the call's deadline.
pub(crate) fn link_wasi(linker: &mut Linker<Guest>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    outgoing::link(linker)?;
    link_in_time(linker)?;
    waits::link(linker)
}

/// What else a guest may make last: long names, many bytes.
fn link_in_time(linker: &mut Linker<Guest>) -> Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:random/random@0.2.12")?.func_wrap(
        "get-random-bytes",
        |mut guest, (length,): (u64,)| {
            Ok((random::Host::get_random_bytes(guest.data_mut().in_time()?.wasi.random(), length)?,))
        },
    )?;
    linker.instance("wasi:random/insecure@0.2.12")?.func_wrap(
        "get-insecure-random-bytes",
        |mut guest, (length,): (u64,)| {
            let random = guest.data_mut().in_time()?.wasi.random();
            Ok((insecure::Host::get_insecure_random_bytes(random, length)?,))
        },
    )?;
    // No name leads anywhere.
    type Resolved = std::result::Result<Resource<ResolveAddressStream>, ErrorCode>;
    linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?.func_wrap(
        "resolve-addresses",
        |mut guest, (_, _): (Resource<Network>, String)| {
            guest.data_mut().in_time()?;
            Ok((Resolved::Err(ErrorCode::PermanentResolverFailure),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The same for guests that hold a subscription: in both versions of WASI, asynchronously, with sockets and without HTTP.
pub(crate) fn link_wasi_live(linker: &mut Linker<Guest>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    linker.allow_shadowing(true);
    sockets::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The last of what a guest printed: a panic's message is there and nowhere else.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<VecDeque<u8>>>);

impl Output {
    /// What was printed since the last time, as text.
    pub(crate) fn take(&self) -> String {
        let mut kept = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let bytes: Vec<u8> = kept.drain(..).collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let bytes = &bytes[bytes.len().saturating_sub(KEPT_OUTPUT)..];
        let over = (kept.len() + bytes.len()).saturating_sub(KEPT_OUTPUT);
        kept.drain(..over);
        kept.extend(bytes);
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(KEPT_OUTPUT)
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

/// A plugin's lines in the host's log.
pub(crate) struct GuestLog {
    who: Arc<str>,
    rate: Arc<LogRate>,
    of_plugin: Arc<LogRate>,
}

/// The lines of all instances of a plugin in one source: one that fails on each call has a new instance for each.
#[derive(Default)]
pub(crate) struct LogRate(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    since: Option<Instant>,
    count: u32,
}

impl LogRate {
    /// Whether one more may be written, and how many weren't in the second that is over.
    fn admit(&self, most: u32) -> (bool, u32) {
        let mut lines = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut left_out = 0;
        if lines.since.is_none_or(|since| since.elapsed() >= Duration::from_secs(1)) {
            left_out = lines.count.saturating_sub(most);
            *lines = Lines { since: Some(Instant::now()), count: 0 };
        }
        lines.count = lines.count.saturating_add(1);
        (lines.count <= most, left_out)
    }
}

impl GuestLog {
    pub(crate) fn write(&mut self, level: tracing::Level, message: &str) {
        let (admitted, left_out) = self.rate.admit(LOG_LINES);
        if left_out > 0 {
            tracing::warn!(target: "plugin", plugin = &*self.who, left_out, "logs too much");
        }
        if !admitted {
            return;
        }
        let (admitted, left_out) = self.of_plugin.admit(LOG_LINES_OF_PLUGIN);
        if left_out > 0 {
            tracing::warn!(target: "plugin", plugin = &*self.who, left_out, "its plugin logs too much in all its sources together");
        }
        if !admitted {
            return;
        }
        let end = message.floor_char_boundary(LOG_LINE);
        // On one line: what it writes is no other line of the log.
        let (plugin, message) = (&*self.who, untrusted::line(&message[..end]));
        match level {
            tracing::Level::TRACE => tracing::trace!(target: "plugin", plugin, "{message}"),
            tracing::Level::DEBUG => tracing::debug!(target: "plugin", plugin, "{message}"),
            tracing::Level::INFO => tracing::info!(target: "plugin", plugin, "{message}"),
            tracing::Level::WARN => tracing::warn!(target: "plugin", plugin, "{message}"),
            tracing::Level::ERROR => tracing::error!(target: "plugin", plugin, "{message}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use wasmtime::Store;
    use wasmtime::component::Component;

    use super::*;
    use crate::bindings::v0_1;
    use crate::engine::engine;

    /// As no toolchain makes it: its calls go to the host directly, and between two of them no function begins.
    fn talkative() -> Vec<u8> {
        let says = "(call $log (i32.const 0) (i32.const 0) (i32.const 15728640))".repeat(3000);
        let text = format!(
            r#"(component
              (import "watchkeeper:plugin/logging@0.1.0" (instance $logging
                (type $l (enum "trace" "debug" "info" "warn" "error"))
                (export "level" (type $level (eq $l)))
                (export "log" (func (param "level" $level) (param "message" string)))))
              (core module $memory (memory (export "memory") 256))
              (core instance $m (instantiate $memory))
              (core func $log (canon lower (func $logging "log") (memory $m "memory")))
              (core module $main (import "host" "log" (func $log (param i32 i32 i32))) (func (export "run") {says}))
              (core instance $i (instantiate $main (with "host" (instance (export "log" (func $log))))))
              (func (export "run") (canon lift (core func $i "run"))))"#
        );
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn a_row_of_calls_without_a_loop_ends_with_the_deadline() {
        let engine = engine(false).unwrap();
        let mut linker = Linker::new(&engine);
        link_wasi(&mut linker).unwrap();
        v0_1::link(&mut linker).unwrap();
        let component = Component::new(&engine, talkative()).unwrap();
        let around = Surroundings { memory: 64 << 20, ..Surroundings::default() };
        let mut store = Store::new(&engine, Guest::new(&around, Share::default()));
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(16 << 20);
        store.set_epoch_deadline(1);
        let instance = linker.instantiate(&mut store, &component).unwrap();
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        let began = Instant::now();
        store.data_mut().begin(began, Duration::from_millis(50), None);
        let error = run.call(&mut store, ()).unwrap_err();
        assert!(error.is::<WaitedTooLong>(), "{error:#}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[test]
    fn the_last_of_the_output_is_kept() {
        let output = Output::default();
        output.push(&[b'a'; KEPT_OUTPUT]);
        output.push(b"the end");
        let text = output.take();
        assert_eq!(text.len(), KEPT_OUTPUT);
        assert!(text.ends_with("athe end"));
        assert_eq!(output.take(), "");
    }

    #[test]
    fn a_log_flood_is_cut_off() {
        let around = Surroundings::default();
        let instance = || Guest::new(&around, Share::default()).log.rate;
        let admitted = (0..1_000).filter(|_| instance().admit(LOG_LINES).0).count();
        assert_eq!(admitted, LOG_LINES as usize, "of whichever instance they are");
    }
}
