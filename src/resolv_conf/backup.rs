//! A backup of the original resolv.conf, in comments at the end of what runsd writes: after a SIGKILL, which restores
//! nothing, the next start finds it.
//!
//! ```text
//!     # runsd wrote this file; before, in hexadecimal, it said:
//!     # 6e616d65736572766572203136392e3235342e3136392e3235340a
//!     # that is all
//! ```
//!
//! Not as text, because programs exist that search for `nameserver` anywhere in a line.

use super::names_runsd;

/// Appends the backup of an original; `None` where there was no file.
pub fn append(original: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(BEGIN);
    for chunk in original.unwrap_or_default().chunks(BYTES_PER_LINE) {
        out.extend_from_slice(b"# ");
        let digits = chunk.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        out.extend(digits.map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        out.push(b'\n');
    }
    out.extend_from_slice(if original.is_none() { NO_FILE } else { END });
}

/// What a file says about its original.
#[derive(Debug, PartialEq, Eq)]
pub enum Recovered {
    /// It is the original. A backup is left out, where another program wrote the rest of the file.
    Itself(Vec<u8>),
    /// runsd wrote it over this one, or where there was no file.
    Original(Option<Vec<u8>>),
}

/// Reads a file that runsd may have written, whole or in part.
pub fn recover(mut file: Vec<u8>) -> Recovered {
    let Some(offset) = file.windows(BEGIN.len()).position(|part| part == BEGIN) else {
        return Recovered::Itself(file);
    };
    let backup = file.split_off(offset);
    let Some((original, rest)) = read(&backup[BEGIN.len()..]) else {
        // Cut, so that nothing of the original is overwritten yet. The line feeds before the backup belong to it, but
        // for the one that ends the last line.
        let end = file.iter().rposition(|&b| b != b'\n').map_or(0, |last| last + 2);
        file.truncate(end);
        return Recovered::Itself(file);
    };
    file.extend_from_slice(rest);
    // Was runsd killed after the backup and before the rest, or while it wrote or restored the rest? Then the first or
    // the last page is the original's.
    let is_in_place = original.as_ref().is_some_and(|text| {
        let last_page = text.len().saturating_sub(1) / PAGE_LEN * PAGE_LEN;
        let is_equal = |from, to| file.get(from..to) == text.get(from..to);
        is_equal(0, text.len().min(PAGE_LEN)) || is_equal(last_page, text.len())
    });
    match is_in_place || names_runsd(&file) {
        true => Recovered::Original(original),
        false => Recovered::Itself(file),
    }
}

/// Reads a backup behind its first line. Returns the original and what follows; `None` if the backup is cut.
fn read(mut rest: &[u8]) -> Option<(Option<Vec<u8>>, &[u8])> {
    let mut original = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(END) {
            return Some((Some(original), after));
        }
        if let Some(after) = rest.strip_prefix(NO_FILE) {
            return Some((None, after));
        }
        rest = rest.strip_prefix(b"# ")?;
        let (digits, after) = rest.split_at(rest.iter().position(|&b| b == b'\n')?);
        for pair in digits.chunks(2) {
            let digits = str::from_utf8(pair).ok()?;
            original.push(u8::from_str_radix(digits, 16).ok()?);
        }
        rest = &after[1..];
    }
}

// It begins with a line feed for an original that has none at its end.
const BEGIN: &[u8] = b"\n# runsd wrote this file; before, in hexadecimal, it said:\n";
const END: &[u8] = b"# that is all\n";
const NO_FILE: &[u8] = b"# nothing; there was none\n";

/// A SIGKILL interrupts a write between two pages: of this many bytes on the machines of Cloud Run, and of a multiple
/// on others.
const PAGE_LEN: usize = 4096;

