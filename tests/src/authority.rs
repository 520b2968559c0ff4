//! A certificate authority of a test's own, by openssl: nobody trusts it but who is told of its file.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub struct Authority {
    openssl: PathBuf,
    folder: TempDir,
}

/// A server's certificate and its key, in PEM.
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// `openssl` is what [`crate::require`] found.
    pub fn new(openssl: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("authority-test-").tempdir().unwrap();
        let this = Self { openssl: openssl.to_owned(), folder };
        this.certify("ca", &["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"], &[]);
        this
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// For a server that is known by these names (`IP:127.0.0.1`, `DNS:localhost`).
    pub fn issue(&self, name: &str, known_by: &str) -> Issued {
        let names = format!("subjectAltName={known_by}");
        self.certify(
            name,
            &["basicConstraints=critical,CA:FALSE", &names],
            &["-CA", "ca.pem", "-CAkey", "ca.key"],
        )
    }

    /// No other's, so that whose a certificate is can be told.
    fn name(&self) -> String {
        self.folder.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    fn certify(&self, name: &str, extensions: &[&str], issuer: &[&str]) -> Issued {
        let mut command = Command::new(&self.openssl);
        command
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-days", "2", "-subj", &format!("/CN={name} of {}", self.name())])
            .args(extensions.iter().flat_map(|extension| ["-addext", extension]))
            .args(issuer)
            .args(["-out", &format!("{name}.pem"), "-keyout", &format!("{name}.key")])
            .current_dir(self.folder.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let file = |end: &str| self.folder.path().join(format!("{name}.{end}"));
        Issued { certificate: file("pem"), key: file("key") }
    }
}
