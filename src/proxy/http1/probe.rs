//! One question on a new connection, for those who want to know how a service
//! answers: `-check`.

use std::io;

use super::head::{self, Head, Progress};
use crate::proxy::http1::response::MAX_INTERIM;
use crate::secret::Secret;
use crate::upstream::Ready;

/// Asks for `/` on a new connection: the status, and the start of the body.
pub fn ask(connection: &mut Ready, authority: &str, bearer: Option<&Secret>) -> io::Result<(u16, Vec<u8>)> {
    let mut request = format!("GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    if let Some(bearer) = bearer {
        request.push_str(&format!("Authorization: {}\r\n", bearer.expose()));
    }
    request.push_str("\r\n");
    connection.writer.write_all(request.as_bytes())?;
    let mut head = Head::default();
    let mut answer = vec![0; head::MAX_HEAD_LEN];
    let (mut held, mut interim) = (0, 0);
    let mut progress = Progress::default();
    loop {
        let read = head.read_response(&answer[..held], &mut progress);
        let Some(end) = read.map_err(|bad| io::Error::other(bad.to_string()))? else {
            match connection.reader.read(&mut answer[held..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => held += n,
            }
            continue;
        };
        let status = head.status(&answer);
        if status >= 200 {
            // The body mostly comes with it; who knows no front end's page
            // takes the status for the service's own.
            if held == end
                && let Ok(n) = connection.reader.read(&mut answer[held..])
            {
                held += n;
            }
            return Ok((status, answer[end..held].to_vec()));
        }
        interim += 1;
        if interim > MAX_INTERIM {
            return Err(io::Error::other("interim answers (1xx) without end"));
        }
        answer.copy_within(end..held, 0);
        held -= end;
        progress = Progress::default();
    }
}
