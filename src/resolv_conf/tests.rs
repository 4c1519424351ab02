use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::*;
use crate::sys::file::read_file;

#[test]
fn files_are_parsed_and_rendered() {
    for (input, want) in [
        // As seen on Cloud Run.
        (
            "nameserver 169.254.169.254\nsearch google.internal\n",
            "search run.internal google.internal\noptions ndots:3\n",
        ),
        ("", "search run.internal\noptions ndots:3\n"),
        ("\n\n", "search run.internal\noptions ndots:3\n"),
        // CRLF, and no newline at the end.
        ("search a.internal\r\noptions timeout:2", "search run.internal a.internal\noptions ndots:3 timeout:2\n"),
        // The last of search and domain counts; domain has one name.
        ("search a b\nsearch c. .D.E\n", "search run.internal c d.e\noptions ndots:3\n"),
        ("search a b\ndomain c d\n", "search run.internal c\noptions ndots:3\n"),
        ("domain c\nsearch\n", "search run.internal c\noptions ndots:3\n"),
        ("search a\nsearch .\n", "search run.internal\noptions ndots:3\n"),
        ("search a run.internal\n", "search run.internal a\noptions ndots:3\n"),
        // Options of all lines; the last ndots counts, if it is above ours.
        (
            "options ndots:9 rotate\noptions timeout:1 ndots:5 edns0\n",
            "search run.internal\noptions ndots:5 rotate timeout:1 edns0\n",
        ),
        ("options ndots:99999\n", "search run.internal\noptions ndots:15\n"),
        ("options ndots:x\n", "search run.internal\noptions ndots:3\n"),
        ("options ndots:\n", "search run.internal\noptions ndots:3\n"),
        // Comments and the unknown stay, first.
        (
            "; one\nsearch a\n# two\nsortlist 10.0.0.0\nnonsense x\n",
            "; one\n# two\nsortlist 10.0.0.0\nnonsense x\n\
             nameserver 127.0.0.1\nnameserver ::1\nsearch run.internal a\noptions ndots:3\n",
        ),
        // Without its dot it would be a comment.
        ("search .#2 a ;3\n", "search run.internal a\noptions ndots:3\n"),
        // Go's resolver reads indented lines.
        ("  nameserver 10.0.0.1\n\tsearch a # b\n", "search run.internal a\noptions ndots:3\n"),
    ] {
        let got = ResolvConf::parse(input.as_bytes()).render(&LOCAL_ADDRS, "run.internal", 3);
        let want = match want.contains("nameserver") {
            true => want.to_owned(),
            false => format!("nameserver 127.0.0.1\nnameserver ::1\n{want}"),
        };
        assert_eq!(String::from_utf8_lossy(&got), want, "{input:?}");
    }
}

#[test]
fn options_that_are_numbers() {
    for (input, ndots, timeout) in [
        ("", 3, 5),
        ("options rotate\n", 3, 5),
        ("options timeout:1 ndots:2\n", 3, 1),
        ("options timeout:2\noptions timeout:3\n", 3, 3),
        ("options timeout:0\n", 3, 1),
        ("options timeout:99 ndots:99\n", 15, 30),
        ("options timeout: ndots:\n", 3, 5),
        ("options timeout:-1 ndots:-1\n", 3, 5),
    ] {
        let conf = ResolvConf::parse(input.as_bytes());
        assert_eq!(conf.timeout().as_secs(), timeout, "{input:?}");
        let file = String::from_utf8(conf.render(&LOCAL_ADDRS, "run.internal", 3)).unwrap();
        assert!(file.contains(&format!("ndots:{ndots}")), "{input:?}: {file}");
    }
    for ndots in 1..=15 {
        let conf = ResolvConf::parse(format!("options ndots:{ndots}\n").as_bytes());
        let file = String::from_utf8(conf.render(&LOCAL_ADDRS, "run.internal", 3)).unwrap();
        let want = format!("options ndots:{}\n", ndots.max(3));
        assert!(file.ends_with(&want), "{ndots}: {file}");
    }
}

