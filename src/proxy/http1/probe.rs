//! One request on a new connection, for `-check`, which reports how a service responds.

use std::io::{self, Write as _};

use super::head::{Head, Progress};
use super::response::MAX_INTERIM;
use crate::secret::Secret;
use crate::upstream::Connection;

/// Sends `GET /`; returns the status of the response and the start of its body.
///
/// Blocks: until the response's head has come.
///
/// # Errors
/// The connection failed, or what came is not a response.
pub fn probe(connection: &mut Connection, authority: &str, bearer: Option<&Secret>) -> io::Result<(u16, Vec<u8>)> {
    let authorization = bearer.map(|bearer| format!("Authorization: {}\r\n", bearer.expose())).unwrap_or_default();
    let request = format!("GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{authorization}\r\n");
    connection.writer.write_all(request.as_bytes())?;
    let reader = &mut connection.reader;
    let mut head = Head::default();
    for _ in 0..=MAX_INTERIM {
        let mut progress = Progress::default();
        let end = loop {
            let read = head.read_response(reader.unread(), &mut progress);
            if let Some(end) = read.map_err(|bad| io::Error::other(bad.to_string()))? {
                break end;
            }
            if reader.fill_more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let status = head.status(reader.unread());
        reader.consume(end);
        if status >= 200 {
            // The start of the body mostly comes with the head. Without it, a front end's page is not recognized.
            let _ = reader.fill();
            return Ok((status, reader.unread().to_vec()));
        }
    }
    Err(io::Error::other("interim responses (1xx) without end"))
}
