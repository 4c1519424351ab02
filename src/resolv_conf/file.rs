//! The file itself: found, written in place, and put back as it was.
//!
//! The process may be killed between any two system calls here. What stood
//! there before is in the file at each of these moments, first as itself and
//! then in the comments of [`super::original`].

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::original::{self, Recovered};
use crate::sys::file::{self, MAX_FILE_LEN};

/// A file as it was found, opened once for all that is done with it.
#[derive(Debug)]
pub struct OpenedFile<'a> {
    path: &'a Path,
    /// Where it may be written to.
    file: Option<File>,
    /// What it said before any runsd wrote it.
    pub text: io::Result<Vec<u8>>,
    /// How long it is, in octets; `None` where it could not be read.
    len: Option<usize>,
    /// It has other octets than `text`: of a runsd that did not come to put it
    /// back, or to the end of writing.
    has_ours: bool,
}

/// Reads a file that may be rewritten.
pub fn find(path: &Path) -> OpenedFile<'_> {
    let file = file::open(File::options().read(true).write(true), path).ok();
    let raw = match &file {
        Some(file) => file::read_to_end(file, LARGEST_OURS),
        None => file::open(File::options().read(true), path).and_then(|file| file::read_to_end(&file, LARGEST_OURS)),
    };
    let len = raw.as_ref().ok().map(Vec::len);
    let (text, has_ours) = match raw.map(original::recover) {
        Ok(Recovered::Itself(text)) => {
            let has_ours = len != Some(text.len());
            (Ok(text), has_ours)
        }
        Ok(Recovered::Before(Some(text))) => (Ok(text), true),
        Ok(Recovered::Before(None)) => (Err(io::ErrorKind::NotFound.into()), true),
        Err(err) => (Err(err), false),
    };
    let is_too_long = |text: &Vec<u8>| text.len() as u64 > MAX_FILE_LEN;
    let (text, len) = match text {
        Ok(text) if is_too_long(&text) => (Err(file::too_large()), None),
        text => (text, len),
    };
    OpenedFile { path, file, text, len, has_ours }
}

impl OpenedFile<'_> {
    /// Puts `ours` into the file in place, and what it said before behind it.
    /// Where it could not be read there must be nothing at all at that path,
    /// and a file is made.
    pub fn rewrite(self, mut ours: Vec<u8>) -> io::Result<RewriteGuard> {
        let mut options = File::options();
        options.read(true).write(true);
        let file = match (self.len, self.file) {
            (Some(_), Some(file)) => file,
            // Once more, to learn why it may not.
            (Some(_), None) => file::open(&mut options, self.path)?,
            // Whatever else stands there is not ours to write to, or to remove.
            (None, _) => file::open(options.create_new(true), self.path)
                .map_err(|err| why_not_made(err, self.text.as_ref().err(), self.path))?,
        };
        let original = self.text.ok();
        let text = original.as_deref().unwrap_or_default();
        // Else each start that is killed while it writes would leave more behind.
        if self.has_ours {
            overwrite(&file, text, self.len.unwrap_or(0))?;
        }
        let before = text.len();
        // First what is kept, behind the original and behind what comes over it.
        let at = before.max(ours.len());
        let mut kept = vec![b'\n'; at - before];
        original::keep(original.as_deref(), &mut kept);
        ours.resize(at, b'\n');
        let written = file.write_all_at(&kept, before as u64).and_then(|()| file.write_all_at(&ours, 0));
        ours.extend_from_slice(&kept[at - before..]);
        let rewritten = RewriteGuard { path: self.path.to_owned(), file, original, ours };
        if let Err(err) = written {
            // Half a file, as on a full disk, would be worse than the old one.
            let _ = rewritten.put_back();
            return Err(err);
        }
        Ok(rewritten)
    }
}

/// Why there is no new file, in words for what is there.
fn why_not_made(err: io::Error, unread: Option<&io::Error>, path: &Path) -> io::Error {
    match unread {
        _ if err.kind() != io::ErrorKind::AlreadyExists => err,
        _ if path.is_dir() => io::ErrorKind::IsADirectory.into(),
        Some(unread) if unread.kind() == io::ErrorKind::NotFound => {
            io::Error::other("a symbolic link to a file that is not there")
        }
        Some(unread) => io::Error::new(unread.kind(), unread.to_string()),
        None => err,
    }
}

/// A file that was rewritten, and what it takes to put it back.
#[derive(Debug)]
pub struct RewriteGuard {
    path: PathBuf,
    file: File,
    original: Option<Vec<u8>>,
    ours: Vec<u8>,
}

impl RewriteGuard {
    /// Gives the file its original content back, unless someone else wrote it
    /// since, or put another in its place.
    pub fn restore(&self) -> io::Result<()> {
        (&self.file).rewind()?;
        if file::read_to_end(&self.file, LARGEST_OURS)? == self.ours {
            self.put_back()?;
        }
        Ok(())
    }

    fn put_back(&self) -> io::Result<()> {
        match &self.original {
            Some(original) => overwrite(&self.file, original, self.ours.len()),
            None if same_file(&self.file, &self.path)? => fs::remove_file(&self.path),
            None => Ok(()),
        }
    }
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let (one, other) = (file.metadata()?, fs::symlink_metadata(path)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Writes first and cuts then, where there were more bytes before: nobody ever
/// reads an empty file, and no file system takes it for a replacement that has
/// to reach the disk at once. Cutting nothing off takes longer than writing.
fn overwrite(file: &File, bytes: &[u8], before: usize) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    match bytes.len() {
        len if len >= before => Ok(()),
        len => file.set_len(len as u64),
    }
}

/// The same, of one that runsd wrote: it holds another one in hexadecimal, and
/// once more what of it still counts.
const LARGEST_OURS: u64 = 4 * MAX_FILE_LEN;
