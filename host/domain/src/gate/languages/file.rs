//! Paths that are surely of files, for programs that do more with a folder than with a file; and paths of folders.

use crate::gate::files::{Access, Files};

/// What files are called that people compare, behind the last dot.
const ENDINGS: &[&str] = &[
    "cfg",
    "cnf",
    "conf",
    "csv",
    "ini",
    "json",
    "list",
    "log",
    "mount",
    "path",
    "properties",
    "rules",
    "service",
    "slice",
    "socket",
    "target",
    "timer",
    "toml",
    "tsv",
    "txt",
    "xml",
    "yaml",
    "yml",
];
/// Behind such a name, and once more: how copies of it are called.
const COPIES: &[&str] =
    &["bak", "dpkg-dist", "dpkg-old", "new", "old", "orig", "rpmnew", "rpmsave", "save", "0", "1", "2", "3"];
/// Files without an ending.
const KNOWN: &[&str] = &[
    "crontab",
    "fstab",
    "group",
    "hostname",
    "hosts",
    "issue",
    "machine-id",
    "messages",
    "mtab",
    "networks",
    "os-release",
    "passwd",
    "profile",
    "protocols",
    "services",
    "shells",
    "syslog",
    "timezone",
];

pub(super) fn plain(text: &str, files: &Files) -> Result<(), String> {
    let named = text.rsplit('/').next().is_some_and(is_file);
    match files.access(text) {
        Access::Allowed if named => Ok(()),
        Access::Allowed => Err(format!("`{}`, which may be a folder", text.escape_debug())),
        _ => Err(format!("the file `{}`", text.escape_debug())),
    }
}

pub(super) fn folder(text: &str, files: &Files) -> Result<(), String> {
    match files.access(text) {
        Access::Allowed => Ok(()),
        _ => Err(format!("the folder `{}`", text.escape_debug())),
    }
}

fn is_file(name: &str) -> bool {
    let original =
        name.rsplit_once('.').filter(|(_, ending)| COPIES.contains(ending)).map_or(name, |(name, _)| name);
    let ending = original.rsplit_once('.').map(|(_, ending)| ending);
    KNOWN.contains(&original) || ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn what_may_be_a_folder_is_none() {
        holds(
            Language::PlainFile,
            &[
                "/var/log/app/a.log",
                "/var/log/app/a.log.1",
                "/var/log/app/hosts.bak",
                "/var/log/app/x.conf.old",
            ],
            &[
                "/var/log",
                "/var/log/app",
                "/var/log/app.bak",
                "/var/log/conf.d",
                "/var/log/app/secret.log",
                "/etc/hosts",
                "/var/log/../../etc/hosts",
                "a.log",
                "-",
            ],
        );
        holds(Language::Folder, &["/var/log", "/var/log/app"], &["-", "/root", "/var/log/.ssh", "log"]);
    }
}
