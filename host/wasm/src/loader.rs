//! A file becomes a plugin, or is refused with the reason and the remedy.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component, InstancePre};
use wasmtime::{Store, Trap};
use watchkeeper_domain::untrusted::line;

use crate::asks::{self, Asks};
use crate::bindings::live;
use crate::bindings::v0_1::{self, Exports, Functions};
use crate::calls::Calls;
use crate::compiled;
use crate::compiler::{self, Failed};
use crate::engine::{Linked, Runtime, TICK, waiting};
use crate::file;
use crate::guest::{Guest, LogRate, Surroundings};
use crate::limits::{Limits, bound_live};
use crate::live::{drive, is_exported_by};
use crate::memory::Room;
use crate::places::{Places, nameless, words};
use crate::record::Steps;
use crate::shapes;
use crate::trust::{Trust, Vouched};
use crate::waits::WaitedTooLong;
use crate::weight;

/// What is told of why a file is refused.
const MAX_REASON: usize = 4 << 10;

/// A larger file is no plugin that was meant: the largest known, a whole Python, has 18 MB.
const MAX_FILE: u64 = 128 << 20;

/// An interface of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interface {
    Source,
    Parser,
    Responder,
    Poller,
    Health,
    PromptBuilder,
    Playbook,
    /// Of the package `watchkeeper:experimental`.
    LiveSource,
}

impl Interface {
    const ALL: [Interface; 8] = [
        Interface::Source,
        Interface::Parser,
        Interface::Responder,
        Interface::Poller,
        Interface::Health,
        Interface::PromptBuilder,
        Interface::Playbook,
        Interface::LiveSource,
    ];

    /// The WIT package that it is of, without its version.
    fn package(self) -> &'static str {
        if self == Interface::LiveSource { live::PACKAGE } else { v0_1::PACKAGE }
    }

    /// As `wit/` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Interface::Source => "source",
            Interface::Parser => "parser",
            Interface::Responder => "responder",
            Interface::Poller => "poller",
            Interface::Health => "health",
            Interface::PromptBuilder => "prompt-builder",
            Interface::Playbook => "playbook",
            Interface::LiveSource => "live-source",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a file is no plugin. Reads as a sentence behind the file's name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{file}: {reason}", file = line(&path.to_string_lossy()))]
pub struct Refusal {
    pub path: PathBuf,
    pub reason: String,
}

/// What lies in the folder under a plugin's name, read once.
pub(crate) struct Candidate {
    /// The file's stem: what `type` in a source's file names.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Where it was read from: `path`, or a copy that is kept.
    lies_at: PathBuf,
    bytes: Vec<u8>,
    /// Of the `<name>.yaml` beside it.
    sidecar: Option<String>,
    /// SHA-256 of the file, in hex.
    digest: String,
    /// Digest of all that makes the plugin what it is.
    pub(crate) version: String,
}

impl Candidate {
    pub(crate) fn read(path: &Path) -> Result<Self, Refusal> {
        let refuse = |reason| Refusal { path: path.to_owned(), reason };
        let bytes = file::read(path, MAX_FILE).map_err(|error| refuse(unreadable(path, &error)))?;
        let sidecar = match file::read_text(&asks::sidecar(path), asks::MAX_DECLARATION) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(refuse(format!("the .yaml file beside it can't be read: {error}"))),
        };
        Self::of(path, path, bytes, sidecar)
    }

    pub(crate) fn of(
        path: &Path,
        lies_at: &Path,
        bytes: Vec<u8>,
        sidecar: Option<String>,
    ) -> Result<Self, Refusal> {
        let name = name(path).map_err(|reason| Refusal { path: path.to_owned(), reason })?;
        let digest = compiled::digest(&bytes);
        let version = match &sidecar {
            Some(text) => format!("sha256:{digest}+{}", &compiled::digest(text.as_bytes())[..12]),
            None => format!("sha256:{digest}"),
        };
        let (path, lies_at) = (path.to_owned(), lies_at.to_owned());
        Ok(Self { name, path, lies_at, bytes, sidecar, digest, version })
    }

    /// What speaks for it; an error is why it isn't let in.
    pub(crate) fn vouched(&self, trust: &Trust) -> Result<Vouched, String> {
        trust.check(&self.name, &self.lies_at, &self.bytes, &self.digest)
    }

    /// As it declares them; nothing of it is judged.
    pub(crate) fn asks(&self) -> Result<Asks, String> {
        Asks::of(&self.bytes, self.sidecar.as_deref())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn sidecar(&self) -> Option<&str> {
        self.sidecar.as_deref()
    }
}

