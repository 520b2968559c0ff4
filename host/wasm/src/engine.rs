//! The engine that all plugins share, its clock, and the folder of compiled code.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Config, Engine, OptLevel};

use crate::trust::Trust;

/// How often running guests are asked whether their time is over.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Guests' stacks. Rust's and Python's need well under half of it.
const STACK: usize = 1 << 20;

/// Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) engine: Engine,
    /// Where compiled code is kept; none compiles every time.
    pub(crate) cache: Option<Arc<PathBuf>>,
    /// Which plugins are let in; all, unless told otherwise.
    pub(crate) trust: Arc<Trust>,
}

impl Runtime {
    pub fn new(cache: Option<PathBuf>) -> Result<Self, String> {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .epoch_interruption(true)
            .cranelift_opt_level(OptLevel::Speed)
            .max_wasm_stack(STACK);
        let engine = Engine::new(&config).map_err(|error| format!("no WebAssembly engine: {error:#}"))?;
        tick(&engine)?;
        Ok(Self { engine, cache: cache.map(Arc::new), trust: Arc::default() })
    }

    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = Arc::new(trust);
        self
    }
}

/// One clock a process; it ends with the engine's last user.
fn tick(engine: &Engine) -> Result<(), String> {
    let weak = engine.weak();
    let clock = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    let thread = std::thread::Builder::new().name("epoch".into()).spawn(clock);
    thread.map(drop).map_err(|error| format!("no thread for the epoch clock: {error}"))
}

/// Ticks after which a call that may take `limit` is surely over it.
pub(crate) fn ticks(limit: Duration) -> u64 {
    (limit.as_millis() / TICK.as_millis()) as u64 + 2
}
