//! HPACK, the header compression of HTTP/2 (RFC 7541): a decoder for the client's header blocks, a passive one for
//! those of the upstream, and an encoder for those that runsd sends to the upstream.
//!
//! Each has its own dynamic table, because runsd changes the fields between decoder and encoder: the authority is
//! another one, and a token is added. The encoder indexes what the client indexed, and the token as well. RFC 7541
//! section 7.1.3 suggests never-indexed literals for credentials, against guesses by others on the same connection;
//! here the connection has one client only, both ends are TLS or this container, and an indexed token is one octet in
//! each call instead of 1 KB.

use std::borrow::Cow;
use std::fmt;

use crate::proxy::http2::frame::to_usize;

use table::{Table, find_static};

mod huffman;
mod table;

/// A field line.
///
/// `Debug` leaves the value out, since it may be a credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// The name, in lower case where the sender obeys RFC 9113 section 8.2.1.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// How the sender had it indexed.
    pub indexing: Indexing,
}

impl Field {
    /// A field with incremental indexing.
    pub fn new(name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Field {
        Field { name: name.into(), value: value.into(), indexing: Indexing::Incremental }
    }

    /// Octets that the field counts in tables and limits (RFC 7541 section 4.1).
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_OVERHEAD
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

/// Returns the value of the first field of that name.
pub fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a [u8]> {
    fields.iter().find(|field| field.name == name.as_bytes()).map(|field| &field.value[..])
}

/// The three literal representations (RFC 7541 section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexing {
    /// The receiver adds the field to its dynamic table.
    Incremental,
    /// The receiver does not; another hop may.
    Without,
    /// No hop may.
    Never,
}

/// Why a header block cannot be decoded. The connection ends with COMPRESSION_ERROR (RFC 9113 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The block ends inside a field.
    Truncated,
    /// An index of 0, or past the end of the tables.
    InvalidIndex,
    /// An integer of more than five octets.
    IntegerOverflow,
    /// A string that is not valid Huffman code.
    Huffman(huffman::HuffmanError),
    /// A table size above the limit, or behind a field.
    InvalidTableSize,
}

/// A decoded header block.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The fields, in order.
    pub fields: Vec<Field>,
    /// The fields were more than the limit, and some are left out.
    pub too_large: bool,
}

/// Decodes the header blocks of one direction of a connection, in order.
pub struct Decoder {
    table: Table,
    /// The largest table size that the peer may select, in octets.
    max_table_size: usize,
}

impl Decoder {
    /// For a peer that was sent `max_table_size` as SETTINGS_HEADER_TABLE_SIZE.
    pub fn new(max_table_size: usize) -> Decoder {
        Decoder { table: Table::new(max_table_size), max_table_size }
    }

    /// For blocks that an upstream sends to a client. The table size is negotiated between those two, up to
    /// [`MAX_PASSIVE_TABLE_SIZE`].
    pub fn passive() -> Decoder {
        Decoder { table: Table::new(DEFAULT_TABLE_SIZE), max_table_size: to_usize(MAX_PASSIVE_TABLE_SIZE) }
    }

    /// Counts the changes of the dynamic table. While the count is the same, the same block decodes to the same fields.
    pub fn table_version(&self) -> u64 {
        self.table.version
    }

