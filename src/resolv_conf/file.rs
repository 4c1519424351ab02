//! The file itself: opened once, written in place, and restored.
//!
//! The process may be killed between any two system calls. At each of these moments the original is in the file: first
//! as itself, then in the comments that [`super::backup`] writes behind it.
//!
//! ```text
//!   open ──▶ OpenedFile ── rewrite ──▶ RewriteGuard ── restore ──▶ the original
//!             │
//!             └ a backup in it: an earlier runsd was killed; the original is what the backup holds
//! ```

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::backup::{self, Recovered};
use crate::sys::file::{self, MAX_FILE_LEN};

/// A resolv.conf before runsd rewrites it.
#[derive(Debug)]
pub struct OpenedFile<'a> {
    path: &'a Path,
    /// `None` where it cannot be opened for writing.
    file: Option<File>,
    /// What it said before any runsd wrote it.
    pub text: io::Result<Vec<u8>>,
    /// Its length in bytes as it is now; `None` where it cannot be read.
    current_len: Option<usize>,
    /// It is not `text`: an earlier runsd was killed before it restored the file, or while it wrote it.
    has_leftovers: bool,
}

/// Opens a file that may be rewritten, and reads it.
pub fn open(path: &Path) -> OpenedFile<'_> {
    let file = file::open(File::options().read(true).write(true), path).ok();
    let current = match &file {
        Some(file) => file::read_to_end(file, MAX_REWRITTEN_LEN),
        None => file::open(File::options().read(true), path).and_then(|f| file::read_to_end(&f, MAX_REWRITTEN_LEN)),
    };
    let current_len = current.as_ref().ok().map(Vec::len);
    let (text, has_leftovers) = match current.map(backup::recover) {
        Ok(Recovered::Itself(text)) => {
            let has_leftovers = current_len != Some(text.len());
            (Ok(text), has_leftovers)
        }
        Ok(Recovered::Original(Some(text))) => (Ok(text), true),
        Ok(Recovered::Original(None)) => (Err(io::ErrorKind::NotFound.into()), true),
        Err(err) => (Err(err), false),
    };
    match text {
        Ok(text) if text.len() as u64 > MAX_FILE_LEN => {
            OpenedFile { path, file, text: Err(file::too_large()), current_len: None, has_leftovers }
        }
        text => OpenedFile { path, file, text, current_len, has_leftovers },
    }
}

impl OpenedFile<'_> {
    /// Writes `content` into the file, and the original behind it. A file that could not be read is created; then the
    /// path must be free.
    ///
    /// # Errors
    /// Those of open(2) and write(2); the file is as before then.
    pub fn rewrite(self, mut content: Vec<u8>) -> io::Result<RewriteGuard> {
        let mut options = File::options();
        options.read(true).write(true);
        let file = match (self.current_len, self.file) {
            (Some(_), Some(file)) => file,
            // Again, for the error.
            (Some(_), None) => file::open(&mut options, self.path)?,
            // What stands at the path, whatever it is, is not runsd's to write or to remove.
            (None, _) => file::open(options.create_new(true), self.path)
                .map_err(|err| explain_create_error(err, self.text.as_ref().err(), self.path))?,
        };
        let original = self.text.ok();
        let text = original.as_deref().unwrap_or_default();
        // Else each start that is killed while it writes would leave a backup more.
        if self.has_leftovers {
            overwrite(&file, text, self.current_len.unwrap_or(0))?;
        }
        // The backup first, behind the original and behind the content that overwrites it.
        let backup_offset = text.len().max(content.len());
        let mut backup = vec![b'\n'; backup_offset - text.len()];
        backup::append(original.as_deref(), &mut backup);
        content.resize(backup_offset, b'\n');
        let outcome = file.write_all_at(&backup, text.len() as u64).and_then(|()| file.write_all_at(&content, 0));
        content.extend_from_slice(&backup[backup_offset - text.len()..]);
        let guard = RewriteGuard { path: self.path.to_owned(), file, original, written: content };
        if let Err(err) = outcome {
            // Half a file, as on a full disk, would be worse than the original.
            let _ = guard.write_original();
            return Err(err);
        }
        Ok(guard)
    }
}

/// Explains why a file could not be created, by what stands at its path.
fn explain_create_error(err: io::Error, read_error: Option<&io::Error>, path: &Path) -> io::Error {
    match read_error {
        _ if err.kind() != io::ErrorKind::AlreadyExists => err,
        _ if path.is_dir() => io::ErrorKind::IsADirectory.into(),
        Some(read_error) if read_error.kind() == io::ErrorKind::NotFound => {
            io::Error::other("a symbolic link to a file that is not there")
        }
        Some(read_error) => io::Error::new(read_error.kind(), read_error.to_string()),
        None => err,
    }
}

/// A rewritten file, and what it takes to restore it. Dropping it restores nothing.
#[derive(Debug)]
pub struct RewriteGuard {
    path: PathBuf,
    file: File,
    /// `None` where there was no file.
    original: Option<Vec<u8>>,
    written: Vec<u8>,
}

impl RewriteGuard {
    /// Restores the original, unless another program changed the file since, or put another one in its place.
    ///
    /// # Errors
    /// Those of read(2), write(2) and unlink(2).
    pub fn restore(&self) -> io::Result<()> {
        (&self.file).rewind()?;
        if file::read_to_end(&self.file, MAX_REWRITTEN_LEN)? == self.written {
            self.write_original()?;
        }
        Ok(())
    }

    fn write_original(&self) -> io::Result<()> {
        match &self.original {
            Some(original) => overwrite(&self.file, original, self.written.len()),
            None if is_same_file(&self.file, &self.path)? => fs::remove_file(&self.path),
            None => Ok(()),
        }
    }
}

fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    let (opened, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

/// Writes `bytes` first and truncates afterwards: a reader never finds an empty file, and no file system takes it for
/// a replacement that has to reach the disk at once. Truncates only what was longer, because ftruncate(2) takes
/// longer than the write.
fn overwrite(file: &File, bytes: &[u8], current_len: usize) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    if bytes.len() < current_len {
        file.set_len(bytes.len() as u64)?;
    }
    Ok(())
}

/// The largest file that runsd writes, in bytes: it holds an original in hexadecimal, and what of it still counts.
const MAX_REWRITTEN_LEN: u64 = 4 * MAX_FILE_LEN;
