//! Where the whole of an output goes that is too long for its outcome: a file in the data folder.
//!
//! Invariant: bounded in size and in number. The oldest gives way.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of one file; what comes then is lost, and the outcome says so.
const MAX_BYTES: u64 = 16 << 20;
/// Files that are kept.
const MAX_FILES: usize = 64;

/// The folder of spilled outputs.
pub struct Spills {
    folder: PathBuf,
    next: AtomicU64,
}

impl Spills {
    pub fn open(folder: &Path) -> io::Result<Self> {
        // What programs say may be for few eyes.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let last = numbers(folder)?.last().copied().unwrap_or(0);
        Ok(Self { folder: folder.to_owned(), next: AtomicU64::new(last + 1) })
    }

    fn create(&self) -> io::Result<(PathBuf, File)> {
        let known = numbers(&self.folder)?;
        for number in &known[..known.len().saturating_sub(MAX_FILES - 1)] {
            fs::remove_file(self.path(*number))?;
        }
        let path = self.path(self.next.fetch_add(1, Ordering::Relaxed));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((path, file))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number}.txt"))
    }
}

fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".txt")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// One output: held until it is too long, then in a file.
pub(super) struct Spill {
    spills: Option<Arc<Spills>>,
    room: usize,
    state: State,
}

enum State {
    Short(Vec<u8>),
    Long { path: PathBuf, file: File, written: u64, lost: u64 },
    Failed(String),
}

impl Spill {
    pub(super) fn new(room: usize, spills: Option<Arc<Spills>>) -> Self {
        Self { spills, room, state: State::Short(Vec::new()) }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let Some(spills) = &self.spills else { return };
        if let State::Short(held) = &mut self.state {
            held.extend_from_slice(bytes);
            if held.len() <= self.room {
                return;
            }
            let held = std::mem::take(held);
            self.state = match spills.create() {
                Ok((path, file)) => State::Long { path, file, written: 0, lost: 0 },
                Err(error) => State::Failed(format!("the rest isn't kept: {error}")),
            };
            self.write(&held);
        } else {
            self.write(bytes);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let State::Long { file, written, lost, .. } = &mut self.state else { return };
        let room = MAX_BYTES.saturating_sub(*written).min(bytes.len() as u64) as usize;
        match file.write_all(&bytes[..room]) {
            Ok(()) => {
                *written += room as u64;
                *lost += (bytes.len() - room) as u64;
            }
            Err(error) => self.state = State::Failed(format!("the rest isn't kept: {error}")),
        }
    }

    /// Where it is, for whoever reads the outcome.
    pub(super) fn finish(self) -> Option<String> {
        match self.state {
            State::Short(_) => None,
            State::Failed(why) => Some(why),
            State::Long { path, written, lost: 0, .. } => {
                Some(format!("all {written} bytes of it are in {} on the host", path.display()))
            }
            State::Long { path, written, lost, .. } => Some(format!(
                "its first {written} bytes are in {} on the host; {lost} more are lost",
                path.display()
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let spills = Arc::new(Spills::open(folder.path()).unwrap());
        let mut short = Spill::new(4, Some(spills.clone()));
        short.push(b"1234");
        assert_eq!(short.finish(), None);
        assert_eq!(numbers(folder.path()).unwrap(), [0; 0]);
        let mut long = Spill::new(4, Some(spills));
        ["123", "45", "67"].iter().for_each(|bytes| long.push(bytes.as_bytes()));
        assert!(long.finish().unwrap().starts_with("all 7 bytes"));
        assert_eq!(fs::read(folder.path().join("1.txt")).unwrap(), b"1234567");
    }

    #[test]
    fn bounded_in_number_across_restarts_and_in_size() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let spills = Spills::open(folder.path()).unwrap();
            (0..MAX_FILES).for_each(|_| drop(spills.create().unwrap()));
        }
        let kept = numbers(folder.path()).unwrap();
        assert_eq!((kept.len(), kept[0]), (MAX_FILES, MAX_FILES as u64 + 1));
        let mut huge = Spill::new(4, Some(Arc::new(Spills::open(folder.path()).unwrap())));
        (0..20).for_each(|_| huge.push(&vec![b'x'; 1 << 20]));
        assert!(huge.finish().unwrap().ends_with(&format!("{} more are lost", 4 << 20)));
    }
}