    /// Decodes one complete block.
    ///
    /// A field that would exceed `max` octets in total (counted as tables do) is left out. Decoding goes on, so that the
    /// table stays in step, and short fields behind the long one still say what the request is.
    ///
    /// # Errors
    /// A [`DecodeError`]; the decoder is of no use after it.
    pub fn decode(&mut self, block: &[u8], max: usize) -> Result<Decoded, DecodeError> {
        let mut decoded = Decoded { fields: Vec::with_capacity(16), too_large: false };
        let mut size = 0;
        self.visit(block, |name, value, indexing| {
            let len = name.len() + value.len() + ENTRY_OVERHEAD;
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

    /// Decodes one complete block and shows each field to `visitor`, without copies but for the table's.
    ///
    /// # Errors
    /// As for [`Decoder::decode`].
    pub fn visit(&mut self, block: &[u8], mut visitor: impl FnMut(&[u8], &[u8], Indexing)) -> Result<(), DecodeError> {
        let mut rest = block;
        // Size updates come before all fields (RFC 7541 section 4.2).
        while let Some(0x20..0x40) = rest.first() {
            let (size, after) = decode_int(rest, 5)?;
            if size > self.max_table_size {
                return Err(DecodeError::InvalidTableSize);
            }
            self.table.resize(size);
            rest = after;
        }
        while !rest.is_empty() {
            rest = self.visit_field(rest, &mut visitor)?;
        }
        Ok(())
    }

    /// Decodes one field representation (RFC 7541 section 6), and returns the rest.
    fn visit_field<'a>(
        &mut self,
        input: &'a [u8],
        visitor: &mut impl FnMut(&[u8], &[u8], Indexing),
    ) -> Result<&'a [u8], DecodeError> {
        let first = input.first().copied().ok_or(DecodeError::Truncated)?;
        let (prefix, indexing) = match first {
            0x80.. => {
                let (index, rest) = decode_int(input, 7)?;
                let (name, value) = self.table.get(index).ok_or(DecodeError::InvalidIndex)?;
                visitor(name, value, Indexing::Incremental);
                return Ok(rest);
            }
            0x40.. => (6, Indexing::Incremental),
            0x20.. => return Err(DecodeError::InvalidTableSize),
            0x10.. => (4, Indexing::Never),
            _ => (4, Indexing::Without),
        };
        let (index, rest) = decode_int(input, prefix)?;
        let (name, rest) = if index == 0 {
            decode_string(rest)?
        } else {
            let (name, _) = self.table.get(index).ok_or(DecodeError::InvalidIndex)?;
            (Cow::Borrowed(name), rest)
        };
        let (value, rest) = decode_string(rest)?;
        visitor(&name, &value, indexing);
        if indexing == Indexing::Incremental {
            let field = Field::new(name, value);
            self.table.insert(field);
        }
        Ok(rest)
    }
}

/// Encodes the header blocks of one direction of a connection, in order.
pub struct Encoder {
    table: Table,
    /// The smallest table size selected since the last block, in octets: the next block starts with it.
    pending_size: Option<usize>,
}

impl Encoder {
    /// For a peer whose SETTINGS have not come yet.
    pub fn new() -> Encoder {
        Encoder { table: Table::new(DEFAULT_TABLE_SIZE), pending_size: None }
    }

    /// Counts the changes of the dynamic table. While the count is the same, the same fields encode to the same block.
    pub fn table_version(&self) -> u64 {
        self.table.version
    }

    /// Applies the peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_max_table_size(&mut self, size: u32) {
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(MAX_ENCODER_TABLE_SIZE);
        if size != self.table.max_size || self.pending_size.is_some() {
            self.pending_size = Some(self.pending_size.unwrap_or(size).min(size));
            self.table.resize(size);
        }
    }

    /// Appends the block of `fields` to `out`.
    pub fn encode(&mut self, fields: &[Field], out: &mut Vec<u8>) {
        // The smallest size first, then the last (RFC 7541 section 4.2).
        if let Some(smallest) = self.pending_size.take() {
            // The next block of these fields has no size update, so it is another block.
            self.table.version += 1;
            if smallest < self.table.max_size {
                encode_size_update(out, smallest);
            }
            encode_size_update(out, self.table.max_size);
        }
        for field in fields {
            self.encode_field(field, out);
        }
    }

    fn encode_field(&mut self, field: &Field, out: &mut Vec<u8>) {
        let (name_index, index) = self.table.find(&field.name, &field.value);
        let too_large = field.size() > self.table.max_size;
        let (pattern, prefix) = match (field.indexing, index) {
            (Indexing::Never, _) => (0x10, 4),
            (_, Some(index)) => return encode_int(out, 0x80, 7, index),
            (Indexing::Incremental, None) if !too_large => (0x40, 6),
            (Indexing::Incremental | Indexing::Without, None) => (0x00, 4),
        };
        encode_int(out, pattern, prefix, name_index.unwrap_or(0));
        if name_index.is_none() {
            encode_string(out, &field.name);
        }
        encode_string(out, &field.value);
        if pattern == 0x40 {
            self.table.insert(field.clone());
        }
    }
}

