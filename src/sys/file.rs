//! Reads files that others may write, without blocking and with a bound.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Reads a configuration file of at most [`MAX_FILE_LEN`] bytes.
///
/// # Errors
/// Those of open(2) and read(2), and a sentence for a file that is not regular or is larger.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    read_to_end(&open(File::options().read(true), path)?, MAX_FILE_LEN)
}

/// Opens a file without blocking: a named pipe in its place would wait for a writer.
///
/// # Errors
/// Those of open(2).
pub fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(libc::O_NONBLOCK).open(path)
}

/// Reads a regular file from its current offset to its end.
///
/// # Errors
/// Those of read(2), and a sentence for a file that is not regular or has more than `max_len` bytes.
pub fn read_to_end(file: &File, max_len: u64) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.len() > max_len {
        return Err(too_large());
    }
    // With capacity to spare one read(2) takes all of the file, and another one sees its end.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 64);
    file.take(max_len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the error for a file of more than [`MAX_FILE_LEN`] bytes.
pub fn too_large() -> io::Error {
    io::Error::other("larger than 64 KiB")
}

/// The largest configuration file that is read, in bytes: far above any real one, and little memory.
pub const MAX_FILE_LEN: u64 = 64 * 1024;
