//! What stood in resolv.conf before, kept in comments at the end of what runsd
//! puts there: after a SIGKILL, which gives nothing back, the next start knows
//! it again.
//!
//!     # runsd wrote this file; before, in hexadecimal, it said:
//!     # 6e616d65736572766572203136392e3235342e3136392e3235340a
//!     # that is all
//!
//! Not as text: what looks for `nameserver` anywhere in a line would find it.

use super::names_us;

/// Appends the comments for an original, or for a file that was not there.
pub fn keep(original: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(BEGIN);
    for piece in original.unwrap_or_default().chunks(PIECE) {
        out.extend_from_slice(b"# ");
        let digits = piece.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        out.extend(digits.map(|digit| b"0123456789abcdef"[usize::from(digit)]));
        out.push(b'\n');
    }
    out.extend_from_slice(if original.is_none() { NO_FILE } else { END });
}

/// What a file says of what stood there before.
#[derive(Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing: this is the original. The comments are left out, where someone
    /// else wrote what is before them.
    Itself(Vec<u8>),
    /// runsd wrote it, over this or where there was no file.
    Before(Option<Vec<u8>>),
}

/// Reads a file that runsd may have written, or begun to write.
pub fn recover(mut file: Vec<u8>) -> Recovered {
    let Some(at) = file.windows(BEGIN.len()).position(|part| part == BEGIN) else {
        return Recovered::Itself(file);
    };
    let comments = file.split_off(at);
    let Some((original, rest)) = read(&comments[BEGIN.len()..]) else {
        // Cut: they are written before anything of the original is overwritten.
        // The line feeds before them are none of it, but for the last line's.
        let end = file.iter().rposition(|&b| b != b'\n').map_or(0, |at| at + 2);
        file.truncate(end);
        return Recovered::Itself(file);
    };
    file.extend_from_slice(rest);
    // Ended between the comments and what goes before them, or in the middle of
    // writing or restoring that?
    let is_there = original.as_ref().is_some_and(|text| {
        let last = text.len().saturating_sub(1) / PAGE * PAGE;
        let stands = |from, to| file.get(from..to) == text.get(from..to);
        stands(0, text.len().min(PAGE)) || stands(last, text.len())
    });
    match is_there || names_us(&file) {
        true => Recovered::Before(original),
        false => Recovered::Itself(file),
    }
}

/// Reads the comments after their beginning: what they keep, and what follows.
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

// The line feed is for an original that has none at its end.
const BEGIN: &[u8] = b"\n# runsd wrote this file; before, in hexadecimal, it said:\n";
const END: &[u8] = b"# that is all\n";
const NO_FILE: &[u8] = b"# nothing; there was none\n";

/// A SIGKILL ends a write between two pages: of this many octets on every
/// machine that Cloud Run has, and of a multiple on others.
const PAGE: usize = 4096;

/// Octets on a line, which every resolver reads: in digits, less than 254.
const PIECE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[u8] = b"nameserver 127.0.0.1\nsearch run.internal a\noptions ndots:3\n";

    fn written(original: Option<&[u8]>) -> Vec<u8> {
        let mut file = OURS.to_vec();
        keep(original, &mut file);
        file
    }

    #[test]
    fn whatever_stood_there_is_known_again() {
        let long = [b"search ", &[b'x'; 1000][..], b"\n"].concat();
        let block = written(Some(b"nameserver 10.0.0.1\n"));
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
            &block,
        ] {
            let file = written(Some(original));
            let text = String::from_utf8_lossy(&file).into_owned();
            let want = Recovered::Before(Some(original.to_vec()));
            assert_eq!(recover(file.clone()), want, "{text}");
            let longest = file.split(|&b| b == b'\n').map(<[u8]>::len).max();
            assert!(longest.is_some_and(|longest| longest < 254), "{text}");
            for line in file[OURS.len()..].split(|&b| b == b'\n') {
                assert!(line.is_empty() || line.starts_with(b"# "), "{text}");
            }
            assert_eq!(text.matches("nameserver").count(), 1, "{text}");
        }
        assert_eq!(recover(written(None)), Recovered::Before(None));
        assert_eq!(recover(OURS.to_vec()), Recovered::Itself(OURS.to_vec()));
    }

    #[test]
    fn what_others_wrote_since_is_theirs() {
        let original = &b"nameserver 10.0.0.1\n"[..];
        let mut kept = Vec::new();
        keep(Some(original), &mut kept);
        for (before, after, want) in [
            // Still runsd's, with something of someone else's.
            (&b"nameserver ::1\n"[..], &b"options rotate\n"[..], true),
            (b"search a\n", b"", true),
            (b"", b"", true),
            (b"nameserver 127.0.0.1\nnameserver 10.0.0.9\n", b"", true),
            (b"nameserver 10.0.0.9\n", b"", false),
            (b"", b"nameserver 10.0.0.9\n", false),
        ] {
            let file = [before, &kept, after].concat();
            let want = match want {
                true => Recovered::Before(Some(original.to_vec())),
                false => Recovered::Itself([before, after].concat()),
            };
            assert_eq!(recover(file), want, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_kill_amid_a_write_loses_nothing() {
        let comments = |n: usize| b"# a comment\n".repeat(n);
        let [few, many] = [comments(200), comments(2000)];
        let first = [&few[..], b"nameserver 10.0.0.1\n", &many].concat();
        for original in [
            [&first[..], b"nameserver 10.0.0.2\n"].concat(),
            [b"nameserver 10.0.0.1\n", &b"search a"[..], &b" b".repeat(9000)].concat(),
        ] {
            let conf = crate::resolv_conf::ResolvConf::parse(&original);
            let mut ours = conf.render(&super::super::OWN, "run.internal", 3);
            ours.resize(ours.len().max(original.len()), b'\n');
            let mut kept = Vec::new();
            keep(Some(&original), &mut kept);
            let mut before = original.clone();
            before.resize(ours.len(), b'\n');
            for (from, to) in [(&before, &ours), (&ours, &before)] {
                for cut in (0..=ours.len()).step_by(PAGE) {
                    let file = [&to[..cut], &from[cut..], &kept].concat();
                    let want = Recovered::Before(Some(original.clone()));
                    assert!(recover(file) == want, "{cut} of {}", ours.len());
                }
            }
            // The comments themselves.
            for cut in (BEGIN.len()..kept.len()).step_by(PAGE) {
                let file = [&before, &kept[..cut]].concat();
                let mut want = original.clone();
                want.extend_from_slice(if want.ends_with(b"\n") { b"" } else { b"\n" });
                assert!(recover(file) == Recovered::Itself(want), "{cut}");
            }
        }
    }

    #[test]
    fn comments_that_are_cut_count_for_nothing() {
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
