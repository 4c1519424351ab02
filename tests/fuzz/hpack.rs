//! HPACK (RFC 7541): what another decoder reads alike, and what runsd encodes is read back, by both.

use super::{Decoder, Encoder, Field, Indexing, huffman};

/// The first octet says how large the table may be; then come header blocks, each behind its length.
pub fn hpack(data: &[u8]) {
    let Some((mode, mut rest)) = data.split_first() else { return };
    huffman_and_back(rest);
    let max_table_size = if mode & 1 == 0 { 4096 } else { 100 };
    let mut ours = Decoder::new(max_table_size);
    let mut theirs = fluke_hpack::Decoder::new();
    theirs.set_max_allowed_table_size(max_table_size);
    theirs.set_max_table_size(max_table_size);
    let (mut encoder, mut reader, mut their_reader) = (Encoder::new(), Decoder::new(4096), fluke_hpack::Decoder::new());
    while let [len, after @ ..] = rest {
        let (block, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        let decoded = ours.decode(block, 1 << 20);
        // The other one panics where a size update is all there is, or does not end.
        if block.iter().any(|octet| matches!(octet, 0x20..=0x3f)) {
            return;
        }
        let (decoded, others) = match (decoded, theirs.decode(block)) {
            (Ok(decoded), Ok(others)) => (decoded.fields, others),
            (Err(_), Err(_)) => return,
            (ours, theirs) => panic!("{:?} and {:?}", ours.err(), theirs.err()),
        };
        let pairs = |fields: &[Field]| -> Vec<(Vec<u8>, Vec<u8>)> {
            fields.iter().map(|field| (field.name.clone(), field.value.clone())).collect()
        };
        assert_eq!(pairs(&decoded), others);
        let mut encoded = Vec::new();
        encoder.encode(&decoded, &mut encoded);
        let again = reader.decode(&encoded, 1 << 20).expect("what was just encoded").fields;
        assert_eq!(pairs(&again), others);
        let never = |field: &Field| field.indexing == Indexing::Never;
        assert!(again.iter().map(never).eq(decoded.iter().map(never)), "never indexed has to stay so");
        assert_eq!(their_reader.decode(&encoded).expect("what was just encoded"), others);
    }
}

fn huffman_and_back(text: &[u8]) {
    let mut coded = Vec::new();
    huffman::encode(text, &mut coded);
    assert_eq!(coded.len(), huffman::encoded_len(text));
    let mut decoded = Vec::new();
    huffman::decode(&coded, &mut decoded).expect("what was just encoded");
    assert_eq!(decoded, text);
    // Of other octets nothing is known but that there is an answer.
    let _ = huffman::decode(text, &mut decoded);
}
