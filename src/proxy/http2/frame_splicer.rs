//! The output of one read: mostly the frames as they came, so nothing is copied until a frame is discarded, changed or
//! inserted.

/// Walks once through the input of one read, frame by frame, and collects the output.
pub struct FrameSplicer<'a> {
    input: &'a [u8],
    /// `run_start..consumed` of the input is forwarded, but not in `output` yet.
    run_start: usize,
    /// Octets of the input that were forwarded or discarded.
    consumed: usize,
    output: Vec<u8>,
}

impl<'a> FrameSplicer<'a> {
    /// Starts at the first octet of `input`.
    pub fn new(input: &'a [u8]) -> FrameSplicer<'a> {
        FrameSplicer { input, run_start: 0, consumed: 0, output: Vec::new() }
    }

    /// The input that was neither forwarded nor discarded yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.input[self.consumed..]
    }

    /// Forwards the next `len` octets of the input.
    pub fn forward(&mut self, len: usize) {
        self.consumed += len;
    }

    /// Discards the next `len` octets of the input.
    pub fn discard(&mut self, len: usize) {
        self.flush_run();
        self.consumed += len;
        self.run_start = self.consumed;
    }

    /// Forwards or discards the next `len` octets of the input.
    pub fn forward_if(&mut self, forward: bool, len: usize) {
        match forward {
            true => self.forward(len),
            false => self.discard(len),
        }
    }

    /// Returns where to append octets that are inserted at this point.
    pub fn insert(&mut self) -> &mut Vec<u8> {
        self.flush_run();
        &mut self.output
    }

    /// Octets of the input that were forwarded or discarded.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// The output, to be written at once.
    pub fn output(&mut self) -> &[u8] {
        if self.output.is_empty() {
            return &self.input[self.run_start..self.consumed];
        }
        self.flush_run();
        &self.output
    }

    fn flush_run(&mut self) {
        self.output.extend_from_slice(&self.input[self.run_start..self.consumed]);
        self.run_start = self.consumed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_octets_are_not_copied() {
        let input = *b"abcdef";
        let mut splicer = FrameSplicer::new(&input);
        splicer.forward(2);
        splicer.forward(3);
        assert_eq!(splicer.rest(), b"f");
        assert_eq!(splicer.output().as_ptr(), input.as_ptr());
        assert_eq!(splicer.output(), b"abcde");
    }

    #[test]
    fn octets_are_discarded_and_inserted_in_place() {
        let mut splicer = FrameSplicer::new(b"abcdef");
        splicer.discard(1);
        assert_eq!(splicer.output(), b"");
        splicer.forward(2);
        splicer.discard(1);
        splicer.insert().extend_from_slice(b"-D-");
        splicer.forward(1);
        assert_eq!(splicer.output(), b"bc-D-e");
        assert_eq!((splicer.consumed(), splicer.rest()), (5, &b"f"[..]));
    }
}
