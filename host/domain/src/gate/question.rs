//! What a person is asked, and the call that their yes lets through.

use sha2::{Digest, Sha256};

use super::{
    Action, ApprovedCall, BASH, Command, Effect, Gate, Judgement, LIST_FILES, Plan, Profile, READ_FILE,
    Verdict, Widen, only_field, profile,
};
use crate::approval::Question;
use crate::investigation::Call;

/// Where every command runs.
const FOLDER: &str = "/";

/// Which machine it runs on.
const TARGET: &str = "this host";

impl Gate {
    /// The question to a person about a call that isn't allowed; none where nothing could run exactly so, or it is blocked.
    pub fn question(&self, call: &Call) -> Option<Question> {
        let judgement = self.judge(call);
        if judgement.verdict != Verdict::Ask {
            return None;
        }
        let action = literal(call)?;
        let (what, hash) = (worded(&action).into(), self.hash(call, &action));
        Some(Question { tool: call.tool.clone(), what, hash, reason: judgement.reason, rule: judgement.rule })
    }

    /// The call that a person approved as the question with this hash.
    ///
    /// # Errors
    /// The judgement, where it is another call by now, or the policy blocks it by now.
    pub fn by_approval(&self, call: &Call, hash: &str) -> Result<ApprovedCall, Judgement> {
        let judgement = self.judge(call);
        match judgement.verdict {
            Verdict::Block => Err(judgement),
            // The policy has become milder since.
            Verdict::Allow => judgement.clone().into_approved().ok_or(judgement),
            Verdict::Ask => {
                let action = literal(call).filter(|action| self.hash(call, action) == hash);
                let action =
                    action.ok_or_else(|| Judgement::ask("it is no longer what was approved: ask again"))?;
                let profiles = self.reach(&action);
                Ok(ApprovedCall { action, effect: Effect::Change, profiles, by_person: true })
            }
        }
    }

    /// What each program of it may reach: the host says so, not the brain.
    fn reach(&self, action: &Action) -> Vec<Profile> {
        match action {
            Action::Run(plan) => plan.commands().zip(self.profiles(plan)).map(widened).collect(),
            Action::ReadFile { .. } | Action::ListFiles { .. } => Vec::new(),
        }
    }

    fn hash(&self, call: &Call, action: &Action) -> String {
        // Each part with its length, so that no two calls come to the same bytes.
        let reach = format!("{:?}", self.reach(action));
        let tool = call.tool.expose_untrusted().clone();
        let parts = [tool, canonical(action), FOLDER.to_owned(), TARGET.to_owned(), reach];
        let mut hasher = Sha256::new();
        for part in &parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A person agreed to the paths that the command names: so it may read them. What `denied_files` covers is never asked about.
fn widened((command, profile): (&Command, Profile)) -> Profile {
    let named = profile::paths(command.argv.get(1..).unwrap_or_default());
    profile.widened(named.map(|path| Widen::Read { path }))
}

/// What would run, if it can be said literally.
fn literal(call: &Call) -> Option<Action> {
    let input = call.input.expose_untrusted();
    match call.tool.expose_untrusted().as_str() {
        BASH => Plan::parse(only_field(input, "command").ok()?).ok().map(Action::Run),
        READ_FILE => Some(Action::ReadFile { path: only_field(input, "path").ok()?.to_owned() }),
        LIST_FILES => Some(Action::ListFiles { path: only_field(input, "path").ok()?.to_owned() }),
        _ => None,
    }
}

fn worded(action: &Action) -> String {
    match action {
        Action::Run(plan) => plan.to_string(),
        Action::ReadFile { path } | Action::ListFiles { path } => path.clone(),
    }
}

/// Every argv, joint and direction, in a form that has one reading.
fn canonical(action: &Action) -> String {
    format!("{action:?}")
}
