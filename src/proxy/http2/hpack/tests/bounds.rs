//! What is just allowed, and what is just too much.

use super::*;

#[test]
fn integers_at_the_ends_of_their_octets() {
    for (value, bits, wire) in [
        (14, 4, &[0x0e][..]),
        (15, 4, &[0x0f, 0x00]),
        (15 + 127, 4, &[0x0f, 0x7f]),
        (15 + 128, 4, &[0x0f, 0x80, 0x01]),
        (63 + 16_383, 6, &[0x3f, 0xff, 0x7f]),
        (63 + 16_384, 6, &[0x3f, 0x80, 0x80, 0x01]),
        (127 + 0x0fff_ffff, 7, &[0x7f, 0xff, 0xff, 0xff, 0x7f]),
    ] {
        let mut out = Vec::new();
        encode_int(&mut out, 0, bits, value);
        assert_eq!(out, wire, "{value}");
        assert_eq!(decode_int(wire, bits), Ok((value, &[][..])), "{value}");
    }
    // The bits before the prefix are the representation's.
    assert_eq!(decode_int(&[0xea], 5), Ok((10, &[][..])));
    let mut out = Vec::new();
    encode_int(&mut out, 0x40, 6, 63);
    assert_eq!(out, [0x7f, 0x00]);
    assert_eq!(decode_int(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00], 7), Err(DecodeError::IntegerOverflow));
}

#[test]
fn a_block_has_as_many_octets_of_fields_as_the_limit() {
    let mut block = Vec::new();
    let sizes = [("a", 10), ("b", 20), ("c", 3)];
    for (name, len) in sizes {
        Encoder::new()
            .encode(&[Field { indexing: Indexing::Without, ..Field::new(name, "v".repeat(len)) }], &mut block);
    }
    // 43, 53 and 36 octets.
    let names = |max| {
        let got = Decoder::new(4096).decode(&block, max).unwrap();
        let names: Vec<_> = got.fields.iter().map(|field| field.name.clone()).collect();
        (String::from_utf8(names.concat()).unwrap(), got.too_large)
    };
    assert_eq!(names(132), ("abc".to_owned(), false));
    assert_eq!(names(131), ("ab".to_owned(), true));
    assert_eq!(names(95), ("ac".to_owned(), true), "what fits behind a field that does not");
    assert_eq!(names(42), ("c".to_owned(), true));
}

#[test]
fn a_field_as_large_as_the_table_is_indexed() {
    for (len, is_indexed) in [(64 - 32 - 1, true), (64 - 32, false)] {
        let mut encoder = Encoder::new();
        encoder.set_max_table_size(64);
        let mut block = Vec::new();
        encoder.encode(&[Field::new("x", "\u{1}".repeat(len))], &mut block);
        let representation = block[2];
        assert_eq!(representation, if is_indexed { 0x40 } else { 0x00 }, "{len}: {block:?}");
        assert_eq!((encoder.table.entries.len(), encoder.table.size), if is_indexed { (1, 64) } else { (0, 0) });
        let mut decoder = Decoder::new(4096);
        assert_eq!(decoder.decode(&block, 4096).unwrap().fields.len(), 1);
        assert_eq!(entries(&decoder.table), entries(&encoder.table), "{len}");
    }
}

#[test]
fn table_sizes_are_updated_where_they_changed() {
    for (sizes, want) in [
        (&[4096][..], &[][..]),
        (&[65_536], &[0x3f, 0xe1, 0x7f]), // 16,384, as much as the encoder uses
        (&[30], &[0x3e]),
        (&[31], &[0x3f, 0x00]),
        (&[4096, 30, 4096], &[0x3e, 0x3f, 0xe1, 0x1f]), // the smallest, and the last
        (&[30, 20, 25], &[0x34, 0x39]),
        (&[30, 20], &[0x34]),
    ] {
        let mut encoder = Encoder::new();
        sizes.iter().for_each(|&size| encoder.set_max_table_size(size));
        let mut block = Vec::new();
        encoder.encode(&[], &mut block);
        assert_eq!(block, want, "{sizes:?}");
        block.clear();
        encoder.encode(&[], &mut block);
        assert_eq!(block, b"", "{sizes:?}: once");
    }
}

