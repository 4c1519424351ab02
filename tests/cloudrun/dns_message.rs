//! DNS messages, as far as a nameserver for tests needs them (RFC 1035).

pub const NOERROR: u8 = 0;
pub const SERVFAIL: u8 = 2;
pub const NXDOMAIN: u8 = 3;
pub const NOTIMP: u8 = 4;
pub const REFUSED: u8 = 5;

const OPT: u16 = 41;

#[derive(Debug)]
pub struct Query<'a> {
    id: [u8; 2],
    recursion_desired: bool,
    opcode: u8,
    /// The question's own bytes, to be echoed as they came.
    question: &'a [u8],
    /// In lower case, without the last dot.
    pub name: String,
    pub kind: u16,
    /// The largest UDP answer the asker takes.
    pub room: usize,
    has_opt: bool,
}

pub struct Record {
    pub name: String,
    pub kind: u16,
    pub data: Vec<u8>,
}

impl Query<'_> {
    /// Reads a query; what is none is not answered.
    pub fn read(message: &[u8]) -> Option<Query<'_>> {
        let (head, body) = message.split_at_checked(12)?;
        let is_answer = head[2] & 0x80 != 0;
        if is_answer || head[4..6] != [0, 1] {
            return None;
        }
        let (name, after) = read_name(body)?;
        let (numbers, rest) = after.split_at_checked(4)?;
        let mut query = Query {
            id: [head[0], head[1]],
            recursion_desired: head[2] & 1 != 0,
            opcode: head[2] >> 3 & 0xf,
            question: &body[..body.len() - rest.len()],
            name,
            kind: u16::from_be_bytes([numbers[0], numbers[1]]),
            room: 512,
            has_opt: false,
        };
        // An OPT record, if any, is the first additional one: root name, 41, size.
        if let [0, high, low, size_high, size_low, ..] = *rest
            && u16::from_be_bytes([high, low]) == OPT
        {
            query.has_opt = true;
            query.room = usize::from(u16::from_be_bytes([size_high, size_low])).max(512);
        }
        Some(query)
    }

    pub fn is_ordinary(&self) -> bool {
        self.opcode == 0
    }

    pub fn reply(&self, code: u8, records: &[Record], truncated: bool) -> Vec<u8> {
        let records = if truncated { &[] } else { records };
        let mut bytes = self.id.to_vec();
        let flags = 0x80 | self.opcode << 3 | u8::from(truncated) << 1;
        bytes.push(flags | u8::from(self.recursion_desired));
        bytes.push(0x80 | code); // recursion available
        let answers = u16::try_from(records.len()).unwrap_or(u16::MAX);
        for count in [1, answers, 0, u16::from(self.has_opt)] {
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend(self.question);
        for record in records {
            bytes.extend(write_name(&record.name));
            bytes.extend(record.kind.to_be_bytes());
            bytes.extend([0, 1]); // IN
            bytes.extend(300_u32.to_be_bytes());
            let length = u16::try_from(record.data.len()).unwrap_or(u16::MAX);
            bytes.extend(length.to_be_bytes());
            bytes.extend(&record.data);
        }
        if self.has_opt {
            bytes.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
        }
        bytes
    }

    /// A refusal without the question, as some nameservers have it.
    pub fn header(&self, code: u8) -> Vec<u8> {
        let mut reply = self.reply(code, &[], false);
        reply.truncate(12);
        reply[4..].fill(0);
        reply
    }

    /// The same as another id's answer, for a test of who checks.
    pub fn with_wrong_id(&self, mut reply: Vec<u8>) -> Vec<u8> {
        reply[0] ^= 0xff;
        reply
    }

    /// The same for another name: the question's first letter is another.
    pub fn with_wrong_question(&self, mut reply: Vec<u8>) -> Vec<u8> {
        if let Some(letter) = reply.get_mut(13) {
            *letter ^= 1;
        }
        reply
    }
}

pub fn write_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn read_name(mut bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut labels = Vec::new();
    loop {
        let (&length, rest) = bytes.split_first()?;
        if length == 0 {
            return Some((labels.join("."), rest));
        }
        // A question has no pointers.
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        bytes = rest;
    }
}
