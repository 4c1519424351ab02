//! Looks names up as the container's resolver does, one try after the other,
//! so that each can be shown.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::events::{Events, Gone, milliseconds};
use super::random;
use super::resolv_conf::{self, ResolvConf};

/// How a lookup ended: the records, or a sentence.
pub type Outcome = Result<Vec<RData>, String>;

/// Looks `name` up, and tells of each try: `hosts`, `try`, `looked-up`.
///
/// The list is walked until there is an answer, as glibc and musl do; both stop
/// at an error, too, for what comes behind it could be another's.
pub async fn look_up(name: &str, kind: RecordType, events: &Events) -> Result<Outcome, Gone> {
    let name = name.trim();
    let conf = ResolvConf::parse(&fs::read_to_string(resolv_conf::PATH).unwrap_or_default());
    if let Some(address) = of_hosts(name, kind) {
        let said = json!({ "address": address.to_string() });
        events.send("hosts", said).await?;
        return Ok(Ok(vec![match address {
            IpAddr::V4(address) => RData::A(address.into()),
            IpAddr::V6(address) => RData::AAAA(address.into()),
        }]));
    }
    let mut outcome = Err(format!("there is no {kind} record of {name:?}"));
    for (full, searched) in conf.candidates(name) {
        let query = match Name::from_ascii(&full) {
            Ok(name) => Query::query(name, kind),
            Err(err) => return Ok(Err(format!("{name:?} cannot be a name: {err}"))),
        };
        let started = Instant::now();
        let (mut said, records, is_over) = one_try(&conf.nameservers, query).await;
        said["name"] = json!(full);
        said["search"] = json!(searched);
        said["took"] = json!(milliseconds(started));
        let sentence = said["outcome"].as_str().unwrap_or_default().to_owned();
        events.send("try", said).await?;
        if !records.is_empty() {
            outcome = Ok(records);
            break;
        }
        if is_over {
            outcome = Err(format!("{full}: {sentence}"));
            break;
        }
    }
    Ok(outcome)
}

/// Reads `A`, `https` or `TYPE65`.
///
/// # Errors
/// A sentence.
pub fn record_type(text: &str) -> Result<RecordType, String> {
    let upper = text.trim().to_ascii_uppercase();
    let by_number = upper.strip_prefix("TYPE").and_then(|number| number.parse::<u16>().ok());
    by_number
        .map(RecordType::from)
        .or_else(|| RecordType::from_str(&upper).ok())
        .ok_or_else(|| format!("got type {text:?}; expected one such as A, TXT or TYPE65"))
}

/// One name of the list: what is said of it, its records, and whether the walk
/// ends here without any.
async fn one_try(nameservers: &[SocketAddr], query: Query) -> (Value, Vec<RData>, bool) {
    let mut said = Value::Null;
    for &nameserver in nameservers {
        match ask(nameserver, &query).await {
            Ok((answer, transport)) => {
                let code = answer.metadata.response_code;
                let records = records(&answer, query.query_type());
                let said = json!({
                    "nameserver": nameserver.ip().to_string(),
                    "transport": transport,
                    "outcome": outcome(code, records.is_empty()),
                    "records": described(&answer),
                });
                let is_no = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
                return (said, records, !is_no);
            }
            Err(err) => {
                let sentence = format!("{} did not answer: {err}", nameserver.ip());
                said = json!({ "nameserver": nameserver.ip().to_string(), "outcome": sentence, "records": [] });
            }
        }
    }
    (said, Vec::new(), true)
}

fn outcome(code: ResponseCode, is_empty: bool) -> String {
    match code {
        ResponseCode::NoError if is_empty => "no such record (NODATA)".to_owned(),
        ResponseCode::NoError => "answer".to_owned(),
        ResponseCode::NXDomain => "no such name (NXDOMAIN)".to_owned(),
        ResponseCode::ServFail => "the nameserver failed (SERVFAIL)".to_owned(),
        ResponseCode::Refused => "the nameserver refuses (REFUSED)".to_owned(),
        other => format!("{other} (code {})", u16::from(other)),
    }
}

fn records(answer: &Message, kind: RecordType) -> Vec<RData> {
    let wanted = answer.answers.iter().filter(|record| record.record_type() == kind || kind == RecordType::ANY);
    wanted.map(|record| record.data.clone()).collect()
}

fn described(answer: &Message) -> Vec<Value> {
    let lines = answer.answers.iter().map(|record| {
        json!({
            "name": record.name.to_string(),
            "ttl": record.ttl,
            "type": record.record_type().to_string(),
            "data": record.data.to_string(),
        })
    });
    lines.collect()
}

async fn ask(nameserver: SocketAddr, query: &Query) -> io::Result<(Message, &'static str)> {
    let id = u16::from_be_bytes(random());
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(query.clone());
    let bytes = message.to_vec().map_err(io::Error::other)?;
    let answer = limited(over_udp(nameserver, &bytes, id)).await?;
    // RFC 7766 section 5: what is truncated is asked for again over TCP.
    if answer.metadata.truncation {
        return Ok((limited(over_tcp(nameserver, &bytes)).await?, "TCP"));
    }
    Ok((answer, "UDP"))
}

async fn over_udp(nameserver: SocketAddr, query: &[u8], id: u16) -> io::Result<Message> {
    let any: IpAddr = match nameserver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(nameserver).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = Message::from_vec(&buffer[..length]).map_err(io::Error::other)?;
        if answer.metadata.id == id {
            return Ok(answer);
        }
    }
}

async fn over_tcp(nameserver: SocketAddr, query: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(nameserver).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    Message::from_vec(&buffer).map_err(io::Error::other)
}

async fn limited<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "nothing came in 5 seconds");
    timeout(PATIENCE, work).await.map_err(silent)?
}

/// What /etc/hosts says, which comes before DNS.
fn of_hosts(name: &str, kind: RecordType) -> Option<IpAddr> {
    let text = fs::read_to_string("/etc/hosts").unwrap_or_default();
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        let fits = match kind {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            _ => false,
        };
        (fits && words.any(|word| word.eq_ignore_ascii_case(name))).then_some(address)
    })
}

/// As long as glibc and musl wait for one nameserver.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        for (text, want) in [
            ("A", Ok(RecordType::A)),
            (" https ", Ok(RecordType::HTTPS)),
            ("TYPE65", Ok(RecordType::HTTPS)),
            ("type65280", Ok(RecordType::Unknown(65280))),
        ] {
            assert_eq!(record_type(text), want, "{text}");
        }
        assert!(record_type("NONSENSE").is_err());
        assert!(record_type("").is_err());
    }
}
