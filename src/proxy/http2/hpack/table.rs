//! The static and the dynamic table of HPACK (RFC 7541 section 2.3).

use std::collections::VecDeque;

use super::Field;

/// One index space over both tables (RFC 7541 section 2.3.3); this holds the dynamic one.
pub struct Table {
    /// The newest first.
    pub entries: VecDeque<Field>,
    /// Octets of all entries (RFC 7541 section 4.1).
    pub size: usize,
    /// The limit of `size`.
    pub max_size: usize,
    /// Counts the changes of entries or limit.
    pub version: u64,
}

impl Table {
    /// An empty table.
    pub fn new(max_size: usize) -> Table {
        Table { entries: VecDeque::new(), size: 0, max_size, version: 0 }
    }

    /// Returns the name and the value at `index`.
    pub fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        match STATIC.get(index.checked_sub(1)?) {
            Some((name, value)) => Some((name.as_bytes(), value.as_bytes())),
            None => {
                let entry = self.entries.get(index.checked_sub(STATIC.len() + 1)?)?;
                Some((&entry.name, &entry.value))
            }
        }
    }

    /// Returns an index of the name, and the index of the whole field. The index of the name may be missing where that
    /// of the field is there.
    pub fn find(&self, name: &[u8], value: &[u8]) -> (Option<usize>, Option<usize>) {
        // The dynamic table first: most fields of a second request are there.
        if let Some(index) = self.entries.iter().position(|entry| entry.is(name, value)) {
            return (None, Some(index + STATIC.len() + 1));
        }
        let (name_index, index) = find_static(name, value);
        let name_index = name_index.or_else(|| {
            let index = self.entries.iter().position(|entry| entry.name == name)?;
            Some(index + STATIC.len() + 1)
        });
        (name_index, index)
    }

    /// Adds an entry; one larger than the table only empties it (RFC 7541 section 4.4).
    pub fn insert(&mut self, field: Field) {
        self.version += 1;
        self.size += field.size();
        self.entries.push_front(field);
        self.evict();
    }

    /// Changes the limit of the size (RFC 7541 section 4.3).
    pub fn resize(&mut self, max_size: usize) {
        self.version += 1;
        self.max_size = max_size;
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.max_size {
            let Some(entry) = self.entries.pop_back() else {
                break;
            };
            self.size -= entry.size();
        }
    }
}

/// Returns the index of the name in the static table, and the index of the whole field.
pub fn find_static(name: &[u8], value: &[u8]) -> (Option<usize>, Option<usize>) {
    let same = |entry: &(&str, &str)| entry.0.as_bytes() == name;
    let Some(first) = STATIC.iter().position(same) else {
        return (None, None);
    };
    // Entries of one name are adjacent.
    let values = STATIC[first..].iter().take_while(|entry| same(entry));
    let exact = values.map(|entry| entry.1.as_bytes()).position(|other| other == value);
    (Some(first + 1), exact.map(|index| first + index + 1))
}

/// The static table (RFC 7541 appendix A).
pub const STATIC: [(&str, &str); 61] = [
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
