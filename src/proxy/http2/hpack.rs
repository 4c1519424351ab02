//! Header compression (RFC 7541): a decoder for what the client sends, one that
//! looks on at what the upstream sends it, and an encoder towards the upstream.
//!
//! Each has a table of its own, because what goes up is not what came
//! in: the authority is another and a token is added. The encoder indexes
//! what the client indexed, and the token too. The specification suggests
//! never-indexed for credentials because of guesses by others on the same
//! connection (section 7.1.3); here nobody else is on it, both ends are TLS or
//! this container, and a token of 1 KB for each call is one octet instead.

use std::borrow::Cow;
use std::fmt;

use table::{Table, static_find};

pub mod huffman;
mod table;

/// A line of a header section.
///
/// `Debug` leaves the value out, since it may be a credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
    pub indexing: Indexing,
}

impl Field {
    /// A field that is likely to come again.
    pub fn new(name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Field {
        Field { name: name.into(), value: value.into(), indexing: Indexing::Add }
    }

    /// Its size as tables and limits count it (section 4.1).
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY
    }

    fn is(&self, name: &[u8], value: &[u8]) -> bool {
        self.name == name && self.value == value
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: <{} octets>", self.name.escape_ascii(), self.value.len())
    }
}

/// What a sender wants of the tables on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexing {
    /// Put it there: it will come again.
    Add,
    /// Not worth an entry.
    Skip,
    /// Never, on any hop.
    Never,
}

/// Why a block cannot be read; the connection ends with COMPRESSION_ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// It ends inside a field.
    Cut,
    /// An index of 0, or past the end of the tables.
    NoSuchIndex,
    /// A number no honest sender needs.
    Number,
    /// A string that is no Huffman code.
    Huffman(huffman::BadHuffman),
    /// A table size above what was allowed, or not at the beginning.
    TableSize,
}

/// What a block says.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub fields: Vec<Field>,
    /// The fields are more than was asked for, and some left out.
    pub too_large: bool,
}

/// Reads header blocks, one after the other.
pub struct Decoder {
    table: Table,
    /// The largest table the other side may use.
    allowed: usize,
}

impl Decoder {
    /// For a sender that was told `allowed` as SETTINGS_HEADER_TABLE_SIZE.
    pub fn new(allowed: usize) -> Decoder {
        Decoder { table: Table::new(allowed), allowed }
    }

    /// Looks on at what an upstream sends a client, as long as it keeps to
    /// tables of a usual size.
    pub fn onlooker() -> Decoder {
        Decoder { table: Table::new(DEFAULT_TABLE_SIZE), allowed: LARGEST_LOOKED_ON }
    }

    /// How often its table has changed: as long as it has not, the same block
    /// says the same.
    pub fn changes(&self) -> u64 {
        self.table.changes
    }

    /// Reads one whole block. A field that would make it more than `max` octets
    /// (counted as tables do) is left out; reading goes on, so that the table
    /// stays in step, and short fields behind it still say what the request is.
    pub fn decode(&mut self, block: &[u8], max: usize) -> Result<Decoded, DecodeError> {
        let mut decoded = Decoded { fields: Vec::with_capacity(16), too_large: false };
        let mut size = 0;
        self.read(block, |name, value, indexing| {
            let len = name.len() + value.len() + ENTRY;
            if size + len > max {
                decoded.too_large = true;
            } else {
                size += len;
                let (name, value) = (name.to_vec(), value.to_vec());
                decoded.fields.push(Field { name, value, indexing });
            }
        })?;
        Ok(decoded)
    }

    /// Reads one whole block and shows its fields; nothing is copied but what
    /// goes into the table.
    pub fn read(&mut self, block: &[u8], mut see: impl FnMut(&[u8], &[u8], Indexing)) -> Result<(), DecodeError> {
        let mut rest = self.size_updates(block)?;
        while !rest.is_empty() {
            rest = self.field(rest, &mut see)?;
        }
        Ok(())
    }

    /// The table-size updates a block may begin with (section 6.3).
    fn size_updates<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        while let Some(0x20..0x40) = rest.first() {
            let (size, after) = number(rest, 5)?;
            if size > self.allowed {
                return Err(DecodeError::TableSize);
            }
            self.table.resize(size);
            rest = after;
        }
        Ok(rest)
    }

    fn field<'a>(
        &mut self,
        input: &'a [u8],
        see: &mut impl FnMut(&[u8], &[u8], Indexing),
    ) -> Result<&'a [u8], DecodeError> {
        let first = input.first().copied().ok_or(DecodeError::Cut)?;
        let (prefix, indexing) = match first {
            0x80.. => {
                let (index, rest) = number(input, 7)?;
                let (name, value) = self.table.get(index).ok_or(DecodeError::NoSuchIndex)?;
                see(name, value, Indexing::Add);
                return Ok(rest);
            }
            0x40.. => (6, Indexing::Add),
            0x20.. => return Err(DecodeError::TableSize),
            0x10.. => (4, Indexing::Never),
            _ => (4, Indexing::Skip),
        };
        let (index, rest) = number(input, prefix)?;
        let (name, rest) = if index == 0 {
            string(rest)?
        } else {
            let (name, _) = self.table.get(index).ok_or(DecodeError::NoSuchIndex)?;
            (Cow::Borrowed(name), rest)
        };
        let (value, rest) = string(rest)?;
        see(&name, &value, indexing);
        if indexing == Indexing::Add {
            let field = Field::new(name, value);
            self.table.insert(field);
        }
        Ok(rest)
    }
}

