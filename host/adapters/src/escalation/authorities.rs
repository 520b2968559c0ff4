//! Whose word a channel takes for it that a server is who it says.

#![cfg_attr(not(feature = "smtp"), allow(dead_code, reason = "each channel uses a part"))]

use std::path::Path;

/// More than any bundle of authorities has.
const MAX_FILE: u64 = 4 << 20;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The authorities that may vouch for a channel's server.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Authorities {
    /// Those that the system trusts.
    #[default]
    System,
    /// These alone, in PEM: an operator's own.
    Own(Vec<u8>),
}

impl Authorities {
    /// Those in the file, or the system's where none is named.
    pub fn read(file: Option<&Path>) -> Result<Self, String> {
        let Some(file) = file else { return Ok(Self::System) };
        let place = file.display();
        let wrong = |error: std::io::Error| format!("{place}: can't be read: {error}");
        if std::fs::metadata(file).map_err(wrong)?.len() > MAX_FILE {
            return Err(format!("{place}: is larger than {} MiB", MAX_FILE >> 20));
        }
        let pem = std::fs::read(file).map_err(wrong)?;
        if !String::from_utf8_lossy(&pem).contains(BEGIN) {
            return Err(format!("{place}: holds no certificate in PEM ({BEGIN})"));
        }
        Ok(Self::Own(pem))
    }
}

/// What failed, with what an operator can do about it where that isn't said.
pub(super) fn with_remedy(error: String) -> String {
    // The second is of an authority with the same name.
    match error.contains("UnknownIssuer") || error.contains("BadSignature") {
        true => format!("{error}: no authority that is trusted vouches for it; name its own in ca_file"),
        false => error,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert_eq!(Authorities::read(None), Ok(Authorities::System));
        assert!(Authorities::read(Some(&file)).unwrap_err().contains("can't be read"));
        std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\n").unwrap();
        assert!(Authorities::read(Some(&file)).unwrap_err().contains("no certificate"));
        std::fs::write(&file, BEGIN).unwrap();
        assert!(matches!(Authorities::read(Some(&file)), Ok(Authorities::Own(_))));
    }
}
