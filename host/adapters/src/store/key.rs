//! The key that a store signs its audit log with: Ed25519 (RFC 8032), in the files that `openssl` reads (RFC 8410).
//!
//! The private half is read and written by its owner alone. The public half lies beside it and is all that a verifier needs;
//! where a key made way for another, those of all of them do, the first first.
//!
//! A new key lies beside the one that signs until the log says that it goes on by the new one (`prepare`); then it takes
//! that one's place (`take_over`), which can be done again after a crash.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// What stands before the 32 bytes of the key: RFC 8410's encodings, of which nothing else varies.
const PRIVATE_DER: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PUBLIC_DER: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// More than either file has: a public key takes 113 bytes of it.
const MAX_FILE: u64 = 64 * 1024;

/// Of the data folder, unless another file is named.
const FILE: &str = "audit.key";

pub struct AuditKey(Ed25519KeyPair);

impl AuditKey {
    pub fn file_in(data: &Path) -> PathBuf {
        data.join(FILE)
    }

    /// Where the public half of a key's file lies.
    pub fn public_file(key: &Path) -> PathBuf {
        key.with_extension("pub")
    }

    pub fn read(file: &Path) -> Result<Self, String> {
        let place = file.display();
        let opened = File::open(file).map_err(|error| format!("{place}: can't be read: {error}"))?;
        let mode = opened.metadata().map_err(|error| format!("{place}: {error}"))?.mode();
        if mode & 0o077 != 0 {
            return Err(format!(
                "{place}: others may read the audit log's key (mode {:o}): chmod 600 {place}",
                mode & 0o777
            ));
        }
        let der = pem(&text(opened).map_err(|error| format!("{place}: {error}"))?, "PRIVATE KEY");
        let seed = der.as_deref().and_then(|der| der.strip_prefix(&PRIVATE_DER));
        let pair = seed.and_then(|seed| Ed25519KeyPair::from_seed_unchecked(seed).ok());
        pair.map(Self).ok_or_else(|| {
            format!("{place}: is no Ed25519 key in PEM; `openssl genpkey -algorithm ed25519 -out {place}` makes one")
        })
    }

    /// Makes one, unless another process was quicker: then that one.
    pub fn create(file: &Path) -> Result<Self, String> {
        let wrong = |error: io::Error| cannot_write(file, &error);
        let beside = file.with_extension(format!("new-{}", std::process::id()));
        write_new(&beside, &random_pem(file)?, 0o600).map_err(wrong)?;
        // A link, unlike a rename, takes nobody's place.
        let linked = std::fs::hard_link(&beside, file);
        let _ = std::fs::remove_file(&beside);
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(wrong(error)),
            _ => {}
        }
        let key = Self::read(file)?;
        let public = Self::public_file(file);
        match write_new(&public, &key.public().to_pem(), 0o644) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(wrong(error)),
            _ => Ok(key),
        }
    }

    /// Where a key's successor lies until it takes its place.
    pub(crate) fn next_file(key: &Path) -> PathBuf {
        let mut name = key.as_os_str().to_owned();
        name.push(".next");
        name.into()
    }

    /// Makes the successor of the key in `file`. One that was made before, and never used, is gone.
    pub(crate) fn prepare(file: &Path) -> Result<Self, String> {
        let next = Self::next_file(file);
        match std::fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot_write(&next, &error)),
            _ => {}
        }
        write_new(&next, &random_pem(&next)?, 0o600).map_err(|error| cannot_write(&next, &error))?;
        Self::read(&next)
    }

    /// The successor takes the place of the key in `file`, which is gone from then on.
    pub(crate) fn take_over(file: &Path, before: PublicKey, successor: PublicKey) -> Result<(), String> {
        let next = Self::next_file(file);
        let lies_there = |file: &Path| Self::read(file).is_ok_and(|key| key.public() == successor);
        // Another process may have been quicker.
        if !lies_there(file) {
            if !lies_there(&next) {
                return Err(format!("{}: is not the key {successor}", next.display()));
            }
            std::fs::rename(&next, file)
                .and_then(|()| sync_folder(file))
                .map_err(|error| cannot_write(file, &error))?;
        }
        let public = Self::public_file(file);
        let listed = if public.exists() { PublicKey::read_all(&public)? } else { vec![before] };
        if listed.contains(&successor) {
            return Ok(());
        }
        let all: String = listed.into_iter().chain([successor]).map(PublicKey::to_pem).collect();
        let beside = public.with_extension(format!("pub-{}", std::process::id()));
        let written = write_new(&beside, &all, 0o644).and_then(|()| std::fs::rename(&beside, &public));
        written.and_then(|()| sync_folder(&public)).map_err(|error| cannot_write(&public, &error))
    }

    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).as_ref().to_vec()
    }

    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }
}

/// The half that verifies. Written as base64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Those in a file, the first first: in PEM, or one's base64.
    pub fn read_all(file: &Path) -> Result<Vec<Self>, String> {
        let place = file.display();
        let text =
            File::open(file).and_then(text).map_err(|error| format!("{place}: can't be read: {error}"))?;
        if text.contains("PRIVATE KEY") {
            return AuditKey::read(file).map(|key| vec![key.public()]);
        }
        let wrong = || format!("{place}: is no Ed25519 public key: PEM, or 32 bytes in base64");
        let blocks: Vec<&str> = text.split_inclusive("-----END PUBLIC KEY-----").collect();
        let blocks = match blocks.as_slice() {
            [one] => &[*one][..],
            // Behind the last one's end there is nothing.
            [keys @ .., rest] if rest.trim().is_empty() => keys,
            all => all,
        };
        let keys: Vec<Self> =
            blocks.iter().map(|block| Self::parse(block).ok_or_else(wrong)).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(wrong()) } else { Ok(keys) }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let bytes = match pem(text, "PUBLIC KEY") {
            Some(der) => der.strip_prefix(&PUBLIC_DER)?.to_vec(),
            None => STANDARD.decode(text.trim()).ok()?,
        };
        bytes.try_into().ok().map(Self)
    }

    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(bytes, signature).is_ok()
    }

    fn to_pem(self) -> String {
        armour("PUBLIC KEY", &[&PUBLIC_DER[..], &self.0].concat())
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

fn text(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

fn armour(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
}

/// What is within the armour of `what`.
fn pem(text: &str, what: &str) -> Option<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {what}-----"), format!("-----END {what}-----"));
    let body = text.split_once(&begin)?.1.split_once(&end)?.0;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

/// A new private key.
fn random_pem(file: &Path) -> Result<String, String> {
    let mut seed = [0; 32];
    let filled = SystemRandom::new().fill(&mut seed);
    filled.map_err(|_| format!("{}: the system gives no random numbers", file.display()))?;
    Ok(armour("PRIVATE KEY", &[&PRIVATE_DER[..], &seed].concat()))
}

fn cannot_write(file: &Path, error: &io::Error) -> String {
    format!("{}: can't be written: {error}", file.display())
}

/// So that a rename outlives a crash of the machine.
fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_new(file: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()
}
