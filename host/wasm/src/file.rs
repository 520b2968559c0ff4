//! Reading what others put into a folder: a plain file and nothing else, up to a size, and without ever waiting for it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Reads all of it. An error reads behind "can't be read: "; of no file at all, it is of the kind `NotFound`.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Whoever opens a pipe waits until somebody writes into it, some devices have no end, and of others to open them is an act.
    is_file(&std::fs::metadata(path).map_err(with_remedy)?)?;
    let opened = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    let file = opened.map_err(with_remedy)?;
    let meta = file.metadata()?;
    is_file(&meta)?;
    let too_large = |size: u64| io::Error::other(format!("it has {size} bytes, and may have {most} at most"));
    if meta.len() > most {
        return Err(too_large(meta.len()));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    // It may grow meanwhile.
    let read = file.take(most + 1).read_to_end(&mut bytes)? as u64;
    if read > most { Err(too_large(read)) } else { Ok(bytes) }
}

fn is_file(meta: &Metadata) -> io::Result<()> {
    let kind = match meta.file_type() {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        _ => "a device",
    };
    Err(io::Error::other(format!("it is {kind} and no file; take it away")))
}

/// As [`read`], of text.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| io::Error::other("it is no UTF-8 text"))
}

fn with_remedy(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            io::Error::new(error.kind(), format!("{error}; let the host's user read it"))
        }
        _ => error,
    }
}
