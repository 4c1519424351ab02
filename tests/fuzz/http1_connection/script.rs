//! What both sides of an HTTP/1 connection send, and when.

use super::read::Request;

/// Both sides of a run.
#[derive(Default)]
pub struct Script {
    /// What the client sends, and whether it waits before for the responses to all that it has sent.
    pub client: Vec<(bool, Vec<u8>)>,
    /// What the upstream sends for each request that comes to it.
    pub responses: Vec<ScriptedResponse>,
}

#[derive(Default)]
pub struct ScriptedResponse {
    /// As soon as the request's head has come; otherwise once all of it has.
    pub is_early: bool,
    pub pieces: Vec<Vec<u8>>,
    pub after: AfterResponse,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub enum AfterResponse {
    #[default]
    Open,
    Close,
    Reset,
    /// It was a 101: the connection stays open until the client closes it.
    Upgraded,
}

impl ScriptedResponse {
    /// Where the script has no more of them.
    pub fn usual() -> ScriptedResponse {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n#".to_vec();
        ScriptedResponse { pieces: vec![bytes], ..ScriptedResponse::default() }
    }
}

/// Sections with 0xff between them: `c` and what the client sends, `w` and what it sends once it has its responses;
/// `u` and a response to a whole request, `e` and one to a head, `p` and the next piece of it; behind it `x` closes
/// the connection, and `r` resets it.
pub fn parse(data: &[u8]) -> Script {
    let mut script = Script::default();
    for section in data.split(|octet| *octet == 0xff) {
        let Some((kind, content)) = section.split_first() else { continue };
        // Stamps are the script's alone.
        let content = content.iter().map(|octet| if is_stamp(*octet) { b'?' } else { *octet }).collect();
        match (kind, script.responses.last_mut()) {
            (b'w', _) => script.client.push((true, content)),
            (b'u', _) => script.responses.push(ScriptedResponse { pieces: vec![content], ..Default::default() }),
            (b'e', _) => {
                script.responses.push(ScriptedResponse { is_early: true, pieces: vec![content], ..Default::default() });
            }
            (b'p', Some(last)) => last.pieces.push(content),
            (b'x', Some(last)) => last.after = AfterResponse::Close,
            (b'r', Some(last)) => last.after = AfterResponse::Reset,
            _ => script.client.push((false, content)),
        }
    }
    script
}

impl Script {
    pub fn client_bytes(&self) -> Vec<u8> {
        self.client.iter().flat_map(|(_, piece)| piece).copied().collect()
    }

    /// Writes each request's number where its request line has `#`, so that no two are the same. Takes out what is for
    /// another host, and what no number is left for.
    pub fn stamp_requests(&mut self, mut requests: Vec<Request>) -> Vec<Request> {
        let is_other = |request: &Request| !request.is_for_route && request.method != b"CONNECT";
        let len = requests.iter().take(MAX_REQUESTS).position(is_other).unwrap_or(requests.len().min(MAX_REQUESTS));
        // With the empty lines before it.
        let end_before = len.checked_sub(1).map_or(Some(0), |last| requests[last].end);
        let cut = requests.get(len).and(end_before).unwrap_or(usize::MAX);
        requests.truncate(len);
        let mut at = 0;
        for (_, piece) in &mut self.client {
            for octet in piece.iter_mut() {
                let number = requests.iter().position(|request| request.line().contains(&at));
                if let (b'#', Some(number)) = (*octet, number) {
                    *octet = b'a' + number.to_le_bytes()[0];
                }
                at += 1;
            }
            piece.truncate(piece.len() - (at.saturating_sub(cut)).min(piece.len()));
        }
        for (number, request) in requests.iter_mut().enumerate() {
            let line = request.method.iter_mut().chain(&mut request.target);
            for octet in line.filter(|octet| **octet == b'#') {
                *octet = b'a' + number.to_le_bytes()[0];
            }
        }
        requests
    }
}

/// Writes the request's number where the response to it has `#`.
pub fn stamp(piece: &[u8], number: usize) -> Vec<u8> {
    let own = STAMPS + number.to_le_bytes()[0];
    piece.iter().map(|octet| if *octet == b'#' { own } else { *octet }).collect()
}

/// Whether an octet is the stamp of another response.
pub fn is_other_stamp(octet: u8, number: usize) -> bool {
    is_stamp(octet) && usize::from(octet - STAMPS) != number
}

fn is_stamp(octet: u8) -> bool {
    (STAMPS..STAMPS + 16).contains(&octet)
}

/// The stamp of the first response: an octet that may be in the value of a field, and that no script has.
const STAMPS: u8 = 0x80;
/// As many as there are stamps.
const MAX_REQUESTS: usize = 16;
