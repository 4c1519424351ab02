mod bounds;
mod oracle;

use super::table::{STATIC, Table};
use super::*;

/// A step of RFC 7541, appendix C: the block, its fields, and the dynamic
/// table after it (newest first) with its size.
type Step = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], usize);

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const GET_NO_CACHE: [(&str, &str); 5] = [GET[0], GET[1], GET[2], GET[3], ("cache-control", "no-cache")];
const GET_CUSTOM: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];
const T1: [&str; 1] = [":authority: www.example.com"];
const T2: [&str; 2] = ["cache-control: no-cache", ":authority: www.example.com"];
const T3: [&str; 3] = ["custom-key: custom-value", "cache-control: no-cache", ":authority: www.example.com"];

const D1: &str = "Mon, 21 Oct 2013 20:13:21 GMT";
const D2: &str = "Mon, 21 Oct 2013 20:13:22 GMT";
const URL: &str = "https://www.example.com";
const COOKIE: &str = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const R1: [(&str, &str); 4] = [(":status", "302"), ("cache-control", "private"), ("date", D1), ("location", URL)];
const R2: [(&str, &str); 4] = [(":status", "307"), ("cache-control", "private"), ("date", D1), ("location", URL)];
const R3: [(&str, &str); 6] = [
    (":status", "200"),
    ("cache-control", "private"),
    ("date", D2),
    ("location", URL),
    ("content-encoding", "gzip"),
    ("set-cookie", COOKIE),
];
const RT1: [&str; 4] = [
    "location: https://www.example.com",
    "date: Mon, 21 Oct 2013 20:13:21 GMT",
    "cache-control: private",
    ":status: 302",
];
const RT2: [&str; 4] = [
    ":status: 307",
    "location: https://www.example.com",
    "date: Mon, 21 Oct 2013 20:13:21 GMT",
    "cache-control: private",
];
const RT3: [&str; 3] = [
    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    "content-encoding: gzip",
    "date: Mon, 21 Oct 2013 20:13:22 GMT",
];

