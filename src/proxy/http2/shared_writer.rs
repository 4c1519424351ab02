//! One writer for two threads, of which one must never wait for the other.

use std::io::{self, Write};
use std::sync::{Mutex, TryLockError};

use crate::sync::lock;

/// Writes to the client, whole frames each time.
///
/// The thread that reads the upstream writes here and may be blocked as long
/// as the client does not read. The thread that reads the client has a few
/// frames of its own; if it waited for the other, a client that only writes
/// would be stuck with us. So it leaves them, and whoever writes takes them
/// along.
pub struct SharedWriter<W> {
    writer: Mutex<W>,
    left: Mutex<Vec<u8>>,
}

impl<W: Write> SharedWriter<W> {
    pub fn new(writer: W) -> SharedWriter<W> {
        SharedWriter { writer: Mutex::new(writer), left: Mutex::new(Vec::new()) }
    }

    /// Writes what came from the upstream; returns when it is written.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            lock(&self.writer).write_all(bytes)?;
        }
        self.write_left()
    }

    /// Writes frames of our own, or leaves them to who is writing.
    pub fn post(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut left = lock(&self.left);
        if left.len() > MAX_LEFT {
            // It asks and asks, and never reads what we say.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        left.extend_from_slice(bytes);
        drop(left);
        self.write_left()
    }

    /// Whoever cannot get the writer may go: who has it looks here again after
    /// giving it back.
    fn write_left(&self) -> io::Result<()> {
        while !lock(&self.left).is_empty() {
            let mut writer = match self.writer.try_lock() {
                Ok(writer) => writer,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Ok(()),
            };
            let bytes = std::mem::take(&mut *lock(&self.left));
            writer.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// How much may be left behind.
const MAX_LEFT: usize = 65_536;
