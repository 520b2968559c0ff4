//! Any text: the parser neither panics nor makes a plan that reads otherwise than it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchkeeper_domain::gate::Plan;

fuzz_target!(|text: &str| {
    if let Ok(plan) = Plan::parse(text) {
        let shown = plan.to_string();
        // Quotes make it longer than the parser takes.
        if shown.len() > 8 * 1024 {
            return;
        }
        let again = Plan::parse(&shown);
        assert_eq!(again.as_ref(), Ok(&plan), "the display of a plan is another plan: {plan}");
    }
});
