//! The one writer to the client, for two threads of which one must never wait for the other.

use std::io::{self, Write};
use std::sync::{Mutex, TryLockError};

use crate::sync::lock;

/// Writes whole frames to the client.
///
/// The thread that reads the upstream writes here, and blocks while the client does not read. The thread that reads the
/// client has a few frames of runsd's own. If it waited for the other thread, a client that writes before it reads would
/// never be read again. So it enqueues its frames, and whichever thread has the writer writes them.
pub struct SharedWriter<W> {
    /// Locked for the time of a write, by either thread; the thread that reads the client only tries to.
    writer: Mutex<W>,
    /// Frames that wait for the writer. Locked after `writer` where both are, and never during a write.
    pending: Mutex<Vec<u8>>,
}

impl<W: Write> SharedWriter<W> {
    /// A writer with nothing pending.
    pub fn new(writer: W) -> SharedWriter<W> {
        SharedWriter { writer: Mutex::new(writer), pending: Mutex::new(Vec::new()) }
    }

    /// Writes the output of the upstream.
    ///
    /// Blocks: until the client has taken all of it.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            lock(&self.writer).write_all(bytes)?;
        }
        self.flush_pending()
    }

    /// Writes frames of runsd's own, or leaves that to the thread that is writing.
    ///
    /// Blocks: until the client has taken them, unless the other thread is writing.
    ///
    /// # Errors
    /// Those of the socket; `WouldBlock` where the client does not read, and more than [`MAX_PENDING_LEN`] is pending.
    pub fn enqueue(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut pending = lock(&self.pending);
        if pending.len() > MAX_PENDING_LEN {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pending.extend_from_slice(bytes);
        drop(pending);
        self.flush_pending()
    }

    /// Writes what is pending. A thread that does not get the writer may return: the other one looks here again after it
    /// has released the writer.
    fn flush_pending(&self) -> io::Result<()> {
        while !lock(&self.pending).is_empty() {
            let mut writer = match self.writer.try_lock() {
                Ok(writer) => writer,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Ok(()),
            };
            let bytes = std::mem::take(&mut *lock(&self.pending));
            writer.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// Octets that may be pending while the other thread writes: some thousand acknowledgements of PING. A client that
/// causes more, and does not read them, is disconnected.
const MAX_PENDING_LEN: usize = 65_536;

#[cfg(test)]
mod tests;
