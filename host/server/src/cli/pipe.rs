//! Whoever reads the standard output may have had enough of it before all is said, as `head` has. The standard library panics then;
//! nothing is wrong, so nothing is said of it.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

/// How a shell tells of a program that ended so.
const CLOSED: u8 = 141;

/// What `run` answers; or the process's exit code, where nobody reads any more. All that it holds is let go of first.
pub(super) fn while_read<T>(run: impl FnOnce() -> T) -> Result<T, ExitCode> {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !is_closed(panic.payload()) {
            usual(panic);
        }
    }));
    panic::catch_unwind(AssertUnwindSafe(run)).map_err(|payload| match is_closed(&*payload) {
        true => ExitCode::from(CLOSED),
        false => panic::resume_unwind(payload),
    })
}

fn is_closed(payload: &(dyn Any + Send)) -> bool {
    let said = payload.downcast_ref::<String>();
    said.is_some_and(|said| said.starts_with("failed printing to stdout: ") && said.contains("(os error 32)"))
}
