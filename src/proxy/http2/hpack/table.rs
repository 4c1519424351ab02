//! The tables of header compression: the one everybody has, and the one that
//! grows as a connection goes on (RFC 7541, section 2.3).

use std::collections::VecDeque;

use super::Field;

/// The dynamic table (section 2.3.2), the newest entry first.
pub struct Table {
    pub entries: VecDeque<Field>,
    pub size: usize,
    /// The most it may hold, counted as section 4.1 says.
    pub max: usize,
    /// How often it has changed.
    pub changes: u64,
}

impl Table {
    pub fn new(max: usize) -> Table {
        Table { entries: VecDeque::new(), size: 0, max, changes: 0 }
    }

    /// An entry of the static table, or after it of this one.
    pub fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        match static_get(index) {
            Some((name, value)) => Some((name.as_bytes(), value.as_bytes())),
            None => {
                let entry = self.entries.get(index.checked_sub(STATIC.len() + 1)?)?;
                Some((&entry.name, &entry.value))
            }
        }
    }

    /// The index of the name, and the index of the whole field.
    pub fn find(&self, name: &[u8], value: &[u8]) -> (Option<usize>, Option<usize>) {
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

    pub fn insert(&mut self, field: Field) {
        // An entry larger than the table empties it (section 4.4).
        self.changes += 1;
        self.size += field.size();
        self.entries.push_front(field);
        self.evict();
    }

    pub fn resize(&mut self, max: usize) {
        self.changes += 1;
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

/// The index of the name in the static table, and of the whole field.
pub fn static_find(name: &[u8], value: &[u8]) -> (Option<usize>, Option<usize>) {
    let same = |entry: &(&str, &str)| entry.0.as_bytes() == name;
    let Some(first) = STATIC.iter().position(same) else {
        return (None, None);
    };
    // Entries of one name stand together.
    let values = STATIC[first..].iter().take_while(|entry| same(entry));
    let exact = values.map(|entry| entry.1.as_bytes()).position(|other| other == value);
    (Some(first + 1), exact.map(|place| first + place + 1))
}

/// Appendix A.
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
