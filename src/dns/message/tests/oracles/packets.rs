//! The packets: what clients and nameservers send, and what becomes of it when
//! it is changed in a few places.

use super::*;

/// Queries as clients send them, and answers with records of many types.
pub fn seeds() -> Vec<Vec<u8>> {
    let (long, host) = ("x".repeat(63), "hello.us-east1.run.internal");
    let all = question(0x1234, "example.com", ANY);
    let soa = [&b"\x02ns\xc0\x0c\xc0\x0c"[..], &[0, 0, 0, 9].repeat(5)].concat();
    let mut seeds = vec![
        question(0x1234, "a.b", A),
        DIG.to_vec(),
        question(0x1234, host, AAAA),
        question(0x1234, "HeLLo", HTTPS),
        question(0x1234, &format!("{long}.{long}.{long}.{}", &long[2..]), A),
        question(0x1234, "", RecordType::NS),
        answer(
            &question(0x1234, "a.b", A),
            &[("A.b", CNAME, 60, b"\x01x\xc0\x0e"), ("x.b", A, 30, &[192, 0, 2, 1]), ("x.b", AAAA, 30, &[1; 16])],
        ),
        answer(
            &all,
            &[
                ("example.com", MX, 60, b"\0\x0a\x04mail\xc0\x0c"),
                ("example.com", TXT, 60, b"\x05hello"),
                ("example.com", RecordType::NS, 1 << 31, b"\x02ns\xc0\x0c"),
                ("_grpc._tcp.example.com", SRV, 60, b"\0\0\0\x05\x01\xbb\xc0\x0c"),
                ("example.com", RecordType::PTR, 60, b"\xc0\x14"),
                ("example.com", SOA, 60, &soa),
                ("example.com", HTTPS, 60, b"\0\x01\0\0\x01\0\x03\x02h2"),
                ("example.com", DNAME, 60, b"\xc0\x14"),
            ],
        ),
        answer(&question(0x1234, "a.b", A), &[("b", SOA, 60, &soa)]),
    ];
    // A negative answer with OPT, and a compressed one.
    let last = seeds.len() - 1;
    seeds[last].extend_from_slice(b"\0\0\x29\x04\xd0\x01\0\0\0\0\x06\0\x0f\0\x02\0\x16");
    seeds[last][3..12].copy_from_slice(&[0x83, 0, 1, 0, 0, 0, 1, 0, 1]);
    let mut compressed = question(0x1234, "a.b", A);
    compressed[2] |= QR;
    compressed[7] = 3;
    compressed.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01x\xc0\x0e");
    compressed.extend_from_slice(b"\xc0\x21\0\x01\0\x01\0\0\0\x1e\0\x04\xc0\0\x02\x01");
    compressed.extend_from_slice(b"\x03\0.\\\xc0\x21\0\x1c\0\x01\0\0\0\x1e\0\x10fedcba9876543210");
    seeds.push(compressed);
    seeds
}

impl Random {
    /// A seed, changed in a few places or none.
    pub fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = seeds[self.below(seeds.len())].clone();
        for _ in 0..self.below(4) {
            let at = self.below(wire.len());
            match self.below(8) {
                0 => wire[at] ^= 1 << self.below(8),
                1 => wire[at] = u8::try_from(self.below(256)).unwrap(),
                2 => wire[at] = ODD[self.below(ODD.len())],
                3 => wire[at] ^= 0x20,
                4 => wire.truncate(at + 1),
                5 => {
                    let from = &seeds[self.below(seeds.len())];
                    let begin = self.below(from.len());
                    let end = from.len().min(begin + self.below(24));
                    wire.splice(at..at, from[begin..end].iter().copied());
                }
                6 => {
                    let end = wire.len().min(at + self.below(12));
                    wire.drain(at..end);
                }
                // A type or a class, a length, an address: two octets in place.
                _ if at + 1 < wire.len() => {
                    let number = NUMBERS[self.below(NUMBERS.len())].to_be_bytes();
                    wire[at..at + 2].copy_from_slice(&number);
                }
                _ => {}
            }
            if wire.is_empty() {
                break;
            }
        }
        wire
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40;
        usize::try_from(high).unwrap() % limit
    }
}

/// xorshift: the same packets each time.
pub struct Random(pub u64);

/// What ends names, or leads elsewhere.
const ODD: [u8; 10] = [0, 1, 2, 12, 0x3f, 0x40, 0x80, 0xc0, 0xfe, 0xff];

/// Types that are read, and a pointer to the question.
const NUMBERS: [u16; 14] = [1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41, 65, 255, 0xc00c];
