//! What is known to be secret, and the log that doesn't tell it.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;
use watchkeeper_domain::redact::Redactor;
use watchkeeper_flow::escalate::count_redactions;

/// The process's: it learns as configuration is read, and everything that leaves goes through it.
pub fn redactor() -> &'static Arc<Redactor> {
    static REDACTOR: LazyLock<Arc<Redactor>> = LazyLock::new(Arc::default);
    &REDACTOR
}

/// A stored thing as people are shown it: as it would be sent.
pub fn shown(thing: &impl Serialize) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(thing)?;
    redactor().json(&mut value);
    Ok(value)
}

/// The standard error, without secrets: alerts, tools, plugins and other sides of all kinds are heard in the log.
pub struct RedactedLog;

impl<'a> MakeWriter<'a> for RedactedLog {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event
    }
}

/// The log hands over an event at a time, whole.
pub struct Event;

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let redacted = redactor().redact(&String::from_utf8_lossy(bytes));
        count_redactions("log", &redacted.counts);
        // A key that is cut off reaches to the end of the line, and takes it along.
        let end = if bytes.ends_with(b"\n") && !redacted.text.ends_with('\n') { "\n" } else { "" };
        io::stderr().lock().write_all(format!("{}{end}", redacted.text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
