//! What a program may reach while it runs. A rule says it in `sandbox:`; the launcher holds it.
//!
//! Invariant: the default is nothing but reading: no socket of any kind, no write, no signal to anyone outside. What a
//! profile adds is named one by one, and an approval widens it by what it names and no more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::files::is_normal;
use super::plan::Command;

/// One program's. Beside what it names, a program reads the allowed directories without the denied files, and what any
/// program is made of (its libraries, the time zone, /dev/null).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    pub reach: Reach,
    /// The kernel's messages, which take a capability where `dmesg_restrict` is on.
    pub kernel_log: bool,
    /// Which process holds which socket, of all processes: what `ss -p` shows.
    pub holders: bool,
    /// Files and folders that may be read besides, secret or not: a cluster's credentials, for the one program that needs
    /// them.
    pub read: Vec<String>,
    /// Folders beneath which names may be listed, without any content.
    pub list: Vec<String>,
    /// Variables besides the fixed ones.
    pub variables: BTreeMap<String, String>,
    pub widen: Vec<Widen>,
}

/// Whom a program may talk to: one at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    #[default]
    Nothing,
    /// The kernel, about sockets, addresses and routes: `ss`, `ip`.
    Netlink,
    /// The one Unix socket at this path. Whoever answers there asks who calls, and root may do anything: so the program
    /// runs as an unprivileged user unless `as_host`.
    Socket { path: String, as_host: bool },
    /// Docker's socket, through a broker that lets reads alone pass.
    Docker { path: String },
    /// The one TCP endpoint, an address and a port.
    Tcp { address: String },
}

/// What somebody agreed to besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Widen {
    /// To read this file, or the names in this folder, if that is no link to elsewhere.
    Read { path: String },
    /// To write, create, and remove this file, or whatever is in this folder.
    Write { path: String },
    /// To send a signal to this one process.
    Signal { process: i32 },
    /// To change mode, owner, times and extended attributes of this file or folder, and of all `beneath`.
    Attributes { path: String, beneath: bool },
}

impl Profile {
    /// This, and what else was agreed to.
    pub fn widened(mut self, more: impl IntoIterator<Item = Widen>) -> Self {
        self.widen.extend(more);
        self
    }
}

/// A rule's `sandbox:`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SandboxText {
    netlink: bool,
    socket: Option<String>,
    privileged_socket: Option<String>,
    docker: Option<String>,
    tcp: Option<String>,
    kernel_log: bool,
    holders: bool,
    read: Vec<String>,
    list: Vec<String>,
    variables: BTreeMap<String, String>,
    widen: Vec<Named>,
}

/// What a command's own words widen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    /// Its absolute paths may be written.
    Paths,
    /// Its numbers are processes that may be sent a signal.
    Processes,
    /// Of its absolute paths mode, owner, times and extended attributes may be changed; of all beneath, where it says `-R`.
    Attributes,
}

/// A rule's `sandbox:`, checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Sandbox {
    profile: Profile,
    named: Vec<Named>,
}

/// What would make a program run other code than its own.
const NOT_VARIABLES: [&str; 6] = ["LD_", "PATH", "GCONV_PATH", "BASH_", "ENV", "IFS"];

