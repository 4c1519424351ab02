//! Another HPACK, fluke-hpack: what either writes the other reads, and of any
//! octets that both accept they make the same fields.

use std::panic::{self, AssertUnwindSafe};

use super::*;

#[test]
fn another_implementation_agrees() {
    let mut random = Random(1);
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let mut their_encoder = fluke_hpack::Encoder::new();
    let mut their_decoder = fluke_hpack::Decoder::new();
    for round in 0..150 {
        let fields: Vec<Field> = (0..random.below(12)).map(|_| random.field()).collect();
        let want: Vec<(Vec<u8>, Vec<u8>)> =
            fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect();

        if random.below(50) == 0 {
            encoder.allow(u32::try_from(random.below(4097)).unwrap());
        }
        let mut block = Vec::new();
        encoder.encode(&fields, &mut block);
        assert!(their_decoder.decode(&block).unwrap() == want, "round {round}");

        let block = their_encoder.encode(want.iter().map(|(name, value)| (&name[..], &value[..])));
        let got = decoder.decode(&block, 1 << 20).unwrap().fields;
        let got: Vec<_> = got.into_iter().map(|field| (field.name, field.value)).collect();
        assert!(got == want, "round {round}");
    }
}

#[test]
fn another_implementation_reads_any_octets_alike() {
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
        // It panics where a table size (3f…) is cut or too long.
        let theirs = panic::catch_unwind(AssertUnwindSafe(|| fluke_hpack::Decoder::new().decode(&block)));
        let (Ok(ours), Ok(Ok(theirs))) = (ours, theirs) else {
            continue;
        };
        let ours = ours.fields.into_iter();
        let ours: Vec<_> = ours.map(|field| (field.name, field.value)).collect();
        assert!(ours == theirs, "round {round}: {block:x?}");
        both += 1;
    }
    assert!(both > 5000, "{both}");
}