/// Appends a field that refers to the static table only, and changes no table: the only kind that runsd may put between
/// the blocks of an upstream, whose encoder does not know of it.
pub fn encode_static(out: &mut Vec<u8>, name: &str, value: &str) {
    let (name, value) = (name.as_bytes(), value.as_bytes());
    let (name_index, index) = find_static(name, value);
    if let Some(index) = index {
        return encode_int(out, 0x80, 7, index);
    }
    encode_int(out, 0x00, 4, name_index.unwrap_or(0));
    if name_index.is_none() {
        encode_string(out, name);
    }
    encode_string(out, value);
}

/// Appends a dynamic table size update (RFC 7541 section 6.3), which must come before all fields.
pub fn encode_size_update(out: &mut Vec<u8>, size: usize) {
    encode_int(out, 0x20, 5, size);
}

/// Decodes an integer with a prefix of `bits` bits (RFC 7541 section 5.1), and returns the rest.
fn decode_int(input: &[u8], bits: u32) -> Result<(usize, &[u8]), DecodeError> {
    let (&first, mut rest) = input.split_first().ok_or(DecodeError::Truncated)?;
    let mask = (1_usize << bits) - 1;
    let mut value = usize::from(first) & mask;
    if value < mask {
        return Ok((value, rest));
    }
    // Four more octets hold more than the length of any block.
    for shift in [0, 7, 14, 21] {
        let (&octet, after) = rest.split_first().ok_or(DecodeError::Truncated)?;
        rest = after;
        value += usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(DecodeError::IntegerOverflow)
}

/// Decodes a string literal (RFC 7541 section 5.2), and returns the rest.
fn decode_string(input: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), DecodeError> {
    let is_huffman = input.first().is_some_and(|first| first & 0x80 != 0);
    let (len, rest) = decode_int(input, 7)?;
    let (text, rest) = rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
    if !is_huffman {
        return Ok((text.into(), rest));
    }
    let mut decoded = Vec::new();
    huffman::decode(text, &mut decoded).map_err(DecodeError::Huffman)?;
    Ok((decoded.into(), rest))
}

/// Appends `pattern`, whose low `bits` bits are 0, and an integer with a prefix of `bits` bits (RFC 7541 section 5.1).
fn encode_int(out: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let mask = (1_usize << bits) - 1;
    if value < mask {
        out.push(pattern | low_octet(value));
        return;
    }
    out.push(pattern | low_octet(mask));
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(low_octet(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_octet(rest));
}

/// Appends a string literal (RFC 7541 section 5.2), as Huffman code where that is shorter.
fn encode_string(out: &mut Vec<u8>, text: &[u8]) {
    let len = huffman::encoded_len(text);
    if len < text.len() {
        encode_int(out, 0x80, 7, len);
        huffman::encode(text, out);
    } else {
        encode_int(out, 0x00, 7, text.len());
        out.extend_from_slice(text);
    }
}

fn low_octet(value: usize) -> u8 {
    value.to_le_bytes()[0]
}

/// Octets of SETTINGS_HEADER_TABLE_SIZE until a peer says otherwise (RFC 9113 section 6.5.2).
pub const DEFAULT_TABLE_SIZE: usize = 4096;

/// Octets that tables and limits count for a field beside its name and value (RFC 7541 section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// Octets of the largest table that the passive decoder follows. It bounds runsd's memory for one connection; common
/// clients allow 4 KiB to 64 KiB.
pub const MAX_PASSIVE_TABLE_SIZE: u32 = 65_536;

/// Octets of the largest table that the encoder uses, whatever the peer allows. It bounds runsd's memory for one
/// connection; the fields of a gRPC call with its token take about 2 KiB.
const MAX_ENCODER_TABLE_SIZE: usize = 16_384;

#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/hpack.rs"]
pub mod fuzz;
#[cfg(test)]
mod tests;