/// Bytes of the original on a line: in digits less than the 254 that every resolver reads.
const BYTES_PER_LINE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[u8] = b"nameserver 127.0.0.1\nsearch run.internal a\noptions ndots:3\n";

    fn written(original: Option<&[u8]>) -> Vec<u8> {
        let mut file = OURS.to_vec();
        append(original, &mut file);
        file
    }

    #[test]
    fn every_original_is_recovered() {
        let long = [b"search ", &[b'x'; 1000][..], b"\n"].concat();
        let backup = written(Some(b"nameserver 10.0.0.1\n"));
        for original in [
            &b"nameserver 169.254.169.254\nsearch google.internal\n"[..],
            b"",
            b"\n",
            b"\n\n\n",
            b"no end",
            b"two\nno end",
            b"search a\r\n\r\n",
            b"# caf\xe9\0\n",
            &[0xff; 100],
            &[0x0a; 101],
            &long,
            &long[..1000],
            &backup,
        ] {
            let file = written(Some(original));
            let text = String::from_utf8_lossy(&file).into_owned();
            let want = Recovered::Original(Some(original.to_vec()));
            assert_eq!(recover(file.clone()), want, "{text}");
            let longest = file.split(|&b| b == b'\n').map(<[u8]>::len).max();
            assert!(longest.is_some_and(|longest| longest < 254), "{text}");
            for line in file[OURS.len()..].split(|&b| b == b'\n') {
                assert!(line.is_empty() || line.starts_with(b"# "), "{text}");
            }
            assert_eq!(text.matches("nameserver").count(), 1, "{text}");
        }
        assert_eq!(recover(written(None)), Recovered::Original(None));
        assert_eq!(recover(OURS.to_vec()), Recovered::Itself(OURS.to_vec()));
    }

    #[test]
    fn what_another_program_wrote_is_the_original() {
        let original = &b"nameserver 10.0.0.1\n"[..];
        let mut backup = Vec::new();
        append(Some(original), &mut backup);
        for (before, after, want) in [
            // Still runsd's, with a line of another program.
            (&b"nameserver ::1\n"[..], &b"options rotate\n"[..], true),
            (b"search a\n", b"", true),
            (b"", b"", true),
            (b"nameserver 127.0.0.1\nnameserver 10.0.0.9\n", b"", true),
            (b"nameserver 10.0.0.9\n", b"", false),
            (b"", b"nameserver 10.0.0.9\n", false),
        ] {
            let file = [before, &backup, after].concat();
            let want = match want {
                true => Recovered::Original(Some(original.to_vec())),
                false => Recovered::Itself([before, after].concat()),
            };
            assert_eq!(recover(file), want, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_kill_during_a_write_loses_nothing() {
        let comments = |n: usize| b"# a comment\n".repeat(n);
        let [few, many] = [comments(200), comments(2000)];
        let first = [&few[..], b"nameserver 10.0.0.1\n", &many].concat();
        for original in [
            [&first[..], b"nameserver 10.0.0.2\n"].concat(),
            [b"nameserver 10.0.0.1\n", &b"search a"[..], &b" b".repeat(9000)].concat(),
        ] {
            let conf = crate::resolv_conf::ResolvConf::parse(&original);
            let mut ours = conf.render(&super::super::LOCAL_ADDRS, "run.internal", 3);
            ours.resize(ours.len().max(original.len()), b'\n');
            let mut backup = Vec::new();
            append(Some(&original), &mut backup);
            let mut before = original.clone();
            before.resize(ours.len(), b'\n');
            for (from, to) in [(&before, &ours), (&ours, &before)] {
                for cut in (0..=ours.len()).step_by(PAGE_LEN) {
                    let file = [&to[..cut], &from[cut..], &backup].concat();
                    let want = Recovered::Original(Some(original.clone()));
                    assert!(recover(file) == want, "{cut} of {}", ours.len());
                }
            }
            // The comments themselves.
            for cut in (BEGIN.len()..backup.len()).step_by(PAGE_LEN) {
                let file = [&before, &backup[..cut]].concat();
                let mut want = original.clone();
                want.extend_from_slice(if want.ends_with(b"\n") { b"" } else { b"\n" });
                assert!(recover(file) == Recovered::Itself(want), "{cut}");
            }
        }
    }

    #[test]
    fn a_cut_backup_is_ignored() {
        let file = written(Some(b"nameserver 10.0.0.1\nsearch a\n"));
        for cut in OURS.len()..file.len() {
            let Recovered::Itself(text) = recover(file[..cut].to_vec()) else {
                panic!("cut at {cut}");
            };
            assert!(text.starts_with(OURS), "cut at {cut}");
        }
        // And something else among them.
        let text = String::from_utf8(file).expect("text");
        for (what, instead) in [("# 6e", "6e"), ("# 6e", "# xy"), ("# 6e", "# \u{e9}")] {
            let odd = text.replace(what, instead);
            let itself = Recovered::Itself(OURS.to_vec());
            assert_eq!(recover(odd.into()), itself, "{instead}");
        }
    }
}
