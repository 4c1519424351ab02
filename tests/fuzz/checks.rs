//! What the fuzz targets check, one function for each: it takes any bytes and panics where runsd is wrong.
//!
//! libFuzzer calls them (`make fuzz TARGET=http1`), and `cargo test` does, with the seeds and with some thousands of
//! inputs made from them.

mod http1_connection;
mod text;

pub use self::http1_connection::http1_connection;
pub use self::text::text;
pub use crate::dns::message::tests::oracles::dns;
pub use crate::metadata::fuzz::metadata;
pub use crate::proxy::http1::fuzz::http1;
pub use crate::proxy::http2::fuzz::http2;
pub use crate::proxy::http2::hpack::fuzz::hpack;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic;

    /// Calls `check` with each seed of `target`, and with `mutants` inputs made from them.
    fn short_run(target: &str, check: fn(&[u8]), mutants: u64) {
        let dir = format!("{}/tests/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
        let mut seeds: Vec<_> = fs::read_dir(&dir).expect("seeds").map(|file| file.expect("a file").path()).collect();
        seeds.sort();
        let seeds: Vec<Vec<u8>> = seeds.iter().map(|path| fs::read(path).expect("a seed")).collect();
        assert!(!seeds.is_empty(), "{dir}");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for number in 0..seeds.len() as u64 + mutants {
            let input = match usize::try_from(number).ok().and_then(|at| seeds.get(at)) {
                Some(seed) => seed.clone(),
                None => mutant(&seeds, &mut random),
            };
            let shown = input.escape_ascii();
            assert!(panic::catch_unwind(|| check(&input)).is_ok(), "{target}: input {number}: {shown}");
        }
    }

    /// A seed with up to eight changes: octets of any value, cuts, repetitions, parts of other seeds.
    fn mutant(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(8) {
            let at = random.below(input.len() + 1);
            match random.below(6) {
                0 => input.truncate(at),
                1 => input.insert(at, random.octet()),
                2 if at < input.len() => drop(input.remove(at)),
                3 => {
                    let other = &seeds[random.below(seeds.len())];
                    let (a, b) = (random.below(other.len() + 1), random.below(other.len() + 1));
                    input.splice(at..at, other[a.min(b)..a.max(b)].iter().copied());
                }
                _ if at < input.len() => input[at] = random.octet(),
                _ => {}
            }
        }
        input.truncate(4096);
        input
    }

    /// xorshift64: the same numbers in each run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, end: usize) -> usize {
            usize::try_from(self.next() % end.max(1) as u64).unwrap_or(0)
        }

        /// Often one that means something to one of the formats.
        fn octet(&mut self) -> u8 {
            const TELLING: &[u8] = b"\r\n\0 \t:;,.=\"%@#/0019aAfF\x7f\x80\xc0\xff";
            match self.below(2) {
                0 => TELLING[self.below(TELLING.len())],
                _ => self.next().to_le_bytes()[0],
            }
        }
    }

    #[test]
    fn dns() {
        short_run("dns", super::dns, 20_000);
    }

    #[test]
    fn http1() {
        short_run("http1", super::http1, 100_000);
    }

    #[test]
    fn http1_connection() {
        short_run("http1_connection", super::http1_connection, 1_000);
    }

    #[test]
    fn http2() {
        short_run("http2", super::http2, 30_000);
    }

    #[test]
    fn metadata() {
        short_run("metadata", super::metadata, 1_000);
    }

    #[test]
    fn text() {
        short_run("text", super::text, 40_000);
    }

    #[test]
    fn hpack() {
        short_run("hpack", super::hpack, 50_000);
    }
}
