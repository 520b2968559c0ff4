//! Names to look for. To ask where the secrets are is a step towards reading them.

use crate::gate::files::Files;

/// What names may be long at most.
const MAX_BYTES: usize = 255;

pub(super) fn name(text: &str, files: &Files) -> Result<(), String> {
    if text.len() > MAX_BYTES {
        return Err(format!("a name of more than {MAX_BYTES} bytes"));
    }
    let looks = text.split('/').any(|part| files.names_secret(part));
    if looks {
        Err(format!("a search for `{}`, which denied_files covers", text.escape_debug()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Language, holds};

    #[test]
    fn secrets_are_not_looked_for() {
        holds(
            Language::FindName,
            &["*.log", "*.conf", "*.json", "core.*", "*", "*/nginx/*", "", "syslog*"],
            &[
                "*.pem", "id_rsa", "id_rsa*", "*/.ssh/*", "shadow", "*secret*", ".env", "*.PEM", "*shadow*",
                "*secr*",
            ],
        );
    }
}