#[test]
fn nameservers() {
    let ten: String = (0..10).map(|n| format!("nameserver 10.0.0.{n}\n")).collect();
    for (input, want) in [
        ("nameserver 169.254.169.254\n", vec!["169.254.169.254"]),
        ("nameserver\t::1 # ours\n", vec!["::1"]),
        ("nameserver fe80::1%eth0\n", vec!["fe80::1%eth0"]),
        ("nameserver fe80::1%2 # x\n", vec!["fe80::1%2"]),
        ("nameserver fd00::1%eth0;x\n", vec!["fd00::1"]),
        ("nameserver 10.0.0.1;x\n", vec!["10.0.0.1"]),
        ("nameserver\nnameserver x\nnameserver 1.2.3\n", vec![]),
        ("#nameserver 10.0.0.1\nnameserverx 10.0.0.2\n", vec![]),
        (
            &ten,
            vec![
                "10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7",
                "10.0.0.8", "10.0.0.9",
            ],
        ),
    ] {
        let got: Vec<String> =
            ResolvConf::parse(input.as_bytes()).nameservers.iter().map(Nameserver::to_string).collect();
        assert_eq!(got, want, "{input:?}");
    }
}

#[test]
fn bytes_that_are_not_text_survive() {
    let conf = ResolvConf::parse(b"# caf\xe9 \r\nsearch \xff\n");
    let got = conf.render(&LOCAL_ADDRS[..1], "z", 15);
    assert!(got.starts_with(b"# caf\xe9\nnameserver 127.0.0.1\nsearch z"));
    assert!(got.ends_with(b"\noptions ndots:15\n"));
}

#[test]
fn a_rendered_file_parses_to_the_same() {
    let original = ResolvConf::parse(b"# x\nnameserver 10.0.0.1\nsearch a b\noptions rotate\n");
    let once = original.render(&LOCAL_ADDRS, "run.internal", 3);
    let again = ResolvConf::parse(&once);
    let nameservers: Vec<_> = again.nameservers.iter().map(|at| at.ip).collect();
    assert_eq!(nameservers, LOCAL_ADDRS);
    assert_eq!(again.search, ["run.internal", "a", "b"]);
    assert_eq!(again.render(&LOCAL_ADDRS, "run.internal", 3), once);
}

