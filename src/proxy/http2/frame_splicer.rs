//! What becomes of one read: mostly the very octets that came, so nothing is
//! copied until a frame has to go, to change, or to be added.

/// The output of a piece of input that is walked through once.
pub struct FrameSplicer<'a> {
    input: &'a [u8],
    /// Where the octets that pass untouched, and are not in `out` yet, begin.
    run: usize,
    /// What has been decided about.
    done: usize,
    out: Vec<u8>,
}

impl<'a> FrameSplicer<'a> {
    pub fn new(input: &'a [u8]) -> FrameSplicer<'a> {
        FrameSplicer { input, run: 0, done: 0, out: Vec::new() }
    }

    /// What nothing has been decided about yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.input[self.done..]
    }

    /// The next `len` octets pass as they are.
    pub fn pass(&mut self, len: usize) {
        self.done += len;
    }

    /// The next `len` octets do not pass; what is written instead, if anything,
    /// comes next.
    pub fn skip(&mut self, len: usize) {
        self.flush();
        self.done += len;
        self.run = self.done;
    }

    /// Where to add something at this point.
    pub fn out(&mut self) -> &mut Vec<u8> {
        self.flush();
        &mut self.out
    }

    /// How much input is dealt with.
    pub fn done(&self) -> usize {
        self.done
    }

    /// What passes, for one write.
    pub fn finish(&mut self) -> &[u8] {
        if self.out.is_empty() {
            return &self.input[self.run..self.done];
        }
        self.flush();
        &self.out
    }

    fn flush(&mut self) {
        self.out.extend_from_slice(&self.input[self.run..self.done]);
        self.run = self.done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_not_copied() {
        let input = *b"abcdef";
        let mut batch = FrameSplicer::new(&input);
        batch.pass(2);
        batch.pass(3);
        assert_eq!(batch.rest(), b"f");
        assert_eq!(batch.finish().as_ptr(), input.as_ptr());
        assert_eq!(batch.finish(), b"abcde");
    }

    #[test]
    fn skipped_changed_and_added() {
        let mut batch = FrameSplicer::new(b"abcdef");
        batch.skip(1);
        assert_eq!(batch.finish(), b"");
        batch.pass(2);
        batch.skip(1);
        batch.out().extend_from_slice(b"-D-");
        batch.pass(1);
        assert_eq!(batch.finish(), b"bc-D-e");
        assert_eq!((batch.done(), batch.rest()), (5, &b"f"[..]));
    }
}