impl Sandbox {
    /// `agreed`: a person does, or the site has beforehand.
    pub(super) fn new(text: &SandboxText, agreed: bool, problems: &mut Vec<String>) -> Self {
        let mut found: Vec<String> = Vec::new();
        let path = |path: &String| path.clone();
        let mut reaches: Vec<Reach> = Vec::new();
        reaches.extend(text.netlink.then_some(Reach::Netlink));
        reaches.extend(text.socket.as_ref().map(|at| Reach::Socket { path: path(at), as_host: false }));
        reaches.extend(
            text.privileged_socket.as_ref().map(|at| Reach::Socket { path: path(at), as_host: true }),
        );
        reaches.extend(text.docker.as_ref().map(|at| Reach::Docker { path: path(at) }));
        reaches.extend(text.tcp.as_ref().map(|address| Reach::Tcp { address: address.clone() }));
        if reaches.len() > 1 {
            found.push(
                "a program reaches one of `netlink`, `socket`, `privileged_socket`, `docker` and `tcp`"
                    .into(),
            );
        }
        let more = !reaches.is_empty() || !text.read.is_empty() || !text.list.is_empty();
        if text.widen.contains(&Named::Attributes) && (more || text.holders || text.kernel_log) {
            found.push(
                "`widen: [attributes]` goes with no peer, `read`, `list`, `holders` or `kernel_log`".into(),
            );
        }
        if text.privileged_socket.is_some() && !agreed {
            found.push("`privileged_socket` can change the machine: use `socket`, or ask".into());
        }
        if let Some(address) =
            text.tcp.as_ref().filter(|address| address.parse::<std::net::SocketAddr>().is_err())
        {
            found.push(format!("tcp: `{address}` is no address and port: write it like 10.0.0.1:6443"));
        }
        let sockets = [&text.socket, &text.privileged_socket, &text.docker];
        let paths = sockets.into_iter().flatten().chain(&text.read).chain(&text.list);
        for path in paths.filter(|path| !is_normal(path)) {
            found.push(format!("`{path}` is no absolute path without `.`, `..` and `//`"));
        }
        for name in text.variables.keys().filter(|name| !is_harmless(name)) {
            found.push(format!("variables: `{name}` isn't a program's own setting"));
        }
        problems.extend(found.into_iter().map(|problem| format!("sandbox: {problem}")));
        let profile = Profile {
            reach: reaches.into_iter().next().unwrap_or_default(),
            kernel_log: text.kernel_log,
            holders: text.holders,
            read: text.read.clone(),
            list: text.list.clone(),
            variables: text.variables.clone(),
            widen: Vec::new(),
        };
        Self { profile, named: text.widen.clone() }
    }

    /// The profile of this very command.
    pub(super) fn profile(&self, command: &Command) -> Profile {
        let words = command.argv.get(1..).unwrap_or_default();
        let widen = self.named.iter().flat_map(|named| match named {
            Named::Paths => written(words),
            Named::Processes => signalled(words),
            Named::Attributes => changed(words),
        });
        self.profile.clone().widened(widen)
    }
}

fn is_harmless(name: &str) -> bool {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    plain && !NOT_VARIABLES.iter().any(|start| name.starts_with(start))
}

/// The absolute paths among these words, but for the root of all.
pub(super) fn paths(words: &[String]) -> impl Iterator<Item = String> {
    let paths = words.iter().filter(|word| is_normal(word) && word.as_str() != "/");
    paths.map(|path| path.trim_end_matches('/').to_owned())
}

fn written(words: &[String]) -> Vec<Widen> {
    paths(words).map(|path| Widen::Write { path }).collect()
}

fn changed(words: &[String]) -> Vec<Widen> {
    let recursive = |word: &String| match word.strip_prefix("--") {
        Some(long) => !long.is_empty() && "recursive".starts_with(long),
        None => word.starts_with('-') && word.contains('R'),
    };
    let beneath = words.iter().any(recursive);
    paths(words).map(|path| Widen::Attributes { path, beneath }).collect()
}