#[test]
fn a_file_is_rewritten_and_restored() {
    let path = scratch("restored");
    fs::write(&path, "search original-and-much-longer-than-ours\n").unwrap();
    let original = read_file(&path).unwrap();
    let rewritten = open(&path).rewrite(b"ours\n".to_vec()).unwrap();
    assert!(fs::read(&path).unwrap().starts_with(b"ours\n"));
    rewritten.restore().unwrap();
    assert_eq!(fs::read(&path).unwrap(), original);

    // What the application wrote is the application's.
    let rewritten = open(&path).rewrite(b"ours\n".to_vec()).unwrap();
    fs::write(&path, "the application's\n").unwrap();
    rewritten.restore().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"the application's\n");

    // Even where it says the same.
    let rewritten = open(&path).rewrite(b"ours\n".to_vec()).unwrap();
    let another = scratch("another");
    fs::write(&another, "ours\n").unwrap();
    fs::rename(&another, &path).unwrap();
    rewritten.restore().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ours\n");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_missing_file_is_created_and_removed() {
    let path = scratch("missing");
    assert_eq!(read_file(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    let rewritten = open(&path).rewrite(b"ours\n".to_vec()).unwrap();
    assert!(fs::read(&path).unwrap().starts_with(b"ours\n"));
    rewritten.restore().unwrap();
    assert!(!path.exists());

    let rewritten = open(&path).rewrite(b"ours\n".to_vec()).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "the application's\n").unwrap();
    rewritten.restore().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"the application's\n");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_directory_is_an_error() {
    let path = std::env::temp_dir();
    assert!(read_file(&path).is_err());
    let err = open(&path).rewrite(Vec::new()).unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::IsADirectory);
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("runsd-test-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn the_original_survives_a_killed_runsd() {
    let path = scratch("killed");
    let long = format!("search {}\n", "x".repeat(3000));
    let first = [&b"nameserver 10.0.0.1\nsearch a\n"[..], b"", b"\n", b"nameserver 10.0.0.1", long.as_bytes()];
    for original in first {
        fs::write(&path, original).unwrap();
        let mut lengths = Vec::new();
        for ours in ["nameserver 127.0.0.1\n", "nameserver 127.0.0.1\nsearch longer\n"] {
            for _ in 0..3 {
                // Each is killed in its turn, and nothing is put back.
                let found = open(&path);
                assert_eq!(found.text.as_deref().unwrap(), original);
                drop(found.rewrite(ours.as_bytes().to_vec()).unwrap());
                let now = fs::read(&path).unwrap();
                assert!(now.starts_with(ours.as_bytes()), "{ours}");
                lengths.push(now.len());
            }
            assert_eq!(lengths[lengths.len() - 1], lengths[lengths.len() - 3]);
        }
        // The last one comes to its end.
        let ours = b"nameserver 127.0.0.1\n".to_vec();
        open(&path).rewrite(ours).unwrap().restore().unwrap();
        assert_eq!(fs::read(&path).unwrap(), original);
    }
    // Where there was none, there is none in the end.
    fs::remove_file(&path).unwrap();
    drop(open(&path).rewrite(b"search a\n".to_vec()).unwrap());
    let found = open(&path);
    let err = found.text.as_ref().unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::NotFound);
    found.rewrite(b"search a\n".to_vec()).unwrap().restore().unwrap();
    assert!(!path.exists());
}

#[test]
fn the_original_survives_a_runsd_killed_while_it_wrote() {
    let path = scratch("cut");
    for original in ["nameserver 10.0.0.1\n", "nameserver 10.0.0.1\nsearch a b c\nno end"] {
        for ours in ["nameserver 127.0.0.1\nsearch z\n", "nameserver ::1\n"] {
            fs::write(&path, original).unwrap();
            drop(open(&path).rewrite(ours.into()).unwrap());
            let written = fs::read(&path).unwrap();
            // What is behind the original came first, what is over it second.
            let at = original.len().max(ours.len());
            let gap = vec![b'\n'; at - original.len()];
            let whole = [original.as_bytes(), &gap, &written[at..]].concat();
            let mut steps: Vec<_> = (original.len()..=whole.len()).map(|cut| whole[..cut].to_vec()).collect();
            // Less than a page is over it whole, or not at all.
            steps.push(written.clone());
            // And back, before what is behind is cut off.
            steps.push([original.as_bytes(), &written[original.len()..]].concat());
            for step in steps {
                fs::write(&path, &step).unwrap();
                let text = open(&path).text.unwrap();
                let text = String::from_utf8(text).unwrap();
                let step = String::from_utf8_lossy(&step);
                // The beginning of a comment more is not seen by anyone.
                let more = text.strip_prefix(original.trim_end()).expect(&step);
                let more = more.trim_start();
                assert!(more.is_empty() || more.starts_with('#'), "{step}");
                // Killed again, after it wrote all; and ended in order.
                drop(open(&path).rewrite(ours.into()).unwrap());
                let len = fs::read(&path).unwrap().len();
                let most = written.len() + 4 * (text.len().saturating_sub(original.len()));
                assert!(len <= most, "{len}, not {most}: {step}");
                let found = open(&path);
                assert_eq!(found.text.as_ref().unwrap(), text.as_bytes(), "{step}");
                found.rewrite(ours.into()).unwrap().restore().unwrap();
                assert_eq!(fs::read(&path).unwrap(), text.as_bytes(), "{step}");
            }
        }
    }
    fs::remove_file(&path).unwrap();
}

