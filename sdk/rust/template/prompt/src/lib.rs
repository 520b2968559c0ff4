//! The briefing for a model, for alerts about disks.

use watchkeeper_sdk::{Alert, Briefing, Call, Error, Prompt, PromptBuilder};

pub struct @Type@;

impl PromptBuilder for @Type@ {
    fn score(alert: &Alert) -> u32 {
        if alert.title.to_ascii_lowercase().contains("disk") { 60 } else { 0 }
    }

    fn build(briefing: &Briefing) -> Result<Prompt, Error> {
        Ok(Prompt {
            instructions: "Find out what fills the disk, and since when. Change nothing.".to_owned(),
            task: format!(
                "{} (source {}). Which file system is full, and what filled it?",
                briefing.alert.title, briefing.source
            ),
            first_steps: vec![df()],
        })
    }
}

fn df() -> Call {
    Call {
        tool: "bash".to_owned(),
        input: r#"{"command":"df -h"}"#.to_owned(),
        purpose: "which file system is full".to_owned(),
    }
}

watchkeeper_sdk::register! { prompt_builder: @Type@ }
