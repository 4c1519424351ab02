//! What is read as text: files, flags, names, tokens, and what is written into log lines and headers.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStringExt as _;
use std::time::{Duration, UNIX_EPOCH};

use crate::app::user;
use crate::auth::jwt;
use crate::cli::{self, Cli};
use crate::logger::{self, line};
use crate::names::destination::{Destination, UrlFormat};
use crate::names::location::Location;
use crate::names::service::ServiceName;
use crate::net::authority::Authority;
use crate::net::hosts::HostsFile;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::resolv_conf::ResolvConf;

const CHECKS: &[fn(&[u8])] = &[resolv_conf, names, authority, flags, token, log_line, error, hosts, user];

/// The first octet says what the others are.
pub fn text(data: &[u8]) {
    let Some((which, input)) = data.split_first() else { return };
    CHECKS[usize::from(*which) % CHECKS.len()](input);
}

/// What runsd writes into resolv.conf is read back, and written again it is the same.
fn resolv_conf(input: &[u8]) {
    let own = [IpAddr::from(Ipv4Addr::LOCALHOST)];
    let conf = ResolvConf::parse(input);
    let written = conf.render(&own, "run.internal", 4);
    let again = ResolvConf::parse(&written);
    assert_eq!(again.nameservers.len(), 1);
    // Resolvers take six domains, and lines of some 250 characters.
    let has_room = conf.search.len() < 6 && conf.search.concat().len() < 200;
    assert!(!has_room || again.search.first().is_some_and(|domain| domain == "run.internal"), "{:?}", again.search);
    assert_eq!(again.render(&own, "run.internal", 4), written, "{}", written.escape_ascii());
    assert!(again.timeout() > Duration::ZERO);
}

/// A name that is a service's is so in each of its spellings, and leads to a host that DNS can have.
fn names(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Some(service) = ServiceName::parse(&text) else { return };
    let parts = [service.region.as_deref(), service.project.as_deref()].into_iter().flatten();
    let first = service.tag.iter().map(|tag| format!("{tag}---")).chain([service.name.clone()]).collect::<String>();
    let spelled = parts.fold(first, |name, part| format!("{name}.{part}"));
    assert_eq!(ServiceName::parse(&spelled).as_ref(), Some(&service));
    let location = Location { region: "us-east1".to_owned(), project: "123456789012".to_owned() };
    let domain = "run.app".to_owned();
    for format in
        [UrlFormat::Deterministic { domain: domain.clone() }, UrlFormat::Hash { hash: "abcdefghij".to_owned(), domain }]
    {
        let Ok(destination) = Destination::from_service(&service, &location, &format) else { continue };
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
        };
        assert!(destination.host.split('.').all(is_label), "{}", destination.host);
        assert!(destination.tls && destination.audience.is_some());
    }
}

/// What is an authority has nothing in it that another reader could end it at.
fn authority(input: &[u8]) {
    let Ok(authority) = Authority::parse(input) else { return };
    assert!(!authority.host.is_empty() && !authority.host.contains(['@', '/', '\\', '?', '#', '%']));
    assert_eq!(authority.text.as_bytes(), input);
    let host = if authority.host.contains(':') { format!("[{}]", authority.host) } else { authority.host.to_owned() };
    assert!(authority.text.starts_with(&host));
}

/// Arguments with NUL between them: a command line is right, or one sentence says what is wrong with it.
fn flags(input: &[u8]) {
    let arguments = input.split(|&octet| octet == 0).map(|argument| OsString::from_vec(argument.to_vec()));
    match cli::parse(arguments, &[]) {
        Ok(Cli::Run(args)) => {
            assert!(!args.command.is_empty());
        }
        Ok(_) => {}
        Err(error) => assert!(!error.sentence.is_empty()),
    }
}

/// A token's expiry is what a JSON parser finds, or none; and the token itself is in no error.
fn token(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = (jwt::expires_at(&text), jwt::account(&text), jwt::validate(&text));
    let token = format!("e30.{}.sig", base64url(input));
    let (Ok(expires_at), account) = (jwt::expires_at(&token), jwt::account(&token)) else { return };
    // Of two claims with one name readers take either, and no issuer writes two.
    let is_once = |key: &str| text.matches(key).count() == 1 && !text.contains('\\');
    if let Ok(serde_json::Value::Object(claims)) = serde_json::from_slice(input) {
        let exp = claims.get("exp").and_then(serde_json::Value::as_f64).unwrap_or(-1.0);
        let ours = f64::from(u32::try_from(expires_at).unwrap_or(u32::MAX));
        assert!(!is_once("exp") || exp >= f64::from(u32::MAX) || (exp - ours).abs() < 1.0, "{exp} and {expires_at}");
        if let Some(account) = account.as_ref().filter(|_| is_once("email")) {
            let email = claims.get("email").and_then(serde_json::Value::as_str);
            assert!(email == Some(account) || account.starts_with("account "), "{email:?} and {account}");
        }
    }
    assert!(account.is_none_or(|account| !account.contains(['"', '\n', '\r'])));
}

