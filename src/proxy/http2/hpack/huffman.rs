//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B): decodes and encodes strings.
//!
//! The code is canonical: the codes of one length are in the order of their symbols, and a longer code is greater than
//! each shorter one. So the 257 lengths define the code, and the compiler derives the tables below from them; they take
//! less than 2 KB of the binary.

/// Why a string cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HuffmanError {
    /// The string contains the end-of-string symbol.
    Eos,
    /// More than seven bits of padding, or padding that is not all ones.
    Padding,
}

/// Appends the decoded `input` to `out`.
///
/// # Errors
/// A [`HuffmanError`], with part of the string appended.
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), HuffmanError> {
    // No code is shorter than five bits.
    out.reserve(input.len() * 8 / 5);
    // The next `bit_count` bits of the input, from the top bit on; zeros follow.
    let mut bits: u64 = 0;
    let mut bit_count: u32 = 0;
    let mut rest = input.iter();
    loop {
        while bit_count <= 56 {
            let Some(&octet) = rest.next() else { break };
            bits |= u64::from(octet) << (56 - bit_count);
            bit_count += 8;
        }
        // Behind the input follow ones, so that padding reads as the first bits of the end-of-string symbol, whose code
        // is all ones.
        let window = if bit_count < 64 { bits | (u64::MAX >> bit_count) } else { bits };
        let window = window >> 32;
        let mut length = MIN_CODE_LEN;
        while window >= TABLES.limit[length] {
            length += 1;
        }
        let length_bits = u32::try_from(length).unwrap_or(u32::MAX);
        if length_bits > bit_count {
            let is_padding = bit_count < 8 && window == 0xffff_ffff;
            return if is_padding { Ok(()) } else { Err(HuffmanError::Padding) };
        }
        let offset = (window - TABLES.base[length]) >> (32 - length_bits);
        let index = TABLES.first[length] + usize::try_from(offset).unwrap_or(usize::MAX);
        match u8::try_from(TABLES.symbols[index]) {
            Ok(symbol) => out.push(symbol),
            Err(_) => return Err(HuffmanError::Eos),
        }
        bits <<= length_bits;
        bit_count -= length_bits;
    }
}

/// Returns the octets that [`encode`] appends for `text`.
pub fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&octet| usize::from(CODE_LENGTHS[usize::from(octet)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of `text` to `out`, padded with ones to a whole octet.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    // The last `bit_count` bits are not appended yet.
    let mut bits: u64 = 0;
    let mut bit_count: u32 = 0;
    for &octet in text {
        let symbol = usize::from(octet);
        let length = u32::from(CODE_LENGTHS[symbol]);
        bits = bits << length | u64::from(TABLES.codes[symbol]);
        bit_count += length;
        while bit_count >= 8 {
            bit_count -= 8;
            out.push(low_octet(bits >> bit_count));
        }
    }
    if bit_count > 0 {
        let padding = 8 - bit_count;
        out.push(low_octet(bits << padding | ((1 << padding) - 1)));
    }
}

fn low_octet(bits: u64) -> u8 {
    bits.to_be_bytes()[7]
}

/// What the compiler derives from [`CODE_LENGTHS`].
struct Tables {
    /// The code of each symbol.
    codes: [u32; SYMBOL_COUNT],
    /// The symbols in the order of their codes.
    symbols: [u16; SYMBOL_COUNT],
    /// By length: the index in `symbols` of the first code of that length.
    first: [usize; MAX_CODE_LEN + 1],
    /// By length: that first code, in the top bits of 32.
    base: [u64; MAX_CODE_LEN + 1],
    /// By length: 32 bits below this start with a code of at most that length.
    limit: [u64; MAX_CODE_LEN + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        codes: [0; SYMBOL_COUNT],
        symbols: [0; SYMBOL_COUNT],
        first: [0; MAX_CODE_LEN + 1],
        base: [0; MAX_CODE_LEN + 1],
        limit: [0; MAX_CODE_LEN + 1],
    };
    let mut code: u64 = 0;
    let mut index = 0;
    let mut length = MIN_CODE_LEN;
    while length <= MAX_CODE_LEN {
        tables.first[length] = index;
        tables.base[length] = code << (32 - length);
        let mut symbol: u16 = 0;
        while (symbol as usize) < SYMBOL_COUNT {
            if CODE_LENGTHS[symbol as usize] as usize == length {
                let [_, _, _, _, a, b, c, d] = code.to_be_bytes();
                tables.codes[symbol as usize] = u32::from_be_bytes([a, b, c, d]);
                tables.symbols[index] = symbol;
                index += 1;
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

/// The 256 octets and the end-of-string symbol.
const SYMBOL_COUNT: usize = 257;
/// Bits of the shortest code.
const MIN_CODE_LEN: usize = 5;
/// Bits of the longest code, which is that of the end-of-string symbol.
const MAX_CODE_LEN: usize = 30;

/// Bits of the code of each octet, and at last of the end-of-string symbol (RFC 7541 appendix B).
#[rustfmt::skip]
const CODE_LENGTHS: [u8; SYMBOL_COUNT] = [
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
    fn strings_of_rfc_7541() {
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
    fn all_pairs_of_octets_round_trip() {
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
    fn invalid_strings_are_rejected() {
        for (code, want) in [
            ("", Ok(())),
            ("1f", Ok(())),                       // "a", three bits of padding
            ("1fff", Err(HuffmanError::Padding)), // eleven bits
            ("ff", Err(HuffmanError::Padding)),   // eight bits, and nothing else
            ("18", Err(HuffmanError::Padding)),   // padding of zeros
            ("fffffffc", Err(HuffmanError::Eos)),
            ("ffffffff", Err(HuffmanError::Eos)),
            ("ffffff", Err(HuffmanError::Padding)), // a truncated code
        ] {
            assert_eq!(decode(&hex(code), &mut Vec::new()), want, "{code}");
        }
    }
}
