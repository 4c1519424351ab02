use super::*;
use crate::names::destination::Destination;
use std::os::unix::ffi::OsStringExt as _;

/// Parses a command line, split at spaces.
fn typed(line: &str) -> Result<Cli, String> {
    with_env(line, &[])
}

fn with_env(line: &str, env: &[(&str, &str)]) -> Result<Cli, String> {
    let variables: Vec<(OsString, OsString)> = env
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(VARIABLE_PREFIX)?.into(), value.into())))
        .collect();
    parse(line.split_whitespace().map(OsString::from), &variables).map_err(|err| err.sentence)
}

fn args(line: &str) -> Args {
    match typed(line) {
        Ok(Cli::Run(args)) => args,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn flags_and_what_they_set() {
    let want = |change: fn(&mut Args)| {
        let mut args = Args { command: vec!["app".into()], ..Args::default() };
        change(&mut args);
        args
    };
    for (line, want) in [
        ("app", want(|_| ())),
        ("-- app", want(|_| ())),
        ("-v=5 app", want(|a| a.verbosity = 5)),
        ("-v 5 -- app", want(|a| a.verbosity = 5)),
        ("--v=999 app", want(|a| a.verbosity = 255)),
        ("-v=1 -v=3 app", want(|a| a.verbosity = 3)),
        ("-gcp_region x-y1 app", want(|a| a.gcp_region = Some("x-y1".into()))),
        ("--gcp_region=X-Y1 app", want(|a| a.gcp_region = Some("x-y1".into()))),
        ("-gcp_region= app", want(|_| ())),
        ("-gcp_project_number=12 app", want(|a| a.gcp_project_number = Some("12".into()))),
        ("-gcp_project_hash=dpyb app", want(|a| a.gcp_project_hash = Some("dpyb".into()))),
        ("-domain=Svc.Local. app", want(|a| a.domain = "svc.local".into())),
        ("-run_domain=run.example app", want(|a| a.run_domain = "run.example".into())),
        ("-ndots=15 app", want(|a| a.ndots = 15)),
        ("-skip_dns_hijack app", want(|a| a.skip_dns_hijack = Some(true))),
        ("-skip_dns_hijack=f app", want(|a| a.skip_dns_hijack = Some(false))),
        ("--skip_http_proxy=1 app", want(|a| a.skip_http_proxy = true)),
        ("-http_proxy_port=0 app", want(|a| a.http_proxy_port = 0)),
        ("-dns_port 65535 app", want(|a| a.dns_port = 65535)),
        ("-user=www:80 app", want(|a| a.user = Some("www:80".into()))),
        ("-ca_file=/ca app", want(|a| a.ca_file = Some("/ca".into()))),
        ("-resolv_conf_file /r app", want(|a| a.resolv_conf_file = "/r".into())),
        ("-auth_header=off app", want(|a| a.auth_header = AuthHeader::Off)),
        ("-log_format=json app", want(|a| a.log_format = Format::Json)),
        ("-only=A,b.run.internal. app", want(|a| a.only = Some(vec!["a".into(), "b".into()]))),
        ("-upstream_addr=127.0.0.1:8 app", want(|a| a.upstream_addr = "127.0.0.1:8".parse().ok())),
        (
            "-nameserver=10.0.0.1,10.0.0.2:5353,::1 -nameserver [::2]:54 app",
            want(|a| {
                a.nameservers =
                    ["10.0.0.1:53", "10.0.0.2:5353", "[::1]:53", "[::2]:54"].map(|text| text.parse().unwrap()).into();
            }),
        ),
        // Old Dockerfiles: the Go program's logging flags.
        ("-logtostderr -alsologtostderr=false -vmodule x=1 --log_dir=/x app", want(|_| ())),
    ] {
        assert_eq!(typed(line), Ok(Cli::Run(want)), "{line}");
    }
}

#[test]
fn arguments_after_the_command_are_the_applications() {
    for (line, want) in [
        ("app -v=5 -- -x", &["app", "-v=5", "--", "-x"][..]),
        ("-- -app -help", &["-app", "-help"]),
        ("-v=1 app --user=x", &["app", "--user=x"]),
        ("- app", &["-", "app"]),
        ("-- -- app", &["--", "app"]),
    ] {
        assert_eq!(args(line).command, want, "{line}");
    }
    let odd = OsString::from_vec(b"\xff-\xfe".to_vec());
    let got = parse([OsString::from("app"), odd.clone()].into_iter(), &[]).map_err(|err| err.sentence);
    let Ok(Cli::Run(args)) = got else { panic!("{got:?}") };
    assert_eq!(args.command[1], odd);
}

#[test]
fn errors_are_one_sentence() {
    for (line, want) in [
        ("", NO_COMMAND),
        ("--", NO_COMMAND),
        ("-v=1", NO_COMMAND),
        ("-x app", "there is no flag -x; `runsd -help` lists them all"),
        ("---v=1 app", "there is no flag --v; did you mean -v? `runsd -help` lists them all"),
        ("-gcp-regoin=x app", "there is no flag -gcp-regoin; did you mean -gcp_region? `runsd -help` lists them all"),
        ("--USER x app", "there is no flag -USER; did you mean -user? `runsd -help` lists them all"),
        ("-v", "-v needs a value: N"),
        ("-v=x app", "-v=\"x\": expected a number from 0 to 4294967295"),
        ("-dns_port=65536 app", "-dns_port=\"65536\": expected a number from 0 to 65535"),
        ("-dns_port=+1 app", "-dns_port=\"+1\": expected a number from 0 to 65535"),
        ("-ndots=0 app", "-ndots=\"0\": expected a number from 1 to 15"),
        ("-ndots=16 app", "-ndots=\"16\": expected a number from 1 to 15"),
        ("-skip_http_proxy=yes app", "-skip_http_proxy=\"yes\": expected true or false"),
        ("-gcp_region=us app", "-gcp_region=\"us\": expected a region such as europe-west1"),
        ("-domain=a..b app", "-domain=\"a..b\": \"a..b\" is no DNS name"),
        ("-nameserver=x app", "-nameserver=\"x\": \"x\" is neither IP nor IP:PORT"),
        (
            "-nameserver=fe80::53%none app",
            "-nameserver=\"fe80::53%none\": \"fe80::53%none\": there is no interface \"none\"",
        ),
        ("-nameserver=1.2.3.4:0 app", "-nameserver=\"1.2.3.4:0\": \"1.2.3.4:0\" is neither IP nor IP:PORT"),
        ("-only=a,,b app", "-only=\"a,,b\": \"\" is no DNS name"),
        ("-only=- app", "-only=\"-\": \"-\" is no DNS name"),
        ("-only=a.b- app", "-only=\"a.b-\": \"a.b-\" is no DNS name"),
        ("-only=a, app", "-only=\"a,\": \"\" is no DNS name"),
        ("-route= app", "-route=\"\": expected NAME=URL[,audience=AUD]"),
        ("-check hello/x", "-check takes a name, which \"hello/x\" is not; try -check hello"),
        ("-check hello other", "-check takes one name; got \"other\", too"),
        ("-check http:///x", "-check takes a name, which \"http:///x\" is not"),
        ("-log_format=xml app", "-log_format=\"xml\": expected text or json"),
        ("-upstream_addr=x app", "-upstream_addr=\"x\": expected IP:PORT"),
    ] {
        assert_eq!(typed(line), Err(want.to_owned()), "{line}");
    }
    for (word, want) in [
        (&b"-v=\xff"[..], "the flag \"-v\" goes on with \"=\\xFF\", which is not UTF-8"),
        (b"--v=\xff", "the flag \"--v\": \"\\xFF\" is not UTF-8"),
        // One line, whatever stands in it.
        (b"-x\ny", "there is no flag -x\\ny; `runsd -help` lists them all"),
    ] {
        let odd = OsString::from_vec(word.to_vec());
        let got = parse([odd].into_iter(), &[]).map_err(|err| err.sentence);
        assert_eq!(got, Err(want.to_owned()));
    }
}

#[test]
fn flags_go_before_variables() {
    let env = [
        ("RUNSD_GCP_REGION", "us-east1"),
        ("RUNSD_SKIP_DNS_HIJACK", "true"),
        ("RUNSD_V", ""),
        ("RUNSD_ROUTE", "a=https://a.example\n b=https://b.example"),
        ("RUNSD_CHECK", "1"),
        ("RUNSD_HELP", "1"),
    ];
    let Ok(Cli::Run(args)) = with_env("app", &env) else { panic!() };
    assert_eq!(args.gcp_region.as_deref(), Some("us-east1"));
    assert_eq!(args.skip_dns_hijack, Some(true));
    assert_eq!(args.routes.len(), 2);

    let line = "-gcp_region=us-west1 -skip_dns_hijack=false -route=c=https://c.example app";
    let Ok(Cli::Run(args)) = with_env(line, &env) else { panic!() };
    assert_eq!(args.gcp_region.as_deref(), Some("us-west1"));
    assert_eq!(args.skip_dns_hijack, Some(false));
    assert_eq!(args.routes.len(), 1);

    let bad = [("RUNSD_DNS_PORT", "x")];
    let want = "RUNSD_DNS_PORT=\"x\": expected a number from 0 to 65535";
    assert_eq!(with_env("app", &bad), Err(want.to_owned()));
    assert!(with_env("-dns_port=1 app", &bad).is_ok());
}

#[test]
fn routes() {
    let route = |name: &str, tls, host: &str, port, audience: &str| {
        let audience = (!audience.is_empty()).then(|| audience.to_owned());
        Ok(Route { name: name.to_owned(), destination: Destination { host: host.to_owned(), port, tls, audience } })
    };
    for (text, want) in [
        ("B=https://B.example.com", route("b", true, "b.example.com", 443, "https://b.example.com")),
        ("b=HTTPS://b.example/", route("b", true, "b.example", 443, "https://b.example")),
        ("b=https://b.example:8443", route("b", true, "b.example", 8443, "https://b.example")),
        ("b=https://x.y,audience=my-aud", route("b", true, "x.y", 443, "my-aud")),
        ("b=https://x.y,audience=a,b=c", route("b", true, "x.y", 443, "a,b=c")),
        ("b=https://x.y,audience=none", route("b", true, "x.y", 443, "")),
        ("b=http://localhost:8080", route("b", false, "localhost", 8080, "")),
        ("b=http://127.0.0.1,audience=x", route("b", false, "127.0.0.1", 80, "x")),
        ("b=http://[::1]:81", route("b", false, "::1", 81, "")),
        ("b=https://[::1]", route("b", true, "::1", 443, "https://[::1]")),
        ("b.run.internal.=https://x.y", route("b", true, "x.y", 443, "https://x.y")),
    ] {
        let got = typed(&format!("-route {text} app")).map(|cli| match cli {
            Cli::Run(mut args) => args.routes.remove(0),
            other => panic!("{other:?}"),
        });
        assert_eq!(got, want, "{text}");
    }
    for (text, want) in [
        ("b", "expected NAME=URL[,audience=AUD]"),
        ("=https://x.y", "\"\" is no DNS name"),
        ("metadata=https://x.y", "the name \"metadata\" has a meaning of its own"),
        ("metadata.google.internal=https://x.y", "the name \"metadata.google.internal\" has a meaning of its own"),
        ("b=x.y", "\"x.y\" does not begin with https://"),
        ("b=https://x.y/z", "\"https://x.y/z\" has a path; a route names a host, the request brings the path"),
        ("b=http://x.y", "\"http://x.y\" is not encrypted, which only loopback may be; write https://"),
        ("b=https://", "\"https://\" holds no HOST or HOST:PORT"),
        ("b=https://x:0", "\"https://x:0\" holds no HOST or HOST:PORT"),
        ("b=https://u@x", "\"https://u@x\" holds no HOST or HOST:PORT"),
        ("b=https://x.y,audience=", "the audience is empty"),
        ("b=https://x.y,aud=x", "got \"aud=x\" after the URL; expected audience=AUD"),
    ] {
        let want = format!("-route={text:?}: {want}");
        assert_eq!(typed(&format!("-route={text} app")), Err(want), "{text}");
    }
    // The zone counts for nothing, also where a later flag sets it.
    for line in [
        "-route=metadata.run.internal=https://x.y app",
        "-route=Metadata.svc=https://x.y -domain=svc app",
        "-route=localhost.run.internal.=https://x.y app",
    ] {
        let got = typed(line).expect_err(line);
        assert!(
            got.starts_with("-route: the name \"") && got.ends_with("\" has a meaning of its own"),
            "{line}: {got}"
        );
    }
    let args = args("-route a=https://x.y -route b=https://x.y -route A=https://z.y app");
    let hosts: Vec<_> = args.routes.iter().map(|route| (&*route.name, &*route.destination.host)).collect();
    assert_eq!(hosts, [("b", "x.y"), ("a", "z.y")]);
}

#[test]
fn check_help_and_version() {
    let args = Args::default();
    let verbose = Args { verbosity: 5, ..args.clone() };
    let application = Args { command: vec!["/app".into()], ..args.clone() };
    for (line, want) in [
        ("-check", Cli::Check(args.clone(), None)),
        ("-check=", Cli::Check(args.clone(), None)),
        ("-check -- /app", Cli::Check(application.clone(), None)),
        ("-check hello -- /app", Cli::Check(application, Some("hello".to_owned()))),
        ("-check hello -v=5", Cli::Check(verbose.clone(), Some("hello".to_owned()))),
        ("-check -v=5 hello", Cli::Check(verbose, Some("hello".to_owned()))),
        ("-check http://hello/", Cli::Check(args.clone(), Some("hello".to_owned()))),
        ("-check=HTTPS://hello.us-east1?x=y", Cli::Check(args.clone(), Some("hello.us-east1".to_owned()))),
        ("-check hello", Cli::Check(args.clone(), Some("hello".to_owned()))),
        ("-check=hello", Cli::Check(args.clone(), Some("hello".to_owned()))),
        ("-help -x=1", Cli::Print(help())),
        ("-h", Cli::Print(help())),
        ("--version", Cli::Print(version())),
    ] {
        assert_eq!(typed(line), Ok(want), "{line}");
    }
    for flag in &FLAGS {
        assert!(help().contains(&format!("\n  -{}", flag.name)), "{}", flag.name);
    }
    for want in [
        r#"ENTRYPOINT ["/runsd", "--", "/app"]"#,
        "-user=65532:65532",
        "-check hello",
        "https://github.com/ahmetb/runsd#readme",
    ] {
        assert!(help().contains(want), "{want}");
    }
    assert!(version().starts_with("runsd 1."));
}

#[test]
fn readme_has_each_flag_and_its_default() {
    let readme = include_str!("../../README.md");
    let mut rows = Vec::new();
    for row in readme.lines().filter(|row| row.starts_with("| `-")) {
        let row = row.replace("\\|", "/");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let default = cells[3].strip_prefix('`').and_then(|d| d.strip_suffix('`'));
        for flag in cells[1].split(", ") {
            let flag = flag.trim_matches('`').to_owned();
            rows.push((flag, default.unwrap_or_default().to_owned()));
        }
    }
    rows.sort();
    let mut want: Vec<(String, String)> = FLAGS
        .iter()
        .map(|flag| {
            let value = match flag.kind {
                FlagKind::Value(placeholder, _) => format!("={}", placeholder.replace('|', "/")),
                FlagKind::Check => "[=NAME]".to_owned(),
                _ => String::new(),
            };
            (format!("-{}{value}", flag.name), flag.default.to_owned())
        })
        .collect();
    want.sort();
    assert_eq!(rows, want);
}
