//! Any command, under the policy that ships: a judgement comes out, an approved call only from an `allow`, and a plan is
//! allowed exactly if each of its commands is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use watchkeeper_domain::gate::{BASH, Gate, Policy, Verdict};
use watchkeeper_domain::investigation::Call;

static GATE: LazyLock<Gate> = LazyLock::new(|| {
    let policy: Policy = serde_yaml::from_str(include_str!("../../../config/gate.yaml")).expect("the policy that ships");
    Gate::new(policy)
});

fuzz_target!(|text: &str| {
    let call = Call { tool: BASH.into(), input: json!({ "command": text }).into(), purpose: "".into() };
    let explained = GATE.explain(&call);
    let allowed = explained.judgement.verdict == Verdict::Allow;
    let strictest = explained.parts.iter().map(|part| part.verdict).max();
    assert!(!allowed || strictest == Some(Verdict::Allow), "allowed, with a part that isn't: {text:?}");
    assert_eq!(explained.judgement.into_approved().is_some(), allowed, "{text:?}");
});
