//! Finding a program's log, and the telling lines in it.

use crate::Call;

use super::{Case, Diagnosis, Seen, bash, is_plain, read_file};

/// Words that make a log line worth a person's look.
const TROUBLE: [&str; 14] = [
    "error",
    "fail",
    "fatal",
    "panic",
    "exception",
    "traceback",
    "timeout",
    "timed out",
    "refused",
    "out of memory",
    "killed",
    "denied",
    "no space",
    "too many",
];

/// Words that look like trouble and say there is none.
const NO_TROUBLE: [&str; 4] = ["0 errors", "0 failed", "no error", "errors=0"];

/// The call that tells whether systemd keeps a journal here: see [`Case::has_journal`].
pub fn init() -> Call {
    read_file("/proc/1/comm", "whether systemd keeps a journal here")
}

/// The call that lists the logs of a host without a journal.
pub fn var_log() -> Call {
    bash("ls -l /var/log", "which logs there are")
}

impl Case<'_> {
    /// Whether the host's first process is systemd, by what [`init`] showed.
    pub fn has_journal(&self) -> bool {
        self.seen(&init()).is_some_and(|seen| seen.text().trim() == "systemd")
    }
}

impl Diagnosis {
    /// A finding of the lines of a program's log that speak of trouble, if any do. Whether any do.
    pub fn trouble_in_log(&mut self, log: Seen) -> bool {
        let lines = trouble_lines(log.text());
        if lines.is_empty() {
            return false;
        }
        let statement = format!("Its log speaks of trouble in {} of its latest lines.", lines.len());
        self.finding(statement, lines.iter().take(3).map(|line| log.evidence(line)));
        true
    }
}

/// The lines that speak of trouble, the latest first, each text once.
pub fn trouble_lines(log: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = Vec::new();
    for line in log.lines().rev() {
        let lower = line.to_ascii_lowercase();
        let speaks = TROUBLE.iter().any(|word| lower.contains(word))
            && !NO_TROUBLE.iter().any(|word| lower.contains(word));
        if speaks && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// The call that reads a program's latest log lines: from the journal where systemd runs (by unit if it has one, else by
/// name), else from a file under `/var/log` that is named after it. `None` if there is no such place, or a name isn't safe
/// in a command.
pub fn journal_or_log(
    has_systemd: bool,
    unit: Option<&str>,
    program: &str,
    var_log: Option<&str>,
) -> Option<Call> {
    let purpose = "what the program said lately";
    if has_systemd {
        return match unit {
            Some(unit) if is_plain(unit) => {
                Some(bash(&format!("journalctl --no-pager -n 50 -u {unit}"), purpose))
            }
            _ if is_plain(program) => {
                Some(bash(&format!("journalctl --no-pager -n 50 -t {program}"), purpose))
            }
            _ => None,
        };
    }
    let wanted = format!("{program}.log");
    let file = log_files(var_log?).into_iter().find(|file| *file == program || **file == wanted)?;
    is_plain(file).then(|| bash(&format!("tail -n 50 /var/log/{file}"), purpose))
}

/// The names of plain files in `ls -l`'s listing.
pub fn log_files(listing: &str) -> Vec<&str> {
    listing
        .lines()
        .filter(|line| line.starts_with('-'))
        .filter_map(|line| line.split_whitespace().nth(8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_trouble_comes_first_and_once() {
        let log = "a error 1\nfine\nFAILED to x\nchecked: 0 errors\na error 1\n";
        assert_eq!(trouble_lines(log), ["a error 1", "FAILED to x"]);
    }

    #[test]
    fn a_log_is_looked_for_where_it_is() {
        let command = |call: Option<Call>| call.map(|call| call.input);
        let listing = "total 8\n-rw-r--r-- 1 root root 99 Jan  1 10:00 nginx.log\ndrwxr-xr-x 2 root root 9 Jan  1 10:00 apt\n";
        assert_eq!(
            command(journal_or_log(true, Some("web.service"), "node", None)).as_deref(),
            Some(r#"{"command":"journalctl --no-pager -n 50 -u web.service"}"#)
        );
        assert_eq!(
            command(journal_or_log(true, Some("a b"), "node", None)).as_deref(),
            Some(r#"{"command":"journalctl --no-pager -n 50 -t node"}"#)
        );
        assert_eq!(
            command(journal_or_log(false, None, "nginx", Some(listing))).as_deref(),
            Some(r#"{"command":"tail -n 50 /var/log/nginx.log"}"#)
        );
        assert_eq!(command(journal_or_log(false, None, "apt", Some(listing))), None);
        assert_eq!(command(journal_or_log(true, None, "$(reboot)", None)), None);
    }
}
