//! Compares with another implementation, fluke-hpack: each decodes what the other encodes, and any
//! octets that both accept decode to the same fields.

use std::panic::{self, AssertUnwindSafe};

use super::*;

#[test]
fn each_decodes_what_the_other_encodes() {
    let mut random = Random(1);
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let mut fluke_encoder = fluke_hpack::Encoder::new();
    let mut fluke_decoder = fluke_hpack::Decoder::new();
    for round in 0..150 {
        let fields: Vec<Field> = (0..random.below(12)).map(|_| random.field()).collect();
        let want: Vec<(Vec<u8>, Vec<u8>)> =
            fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect();

        if random.below(50) == 0 {
            encoder.set_max_table_size(u32::try_from(random.below(4097)).unwrap());
        }
        let mut block = Vec::new();
        encoder.encode(&fields, &mut block);
        assert!(fluke_decoder.decode(&block).unwrap() == want, "round {round}");

        let block = fluke_encoder.encode(want.iter().map(|(name, value)| (&name[..], &value[..])));
        let got = decoder.decode(&block, 1 << 20).unwrap().fields;
        let got: Vec<_> = got.into_iter().map(|field| (field.name, field.value)).collect();
        assert!(got == want, "round {round}");
    }
}

#[test]
fn both_decode_random_octets_alike() {
    let mut random = Random(3);
    let mut both = 0;
    for round in 0..50_000 {
        let fields: Vec<Field> = (0..random.below(4)).map(|_| random.field()).collect();
        let mut block = Vec::new();
        Encoder::new().encode(&fields, &mut block);
        block.truncate(64);
        for _ in 0..random.below(3) {
            let at = usize::try_from(random.below(1 + block.len() as u64)).unwrap();
            match random.below(3) {
                0 => block.insert(at, random.octet()),
                1 => block.truncate(at),
                _ => block.extend((at..4).map(|_| random.octet())),
            }
        }
        let ours = Decoder::new(4096).decode(&block, 1 << 20);
        // fluke-hpack panics where a table size (3f…) is truncated or too long.
        let fluke = panic::catch_unwind(AssertUnwindSafe(|| fluke_hpack::Decoder::new().decode(&block)));
        let (Ok(ours), Ok(Ok(fluke))) = (ours, fluke) else {
            continue;
        };
        let ours = ours.fields.into_iter();
        let ours: Vec<_> = ours.map(|field| (field.name, field.value)).collect();
        assert!(ours == fluke, "round {round}: {block:x?}");
        both += 1;
    }
    assert!(both > 5000, "{both}");
}
