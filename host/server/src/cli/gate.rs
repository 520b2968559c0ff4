//! `watchkeeper gate`: calls in, verdicts out.

use std::io::{BufRead, Write};

use anyhow::Result;
use clap::Args;
use serde_json::json;
use watchkeeper_domain::gate::{Gate, Verdict};
use watchkeeper_domain::investigation::Call;

use super::{ConfigDir, Ended, Output};
use crate::config::Environment;

/// The longest line; the gate's own limit for a command is far below it.
const MAX_LINE: u64 = 1 << 20;

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(options: &Options) -> Result<Ended> {
    let gate = options.config.load(&Environment::of_process())?.gate;
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    loop {
        let mut line = Vec::new();
        if std::io::Read::take(&mut input, MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(Ended::Well);
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let (verdict, reason, rule) = judge(&gate, &line);
        if options.output.json {
            writeln!(output, "{}", json!({ "verdict": verdict, "reason": reason, "rule": rule }))?;
        } else {
            let rule = rule.map(|rule| format!(" [{rule}]")).unwrap_or_default();
            writeln!(output, "{verdict}{}: {}", crate::render::safe(&rule), crate::render::safe(&reason))?;
        }
    }
}

/// A line that is no call is blocked: nobody could say what it would have done.
fn judge(gate: &Gate, line: &[u8]) -> (Verdict, String, Option<String>) {
    match serde_json::from_slice::<Call>(line) {
        Ok(call) => {
            let judgement = gate.judge(&call);
            (judgement.verdict, judgement.reason, judgement.rule)
        }
        Err(error) => {
            let reason = format!(
                "this is no call, such as {{\"tool\":\"bash\",\"input\":{{\"command\":\"ps aux\"}}}}: {error}"
            );
            (Verdict::Block, reason, None)
        }
    }
}
