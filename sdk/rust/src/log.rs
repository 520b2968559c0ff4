//! The plugin's log: `log::info!("{} alerts", n)` and its like. Lines go to the host's log under the plugin's name (up to
//! 4 KiB each, 100 a second); natively, in tests, to stderr.
//!
//! ```
//! use watchkeeper_sdk::log;
//!
//! log::warn!("{} alerts were left out by the sender", 3);
//! ```

pub use crate::bindings::nouns::watchkeeper::plugin::logging::Level;
#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace, __log_warn as warn,
};

/// Logs one line; the macros of this module are the short way.
pub fn line(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::nouns::watchkeeper::plugin::logging::log(level, message);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {message}");
}

/// Logs what only somebody who follows the plugin step by step wants to know.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace {
    ($($arg:tt)+) => { $crate::log::line($crate::log::Level::Trace, &::std::format!($($arg)+)) };
}

/// Logs what helps somebody who looks for a fault in the plugin.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($arg:tt)+) => { $crate::log::line($crate::log::Level::Debug, &::std::format!($($arg)+)) };
}

/// Logs what an operator may want to know.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($arg:tt)+) => { $crate::log::line($crate::log::Level::Info, &::std::format!($($arg)+)) };
}

/// Logs what an operator should look at.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($arg:tt)+) => { $crate::log::line($crate::log::Level::Warn, &::std::format!($($arg)+)) };
}

/// Logs what an operator has to mend.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($arg:tt)+) => { $crate::log::line($crate::log::Level::Error, &::std::format!($($arg)+)) };
}
