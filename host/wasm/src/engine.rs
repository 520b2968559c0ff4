//! The engine that all plugins share, its clock, and the folder of compiled code.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, OptLevel, WasmBacktraceDetails};

use crate::bindings::v0_1;
use crate::calls::Calls;
use crate::compiled;
use crate::guest::{self, Guest};
use crate::memory::{Memory, MemoryBounds};
use crate::places;
use crate::trust::Trust;

/// How often running guests are asked whether their time is over.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Guests' stacks. Rust's and Python's need well under half of it.
const STACK: usize = 1 << 20;

/// Fetches that wait for others at once, over all plugins: each holds a thread.
const FETCHES: usize = 64;

/// Names that are resolved at once, over all plugins: each holds a thread, for as long as its name server is silent.
const NAMES: usize = 64;

/// How nice the threads are that give way: what they take is what serving leaves.
const NICE: i32 = 10;

/// And the clock, which is late else where all cores compute. Only root may.
const PROMPT: i32 = -10;

/// Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    /// For guests that are called.
    called: Linked,
    /// For guests that hold a subscription: its calls are asynchronous, which costs all of them time.
    live: Linked,
    /// Where compiled code is kept; none compiles every time.
    pub(crate) cache: Option<Arc<PathBuf>>,
    pub(crate) fetches: Arc<Semaphore>,
    pub(crate) names: Arc<Semaphore>,
    pub(crate) calls: Calls,
    /// What all instances hold together.
    pub(crate) memory: Arc<Memory>,
    /// Which plugins are let in; all, unless told otherwise.
    pub(crate) trust: Arc<Trust>,
    /// What compiles; none: this process.
    pub(crate) compiler: Option<Arc<PathBuf>>,
}

/// An engine, and what its guests may import: the same for all, since what stands behind an import is each store's own.
#[derive(Clone)]
pub(crate) struct Linked {
    pub(crate) engine: Engine,
    pub(crate) linker: Arc<Linker<Guest>>,
}

/// One of the two; the compiler's process makes the same.
pub(crate) fn engine(live: bool) -> Result<Engine, String> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(live)
        .concurrency_support(live)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(STACK)
        // Where a trap was is said by what `places` knows. Debug information of a guest's own would be read here, in this process.
        .wasm_backtrace_max_frames(NonZeroUsize::new(places::FRAMES))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // What no toolchain of a plugin makes is nothing that the compiler has to get right.
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false);
    if live {
        // A guest's own stack, and the host's calls on it.
        config.async_stack_size(2 * STACK);
    }
    Engine::new(&config).map_err(|error| format!("no WebAssembly engine: {error:#}"))
}

impl Linked {
    fn new(live: bool) -> Result<Self, String> {
        let engine = engine(live)?;
        tick(&engine)?;
        let mut linker = Linker::new(&engine);
        let wasi = if live { guest::link_wasi_live } else { guest::link_wasi };
        wasi(&mut linker)
            .and_then(|()| v0_1::link(&mut linker))
            .map_err(|error| format!("the host can't link: {error:#}"))?;
        Ok(Self { engine, linker: Arc::new(linker) })
    }
}

impl Runtime {
    pub fn new(cache: Option<PathBuf>) -> Result<Self, String> {
        let (called, live) = (Linked::new(false)?, Linked::new(true)?);
        let (fetches, names) = (Arc::new(Semaphore::new(FETCHES)), Arc::new(Semaphore::new(NAMES)));
        Ok(Self {
            called,
            live,
            cache: cache.map(Arc::new),
            fetches,
            names,
            calls: Calls::default(),
            memory: Arc::new(Memory::new(MemoryBounds::default())),
            trust: Arc::default(),
            compiler: None,
        })
    }

    pub(crate) fn linked(&self, live: bool) -> &Linked {
        if live { &self.live } else { &self.called }
    }

    /// Removes compiled code, but that of the components with these digests.
    pub(crate) fn prune_code(&self, needed: &[String]) {
        let Some(cache) = &self.cache else { return };
        let file = |linked: &Linked, digest| compiled::file(&linked.engine, cache, digest);
        let files = needed.iter().flat_map(|digest| [file(&self.called, digest), file(&self.live, digest)]);
        compiled::prune(cache, &files.collect());
    }

    pub fn with_memory(mut self, bounds: MemoryBounds) -> Self {
        self.memory = Arc::new(Memory::new(bounds));
        self
    }

    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = Arc::new(trust);
        self
    }

    /// Compiles in processes of their own, of this program, whose `main` calls [`compiler::compiled`](crate::compiled).
    pub fn with_compiler(mut self, program: &Path) -> Self {
        self.compiler = Some(Arc::new(program.to_owned()));
        self
    }

    /// Ends the calls that are under way, and lets no other begin: before the process's own runtime goes, on which they wait.
    /// How many weren't over `within` this time.
    pub async fn end_calls(&self, within: Duration) -> usize {
        self.calls.end(within).await
    }
}

/// From here on this thread gives way to those that serve. Failing to costs them some of their time, and no more.
pub(crate) fn give_way() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}

/// From here on this thread runs where nobody else wants to. Niceness alone doesn't do: a nice thread that runs is let run to the
/// end of its slice, which is some milliseconds (Linux, SCHED_IDLE in sched(7)).
pub(crate) fn stand_back() {
    use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let own = thread_priority::thread_native_id();
    let _ = thread_priority::set_thread_priority_and_policy(own, ThreadPriority::Min, idle);
}

/// Runs `work`, which waits for others, on this thread, also where that is one of tokio's own.
pub(crate) fn waiting<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}

/// Runs `work` on threads that give way to those that serve, compiling included.
pub(crate) fn in_background<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static THREADS: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
    let threads = THREADS.get_or_init(|| {
        let pool = rayon::ThreadPoolBuilder::new()
            .thread_name(|_| "plugin-loader".into())
            .start_handler(|_| give_way());
        pool.build()
            .inspect_err(|error| tracing::warn!(%error, "no threads for loading in the background"))
            .ok()
    });
    match threads {
        Some(threads) => threads.install(work),
        None => work(),
    }
}

/// One clock an engine; it ends with the engine's last user.
fn tick(engine: &Engine) -> Result<(), String> {
    let weak = engine.weak();
    let clock = move || {
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), PROMPT);
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    let thread = std::thread::Builder::new().name("epoch".into()).spawn(clock);
    thread.map(drop).map_err(|error| format!("no thread for the epoch clock: {error}"))
}
