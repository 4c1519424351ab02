use super::*;

const OWN: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
];

#[test]
fn files_in_and_out() {
    for (input, want) in [
        // As seen on Cloud Run.
        (
            "nameserver 169.254.169.254\nsearch google.internal\n",
            "search run.internal google.internal\noptions ndots:3\n",
        ),
        ("", "search run.internal\noptions ndots:3\n"),
        ("\n\n", "search run.internal\noptions ndots:3\n"),
        // CRLF, and no newline at the end.
        (
            "search a.internal\r\noptions timeout:2",
            "search run.internal a.internal\noptions ndots:3 timeout:2\n",
        ),
        // The last of search and domain counts; domain has one name.
        (
            "search a b\nsearch c. .D.E\n",
            "search run.internal c d.e\noptions ndots:3\n",
        ),
        (
            "search a b\ndomain c d\n",
            "search run.internal c\noptions ndots:3\n",
        ),
        (
            "domain c\nsearch\n",
            "search run.internal c\noptions ndots:3\n",
        ),
        (
            "search a\nsearch .\n",
            "search run.internal\noptions ndots:3\n",
        ),
        (
            "search a run.internal\n",
            "search run.internal a\noptions ndots:3\n",
        ),
        // Options of all lines; the last ndots counts, if it is above ours.
        (
            "options ndots:9 rotate\noptions timeout:1 ndots:5 edns0\n",
            "search run.internal\noptions ndots:5 rotate timeout:1 edns0\n",
        ),
        (
            "options ndots:99999\n",
            "search run.internal\noptions ndots:15\n",
        ),
        (
            "options ndots:x\n",
            "search run.internal\noptions ndots:3\n",
        ),
        ("options ndots:\n", "search run.internal\noptions ndots:3\n"),
        // Comments and the unknown stay, first.
        (
            "; one\nsearch a\n# two\nsortlist 10.0.0.0\nnonsense x\n",
            "; one\n# two\nsortlist 10.0.0.0\nnonsense x\n\
             nameserver 127.0.0.1\nnameserver ::1\nsearch run.internal a\noptions ndots:3\n",
        ),
        // Go's resolver reads indented lines.
        (
            "  nameserver 10.0.0.1\n\tsearch a # b\n",
            "search run.internal a\noptions ndots:3\n",
        ),
    ] {
        let got = ResolvConf::parse(input.as_bytes()).render(&OWN, "run.internal", 3);
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
        let file = String::from_utf8(conf.render(&OWN, "run.internal", 3)).unwrap();
        assert!(
            file.contains(&format!("ndots:{ndots}")),
            "{input:?}: {file}"
        );
    }
    for ndots in 1..=15 {
        let conf = ResolvConf::parse(format!("options ndots:{ndots}\n").as_bytes());
        let file = String::from_utf8(conf.render(&OWN, "run.internal", 3)).unwrap();
        let want = format!("options ndots:{}\n", ndots.max(3));
        assert!(file.ends_with(&want), "{ndots}: {file}");
    }
}

#[test]
fn nameservers() {
    let ten: String = (0..10)
        .map(|n| format!("nameserver 10.0.0.{n}\n"))
        .collect();
    for (input, want) in [
        ("nameserver 169.254.169.254\n", vec!["169.254.169.254"]),
        ("nameserver\t::1 # ours\n", vec!["::1"]),
        ("nameserver fe80::1%eth0\n", vec!["fe80::1"]),
        ("nameserver 10.0.0.1;x\n", vec!["10.0.0.1"]),
        ("nameserver\nnameserver x\nnameserver 1.2.3\n", vec![]),
        ("#nameserver 10.0.0.1\nnameserverx 10.0.0.2\n", vec![]),
        (
            &ten,
            vec![
                "10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6",
                "10.0.0.7", "10.0.0.8", "10.0.0.9",
            ],
        ),
    ] {
        let got: Vec<String> = ResolvConf::parse(input.as_bytes())
            .nameservers
            .iter()
            .map(IpAddr::to_string)
            .collect();
        assert_eq!(got, want, "{input:?}");
    }
}

#[test]
fn bytes_that_are_no_text_survive() {
    let conf = ResolvConf::parse(b"# caf\xe9 \r\nsearch \xff\n");
    let got = conf.render(&OWN[..1], "z", 15);
    assert!(got.starts_with(b"# caf\xe9\nnameserver 127.0.0.1\nsearch z"));
    assert!(got.ends_with(b"\noptions ndots:15\n"));
}

#[test]
fn what_we_write_reads_as_it_was_meant() {
    let original = ResolvConf::parse(b"# x\nnameserver 10.0.0.1\nsearch a b\noptions rotate\n");
    let once = original.render(&OWN, "run.internal", 3);
    let again = ResolvConf::parse(&once);
    assert_eq!(again.nameservers, OWN);
    assert_eq!(again.search, ["run.internal", "a", "b"]);
    assert_eq!(again.render(&OWN, "run.internal", 3), once);
}

#[test]
fn a_file_is_rewritten_and_restored() {
    let path = scratch("restored");
    fs::write(&path, "search original-and-much-longer-than-ours\n").unwrap();
    let original = read(&path).unwrap();
    let rewritten = find(&path).rewrite(b"ours\n".to_vec()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ours\n");
    rewritten.restore().unwrap();
    assert_eq!(fs::read(&path).unwrap(), original);

    // What the application wrote is the application's.
    let rewritten = find(&path).rewrite(b"ours\n".to_vec()).unwrap();
    fs::write(&path, "the application's\n").unwrap();
    rewritten.restore().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"the application's\n");

    // Even where it says the same.
    let rewritten = find(&path).rewrite(b"ours\n".to_vec()).unwrap();
    let another = scratch("another");
    fs::write(&another, "ours\n").unwrap();
    fs::rename(&another, &path).unwrap();
    rewritten.restore().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ours\n");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_missing_file_comes_and_goes() {
    let path = scratch("missing");
    assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    let rewritten = find(&path).rewrite(b"ours\n".to_vec()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ours\n");
    rewritten.restore().unwrap();
    assert!(!path.exists());

    let rewritten = find(&path).rewrite(b"ours\n".to_vec()).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "the application's\n").unwrap();
    rewritten.restore().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"the application's\n");
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_directory_is_an_error() {
    let path = std::env::temp_dir();
    assert!(read(&path).is_err());
    let err = find(&path).rewrite(Vec::new()).unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::IsADirectory);
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("runsd-test-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}