/// Sections C.2 to C.6: the table's size, and the blocks of one connection.
const APPENDIX: [(usize, &[Step]); 8] = [
    (
        4096,
        &[(
            "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
            &[("custom-key", "custom-header")],
            &["custom-key: custom-header"],
            55,
        )],
    ),
    (4096, &[("040c2f73616d706c652f70617468", &[(":path", "/sample/path")], &[], 0)]),
    (4096, &[("100870617373776f726406736563726574", &[("password", "secret")], &[], 0)]),
    (4096, &[("82", &[(":method", "GET")], &[], 0)]),
    (
        4096,
        &[
            ("828684410f7777772e6578616d706c652e636f6d", &GET, &T1, 57),
            ("828684be58086e6f2d6361636865", &GET_NO_CACHE, &T2, 110),
            ("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", &GET_CUSTOM, &T3, 164),
        ],
    ),
    (
        4096,
        &[
            ("828684418cf1e3c2e5f23a6ba0ab90f4ff", &GET, &T1, 57),
            ("828684be5886a8eb10649cbf", &GET_NO_CACHE, &T2, 110),
            ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", &GET_CUSTOM, &T3, 164),
        ],
    ),
    (
        256,
        &[
            (
                "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a3231\
             20474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
                &R1,
                &RT1,
                222,
            ),
            ("4803333037c1c0bf", &R2, &RT2, 222),
            (
                "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a697077\
             38666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d616765\
             3d333630303b2076657273696f6e3d31",
                &R3,
                &RT3,
                215,
            ),
        ],
    ),
    (
        256,
        &[
            (
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad17\
             1863c78f0b97c8e9ae82ae43d3",
                &R1,
                &RT1,
                222,
            ),
            ("4883640effc1c0bf", &R2, &RT2, 222),
            (
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6\
             c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                &R3,
                &RT3,
                215,
            ),
        ],
    ),
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn entries(table: &Table) -> Vec<String> {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    table.entries.iter().map(|field| format!("{}: {}", text(&field.name), text(&field.value))).collect()
}

fn pairs(fields: &[Field]) -> Vec<(&str, &str)> {
    let text = |octets| std::str::from_utf8(octets).unwrap();
    fields.iter().map(|field| (text(&field.name), text(&field.value))).collect()
}

#[test]
fn appendix_c_decodes() {
    for (max, steps) in APPENDIX {
        let mut decoder = Decoder::new(max);
        for (block, want, table, size) in steps {
            let got = decoder.decode(&hex(block), 65_536).unwrap();
            assert_eq!(pairs(&got.fields), *want, "{block}");
            assert_eq!(entries(&decoder.table), *table, "{block}");
            assert_eq!(decoder.table.size, *size, "{block}");
        }
    }
}

#[test]
fn appendix_c_encodes() {
    // The sections with Huffman code, which the encoder prefers.
    for (max, steps) in [APPENDIX[5], APPENDIX[7]] {
        let mut encoder = Encoder::new();
        encoder.table.max_size = max;
        for (block, fields, table, size) in steps {
            let mut got = Vec::new();
            let fields: Vec<Field> = fields.iter().map(|&(name, value)| Field::new(name, value)).collect();
            encoder.encode(&fields, &mut got);
            // The RFC has "302" in Huffman code at 2 octets, and "307" too.
            assert_eq!(got.len(), hex(block).len(), "{block}");
            assert_eq!(entries(&encoder.table), *table, "{block}");
            assert_eq!(encoder.table.size, *size, "{block}");
        }
    }
}

#[test]
fn integers_of_rfc_7541() {
    for (value, bits, wire) in [
        (10, 5, &[0x0a][..]),
        (1337, 5, &[0x1f, 0x9a, 0x0a]),
        (42, 8, &[0x2a]),
        (31, 5, &[0x1f, 0x00]),
        (127, 7, &[0x7f, 0x00]),
        (128, 7, &[0x7f, 0x01]),
    ] {
        let mut out = Vec::new();
        encode_int(&mut out, 0, bits, value);
        assert_eq!(out, wire, "{value}");
        assert_eq!(decode_int(wire, bits), Ok((value, &[][..])), "{value}");
        for cut in 0..wire.len() {
            assert_eq!(decode_int(&wire[..cut], bits), Err(DecodeError::Truncated), "{value} cut at {cut}");
        }
    }
    let endless = [0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(decode_int(&endless, 5), Err(DecodeError::IntegerOverflow));
    let zeros = [0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
    assert_eq!(decode_int(&zeros, 5), Err(DecodeError::IntegerOverflow));
}

#[test]
fn invalid_blocks_are_rejected() {
    for (block, want) in [
        ("80", DecodeError::InvalidIndex),     // index 0
        ("be", DecodeError::InvalidIndex),     // 62, and the table is empty
        ("7f0000", DecodeError::InvalidIndex), // a name of 63
        ("ffffffffff7f", DecodeError::IntegerOverflow),
        ("3fe21f", DecodeError::InvalidTableSize), // 4097
        ("8220", DecodeError::InvalidTableSize),   // after a field
        ("400161", DecodeError::Truncated),
        ("40", DecodeError::Truncated),
        ("4001617f", DecodeError::Truncated),
        ("00016181ff", DecodeError::Huffman(huffman::HuffmanError::Padding)),
        ("00016184ffffffff", DecodeError::Huffman(huffman::HuffmanError::Eos)),
    ] {
        assert_eq!(Decoder::new(4096).decode(&hex(block), 65_536), Err(want), "{block}");
    }
}

#[test]
fn truncated_blocks_decode_to_fewer_fields_or_an_error() {
    for (max, steps) in APPENDIX {
        for step in steps {
            let block = hex(step.0);
            for cut in 0..block.len() {
                if let Ok(got) = Decoder::new(max).decode(&block[..cut], 65_536) {
                    assert!(got.fields.len() < step.1.len(), "{} cut at {cut}", step.0);
                }
            }
        }
    }
}

#[test]
fn a_block_over_the_limit_keeps_the_table_in_step() {
    let mut decoder = Decoder::new(4096);
    let mut block = Vec::new();
    Encoder::new().encode(&[Field::new("x", "y".repeat(3000))], &mut block);
    block.extend_from_slice(&[0xbe; 10_000]);
    let got = decoder.decode(&block, 65_536).unwrap();
    assert!(got.too_large);
    assert!(got.fields.len() < 22);
    assert_eq!(decoder.table.entries.len(), 1);
}

#[test]
fn a_block_starts_with_pending_size_updates() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    let fields = [Field::new("x", "y"), Field::new("z", "1".repeat(200))];
    for (allow, begins) in
        [(&[][..], &[][..]), (&[100], &[0x3f, 0x45][..]), (&[0, 4096], &[0x20, 0x3f, 0xe1, 0x1f]), (&[4096], &[])]
    {
        let mut block = Vec::new();
        allow.iter().for_each(|&size| encoder.set_max_table_size(size));
        encoder.encode(&fields, &mut block);
        assert!(block.starts_with(begins), "{allow:?}: {block:?}");
        assert_eq!(decoder.decode(&block, 65_536).unwrap().fields[1].value, fields[1].value);
        assert_eq!(entries(&decoder.table), entries(&encoder.table), "{allow:?}");
    }
}

#[test]
fn never_indexed_fields_stay_never_indexed() {
    let block = hex("100870617373776f726406736563726574");
    let fields = Decoder::new(4096).decode(&block, 65_536).unwrap().fields;
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    encoder.encode(&fields, &mut out);
    encoder.encode(&fields, &mut out);
    assert_eq!(out[0], 0x10);
    assert!(encoder.table.entries.is_empty());
}

#[test]
fn a_token_costs_one_octet_from_the_second_call_on() {
    let token = format!("Bearer {}", "eyJhbGciOiJSUzI1NiIsImtpZCI6Ij".repeat(36));
    let call = [
        Field::new(":method", "POST"),
        Field::new(":scheme", "https"),
        Field::new(":path", "/helloworld.Greeter/SayHello"),
        Field::new(":authority", "hello-123456789012.europe-west1.run.app"),
        Field::new("te", "trailers"),
        Field::new("content-type", "application/grpc"),
        Field::new("user-agent", "runsd version=1.0.0; grpc-python/1.60.0 grpc-c/37.0.0 (linux)"),
        Field::new("grpc-accept-encoding", "identity, deflate, gzip"),
        Field::new("authorization", token),
    ];
    let mut encoder = Encoder::new();
    let mut lengths = Vec::new();
    for _ in 0..3 {
        let mut block = Vec::new();
        encoder.encode(&call, &mut block);
        lengths.push(block.len());
    }
    assert!(lengths[0] < 1200, "{lengths:?}");
    assert_eq!(lengths[1..], [9, 9]);
}

#[test]
fn the_passive_decoder_sees_the_same_fields() {
    let mut passive = Decoder::passive();
    for (block, want) in [
        ("88", ":status: 200"),
        ("4803343031", ":status: 401"), // to be indexed
        ("be", ":status: 401"),         // and found again
        ("3fe1ff03be", ":status: 401"), // in the largest table
        ("0f0d0132", "content-length: 2"),
    ] {
        let mut seen = String::new();
        let read = passive.visit(&hex(block), |name, value, _| {
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            seen = format!("{}: {}", text(name), text(value));
        });
        assert_eq!((read, seen.as_str()), (Ok(()), want), "{block}");
    }
    // A table of 65,537.
    let read = passive.visit(&hex("3fe2ff03"), |_, _, _| {});
    assert_eq!(read, Err(DecodeError::InvalidTableSize));
}

#[test]
fn random_blocks_do_not_panic() {
    let mut random = Random(2);
    let mut decoder = Decoder::new(4096);
    for _ in 0..100_000 {
        let block: Vec<u8> = (0..random.below(40)).map(|_| random.octet()).collect();
        let _ = decoder.decode(&block, 65_536);
        let _ = Decoder::passive().visit(&block, |_, _, _| {});
        assert!(decoder.table.size <= 4096);
    }
}

/// xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }

    fn octet(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }

    fn field(&mut self) -> Field {
        let name = match self.below(4) {
            // Not "accept-charset", which is "accept-" in the table of fluke-hpack.
            0 => STATIC[usize::try_from(15 + self.below(46)).unwrap()].0.to_owned(),
            1 => format!("x-{}", self.below(1_000_000)),
            _ => format!("x-{}", self.below(10)),
        };
        let value = match self.below(4) {
            0 => (0..self.below(300)).map(|_| self.octet()).collect(),
            1 => vec![b'v'; usize::try_from(self.below(6000)).unwrap()],
            _ => format!("value {}", self.below(20)).into_bytes(),
        };
        let indexing = match self.below(4) {
            0 => Indexing::Without,
            1 => Indexing::Never,
            _ => Indexing::Incremental,
        };
        Field { name: name.into_bytes(), value, indexing }
    }
}
