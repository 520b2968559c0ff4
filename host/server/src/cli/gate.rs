//! `watchkeeper gate`: calls in, verdicts out; `gate explain`: one command, and why.

use std::io::{BufRead, Write};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use watchkeeper_domain::gate::{BASH, Explanation, Gate, Joint, Part, Plan, Verdict};
use watchkeeper_domain::investigation::Call;

use super::{ConfigDir, Ended, Output};
use crate::config::Environment;
use watchkeeper_domain::Untrusted;
use watchkeeper_domain::untrusted::{visible, visible_json};

/// The longest line; the gate's own limit for a command is far below it.
const MAX_LINE: u64 = 1 << 20;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    output: Output,
}

#[derive(Subcommand)]
enum Command {
    /// Show a command's plan, and for each of its parts the verdict and the rule that gave it
    Explain(Explain),
}

#[derive(Args)]
struct Explain {
    /// The command, as a brain would propose it
    command: String,
    #[command(flatten)]
    config: ConfigDir,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(options: &Options) -> Result<Ended> {
    if let Some(Command::Explain(options)) = &options.command {
        return explain(options);
    }
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
            let judged = json!({ "verdict": verdict, "reason": reason, "rule": rule });
            writeln!(output, "{}", visible_json(&judged.to_string()))?;
        } else {
            writeln!(output, "{}", sentence(verdict, &reason, rule.as_deref()))?;
        }
    }
}

/// A line that is no call is blocked: nobody could say what it would have done.
fn judge(gate: &Gate, line: &[u8]) -> (Verdict, Untrusted, Option<String>) {
    match serde_json::from_slice::<Call>(line) {
        Ok(call) => {
            let judgement = gate.judge(&call);
            (judgement.verdict, judgement.reason, judgement.rule)
        }
        Err(error) => {
            let reason = format!(
                "this is no call, such as {{\"tool\":\"bash\",\"input\":{{\"command\":\"ps aux\"}}}}: {error}"
            );
            (Verdict::Block, reason.into(), None)
        }
    }
}

fn sentence(verdict: Verdict, reason: &Untrusted, rule: Option<&str>) -> String {
    let rule = rule.map(|rule| format!(" [{rule}]")).unwrap_or_default();
    format!("{verdict}{}: {}", visible(&rule), reason.visible())
}

fn explain(options: &Explain) -> Result<Ended> {
    let gate = options.config.load(&Environment::of_process())?.gate;
    let input = json!({ "command": options.command });
    let explanation = gate.explain(&Call { tool: BASH.into(), input: input.into(), purpose: "".into() });
    let mut output = std::io::stdout().lock();
    if options.output.json {
        writeln!(output, "{}", visible_json(&format!("{:#}", as_json(&explanation))))?;
        return Ok(Ended::Well);
    }
    let Explanation { judgement, plan, parts } = &explanation;
    writeln!(output, "{}", sentence(judgement.verdict, &judgement.reason, judgement.rule.as_deref()))?;
    let joints = plan.iter().flat_map(joints);
    for (joint, part) in joints.zip(parts) {
        writeln!(output, "\n  {joint:>2} {}", visible(&part.command.to_string()))?;
        writeln!(output, "     {}", sentence(part.verdict, &part.reason, part.rule.as_deref()))?;
    }
    Ok(Ended::Well)
}

/// What stands before each command of a plan.
fn joints(plan: &Plan) -> impl Iterator<Item = &'static str> {
    plan.steps.iter().enumerate().flat_map(|(number, step)| {
        let first = match step.joint {
            _ if number == 0 => "",
            Joint::Then => ";",
            Joint::And => "&&",
            Joint::Or => "||",
        };
        (0..step.pipeline.commands.len()).map(move |at| if at == 0 { first } else { "|" })
    })
}

fn as_json(explanation: &Explanation) -> Value {
    let part = |part: &Part| {
        json!({
            "command": part.command.to_string(),
            "argv": part.command.argv,
            "verdict": part.verdict,
            "effect": part.effect,
            "reason": part.reason,
            "rule": part.rule,
        })
    };
    let Explanation { judgement, plan, parts } = explanation;
    json!({
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "rule": judgement.rule,
        "plan": plan.as_ref().map(Plan::to_string),
        "parts": parts.iter().map(part).collect::<Vec<_>>(),
    })
}