/// A name has the address of its first line, in any case; what is in no line has none.
fn hosts(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let hosts = HostsFile::from(&*text);
    for name in hosts.names().take(64) {
        assert!(!name.is_empty() && !name.contains(['#', ' ', '\t', '\n']), "{name:?}");
        let of_line = |line: &str| {
            let words = line.split('#').next()?.split(|c: char| c.is_ascii_whitespace());
            let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            let ip = words.first()?.parse::<IpAddr>().ok()?;
            words[1..].iter().any(|word| word.eq_ignore_ascii_case(name)).then_some(ip)
        };
        let expected = text.split('\n').find_map(of_line);
        assert_eq!(hosts.lookup(name), expected, "{name:?}");
        assert_eq!(hosts.lookup(&name.to_ascii_uppercase()), expected, "{name:?}");
        assert_eq!(hosts.lookup(&format!("{name}#")), None);
    }
}

/// `USER[:GROUP]`, passwd and group with NUL between them: a user is the one of a line, or has the number that was
/// given; its groups are those of lines that name it.
fn user(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.splitn(3, '\0');
    let mut next = || parts.next().unwrap_or_default();
    let (wanted, passwd, group) = (next(), next(), next());
    let (name, group_name) = wanted.split_once(':').unwrap_or((wanted, ""));
    let user = match user::find(wanted, passwd, group) {
        Ok(user) => user,
        Err(sentence) => return assert!(sentence.starts_with("there is no ") && !sentence.contains('\n')),
    };
    assert!(user.uid != u32::MAX && user.gid != u32::MAX && !user.home.is_empty());
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    match &user.name {
        Some(found) => {
            let is_its =
                |line: &str| line.starts_with(&format!("{found}:")) && number(line.split(':').nth(2)) == Some(user.uid);
            assert!(passwd.lines().any(is_its), "{user:?}");
            assert!(found == name || number(Some(name)) == Some(user.uid), "{user:?}");
        }
        None => assert_eq!(number(Some(name)), Some(user.uid)),
    }
    assert_eq!(user.groups[0], user.gid);
    assert!(group_name.is_empty() || user.groups.len() == 1);
    for gid in &user.groups[1..] {
        let has_user = |line: &str| {
            let members = line.split(':').nth(3).unwrap_or_default();
            number(line.split(':').nth(2)) == Some(*gid)
                && members.trim_end().split(',').any(|member| user.name.as_deref() == Some(member))
        };
        assert!(group.lines().any(has_user), "{user:?}");
    }
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Whatever is in a message, its line is one line, and JSON where it should be.
fn log_line(input: &[u8]) {
    let message = String::from_utf8_lossy(input);
    let now = UNIX_EPOCH + Duration::from_secs(input.len() as u64 * 1_000_003);
    let request = logger::Request {
        method: &message,
        url: &message,
        status: 200,
        latency: Duration::from_micros(1_500_001),
        user_agent: &message,
        trace: &message,
    };
    let json = line::format_line(logger::Format::Json, log::Level::Warn.into(), &message, Some(&request), now);
    let (line, rest) = json.split_once('\n').expect("a line");
    assert_eq!(rest, "");
    let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(value["message"], *message);
    assert_eq!(value["httpRequest"]["requestUrl"], *message);
    let text = line::format_line(logger::Format::Text, log::Level::Warn.into(), &message, None, now);
    assert_eq!(text.chars().filter(|c| c.is_control()).count(), 1, "{text:?}");
}

/// Whatever is in an error's details, it stays in its header, its trailer, and its body.
fn error(input: &[u8]) {
    let details = String::from_utf8_lossy(input);
    let error = ProxyError::new(ErrorType::DestinationUnavailable, &*details);
    let is_visible = |text: &str| text.bytes().all(|octet| (0x20..0x7f).contains(&octet));
    assert!(is_visible(&error.proxy_status()), "{:?}", error.proxy_status());
    assert!(is_visible(&error.grpc_message()), "{:?}", error.grpc_message());
    let (content_type, body) = error.body(Some("application/json"));
    assert!(content_type.contains("json"));
    let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert!(value.is_object());
}
