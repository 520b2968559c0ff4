//! Compiling, in a process of its own.
//!
//! A few kilobytes of WebAssembly can keep a compiler busy for hours, and make it take all memory there is; and there is no stopping
//! it but by its end. Invariant: what it may take is bounded by the kernel, in proportion to the file, and what it takes is not
//! the host's.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use crate::engine::engine;

/// What a process's first argument is that is to compile.
const COMPILE: &str = "compile-component";

/// Which engine's code it is to make.
const LIVE: &str = "live";
const CALLED: &str = "called";

/// Exit codes: it said why it can't; it took too long, though it hardly computed.
const REFUSED: u8 = 1;
const LATE: u8 = 124;

/// What any file may take, and each MiB of it besides. Toolchains' output takes a second and 40 MiB for each.
const SECONDS: u64 = 15;
const SECONDS_PER_MIB: u64 = 5;
const MOST_SECONDS: u64 = 180;
const MEMORY_MIB: u64 = 1024;
const MEMORY_PER_MIB: u64 = 64;
const MOST_MEMORY_MIB: u64 = 4096;

/// And what may come of it: the host holds that, with the memories' first contents in it. Toolchains' output grows fourfold.
const CODE_MIB: u64 = 32;
const CODE_PER_MIB: u64 = 16;
const MOST_CODE_MIB: u64 = 512;

/// How much longer than it may compute it may be about it, on a machine that is busy.
const PATIENCE: u32 = 10;

/// What is kept of its words.
const MAX_WORDS: u64 = 16 * 1024;

/// What compiling one file may take.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    /// Of computing, on all cores together.
    seconds: u64,
    memory_mib: u64,
    code_mib: u64,
}

impl Bounds {
    fn of(size: usize) -> Self {
        let mib = (size as u64).div_ceil(1 << 20);
        Self {
            seconds: (SECONDS + SECONDS_PER_MIB * mib).min(MOST_SECONDS),
            memory_mib: (MEMORY_MIB + MEMORY_PER_MIB * mib).min(MOST_MEMORY_MIB),
            code_mib: (CODE_MIB + CODE_PER_MIB * mib).min(MOST_CODE_MIB),
        }
    }
}

/// To be called early in `main`: compiles, if that is what this process is for.
pub fn compiled() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(COMPILE)) {
        return None;
    }
    let (engine, size) = (arguments.next(), arguments.next());
    let size = size.and_then(|size| size.to_str()?.parse().ok());
    let compiled = match (engine.as_deref().and_then(OsStr::to_str), size) {
        (Some(LIVE), Some(size)) => compile_here(true, size),
        (Some(CALLED), Some(size)) => compile_here(false, size),
        _ => Err("it is told by the host what to compile".into()),
    };
    Some(compiled.map_or_else(
        |why| {
            eprint!("{why}");
            ExitCode::from(REFUSED)
        },
        |()| ExitCode::SUCCESS,
    ))
}

/// From standard input to standard output, within the bounds of a file of this size.
fn compile_here(live: bool, size: usize) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    bound(Bounds::of(size)).map_err(said)?;
    let mut component = Vec::new();
    io::stdin().take(size as u64).read_to_end(&mut component).map_err(said)?;
    let code = engine(live)?.precompile_component(&component).map_err(|error| format!("{error:#}"))?;
    io::stdout().write_all(&code).map_err(said)
}

/// Holds this process to what it may take.
fn bound(bounds: Bounds) -> io::Result<()> {
    let most = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Core, most(0))?;
    setrlimit(Resource::Data, most(bounds.memory_mib << 20))?;
    setrlimit(Resource::Cpu, Rlimit { current: Some(bounds.seconds), maximum: Some(bounds.seconds + 1) })?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Where the machine has less memory than that, it is this process that goes. Not all kernels offer it.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let patience = Duration::from_secs(bounds.seconds) * PATIENCE;
    std::thread::Builder::new().name("patience".into()).spawn(move || {
        std::thread::sleep(patience);
        std::process::exit(LATE.into());
    })?;
    Ok(())
}

