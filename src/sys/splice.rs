//! Non-blocking writes to a pipe that other processes share, and that therefore stays in blocking mode.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::BorrowedFd;

use rustix::pipe::SpliceFlags;

/// A pipe between runsd and the shared one: splice(2) moves bytes from it, and takes a flag not to block, which
/// write(2) does not. Empty between two calls.
pub struct Splicer {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Splicer {
    /// # Errors
    /// Those of pipe(2).
    pub fn new() -> io::Result<Splicer> {
        let (reader, writer) = io::pipe()?;
        Ok(Splicer { reader, writer })
    }

    /// Writes the bytes that `pipe` takes at once, PIPE_BUF at most.
    ///
    /// # Errors
    /// `WouldBlock` where the pipe takes none; else those of write(2), splice(2) and read(2).
    pub fn write(&self, pipe: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        // An empty pipe takes PIPE_BUF without blocking.
        let bytes = &bytes[..bytes.len().min(libc::PIPE_BUF)];
        (&self.writer).write_all(bytes)?;
        let moved = rustix::pipe::splice(&self.reader, None, pipe, None, bytes.len(), SpliceFlags::NONBLOCK);
        // Drops the bytes that were not moved; the caller still has them.
        let mut rest = vec![0; bytes.len() - moved.as_ref().map_or(0, |&count| count)];
        (&self.reader).read_exact(&mut rest)?;
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
    fn write_to_a_full_pipe_does_not_block() {
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
            let mut buf = vec![0; sent.len() - got.len()];
            reader.read_exact(&mut buf).expect("what was sent");
            got.extend(buf);
            assert!(got == sent, "round {round}");
        }
        // No byte stayed in the splicer.
        writer.write_all(b"x").expect("a pipe with space");
        drop(writer);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).expect("its end");
        assert_eq!(rest, b"x");
    }
}