/// Writes header blocks, one after the other.
pub struct Encoder {
    table: Table,
    /// The smallest limit since the last block, which must be told first.
    lowered: Option<usize>,
}

impl Encoder {
    /// For a reader that has not said yet how large a table it allows.
    pub fn new() -> Encoder {
        Encoder { table: Table::new(DEFAULT_TABLE_SIZE), lowered: None }
    }

    /// How often its table has changed: as long as it has not, the same fields
    /// are the same block.
    pub fn changes(&self) -> u64 {
        self.table.changes
    }

    /// What the reader allows from now on: its SETTINGS_HEADER_TABLE_SIZE.
    pub fn allow(&mut self, size: u32) {
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(LARGEST_TABLE_SIZE);
        if size != self.table.max || self.lowered.is_some() {
            self.lowered = Some(self.lowered.unwrap_or(size).min(size));
            self.table.resize(size);
        }
    }

    /// Appends the block of `fields` to `out`.
    pub fn encode(&mut self, fields: &[Field], out: &mut Vec<u8>) {
        if let Some(lowest) = self.lowered.take() {
            // Said once: the next block of these fields is another one.
            self.table.changes += 1;
            if lowest < self.table.max {
                write_number(out, 0x20, 5, lowest);
            }
            write_number(out, 0x20, 5, self.table.max);
        }
        for field in fields {
            self.field(field, out);
        }
    }

    fn field(&mut self, field: &Field, out: &mut Vec<u8>) {
        let (name_index, index) = self.table.find(&field.name, &field.value);
        let too_large = field.size() > self.table.max;
        let (first, prefix) = match (field.indexing, index) {
            (Indexing::Never, _) => (0x10, 4),
            (_, Some(index)) => return write_number(out, 0x80, 7, index),
            (Indexing::Add, None) if !too_large => (0x40, 6),
            (Indexing::Add | Indexing::Skip, None) => (0x00, 4),
        };
        write_number(out, first, prefix, name_index.unwrap_or(0));
        if name_index.is_none() {
            write_string(out, &field.name);
        }
        write_string(out, &field.value);
        if first == 0x40 {
            self.table.insert(field.clone());
        }
    }
}

/// Appends a field that touches no table: the only kind runsd may put between
/// the blocks of an upstream, whose encoder knows nothing of it.
pub fn write_literal(out: &mut Vec<u8>, name: &str, value: &str) {
    let (name, value) = (name.as_bytes(), value.as_bytes());
    match static_find(name, value) {
        (_, Some(index)) => write_number(out, 0x80, 7, index),
        (Some(index), None) => {
            write_number(out, 0x00, 4, index);
            write_string(out, value);
        }
        (None, None) => {
            out.push(0x00);
            write_string(out, name);
            write_string(out, value);
        }
    }
}

/// Appends a change of the table's size, which must come before any field.
pub fn write_table_size(out: &mut Vec<u8>, size: usize) {
    write_number(out, 0x20, 5, size);
}

/// Reads an integer with a prefix of `bits` (section 5.1), and the rest.
fn number(input: &[u8], bits: u32) -> Result<(usize, &[u8]), DecodeError> {
    let (&first, mut rest) = input.split_first().ok_or(DecodeError::Cut)?;
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(first) & most;
    if value < most {
        return Ok((value, rest));
    }
    // Four more octets say more than any block here is long.
    for shift in [0, 7, 14, 21] {
        let (&octet, after) = rest.split_first().ok_or(DecodeError::Cut)?;
        rest = after;
        value += usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(DecodeError::Number)
}

/// Reads a string (section 5.2), and the rest.
fn string(input: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), DecodeError> {
    let huffman = input.first().is_some_and(|first| first & 0x80 != 0);
    let (len, rest) = number(input, 7)?;
    let (text, rest) = rest.split_at_checked(len).ok_or(DecodeError::Cut)?;
    if !huffman {
        return Ok((text.into(), rest));
    }
    // No code is shorter than five bits.
    let mut decoded = Vec::with_capacity(text.len() * 8 / 5);
    huffman::decode(text, &mut decoded).map_err(DecodeError::Huffman)?;
    Ok((decoded.into(), rest))
}

fn write_number(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        out.push(first | low_octet(value));
        return;
    }
    out.push(first | low_octet(most));
    let mut left = value - most;
    while left >= 0x80 {
        out.push(low_octet(left) | 0x80);
        left >>= 7;
    }
    out.push(low_octet(left));
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    let len = huffman::encoded_len(text);
    if len < text.len() {
        write_number(out, 0x80, 7, len);
        huffman::encode(text, out);
    } else {
        write_number(out, 0x00, 7, text.len());
        out.extend_from_slice(text);
    }
}

fn low_octet(value: usize) -> u8 {
    value.to_le_bytes()[0]
}

/// The size of a table nobody has said anything about.
pub const DEFAULT_TABLE_SIZE: usize = 4096;

/// What tables and limits count for a field beside its text (section 4.1).
const ENTRY: usize = 32;

/// The largest table of an upstream that is looked on at; the client has it too.
const LARGEST_LOOKED_ON: usize = 65_536;

/// The largest table the encoder keeps, whatever the reader allows.
const LARGEST_TABLE_SIZE: usize = 16_384;

#[cfg(test)]
mod tests;
