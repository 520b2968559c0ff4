//! Channels that call a human.

mod log;

pub use log::LogChannel;
