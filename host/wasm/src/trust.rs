//! Which plugins are let in: by the digests that are pinned, and by who signed them. Judged before anything is compiled.
//!
//! A pin ties a name to one content. A signature says whose a content is, whatever it is called, and however old; so
//! whoever can write into the plugins' folder can still bring back an older signed version, unless it is pinned, too.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use minisign_verify::{Error, PublicKey, Signature};

use crate::file;

/// A signature has four short lines.
pub(crate) const MAX_SIGNATURE: u64 = 8 << 10;

/// What is appended to a plugin's file name, as `minisign` does.
const SIGNATURE: &str = "minisig";

/// By plugin, `sha256:` and the digest in hex.
pub type Pins = BTreeMap<String, String>;

/// Reads a lock file; None if there is none, or why it can't be read.
pub type ReadPins = fn(&Path) -> Result<Option<Pins>, String>;

/// A public key, as `minisign` writes it.
#[derive(Clone, PartialEq)]
pub struct Key {
    text: String,
    key: PublicKey,
}

impl Key {
    pub fn parse(text: &str) -> Result<Self, String> {
        let key = PublicKey::from_base64(text.trim()).map_err(|error| {
            format!(
                "`{text}` is no public key of minisign ({error}); it is the second line of minisign.pub, and begins with RW"
            )
        })?;
        Ok(Self { text: text.trim().to_owned(), key })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// How a plugin stands to the lock file.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Pin {
    #[default]
    None,
    Same,
    Other,
}

/// What speaks for a plugin that is loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vouched {
    pub pin: Pin,
    /// The key that it is signed with, if one of the operator's.
    pub signed_by: Option<String>,
}

/// What the operator lets in. The default is everything.
#[derive(Default)]
pub struct Trust {
    lock: Option<Lock>,
    keys: Vec<Key>,
    /// Says what speaks for a plugin, and lets it in whatever that is.
    lenient: bool,
}

struct Lock {
    file: PathBuf,
    read: ReadPins,
    /// Nothing but what is pinned is let in.
    enforced: bool,
}

impl Trust {
    /// With at least one key, every plugin must be signed with one of them.
    pub fn keys(mut self, keys: Vec<Key>) -> Self {
        self.keys = keys;
        self
    }

    /// The lock file is read at each load, so that one that is written while the host runs counts.
    pub fn lock(mut self, file: PathBuf, read: ReadPins, enforced: bool) -> Self {
        self.lock = Some(Lock { file, read, enforced });
        self
    }

    /// Whatever the lock file says: for what writes it.
    pub fn unlocked(mut self) -> Self {
        self.lock = None;
        self
    }

    /// For looking at a plugin that needn't be trusted yet.
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Nothing but what is pinned is let in: of each plugin one version at most.
    pub(crate) fn is_locked(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.enforced)
    }

    pub(crate) fn lock_file(&self) -> Option<&Path> {
        self.lock.as_ref().map(|lock| lock.file.as_path())
    }

    /// `digest` is the SHA-256 of `bytes`, in hex. A refusal reads as a sentence behind the file's name.
    pub fn check(&self, name: &str, path: &Path, bytes: &[u8], digest: &str) -> Result<Vouched, String> {
        let pin = match &self.lock {
            Some(lock) => lock.check(name, &format!("sha256:{digest}"), self.lenient)?,
            None => Pin::None,
        };
        let signed_by = match self.signed_by(path, bytes) {
            Ok(key) => key,
            Err(_) if self.lenient => None,
            Err(reason) => return Err(reason),
        };
        Ok(Vouched { pin, signed_by })
    }

    /// Without a key, nothing is asked.
    fn signed_by(&self, path: &Path, bytes: &[u8]) -> Result<Option<String>, String> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let file = signature_file(path);
        let sign = format!("sign it with `minisign -Sm {}`", shown(path));
        let text = read_signature(&file).map_err(|reason| match reason {
            None => format!(
                "isn't signed, and plugins.keys wants it to be: {} is not there; {sign}",
                shown(&file)
            ),
            Some(reason) => format!("its signature {} can't be read: {reason}; {sign}", shown(&file)),
        })?;
        let signer = verify(&self.keys, &text, bytes);
        signer
            .map(|key| Some(key.to_string()))
            .map_err(|reason| format!("its signature {} {reason}", shown(&file)))
    }
}

impl Lock {
    fn check(&self, name: &str, found: &str, lenient: bool) -> Result<Pin, String> {
        let read = (self.read)(&self.file);
        let pin = match &read {
            Ok(Some(pins)) => pins.get(name),
            Ok(None) | Err(_) => None,
        };
        if pin.is_some_and(|pinned| pinned == found) {
            return Ok(Pin::Same);
        }
        if !self.enforced || lenient {
            return Ok(if pin.is_some() { Pin::Other } else { Pin::None });
        }
        let file = self.file.display();
        Err(match (&read, pin) {
            (Err(reason), _) => {
                format!("isn't pinned: its digest is {found}, and the pins can't be read: {reason}")
            }
            (Ok(None), _) => format!(
                "isn't pinned: its digest is {found}, and {file}, without which nothing is loaded, is not there; \
                 `watchkeeper plugin lock` writes it"
            ),
            (Ok(Some(_)), None) => format!(
                "isn't pinned: its digest is {found}, and {file} has no `{name}`; if it is meant to be loaded, \
                 `watchkeeper plugin lock` pins it"
            ),
            (Ok(Some(_)), Some(pinned)) => format!(
                "isn't what is pinned: its digest is {found}, and {file} pins {pinned}; if the change is meant, \
                 `watchkeeper plugin lock` pins it"
            ),
        })
    }
}

/// `x.wasm.minisig`, beside `x.wasm`.
pub(crate) fn signature_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(SIGNATURE);
    name.into()
}

/// The folder is the plugin's, which the message names.
fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// None as the error: there is no such file.
fn read_signature(file: &Path) -> Result<String, Option<String>> {
    file::read_text(file, MAX_SIGNATURE).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => None,
        _ => Some(error.to_string()),
    })
}

/// The key that signed these bytes. An error reads behind "its signature x.minisig".
fn verify<'a>(keys: &'a [Key], signature: &str, bytes: &[u8]) -> Result<&'a Key, String> {
    let signature = Signature::decode(signature).map_err(|error| {
        format!("is none of minisign ({error}); sign it again, or copy the signature again")
    })?;
    let mut refused = None;
    for key in keys {
        match key.key.verify(bytes, &signature, false) {
            Ok(()) => return Ok(key),
            Err(Error::UnexpectedKeyId) => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(match refused {
        None => "was made with a key that isn't among plugins.keys; sign it with one of those, or add its key".into(),
        Some(Error::InvalidSignature) => {
            "isn't of this content: one of the two was changed; take both from their author again".into()
        }
        Some(Error::UnexpectedAlgorithm | Error::UnsupportedAlgorithm | Error::UnsupportedLegacyMode) => {
            "has minisign's legacy format, which isn't taken; sign it again without -l, with minisign 0.10 or later".into()
        }
        Some(error) => format!("can't be verified: {error}; sign it again"),
    })
}