/// The version of what lies there now, as [`Plugin::version`] has it; nothing of it is judged.
pub fn version_of(file: &Path) -> Result<String, Refusal> {
    Candidate::read(file).map(|candidate| candidate.version)
}

/// A component that is ready to be instantiated.
pub struct Plugin {
    /// The file's stem: what `type` in a source's file names.
    pub name: String,
    pub path: PathBuf,
    /// SHA-256 of the file, in hex.
    pub digest: String,
    /// `sha256:…` of all that makes it what it is: the file, and the `.yaml` beside it, if there is one.
    pub version: String,
    pub vouched: Vouched,
    /// Bytes of the file.
    pub size: u64,
    /// With the version that each was built against.
    pub interfaces: Vec<(Interface, String)>,
    pub imports: Vec<String>,
    pub asks: Asks,
    /// Until it was ready.
    pub load_time: Duration,
    /// Its compiled code was there already.
    pub from_cache: bool,
    pub(crate) pre: InstancePre<Guest>,
    pub(crate) exports: Exports,
    pub(crate) fetches: Turns,
    /// To resolve names.
    pub(crate) names: Turns,
    /// To be called, over all its sources.
    pub(crate) called: Arc<Semaphore>,
    pub(crate) calls: Calls,
    /// What its sources may log together.
    pub(crate) log: Arc<LogRate>,
    /// For its instances.
    pub(crate) room: Room,
    pub(crate) places: Places,
}

/// How many calls one plugin has under way at once, over all its sources: each holds a thread, of which all share five hundred.
const CALLED: usize = 64;

/// How many fetches one plugin has under way at once, over all its sources. However long its upstream is silent, others' go on.
const FETCHES: usize = 16;

/// And names that it resolves.
const NAMES: usize = 16;

/// The right to something that holds a thread while it waits for others: of one plugin, and of all together.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// As many as one likes.
impl Default for Turns {
    fn default() -> Self {
        Self::new(Semaphore::MAX_PERMITS, &Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
    }
}

impl Turns {
    pub(crate) fn new(own: usize, all: &Arc<Semaphore>) -> Self {
        Self { own: Arc::new(Semaphore::new(own)), all: all.clone() }
    }

    /// Its own first: who waits for others of its kind holds none of what all share.
    pub(crate) async fn acquire_owned(
        self,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), AcquireError> {
        Ok((self.own.acquire_owned().await?, self.all.acquire_owned().await?))
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({}, {})", self.name, self.digest)
    }
}

impl Plugin {
    pub fn has(&self, interface: Interface) -> bool {
        self.interfaces.iter().any(|(has, _)| *has == interface)
    }

    /// It holds a subscription of its own.
    pub(crate) fn is_live(&self) -> bool {
        self.exports.live
    }

    /// A new instance in this store.
    pub(crate) fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Functions> {
        let instance = if self.is_live() {
            let (woken, limit) = (store.data().woken(), store.data().times().1);
            let made = async { tokio::time::timeout(limit, self.pre.instantiate_async(&mut *store)).await };
            drive(&woken, made).unwrap_or_else(|_| Err(WaitedTooLong.into()))?
        } else {
            self.pre.instantiate(&mut *store)?
        };
        self.exports.functions(store, &instance)
    }

    /// The whole way from a file to a plugin that was instantiated once.
    pub fn load(runtime: &Runtime, path: &Path) -> Result<Self, Refusal> {
        Self::of(runtime, &Candidate::read(path)?, &mut Steps::begin())
    }

    pub(crate) fn of(runtime: &Runtime, candidate: &Candidate, steps: &mut Steps) -> Result<Self, Refusal> {
        // Should a file find a mistake of the host's own, it is the file that doesn't come in, and not the host that ends.
        let made = catch_unwind(AssertUnwindSafe(|| Self::make(runtime, candidate, steps)));
        made.unwrap_or_else(|_| Err("can't be loaded: the host failed on it, as its log says".into()))
            .map_err(|reason| Refusal { path: candidate.path.clone(), reason: told(&reason) })
    }

