//! The Huffman code of HPACK (RFC 7541, appendix B), both ways.
//!
//! The code is canonical: among codes of one length the values follow the
//! symbols, and a longer code is greater than every shorter one. So the 257
//! lengths say everything, and the tables below are derived from them when
//! the program is compiled; they take less than 2 KB of it.

/// Why a string cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHuffman {
    /// The symbol that ends a string stands inside it.
    EndSymbol,
    /// More than seven bits of padding, or padding that is not all ones.
    Padding,
}

/// Appends what `input` stands for to `out`.
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), BadHuffman> {
    // The shortest code has five bits.
    out.reserve(input.len() * 8 / 5);
    // The next bits, at the top of the word; those after `have` are zero.
    let mut bits: u64 = 0;
    let mut have: u32 = 0;
    let mut rest = input.iter();
    loop {
        while have <= 56 {
            let Some(&octet) = rest.next() else { break };
            bits |= u64::from(octet) << (56 - have);
            have += 8;
        }
        // Ones after the end, so that what padding there is reads as the
        // beginning of the end symbol, whose code is all ones.
        let window = if have < 64 { bits | (u64::MAX >> have) } else { bits };
        let window = window >> 32;
        let mut length = SHORTEST;
        while window >= TABLES.limit[length] {
            length += 1;
        }
        let length_bits = u32::try_from(length).unwrap_or(u32::MAX);
        if length_bits > have {
            // Only the end symbol's beginning may be left.
            let ones = have < 8 && window == 0xffff_ffff;
            return if ones { Ok(()) } else { Err(BadHuffman::Padding) };
        }
        let past = (window - TABLES.base[length]) >> (32 - length_bits);
        let place = TABLES.first[length] + usize::try_from(past).unwrap_or(usize::MAX);
        match u8::try_from(TABLES.symbols[place]) {
            Ok(symbol) => out.push(symbol),
            Err(_) => return Err(BadHuffman::EndSymbol),
        }
        bits <<= length_bits;
        have -= length_bits;
    }
}

/// How many octets [`encode`] makes of `text`.
pub fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&octet| usize::from(LENGTHS[usize::from(octet)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of `text` to `out`, padded with ones.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let mut bits: u64 = 0;
    let mut have: u32 = 0;
    for &octet in text {
        let symbol = usize::from(octet);
        let length = u32::from(LENGTHS[symbol]);
        bits = bits << length | u64::from(TABLES.codes[symbol]);
        have += length;
        while have >= 8 {
            have -= 8;
            out.push(low_octet(bits >> have));
        }
    }
    if have > 0 {
        let padding = 8 - have;
        out.push(low_octet(bits << padding | ((1 << padding) - 1)));
    }
}

fn low_octet(bits: u64) -> u8 {
    bits.to_be_bytes()[7]
}

/// What follows from the lengths.
struct Tables {
    /// The code of each symbol.
    codes: [u32; SYMBOLS],
    /// The symbols in the order of their codes.
    symbols: [u16; SYMBOLS],
    /// By length: the place in `symbols` of the first code of that length.
    first: [usize; LONGEST + 1],
    /// By length: that first code, at the top of 32 bits.
    base: [u64; LONGEST + 1],
    /// By length: what 32 bits must be under to begin with a code that is
    /// not longer.
    limit: [u64; LONGEST + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        codes: [0; SYMBOLS],
        symbols: [0; SYMBOLS],
        first: [0; LONGEST + 1],
        base: [0; LONGEST + 1],
        limit: [0; LONGEST + 1],
    };
    let mut code: u64 = 0;
    let mut place = 0;
    let mut length = SHORTEST;
    while length <= LONGEST {
        tables.first[length] = place;
        tables.base[length] = code << (32 - length);
        let mut symbol: u16 = 0;
        while (symbol as usize) < SYMBOLS {
            if LENGTHS[symbol as usize] as usize == length {
                let [_, _, _, _, a, b, c, d] = code.to_be_bytes();
                tables.codes[symbol as usize] = u32::from_be_bytes([a, b, c, d]);
                tables.symbols[place] = symbol;
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        tables.limit[length] = code << (32 - length);
        code <<= 1;
        length += 1;
    }
    tables
}

const SYMBOLS: usize = 257;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// How many bits the code of each octet has; the last is the end symbol.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn strings_of_the_rfc() {
        for (code, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("6402", "302"),
            ("640eff", "307"),
            ("aec3771a4b", "private"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9bd9ab", "gzip"),
        ] {
            let mut got = Vec::new();
            assert_eq!(decode(&hex(code), &mut got), Ok(()), "{text}");
            assert_eq!(got, text.as_bytes());
            let mut got = Vec::new();
            encode(text.as_bytes(), &mut got);
            assert_eq!(got, hex(code), "{text}");
            assert_eq!(encoded_len(text.as_bytes()), got.len(), "{text}");
        }
    }

    #[test]
    fn every_pair_of_octets_comes_back() {
        for first in 0..=255 {
            for second in 0..=255 {
                let text = [first, second, first];
                let (mut code, mut got) = (Vec::new(), Vec::new());
                encode(&text, &mut code);
                assert_eq!(decode(&code, &mut got), Ok(()), "{text:?}");
                assert_eq!(got, text);
            }
        }
    }

    #[test]
    fn bad_strings() {
        for (code, want) in [
            ("", Ok(())),
            ("1f", Ok(())),                     // "a", three bits of padding
            ("1fff", Err(BadHuffman::Padding)), // eleven bits
            ("ff", Err(BadHuffman::Padding)),   // eight bits, and nothing else
            ("18", Err(BadHuffman::Padding)),   // padding of zeros
            ("fffffffc", Err(BadHuffman::EndSymbol)),
            ("ffffffff", Err(BadHuffman::EndSymbol)),
            ("ffffff", Err(BadHuffman::Padding)), // a code that was cut
        ] {
            assert_eq!(decode(&hex(code), &mut Vec::new()), want, "{code}");
        }
    }
}
