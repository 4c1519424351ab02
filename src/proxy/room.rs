//! Room at the end of a buffer, for those who write into a slice.

/// Makes `buffer` so long. What is new is zeros.
///
/// `Vec::resize` does the same a byte at a time where the compiler optimizes
/// for size, and then takes longer than the decryption of what is read into it.
pub fn lengthen(buffer: &mut Vec<u8>, len: usize) {
    buffer.reserve(len.saturating_sub(buffer.len()));
    while buffer.len() < len {
        let missing = len - buffer.len();
        buffer.extend_from_slice(&ZEROS[..missing.min(ZEROS.len())]);
    }
}

static ZEROS: [u8; 512] = [0; 512];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_zeros() {
        for (before, len, want) in [
            (0, 0, 0),
            (3, 3, 3),
            (3, 1, 3),
            (1, 4097, 4097),
            (7, 20_000, 20_000),
        ] {
            let mut buffer = vec![9; before];
            lengthen(&mut buffer, len);
            let new = &buffer[before..];
            assert!(
                buffer.len() == want && new.iter().all(|&b| b == 0),
                "{before} to {len}"
            );
        }
    }
}