    fn make(runtime: &Runtime, candidate: &Candidate, steps: &mut Steps) -> Result<Self, String> {
        check_header(&candidate.bytes)?;
        let vouched = candidate.vouched(&runtime.trust)?;
        let asks = candidate.asks()?;
        steps.took("check");
        let live = is_exported_by(&candidate.bytes);
        let (component, weight, from_cache) = compile(runtime, live, &candidate.bytes, &candidate.digest)?;
        steps.noted("compile", from_cache.then(|| "compiled before".into()));
        let (interfaces, imports) = describe(&component)?;
        let (pre, exports) = link(runtime.linked(live), &component, &interfaces)
            .map_err(|error| mismatch(&component, &error))?;
        steps.took("link");
        let plugin = Self {
            name: candidate.name.clone(),
            path: candidate.path.clone(),
            digest: candidate.digest.clone(),
            version: candidate.version.clone(),
            vouched,
            size: candidate.bytes.len() as u64,
            interfaces,
            imports,
            asks,
            load_time: steps.total(),
            from_cache,
            pre,
            exports,
            fetches: Turns::new(FETCHES, &runtime.fetches),
            names: Turns::new(NAMES, &runtime.names),
            called: Arc::new(Semaphore::new(CALLED)),
            calls: runtime.calls.clone(),
            log: Arc::default(),
            room: Room::new(runtime.memory.clone(), weight),
            places: Places::of(&candidate.bytes),
        };
        plugin.try_out(&component)?;
        steps.took("instantiate");
        Ok(plugin)
    }

    /// Types are compared when functions are looked up in an instance; so that is done here, not at the first alert.
    fn try_out(&self, component: &Component) -> Result<(), String> {
        let limits = Limits::default();
        let around = Surroundings {
            who: self.name.as_str().into(),
            memory: limits.memory,
            live: self.is_live().then_some(limits.call),
            calls: self.calls.clone(),
            ..Surroundings::default()
        };
        let room = waiting(|| self.room.wait_here_for(0));
        let share = room.map_err(|full| format!("can't be instantiated: {full}"))?;
        let mut store = Store::new(component.engine(), Guest::new(&around, share));
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(limits.result);
        bound_live(&mut store);
        store.epoch_deadline_trap();
        store.set_epoch_deadline((limits.call.as_millis() / TICK.as_millis()) as u64 + 2);
        store.data_mut().begin(Instant::now(), limits.call, None);
        let _under_way = self.calls.begin();
        let tried = waiting(|| self.instantiate(&mut store));
        tried.map(drop).map_err(|error| {
            let late = error.is::<WaitedTooLong>();
            let text = words(&error);
            let limiter = &store.data().limiter;
            if let Some((full, _)) = &limiter.full {
                return format!("can't be instantiated: {full}");
            }
            match (&limiter.denied, error.downcast_ref::<Trap>()) {
                (Some(limit), _) => format!("can't be instantiated within the {limit}"),
                (None, Some(Trap::Interrupt)) => {
                    let millis = limits.call.as_millis();
                    format!("can't be instantiated within {millis} ms (limits.call_ms)")
                }
                (None, None) if late => format!("waits for too long while it is instantiated: {text}"),
                (None, Some(trap)) => {
                    format!("traps while it is instantiated: {trap}{}", self.places.of_error(&error))
                }
                (None, None) if text.contains("resource limit exceeded") => {
                    format!("can't be instantiated: {text}; link its modules to one")
                }
                (None, None) => mismatch(component, &error),
            }
        })
    }
}

/// Of a reason, what is told: names in it are the file's own, as many and as long as it likes, and of any characters.
fn told(reason: &str) -> String {
    match reason.floor_char_boundary(MAX_REASON) {
        end if end < reason.len() => format!("{}… (cut)", line(&reason[..end])),
        _ => line(reason),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    let leads_nowhere = error.kind() == std::io::ErrorKind::NotFound && path.is_symlink();
    match leads_nowhere {
        true => "is a link that leads nowhere; put its file there, or take the link away".into(),
        false => format!("can't be read: {error}"),
    }
}

fn name(path: &Path) -> Result<String, String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if stem.is_empty() || !stem.bytes().all(fine) {
        return Err("its name, which is its type, may have letters, digits, `-`, `_` and `.` only".into());
    }
    Ok(stem.to_owned())
}

/// WebAssembly's preamble: magic, version, and the layer that tells components from modules.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    const BUILD: &str =
        "make one with `watchkeeper plugin build`, for wasm32-wasip2, or with `wasm-tools component new`";
    let head = &bytes[..bytes.len().min(8)];
    Err(match head {
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0] => return Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0] => format!("is a core module, not a component: {BUILD}"),
        [b'\0', b'a', b's', b'm', _, _, _, _] => {
            format!("is WebAssembly of a version or layer that this host doesn't know ({head:02x?}): {BUILD}")
        }
        [] => "is empty; was it copied to the end? Write it beside and rename it".into(),
        [b'\0', ..] if b"\0asm".starts_with(&head[..head.len().min(4)]) => {
            "is truncated within its first 8 bytes; was it copied to the end?".into()
        }
        [0x7f, b'E', b'L', b'F', ..] => {
            format!("is machine code of some host (ELF), not a WebAssembly component: {BUILD}")
        }
        _ if text_of_wasm(bytes) => {
            "is WebAssembly text (WAT), not a binary component: `wasm-tools parse` makes one of it".into()
        }
        // With what it begins is not said: it may be a link to what is nobody's to see.
        _ => format!("is no WebAssembly: it doesn't begin with \"\\0asm\"; {BUILD}"),
    })
}