#[test]
fn an_error_says_what_stands_at_the_path() {
    let path = scratch("link");
    std::os::unix::fs::symlink(scratch("nowhere"), &path).unwrap();
    for (path, want) in [
        (path.as_path(), "a symbolic link to a file that is not there"),
        (Path::new("/dev/null"), "not a regular file"),
        (&std::env::temp_dir(), "is a directory"),
    ] {
        let err = open(path).rewrite(Vec::new()).unwrap_err();
        assert_eq!(err.to_string(), want);
    }
    fs::remove_file(&path).unwrap();
}

#[test]
fn search_lines_that_every_resolver_reads() {
    let of = |len: usize| format!("search {}\n", "x".repeat(len - 7));
    let seven = |count: usize| format!("search {}\n", vec!["a"; count].join(" "));
    let zone = "search run.internal ";
    for (conf, with_zone) in [
        // As long as it can be: musl reads 255 octets, of which a line feed is one.
        (of(241), true),
        (of(242), false),
        (of(255), false),
        (of(2000), false),
        // A line of its own that is longer, and fits.
        (of(241).replace("search ", "search \t   "), true),
        (seven(5), true),
        (seven(6), false),
        (seven(40), false),
        // It is there already.
        (format!("{} run.internal\n", seven(5).trim_end()), true),
        (format!("{} run.internal\n", of(242).trim_end()), false),
    ] {
        let conf = format!("{conf}options ndots:2\n");
        let file = ResolvConf::parse(conf.as_bytes()).render(&LOCAL_ADDRS, "run.internal", 3);
        let file = String::from_utf8(file).unwrap();
        let search = file.lines().find(|line| line.starts_with("search")).unwrap();
        let search = format!("{search}\n");
        assert_eq!(search.starts_with(zone), with_zone, "{conf}{file}");
        assert!(!with_zone || search.len() <= 255, "{file}");
        // Without it nothing is looked up otherwise than before.
        assert!(with_zone || conf.contains(&search), "{conf}{file}");
        let ndots = if with_zone { 3 } else { 2 };
        assert!(file.ends_with(&format!("\noptions ndots:{ndots}\n")), "{file}");
    }
}

#[test]
fn options_that_every_resolver_reads() {
    let many: Vec<String> = (0..40).map(|n| format!("option-{n}")).collect();
    let conf = format!("options {}\noptions {}\n", many[..20].join(" "), many[20..].join(" "));
    let file = ResolvConf::parse(conf.as_bytes()).render(&LOCAL_ADDRS, "run.internal", 3);
    let file = String::from_utf8(file).unwrap();
    assert!(file.lines().all(|line| line.len() <= 254), "{file}");
    let mut want = vec!["ndots:3".to_owned()];
    want.extend(many);
    assert_eq!(ResolvConf::parse(file.as_bytes()).options, want);
}

#[test]
fn lines_are_as_long_as_they_may_be() {
    for (max_len, words, want) in [
        (8, vec![], ""),
        (8, vec!["ab"], "key ab\n"),
        (8, vec!["abcd"], "key abcd\n"),
        (8, vec!["a", "b"], "key a b\n"),
        (8, vec!["a", "bc"], "key a bc\n"),
        (8, vec!["a", "bcd"], "key a\nkey bcd\n"),
        (8, vec!["a", "b", "c", "d"], "key a b\nkey c d\n"),
        // A word that is too long stands alone.
        (8, vec!["abcdefgh", "i"], "key abcdefgh\nkey i\n"),
        (8, vec!["i", "abcdefgh"], "key i\nkey abcdefgh\n"),
    ] {
        let mut file = Vec::new();
        push_lines("key", &words, max_len, &mut file);
        assert_eq!(String::from_utf8(file).unwrap(), want, "{words:?}");
    }
}
