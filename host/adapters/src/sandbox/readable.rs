//! What a program may read, as the kernel can hold it: Landlock permits whole trees and knows no exception, so a tree with a
//! denied file in it is taken apart into those beside it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use watchkeeper_domain::gate::Files;

/// Entries looked at beneath one allowed directory. A tree that has more is permitted as far as it was seen.
const MAX_ENTRIES: usize = 20_000;

/// Rules for one program. Beyond, what is left over can't be read: the safe side.
const MAX_RULES: usize = 4_000;

/// The magic numbers of their file systems (`linux/magic.h`).
const PROC: i64 = 0x9fa0;
const SYSFS: i64 = 0x6265_6572;

/// Every tree and file inside of the allowed directories that has nothing denied in it.
pub(super) fn readable(files: &Files) -> Vec<PathBuf> {
    let mut rules = Vec::new();
    for directory in files.allowed_directories() {
        let directory = Path::new(directory);
        let mut walk = Walk { files, entries: 0 };
        match kind(directory) {
            // Processes come and go. What is denied there, other processes' memory, environment and files, the kernel denies
            // to whoever is in a Landlock domain and has no capability.
            Some(PROC) => rules.push(directory.to_owned()),
            Some(SYSFS) => walk.anchored(directory, &mut rules),
            Some(_)
                if files.denied_by(&directory.to_string_lossy()).is_none()
                    && walk.is_clean(directory, &mut rules) =>
            {
                rules.push(directory.to_owned());
            }
            _ => {}
        }
    }
    if rules.len() > MAX_RULES {
        tracing::warn!("{} trees may be read, more than {MAX_RULES}; the rest cannot be", rules.len());
        rules.truncate(MAX_RULES);
    }
    rules
}

fn kind(directory: &Path) -> Option<i64> {
    statfs(directory).ok().map(|about| about.f_type)
}

struct Walk<'a> {
    files: &'a Files,
    entries: usize,
}

impl Walk<'_> {
    /// Whether all beneath may be read. If not, what may be is in `rules`.
    fn is_clean(&mut self, directory: &Path, rules: &mut Vec<PathBuf>) -> bool {
        let Ok(entries) = fs::read_dir(directory) else {
            return false;
        };
        let (mut clean, mut kept) = (true, Vec::new());
        for entry in entries.flatten() {
            self.entries += 1;
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
                clean = false;
                continue;
            };
            if self.entries > MAX_ENTRIES || self.files.denied_by(&path.to_string_lossy()).is_some() {
                clean = false;
            } else if kind.is_dir() {
                match self.is_clean(&path, &mut kept) {
                    true => kept.push(path),
                    false => clean = false,
                }
            } else if kind.is_file() {
                kept.push(path);
            }
            // A link is judged by where it leads; sockets, pipes and devices are nothing to read, but don't spoil a tree.
        }
        if !clean {
            rules.extend(kept);
        }
        clean
    }

    /// As [`Walk::is_clean`], but only along the paths that are denied by name: /sys is too large to look at, and its files
    /// are named by the kernel.
    fn anchored(&mut self, directory: &Path, rules: &mut Vec<PathBuf>) {
        let text = directory.to_string_lossy();
        if self.files.denied_by(&text).is_some() {
            return;
        }
        if !self.files.denies_beneath(&text) {
            rules.push(directory.to_owned());
            return;
        }
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.anchored(&entry.path(), rules),
                Ok(kind) if kind.is_file() => rules.push(entry.path()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use watchkeeper_domain::gate::Policy;

    use super::*;

    fn policy(allowed: &Path, denied: &[&str]) -> Policy {
        let policy = serde_json::json!({"allowed_directories": [allowed], "denied_files": denied});
        serde_json::from_value(policy).unwrap()
    }

    fn below(folder: &Path, denied: &[&str]) -> Vec<String> {
        let mut found: Vec<String> = readable(policy(folder, denied).files())
            .iter()
            .map(|path| path.strip_prefix(folder).unwrap().to_string_lossy().into_owned())
            .collect();
        found.sort();
        found
    }

    #[test]
    fn a_tree_with_a_secret_is_taken_apart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        for path in ["clean/a/b", "mixed/a/log", "mixed/b/key.pem", "mixed/b/log", "top.log"] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink("/etc/shadow", folder.join("link")).unwrap();
        assert_eq!(below(&folder, &[]), [""]);
        assert_eq!(below(&folder, &["*.pem"]), ["clean", "mixed/a", "mixed/b/log", "top.log"]);
        assert_eq!(below(&folder, &["mixed"]), ["clean", "top.log"]);
    }

    #[test]
    fn sys_is_not_walked() {
        let found = readable(policy(Path::new("/sys"), &["/sys/kernel/debug", "*.pem"]).files());
        assert!(found.iter().any(|path| path.starts_with("/sys/kernel")));
        assert!(!found.iter().any(|path| Path::new("/sys/kernel/debug").starts_with(path)));
        assert_eq!(readable(policy(Path::new("/proc"), &["/proc/**/environ"]).files()), [Path::new("/proc")]);
    }
}
