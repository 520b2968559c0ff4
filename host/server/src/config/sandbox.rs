//! `sandbox:` of `watchkeeper.yaml`: whom commands run as, and whether less than all of it will do.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;
use watchkeeper_adapters::sandbox::{Options, User};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxKeys {
    /// By name or number.
    user: Option<String>,
    groups: Vec<String>,
    pub accept_weaker: bool,
}

impl Default for SandboxKeys {
    fn default() -> Self {
        // Who may read logs, on the distributions that have such groups.
        Self {
            user: None,
            groups: ["adm", "systemd-journal"].map(str::to_owned).to_vec(),
            accept_weaker: false,
        }
    }
}

impl SandboxKeys {
    /// And what of it doesn't apply here.
    pub fn options(&self) -> Result<(Options, Vec<String>)> {
        let mut notes = Vec::new();
        let user = self.user.as_deref().map(user).transpose()?;
        let known = fs::read_to_string("/etc/group").unwrap_or_default();
        let groups = self.groups.iter().filter_map(|name| {
            let id = name.parse().ok().or_else(|| field(&known, name, 2)?.parse().ok());
            if id.is_none() {
                notes.push(format!("sandbox.groups: there is no group `{name}` here"));
            }
            id
        });
        let groups = groups.collect();
        if !rustix::process::geteuid().is_root() {
            notes.push("the host isn't root, so commands run as its own user and groups".to_owned());
        }
        Ok((Options { user, groups, accept_weaker: self.accept_weaker, ..Options::default() }, notes))
    }
}

fn user(name: &str) -> Result<User> {
    let known = fs::read_to_string("/etc/passwd").context("/etc/passwd: can't be read, for sandbox.user")?;
    let line = known.lines().find(|line| {
        let mut fields = line.split(':');
        fields.next() == Some(name) || fields.nth(1) == Some(name)
    });
    let number = |at: usize| line.and_then(|line| line.split(':').nth(at)?.parse().ok());
    match (number(2), number(3)) {
        (Some(uid), Some(gid)) => Ok(User { uid, gid }),
        _ => anyhow::bail!(
            "sandbox.user: there is no user `{name}` in /etc/passwd; create it, or leave the key out"
        ),
    }
}

/// A field of the line that begins with this name, in /etc/group and its like.
fn field<'a>(text: &'a str, name: &str, at: usize) -> Option<&'a str> {
    text.lines().find(|line| line.split(':').next() == Some(name))?.split(':').nth(at)
}