fn text_of_wasm(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    text.starts_with(b"(") || text.starts_with(b";;")
}

/// With what an instance of it weighs, and whether the code was there already.
fn compile(
    runtime: &Runtime,
    live: bool,
    bytes: &[u8],
    digest: &str,
) -> Result<(Component, usize, bool), String> {
    let linked = runtime.linked(live);
    if let Some(cache) = &runtime.cache {
        if let Some((component, weight)) = compiled::load(&linked.engine, cache, digest) {
            return Ok((component, weight, true));
        }
        if let Some(why) = compiled::refused(&linked.engine, cache, digest) {
            return Err(why);
        }
    }
    let weight = weight::check(bytes)?;
    let bytes = nameless(bytes);
    let code = match &runtime.compiler {
        Some(program) => compiler::compile(program, live, &bytes),
        None => {
            linked.engine.precompile_component(&bytes).map_err(|error| Failed::Refused(format!("{error:#}")))
        }
    };
    let code = code.map_err(|failed| match failed {
        Failed::TooMuch(why) => {
            if let Some(cache) = &runtime.cache {
                compiled::refuse(&linked.engine, cache, digest, &why);
            }
            why
        }
        Failed::Ended(why) => why,
        // A section that claims more bytes than there are, too, is what an interrupted copy leaves.
        Failed::Refused(error)
            if error.contains("unexpected end") || error.contains("out of bounds (bound") =>
        {
            format!("is truncated: {error}; was it copied to the end? Write it beside and rename it")
        }
        Failed::Refused(error) => format!("is no valid component: {error}; build it again"),
    })?;
    let component = compiled::made(&linked.engine, &code)?;
    if let Some(cache) = &runtime.cache {
        compiled::keep(&linked.engine, cache, digest, &code, weight);
    }
    Ok((component, weight, false))
}

type Described = (Vec<(Interface, String)>, Vec<String>);

fn describe(component: &Component) -> Result<Described, String> {
    let (kind, engine) = (component.component_type(), component.engine());
    let imports: Vec<String> = kind.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let exports: Vec<&str> = kind.exports(engine).map(|(name, _)| name).collect();
    let mut interfaces = Vec::new();
    for export in &exports {
        if let Some(interface) = check_export(export)? {
            interfaces.push(interface);
        }
    }
    interfaces.sort();
    let live = interfaces.iter().any(|(interface, _)| *interface == Interface::LiveSource);
    for import in &imports {
        check_import(import, live)?;
    }
    check_combination(&interfaces, &exports)?;
    Ok((interfaces, imports))
}

/// `package/interface@version` of a package of ours; None of another's.
fn ours(name: &str) -> Option<(&'static str, &str, &str)> {
    let package = [v0_1::PACKAGE, live::PACKAGE].into_iter().find(|ours| name.starts_with(*ours))?;
    let rest = name.strip_prefix(package)?.strip_prefix('/')?;
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    Some((package, interface, version))
}

fn check_version(package: &str, name: &str, version: &str) -> Result<(), String> {
    if version.starts_with(v0_1::MAJOR_MINOR) {
        return Ok(());
    }
    Err(format!(
        "was built for another version of the interface: `{name}`; this host speaks {package}@0.1.x: build it again with \
         the SDK or the WIT of that version"
    ))
}

fn check_export(name: &str) -> Result<Option<(Interface, String)>, String> {
    let Some((package, interface, version)) = ours(name) else { return Ok(None) };
    check_version(package, name, version)?;
    let of_package = |known: &Interface| known.package() == package;
    match Interface::ALL.into_iter().filter(of_package).find(|known| known.as_str() == interface) {
        Some(known) => Ok(Some((known, version.to_owned()))),
        None => {
            let known: Vec<_> =
                Interface::ALL.into_iter().filter(of_package).map(Interface::as_str).collect();
            Err(format!("exports `{name}`, which {package} doesn't have; it has {}", known.join(", ")))
        }
    }
}

fn known_interfaces() -> String {
    Interface::ALL.map(Interface::as_str).join(", ")
}