/// The numbers, but for one that a flag takes: `kill -s 9 4711` names one process.
fn signalled(words: &[String]) -> Vec<Widen> {
    let mut processes = Vec::new();
    let mut is_value = false;
    for word in words {
        // Not init, and no group: a number of its own is one process.
        let number = word.parse::<i32>().ok().filter(|number| *number > 1 && !is_value);
        processes.extend(number.map(|process| Widen::Signal { process }));
        is_value = matches!(word.as_str(), "-s" | "-n" | "--signal");
    }
    processes
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sandbox(text: Value, agreed: bool) -> Result<Sandbox, Vec<String>> {
        let text: SandboxText = serde_json::from_value(text).map_err(|error| vec![error.to_string()])?;
        let mut problems = Vec::new();
        let sandbox = Sandbox::new(&text, agreed, &mut problems);
        if problems.is_empty() { Ok(sandbox) } else { Err(problems) }
    }

    fn profile(text: Value, argv: &[&str]) -> Profile {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        let command = Command { argv, stderr: super::super::Stderr::Shown };
        sandbox(text, true).expect("it is valid").profile(&command)
    }

    #[test]
    fn nothing_unless_it_is_named() {
        assert_eq!(profile(json!({}), &["ls", "/etc/passwd", "17"]), Profile::default());
        assert_eq!(profile(json!({"netlink": true}), &["ss"]).reach, Reach::Netlink);
        let socket = profile(json!({"socket": "/run/x"}), &["systemctl"]).reach;
        assert_eq!(socket, Reach::Socket { path: "/run/x".into(), as_host: false });
    }

    #[test]
    fn a_command_widens_by_its_own_words_alone() {
        let paths = json!({"widen": ["paths"]});
        let write = |path: &str| Widen::Write { path: path.to_owned() };
        assert_eq!(
            profile(paths.clone(), &["rm", "-f", "/var/log/a", "relative", "/x/../y"]).widen,
            [write("/var/log/a")]
        );
        assert_eq!(profile(paths, &["rm", "/", "//"]).widen, []);
        let processes = json!({"widen": ["processes"]});
        let signal = |process| Widen::Signal { process };
        for (words, expected) in [
            (&["kill", "-9", "4711"][..], vec![signal(4711)]),
            (&["kill", "-s", "15", "4711", "4712"], vec![signal(4711), signal(4712)]),
            (&["kill", "-9", "-1"], vec![]),
            (&["kill", "-9", "1"], vec![]),
            (&["kill", "0"], vec![]),
        ] {
            assert_eq!(profile(processes.clone(), words).widen, expected, "{words:?}");
        }
        let attributes = json!({"widen": ["attributes"]});
        let changed = |path: &str, beneath| Widen::Attributes { path: path.to_owned(), beneath };
        for (words, expected) in [
            (&["chmod", "600", "/var/log/a", "b"][..], vec![changed("/var/log/a", false)]),
            (&["chmod", "-v", "-rw", "/a/", "/a/../b"], vec![changed("/a", false)]),
            (&["chown", "-vR", "x:y", "/a", "/b"], vec![changed("/a", true), changed("/b", true)]),
            (&["chgrp", "--rec", "x", "/a"], vec![changed("/a", true)]),
            (&["chmod", "--reference=/a", "--", "/b"], vec![changed("/b", false)]),
            (&["chmod", "-R", "777", "/"], vec![]),
        ] {
            assert_eq!(profile(attributes.clone(), words).widen, expected, "{words:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            (json!({"netlink": true, "tcp": "10.0.0.1:6443"}), "one of"),
            (json!({"tcp": "kube.example:6443"}), "10.0.0.1:6443"),
            (json!({"socket": "run/x"}), "no absolute path"),
            (json!({"list": ["/a/../b"]}), "no absolute path"),
            (json!({"privileged_socket": "/run/systemd/private"}), "or ask"),
            (json!({"variables": {"LD_PRELOAD": "/x"}}), "LD_PRELOAD"),
            (json!({"variables": {"PATH": "/x"}}), "PATH"),
            (json!({"widen": ["attributes"], "netlink": true}), "no peer"),
            (json!({"widen": ["attributes"], "read": ["/etc/x"]}), "no peer"),
            (json!({"colour": 1}), "colour"),
        ] {
            let problems = sandbox(text.clone(), false).expect_err("it is invalid").join(" ");
            assert!(problems.contains(words), "{text}: {problems}");
        }
    }
}