/// The code of a component, made by `program`. An error reads as a sentence behind the file's name, or is the compiler's own.
pub(crate) fn compile(program: &Path, live: bool, component: &[u8]) -> Result<Vec<u8>, Failed> {
    let ours =
        |error: io::Error| Failed::Ended(format!("can't be compiled: its compiler can't be run: {error}"));
    let mut child = Command::new(program)
        .args([COMPILE, if live { LIVE } else { CALLED }, &component.len().to_string()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(ours)?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let bounds = Bounds::of(component.len());
    let most = bounds.code_mib << 20;
    let (code, words) = std::thread::scope(|scope| {
        // One that ended before it read all is told of by how it ended.
        scope.spawn(move || input.map(|mut input| input.write_all(component)));
        let words = scope.spawn(move || read(errors, MAX_WORDS));
        (read(output, most + 1), words.join().unwrap_or_default())
    });
    let status = child.wait().map_err(ours)?;
    let words = String::from_utf8_lossy(&words).into_owned();
    match status.code() {
        Some(0) if code.len() as u64 > most => Err(Failed::TooMuch(format!(
            "compiles to more than {} MiB, which is what a file of its size may: give its memories less to begin with",
            bounds.code_mib
        ))),
        Some(0) => Ok(code),
        Some(code) if code == i32::from(REFUSED) && !lacked_memory(&words) => Err(Failed::Refused(words)),
        _ => Err(ended(status, &words, bounds)),
    }
}

/// What is said where there is no more: by the allocator, as it ends the process; and by the kernel.
fn lacked_memory(words: &str) -> bool {
    words.contains("memory allocation of") || words.contains("Cannot allocate memory")
}

/// Why there is no code.
#[derive(Debug, PartialEq)]
pub(crate) enum Failed {
    /// The compiler's words.
    Refused(String),
    /// It took more than it may, and would again. A sentence.
    TooMuch(String),
    /// It ended otherwise; perhaps it was the machine. A sentence.
    Ended(String),
}

/// Up to so much; the rest is read all the same, so that its writer isn't held up.
fn read(from: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        // What broke off is told of by how its writer ended.
        let _ = from.by_ref().take(most).read_to_end(&mut kept);
        let _ = io::copy(&mut from, &mut io::sink());
    }
    kept
}

fn ended(status: ExitStatus, words: &str, bounds: Bounds) -> Failed {
    let Bounds { seconds, memory_mib, .. } = bounds;
    let by = |signal: Signal| status.signal() == Some(signal.as_raw());
    let more = |than: String| {
        format!(
            "takes more than {than} to compile, which is what a file of its size may: build it with optimisation, or make its \
             functions smaller"
        )
    };
    let (time, memory) = (format!("{seconds} s"), format!("{memory_mib} MiB"));
    if by(Signal::XCPU) {
        return Failed::TooMuch(more(time));
    }
    if lacked_memory(words) {
        return Failed::TooMuch(more(memory));
    }
    if status.code() == Some(LATE.into()) {
        return Failed::Ended(more(time));
    }
    // By the kernel, where the machine has less.
    if by(Signal::KILL) {
        return Failed::Ended(more(memory));
    }
    let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Failed::Ended(format!("can't be compiled: the compiler failed on it ({status}): {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_take_what_its_size_is_worth() {
        assert_eq!(Bounds::of(1), Bounds { seconds: 20, memory_mib: 1088, code_mib: 48 });
        assert_eq!(Bounds::of(18 << 20), Bounds { seconds: 105, memory_mib: 2176, code_mib: 320 });
        let largest = Bounds::of(128 << 20);
        assert_eq!((largest.seconds, largest.memory_mib), (MOST_SECONDS, MOST_MEMORY_MIB));
        assert_eq!(largest.code_mib, MOST_CODE_MIB);
    }

    #[test]
    fn how_it_ended_is_said() {
        let bounds = Bounds::of(1);
        let ended = |raw: i32, words: &str| ended(ExitStatus::from_raw(raw), words, bounds);
        let too_much = |failed: Failed, words: &str| match failed {
            Failed::TooMuch(why) => assert!(why.starts_with(words), "{why}"),
            failed => panic!("{failed:?}"),
        };
        too_much(ended(Signal::XCPU.as_raw(), ""), "takes more than 20 s");
        let aborted = ended(Signal::ABORT.as_raw(), "memory allocation of 64 bytes failed\n");
        too_much(aborted, "takes more than 1088 MiB");
        // On another day it may be well.
        for (raw, words) in [(Signal::KILL.as_raw(), "MiB"), (i32::from(LATE) << 8, "20 s")] {
            let failed = ended(raw, "");
            assert!(matches!(&failed, Failed::Ended(why) if why.contains(words)), "{failed:?}");
        }
        let Failed::Ended(other) = ended(Signal::SEGV.as_raw(), "a\nthe last\n\n") else { panic!() };
        assert!(other.contains("SIGSEGV") && other.ends_with("the last"), "{other}");
    }
}
