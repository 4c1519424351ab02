//! HTTP/1 heads and bodies (RFC 9112): whatever the bytes, and wherever they are cut, they are read in one way,
//! which httparse shares, and what is written is read as the same.

use super::body::Body;
use super::head::{Framing, Head, HeadError, Progress};
use super::rewrite;
use crate::proxy::syntax;

/// The first octet says what the others are: a request's head, a response's, or a body.
pub fn http1(data: &[u8]) {
    let Some((mode, input)) = data.split_first() else { return };
    match mode % 4 {
        0 => head(input, Head::read_request),
        1 => head(input, Head::read_response),
        2 => body(input, Framing::Chunked),
        _ => body(input, Framing::Length(u64::from(mode / 4) + 1)),
    }
    match mode % 4 {
        0 => request(input),
        1 => response(input, mode & 4 != 0),
        2 => chunks(input),
        _ => {}
    }
}

type ReadHead = fn(&mut Head, &[u8], &mut Progress) -> Result<Option<usize>, HeadError>;

fn read(read: ReadHead, input: &[u8]) -> (Head, Result<Option<usize>, HeadError>) {
    let mut head = Head::default();
    let end = read(&mut head, input, &mut Progress::default());
    (head, end)
}

/// A head that comes octet by octet is read as one that comes at once.
fn head(input: &[u8], read_head: ReadHead) {
    let (whole, end) = read(read_head, input);
    let (mut head, mut progress) = (Head::default(), Progress::default());
    let step = input.len() / 64 + 1;
    for cut in (0..input.len()).step_by(step) {
        match (read_head(&mut head, &input[..cut], &mut progress), end) {
            (Ok(None), _) => {}
            (Ok(Some(early)), Ok(Some(end))) => {
                assert_eq!((early, head.fields(input).collect::<Vec<_>>()), (end, whole.fields(input).collect()));
                return;
            }
            // Which error is found first, and when, depends on what has come; that there is one does not.
            (Err(_), Err(_) | Ok(None)) => return,
            (early, _) => panic!("{early:?} at {cut}, {end:?} in the end"),
        }
    }
    match (read_head(&mut head, input, &mut progress), end) {
        // In pieces an error is found no later than at the end of its line.
        (Ok(None) | Err(_), Err(_)) => {}
        (last, _) => assert_eq!(last, end),
    }
}

/// What runsd takes for a request, httparse takes for the same one.
fn request(input: &[u8]) {
    let (head, Ok(Some(end))) = read(Head::read_request, input) else { return };
    // Rejected in the next step.
    if syntax::parse_target(head.method(input), head.target(input)).is_err() {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut theirs = httparse::Request::new(&mut fields);
    match theirs.parse(input) {
        Ok(httparse::Status::Complete(their_end)) => {
            assert_eq!(end, their_end);
            assert_eq!(theirs.method.map(str::as_bytes), Some(head.method(input)));
            assert_eq!(theirs.path.map(str::as_bytes), Some(head.target(input)));
            assert_eq!(theirs.version, Some(head.minor_version));
            same_fields(&head, input, theirs.headers);
            let Ok(framing) = head.request_framing(input) else { return };
            let has = |name: &str| theirs.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name));
            match framing {
                Framing::None => assert!(!has("transfer-encoding") && !has("content-length")),
                Framing::Length(_) => assert!(!has("transfer-encoding") && has("content-length")),
                Framing::Chunked => assert!(has("transfer-encoding") && !has("content-length")),
                Framing::UntilClose => panic!("a request cannot end with its connection"),
            }
        }
        Err(httparse::Error::TooManyHeaders) => {}
        // HTTP/1.2 is read as HTTP/1.1 (RFC 9110 section 2.5).
        Err(httparse::Error::Version) => assert_eq!(head.minor_version, 1),
        other => panic!("{other:?}"),
    }
}

/// What runsd takes for a response, httparse takes for the same one, and so does the client that runsd writes it for.
fn response(input: &[u8], to_head: bool) {
    let (head, Ok(Some(end))) = read(Head::read_response, input) else { return };
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut theirs = httparse::Response::new(&mut fields);
    match theirs.parse(input) {
        Ok(httparse::Status::Complete(their_end)) => {
            assert_eq!(
                (end, theirs.code, theirs.version),
                (their_end, Some(head.status(input)), Some(head.minor_version))
            );
            same_fields(&head, input, theirs.headers);
        }
        Err(httparse::Error::TooManyHeaders) => return,
        Err(httparse::Error::Version) => assert_eq!(head.minor_version, 1),
        other => panic!("{other:?}"),
    }
    let Ok(framing) = head.response_framing(input, to_head) else { return };
    let mut written = Vec::new();
    let keep_alive = input.len().is_multiple_of(2);
    rewrite::Response { head: &head, input, framing, minor_version: 1, keep_alive, renamed: None }.write(&mut written);
    let (again, again_end) = read(Head::read_response, &written);
    assert_eq!(again_end, Ok(Some(written.len())), "{}", written.escape_ascii());
    assert_eq!(again.status(&written), head.status(input));
    assert_eq!(again.response_framing(&written, to_head), Ok(framing), "{}", written.escape_ascii());
}

fn same_fields(head: &Head, input: &[u8], theirs: &[httparse::Header<'_>]) {
    let theirs: Vec<_> = theirs.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
    assert_eq!(head.fields(input).collect::<Vec<_>>(), theirs);
}

/// How a body was read: its data, its end, and whether it was in order.
type Decoded = (Vec<u8>, Option<usize>, bool);

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>, framing: Framing) -> Decoded {
    let (mut data, mut used) = (Vec::new(), 0);
    let Some(mut body) = Body::new(framing) else { return (data, Some(0), true) };
    for piece in pieces {
        match body.decode(piece, |part| data.extend_from_slice(part)) {
            Ok((n, true)) => return (data, Some(used + n), true),
            Ok((n, false)) => {
                assert_eq!(n, piece.len(), "neither complete nor all of it used");
                used += n;
            }
            Err(_) => return (data, None, false),
        }
    }
    (data, None, true)
}

/// A body is read in the same way in any pieces.
fn body(input: &[u8], framing: Framing) {
    let whole = decode([input].into_iter(), framing);
    let size = input.len() % 7 + 1;
    assert_eq!(decode(input.chunks(size), framing), whole, "in pieces of {size}");
}

/// What runsd takes for a whole chunked body, is one for httparse, with the same data.
fn chunks(input: &[u8]) {
    let (data, Some(end), true) = decode([input].into_iter(), Framing::Chunked) else { return };
    let (mut at, mut theirs) = (0, Vec::new());
    loop {
        // httparse takes no more digits than a number has; RFC 9112 section 7.1 has no limit.
        at += input[at..].windows(2).take_while(|two| two[0] == b'0' && two[1].is_ascii_hexdigit()).count();
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&input[at..]) else {
            panic!("no chunk size at {at}");
        };
        at += line;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).expect("a size that came");
        theirs.extend_from_slice(&input[at..at + size]);
        at += size;
        assert!(input[at..].starts_with(b"\r\n"));
        at += 2;
    }
    let mut fields = [httparse::EMPTY_HEADER; 256];
    match httparse::parse_headers(&input[at..], &mut fields) {
        Ok(httparse::Status::Complete((len, _))) => assert_eq!((at + len, theirs), (end, data)),
        Err(httparse::Error::TooManyHeaders) => {}
        other => panic!("trailers: {other:?}"),
    }
}