#[test]
fn the_version_tells_whether_a_block_means_the_same() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    let mut step = |fields: &[Field], size: Option<u32>| {
        let before = (encoder.table_version(), decoder.table_version());
        size.into_iter().for_each(|size| encoder.set_max_table_size(size));
        let mut block = Vec::new();
        let at_encode = encoder.table_version();
        encoder.encode(fields, &mut block);
        decoder.decode(&block, 4096).unwrap();
        let changed = (encoder.table_version() != before.0, decoder.table_version() != before.1);
        (changed, encoder.table_version() != at_encode)
    };
    let field = [Field::new("x", "y")];
    assert_eq!(step(&field, None), ((true, true), true));
    assert_eq!(step(&field, None), ((false, false), false));
    assert_eq!(step(&[Field::new(":method", "GET")], None), ((false, false), false));
    assert_eq!(step(&field, Some(4096)), ((false, false), false));
    // The block of a size update is not the next block of the same fields.
    assert_eq!(step(&field, Some(100)), ((true, true), true));
    assert_eq!(step(&field, None), ((false, false), false));
}

#[test]
fn strings_are_huffman_code_where_that_is_shorter() {
    for (text, want) in [
        ("", &[0x00][..]),
        ("a", &[0x01, b'a']),
        ("aa", &[0x02, b'a', b'a']), // two octets either way
        ("aaa", &[0x82, 0x18, 0xc7]),
        ("\u{1}", &[0x01, 0x01]),
    ] {
        let mut out = Vec::new();
        encode_string(&mut out, text.as_bytes());
        assert_eq!(out, want, "{text:?}");
        let (decoded, rest) = decode_string(&out).unwrap();
        assert_eq!((&decoded[..], rest), (text.as_bytes(), &[][..]));
    }
}

#[test]
fn a_static_field_refers_to_the_static_table_alone() {
    for (name, value, want) in [
        (":status", "200", &[0x88][..]),
        (":status", "500", &[0x8e]),
        (":status", "502", &[0x08, 0x82, 0x6c, 0x02]),
        ("server", "a", &[0x0f, 0x27, 0x01, b'a']),
        ("x", "a", &[0x00, 0x01, b'x', 0x01, b'a']),
        ("www-authenticate", "", &[0xbd]),
    ] {
        let mut out = Vec::new();
        encode_static(&mut out, name, value);
        assert_eq!(out, want, "{name}: {value}");
        let mut decoder = Decoder::passive();
        assert_eq!(pairs(&decoder.decode(&out, 4096).unwrap().fields), [(name, value)]);
        assert_eq!(decoder.table_version(), 0);
    }
}

#[test]
fn what_is_in_the_tables_is_found() {
    let mut table = Table::new(4096);
    for (name, value) in [("x", "1"), ("x", "2"), (":status", "302"), ("y", "1")] {
        table.insert(Field::new(name, value));
    }
    for (name, value, want) in [
        (":method", "POST", (Some(2), Some(3))),
        (":method", "PUT", (Some(2), None)),
        (":status", "302", (None, Some(63))),
        ("y", "1", (None, Some(62))),
        ("x", "1", (None, Some(65))),
        ("x", "3", (Some(64), None)),
        ("z", "1", (None, None)),
    ] {
        assert_eq!(table.find(name.as_bytes(), value.as_bytes()), want, "{name}: {value}");
        if let (_, Some(index)) = want {
            assert_eq!(table.get(index), Some((name.as_bytes(), value.as_bytes())));
        }
    }
    assert_eq!((table.get(0), table.get(66)), (None, None));
    assert_eq!(table.get(61), Some((&b"www-authenticate"[..], &b""[..])));
    assert_eq!(table.size, 34 + 34 + 42 + 34);
    // The oldest go first, and no more than have to.
    table.resize(34 + 42 + 34);
    assert_eq!(entries(&table), ["y: 1", ":status: 302", "x: 2"]);
    table.resize(34 + 42 + 33);
    assert_eq!(entries(&table), ["y: 1", ":status: 302"]);
    table.insert(Field::new("z", "v".repeat(200)));
    assert_eq!((entries(&table), table.size), (vec![], 0));
}

#[test]
fn a_value_is_not_in_what_debug_prints() {
    let field = Field::new("authorization", "secret");
    assert_eq!(format!("{field:?}"), "authorization: <6 octets>");
    let fields = [field, Field::new("authorization", "2")];
    assert_eq!(find(&fields, "authorization"), Some(&b"secret"[..]));
    assert_eq!(find(&fields, "Authorization"), None);
}
