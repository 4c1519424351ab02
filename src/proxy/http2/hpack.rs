//! Header compression (RFC 7541): a decoder for what the client sends, and an
//! encoder towards the upstream.
//!
//! The two have tables of their own, because what goes up is not what came
//! in: the authority is another and a token is added. The encoder indexes
//! what the client indexed, and the token too. The specification suggests
//! never-indexed for credentials because of guesses by others on the same
//! connection (section 7.1.3); here nobody else is on it, both ends are TLS or
//! this container, and a token of 1 KB for each call is one octet instead.

use std::collections::VecDeque;
use std::fmt;

use super::huffman;

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
        Field {
            name: name.into(),
            value: value.into(),
            indexing: Indexing::Add,
        }
    }

    /// Its size as tables and limits count it (section 4.1).
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + 32
    }

    fn is(&self, name: &[u8], value: &[u8]) -> bool {
        self.name == name && self.value == value
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: <{} octets>",
            self.name.escape_ascii(),
            self.value.len()
        )
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
pub enum BadBlock {
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
    /// The fields are more than was asked for, and the last ones left out.
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
        Decoder {
            table: Table::new(allowed),
            allowed,
        }
    }

    /// Reads one whole block. Past `max` octets of fields (counted as tables
    /// do) it reads on, so that the table stays in step, but keeps no more.
    pub fn decode(&mut self, block: &[u8], max: usize) -> Result<Decoded, BadBlock> {
        let mut decoded = Decoded {
            fields: Vec::with_capacity(16),
            too_large: false,
        };
        let mut size = 0;
        let mut rest = self.size_updates(block)?;
        while !rest.is_empty() {
            let (field, after) = self.field(rest)?;
            rest = after;
            size += field.size();
            if size > max {
                decoded.too_large = true;
            } else {
                decoded.fields.push(field);
            }
        }
        Ok(decoded)
    }

    /// The table-size updates a block may begin with (section 6.3).
    fn size_updates<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], BadBlock> {
        while let Some(0x20..0x40) = rest.first() {
            let (size, after) = number(rest, 5)?;
            if size > self.allowed {
                return Err(BadBlock::TableSize);
            }
            self.table.resize(size);
            rest = after;
        }
        Ok(rest)
    }

    fn field<'a>(&mut self, input: &'a [u8]) -> Result<(Field, &'a [u8]), BadBlock> {
        let first = input.first().copied().ok_or(BadBlock::Cut)?;
        let (prefix, indexing) = match first {
            0x80.. => {
                let (index, rest) = number(input, 7)?;
                let (name, value) = self.table.get(index).ok_or(BadBlock::NoSuchIndex)?;
                return Ok((Field::new(name, value), rest));
            }
            0x40.. => (6, Indexing::Add),
            0x20.. => return Err(BadBlock::TableSize),
            0x10.. => (4, Indexing::Never),
            _ => (4, Indexing::Skip),
        };
        let (index, rest) = number(input, prefix)?;
        let (name, rest) = if index == 0 {
            string(rest)?
        } else {
            let (name, _) = self.table.get(index).ok_or(BadBlock::NoSuchIndex)?;
            (name.to_vec(), rest)
        };
        let (value, rest) = string(rest)?;
        let field = Field {
            name,
            value,
            indexing,
        };
        if indexing == Indexing::Add {
            self.table.insert(field.clone());
        }
        Ok((field, rest))
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
        Encoder {
            table: Table::new(DEFAULT_TABLE_SIZE),
            lowered: None,
        }
    }

    /// What the reader allows from now on: its SETTINGS_HEADER_TABLE_SIZE.
    pub fn allow(&mut self, size: u32) {
        let size = usize::try_from(size)
            .unwrap_or(usize::MAX)
            .min(LARGEST_TABLE_SIZE);
        if size != self.table.max || self.lowered.is_some() {
            self.lowered = Some(self.lowered.unwrap_or(size).min(size));
            self.table.resize(size);
        }
    }

    /// Appends the block of `fields` to `out`.
    pub fn encode(&mut self, fields: &[Field], out: &mut Vec<u8>) {
        if let Some(lowest) = self.lowered.take() {
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

/// The status a response block begins with, as far as it can be told without
/// the upstream's table: always when it comes for the first time.
pub fn peek_status(mut block: &[u8]) -> Option<u16> {
    while let Some(0x20..0x40) = block.first() {
        block = number(block, 5).ok()?.1;
    }
    let (index, rest) = match block.first()? {
        0x80.. => {
            let (name, value) = static_get(number(block, 7).ok()?.0)?;
            return (name == ":status").then(|| value.parse().ok())?;
        }
        0x40.. => number(block, 6).ok()?,
        _ => number(block, 4).ok()?,
    };
    let (name, _) = static_get(index)?;
    let (value, _) = string(rest).ok()?;
    (name == ":status").then(|| std::str::from_utf8(&value).ok()?.parse().ok())?
}

/// Reads an integer with a prefix of `bits` (section 5.1), and the rest.
fn number(input: &[u8], bits: u32) -> Result<(usize, &[u8]), BadBlock> {
    let (&first, mut rest) = input.split_first().ok_or(BadBlock::Cut)?;
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(first) & most;
    if value < most {
        return Ok((value, rest));
    }
    // Four more octets say more than any block here is long.
    for shift in [0, 7, 14, 21] {
        let (&octet, after) = rest.split_first().ok_or(BadBlock::Cut)?;
        rest = after;
        value += usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(BadBlock::Number)
}

/// Reads a string (section 5.2), and the rest.
fn string(input: &[u8]) -> Result<(Vec<u8>, &[u8]), BadBlock> {
    let huffman = input.first().is_some_and(|first| first & 0x80 != 0);
    let (len, rest) = number(input, 7)?;
    let (text, rest) = rest.split_at_checked(len).ok_or(BadBlock::Cut)?;
    if !huffman {
        return Ok((text.to_vec(), rest));
    }
    let mut decoded = Vec::new();
    huffman::decode(text, &mut decoded).map_err(BadBlock::Huffman)?;
    Ok((decoded, rest))
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

/// The dynamic table (section 2.3.2), the newest entry first.
struct Table {
    entries: VecDeque<Field>,
    size: usize,
    max: usize,
}

impl Table {
    fn new(max: usize) -> Table {
        Table {
            entries: VecDeque::new(),
            size: 0,
            max,
        }
    }

    /// An entry of the static table, or after it of this one.
    fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        match static_get(index) {
            Some((name, value)) => Some((name.as_bytes(), value.as_bytes())),
            None => {
                let entry = self.entries.get(index.checked_sub(STATIC.len() + 1)?)?;
                Some((&entry.name, &entry.value))
            }
        }
    }

    /// The index of the name, and the index of the whole field.
    fn find(&self, name: &[u8], value: &[u8]) -> (Option<usize>, Option<usize>) {
        // The dynamic table first: most fields of a second request are there.
        if let Some(place) = self.entries.iter().position(|entry| entry.is(name, value)) {
            return (None, Some(place + STATIC.len() + 1));
        }
        let (name_index, index) = static_find(name, value);
        let name_index = name_index.or_else(|| {
            let place = self.entries.iter().position(|entry| entry.name == name)?;
            Some(place + STATIC.len() + 1)
        });
        (name_index, index)
    }

    fn insert(&mut self, field: Field) {
        // An entry larger than the table empties it (section 4.4).
        self.size += field.size();
        self.entries.push_front(field);
        self.evict();
    }

    fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.max {
            let Some(entry) = self.entries.pop_back() else {
                break;
            };
            self.size -= entry.size();
        }
    }
}

fn static_get(index: usize) -> Option<(&'static str, &'static str)> {
    STATIC.get(index.checked_sub(1)?).copied()
}

fn static_find(name: &[u8], value: &[u8]) -> (Option<usize>, Option<usize>) {
    let same = |entry: &(&str, &str)| entry.0.as_bytes() == name;
    let Some(first) = STATIC.iter().position(same) else {
        return (None, None);
    };
    // Entries of one name stand together.
    let values = STATIC[first..].iter().take_while(|entry| same(entry));
    let exact = values
        .map(|entry| entry.1.as_bytes())
        .position(|other| other == value);
    (Some(first + 1), exact.map(|place| first + place + 1))
}

/// The size of a table nobody has said anything about.
pub const DEFAULT_TABLE_SIZE: usize = 4096;

/// The largest table the encoder keeps, whatever the reader allows.
const LARGEST_TABLE_SIZE: usize = 16_384;

/// Appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests;
