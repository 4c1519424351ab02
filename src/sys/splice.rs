//! Writing to a pipe without waiting, though O_NONBLOCK is not set on it.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::BorrowedFd;

use rustix::pipe::SpliceFlags;

/// A pipe of our own, of which what is in it goes on to another's by splice(2):
/// that can be told for one call not to wait, which write(2) cannot.
pub struct Splicer {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Splicer {
    /// # Errors
    /// Where there are no descriptors for it.
    pub fn new() -> io::Result<Splicer> {
        let (reader, writer) = io::pipe()?;
        Ok(Splicer { reader, writer })
    }

    /// Writes what `pipe` takes at once; `WouldBlock` where it takes nothing.
    pub fn write(&self, pipe: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        // So much an empty pipe takes without waiting.
        let bytes = &bytes[..bytes.len().min(libc::PIPE_BUF)];
        (&self.writer).write_all(bytes)?;
        let flags = SpliceFlags::NONBLOCK;
        let moved = rustix::pipe::splice(&self.reader, None, pipe, None, bytes.len(), flags);
        // What was not taken is the caller's still.
        let mut left = vec![0; bytes.len() - moved.as_ref().map_or(0, |&count| count)];
        (&self.reader).read_exact(&mut left)?;
        match moved {
            Ok(0) if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            moved => Ok(moved?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_full_pipe_is_not_waited_for() {
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        let splicer = Splicer::new().expect("a pipe");
        let write = |writer: &PipeWriter, bytes: &[u8]| splicer.write(writer.as_fd(), bytes);
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for round in 0..3_u8 {
            let line = [round; 1000];
            loop {
                match write(&writer, &line) {
                    Ok(count) => sent.extend_from_slice(&line[..count]),
                    Err(err) => {
                        assert_eq!(err.kind(), ErrorKind::WouldBlock);
                        break;
                    }
                }
            }
            assert!(!sent.is_empty());
            let mut room = vec![0; sent.len() - got.len()];
            reader.read_exact(&mut room).expect("what was sent");
            got.extend(room);
            assert!(got == sent, "round {round}");
        }
        // What waits was not kept back anywhere.
        writer.write_all(b"x").expect("room");
        drop(writer);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("its end");
        assert_eq!(rest, b"x");
    }
}