/// Interfaces that are of no use without another.
fn check_combination(interfaces: &[(Interface, String)], exports: &[&str]) -> Result<(), String> {
    let has = |wanted| interfaces.iter().any(|(interface, _)| *interface == wanted);
    if interfaces.is_empty() {
        let exports =
            if exports.is_empty() { "nothing".into() } else { format!("`{}`", exports.join("`, `")) };
        return Err(format!(
            "exports no interface of {}: it exports {exports}, and must export at least one of {}",
            v0_1::PACKAGE,
            known_interfaces()
        ));
    }
    let lacks = |has: Interface, needs: Interface, why: &str| {
        let named = |interface: Interface| format!("{}/{interface}", interface.package());
        Err(format!("exports {} but lacks the export {}: {why}", named(has), named(needs)))
    };
    if has(Interface::LiveSource) {
        if !has(Interface::Source) {
            return lacks(Interface::LiveSource, Interface::Source, "`configure` reads the source's file");
        }
        let alone = [Interface::Source, Interface::LiveSource];
        if let Some((other, _)) = interfaces.iter().find(|(interface, _)| !alone.contains(interface)) {
            return Err(format!(
                "exports live-source beside {other}: the experimental interface goes with `source` alone; make two plugins"
            ));
        }
        return Ok(());
    }
    if has(Interface::Source) && !has(Interface::Parser) && !has(Interface::Poller) {
        return lacks(Interface::Source, Interface::Parser, "a source must parse what it is sent, or poll");
    }
    if has(Interface::Playbook) && !has(Interface::PromptBuilder) {
        return lacks(
            Interface::Playbook,
            Interface::PromptBuilder,
            "its `score` says which alerts the playbook is for",
        );
    }
    Ok(())
}

/// Deny by default; the error says what would grant it.
fn check_import(name: &str, live: bool) -> Result<(), String> {
    if let Some((package, _, version)) = ours(name) {
        return check_version(package, name, version);
    }
    const LINKED: [&str; 7] = [
        "wasi:cli/",
        "wasi:clocks/",
        "wasi:filesystem/",
        "wasi:http/",
        "wasi:io/",
        "wasi:random/",
        "wasi:sockets/",
    ];
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let served = interface == "wasi:http/incoming-handler";
    let known = LINKED.iter().any(|linked| interface.starts_with(linked));
    let spoken = version.starts_with("0.2.") || live && version.starts_with("0.3.");
    let requests = live && interface.starts_with("wasi:http/");
    if known && spoken && !served && !requests {
        return Ok(());
    }
    let remedy = if requests {
        "a live source makes no HTTP requests; a plugin that exports `poller` does"
    } else if served {
        "alerts are pushed through the host: export `parser`, and build it without this interface"
    } else if interface.starts_with("wasi:") {
        "build it for WASI 0.2 without this interface"
    } else {
        "a plugin may import WASI 0.2's clocks, random and standard streams and watchkeeper:plugin/logging; \
         build it without this import"
    };
    Err(format!("imports `{name}`, which it isn't granted: {remedy}"))
}

fn link(
    linked: &Linked,
    component: &Component,
    interfaces: &[(Interface, String)],
) -> wasmtime::Result<(InstancePre<Guest>, Exports)> {
    let pre = linked.linker.instantiate_pre(component)?;
    let mut exports = Exports::default();
    for (interface, _) in interfaces {
        exports.add(interface.as_str(), &pre)?;
    }
    Ok((pre, exports))
}

/// wasmtime's chain of causes names the item; which member of it is wrong, the types say.
fn mismatch(component: &Component, error: &wasmtime::Error) -> String {
    let difference = shapes::difference(component).map(|what| format!("{what}: ")).unwrap_or_default();
    format!(
        "doesn't match {}@0.1: {difference}{}; build it again with the SDK or the WIT of this version",
        v0_1::PACKAGE,
        words(error)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plugin_whose_upstream_is_silent_leaves_room_for_others() {
        let all = Arc::new(Semaphore::new(2 * FETCHES));
        let plugin = || Turns::new(FETCHES, &all);
        let (silent, other) = (plugin(), plugin());
        let mut held = Vec::new();
        for _ in 0..FETCHES {
            held.push(silent.clone().acquire_owned().await.unwrap());
        }
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, silent.clone().acquire_owned()).await.is_err());
        assert!(tokio::time::timeout(soon, other.acquire_owned()).await.is_ok());
        held.pop();
        assert!(tokio::time::timeout(soon, silent.acquire_owned()).await.is_ok());
    }
}
