//! README's and `-help`'s flags, variables and commands: compared with each
//! other and with the program, and run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::containers::copy;
use crate::harness::{CloudRun, client_file, plain_runsd, program};
use crate::readme::sources;

const README: &str = include_str!("../README.md");
const HELLO: &str = "Hello from hello in us-east1, project 123456789012\n";

/// `gcloud` for a user, who has a token of gcloud's own audience.
const GCLOUD: &str = "#!/bin/sh
[ \"$*\" = 'auth print-identity-token' ] || exit 9
exec curl -sS -H Metadata-Flavor:Google http://169.254.169.254/computeMetadata/v1\
/instance/service-accounts/default/identity?audience=32555940559.apps.googleusercontent.com
";

fn help() -> String {
    let out = program(plain_runsd()).arg("-help").output();
    String::from_utf8(out.expect("runsd starts").stdout).expect("text")
}

/// Name, value and default of each flag, as `-help` has them.
fn flags_of_help() -> BTreeSet<[String; 3]> {
    let help = help();
    let mut lines = help.lines();
    let mut flags = BTreeSet::new();
    while let Some(line) = lines.next() {
        let Some(flag) = line.strip_prefix("  -") else {
            continue;
        };
        let about = lines.next().expect("what it is for");
        let default = about.rsplit_once(" (default ").map_or("", |(_, default)| default.trim_end_matches(')'));
        let at = flag.find(['=', '[']).unwrap_or(flag.len());
        let (name, value) = flag.split_at(at);
        flags.insert([name, value, default].map(str::to_owned));
    }
    flags
}

/// What stands between backticks, anywhere but in fenced blocks.
fn code_spans(text: &str) -> Vec<String> {
    let unfenced: String = text.split("```").step_by(2).collect();
    let unescaped = unfenced.replace("\\|", "|");
    let spans = unescaped.split('`').skip(1).step_by(2);
    spans.map(|span| span.replace('\n', " ")).collect()
}

#[test]
fn the_table_of_flags_is_what_help_says() {
    let (_, section) = README.split_once("\n## Flags\n").expect("the flags");
    let (section, _) = section.split_once("\n## ").expect("more");
    let rows = section.lines().filter(|line| line.starts_with("| `-"));
    let mut told = BTreeSet::new();
    for row in rows.map(|row| row.replace("\\|", "\u{1}")) {
        let cells: Vec<String> =
            row.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
        // A default in words is one that -help has none of.
        let default = code_spans(&cells[2]).concat();
        for flag in code_spans(&cells[0]) {
            let at = flag.find(['=', '[']).unwrap_or(flag.len());
            let (name, value) = flag[1..].split_at(at - 1);
            told.insert([name, value, &default].map(str::to_owned));
        }
    }
    assert_eq!(told, flags_of_help());
}

#[test]
fn each_flag_and_each_variable_that_is_named_is_one() {
    let help = help();
    let flags = flags_of_help();
    let (_, ignored) = help.split_once("accepted and ignored: ").expect("klog's");
    let ignored = ignored.replace('-', "");
    let is_flag = |word: &str| {
        flags.iter().any(|[name, ..]| *name == word) || ignored.split_whitespace().any(|name| name == word)
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = sources(&root.join("src")) + &sources(&root.join("tests/playground"));
    let mut variables = 0;
    for span in code_spans(README) {
        // Of `make`, of gcloud, of Java, and the end of a file's name.
        let is_anothers = ["--", "-D", "-arm64", "-flag"];
        let flag = span.strip_prefix('-');
        if let Some(flag) = flag.filter(|_| !is_anothers.iter().any(|a| span.starts_with(a))) {
            let name = flag.split(['=', ' ', '[']).next().unwrap_or_default();
            assert!(is_flag(name), "{span}");
        }
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        for word in span.split(|c| !is_name(c)) {
            if let Some(flag) = word.strip_prefix("RUNSD_").filter(|rest| !rest.is_empty()) {
                assert!(is_flag(&flag.to_ascii_lowercase()), "{span}");
                variables += 1;
            } else if word.starts_with(|c: char| c.is_ascii_uppercase())
                && word.contains('_')
                && word != "NODE_USE_ENV_PROXY"
            {
                assert!(source.contains(word), "{span}: {word} is nowhere in src/");
                variables += 1;
            }
        }
    }
    assert!(variables >= 12, "{variables} variables are found");
    // And the other way round.
    let config = source_of("config.rs");
    for word in config.split('"').skip(1).step_by(2) {
        let is_variable =
            word.contains('_') && word.bytes().all(|b| b.is_ascii_uppercase() || b"_0123456789".contains(&b));
        assert!(!is_variable || README.contains(word), "{word}");
    }
}

#[test]
fn what_help_shows_works_and_leads_to_the_readme() {
    let help = help();
    let address = "https://github.com/ahmetb/runsd#readme";
    assert!(help.contains(address), "{help}");
    let manifest = include_str!("../Cargo.toml");
    let repository = address.trim_end_matches("#readme");
    assert!(manifest.contains(&format!("repository = \"{repository}\"\n")));
    assert!(README.contains(repository.trim_start_matches("https://")));
    let mut tried = 0;
    for line in help.lines().take_while(|line| !line.starts_with("  -")) {
        let Some((_, words)) = line.split_once("ENTRYPOINT ") else {
            continue;
        };
        let words: Value = serde_json::from_str(words).expect(line);
        let words = words.as_array().expect("words").iter();
        let words = words.map(|word| word.as_str().expect("a word"));
        let app = ["sh", "-c", "curl -sS http://hello"];
        let command: Vec<&str> = words.filter(|word| *word != "/app").chain(app).collect();
        let out = CloudRun::new().run(&command);
        assert_eq!((&*out.stdout, &*out.stderr), (HELLO, ""), "{line}");
        tried += 1;
    }
    assert_eq!(tried, 2, "{help}");
    assert!(help.contains("/runsd -check hello\n"), "{help}");
    let (_, laptop) = help.split_once("off Cloud Run: ").expect("a laptop");
    let (laptop, _) = laptop.split_once("\nand more").expect("what follows");
    assert_eq!(on_a_laptop(laptop), HELLO, "{laptop}");
}

#[test]
fn the_commands_of_a_laptop_and_of_a_job_do_what_is_said() {
    let laptop = sh_blocks().into_iter().find(|block| block.starts_with("CLOUD_RUN_ID_TOKEN="));
    assert_eq!(on_a_laptop(laptop.expect("a laptop")), HELLO);

    let (_, rest) = README.split_once("--command=").expect("a job");
    let (command, rest) = rest.split_once(" --args=").expect("its arguments");
    let (args, _) = rest.split_once(' ').expect("more");
    let words: Vec<&str> = [command].into_iter().chain(args.split(',')).collect();
    let out = CloudRun::new().option("--job").run(&words);
    assert_eq!((out.status, &*out.stderr), (0, ""), "{words:?}");
    let (_, shown) = README.split_once("\n```\nok    name").expect("what it says");
    let (shown, _) = shown.split_once("```").expect("its end");
    assert_eq!(untimed(&out.stdout), untimed(&format!("ok    name{shown}")));
}

/// With a `gcloud` and the program in PATH, as any user.
fn on_a_laptop(command: &str) -> String {
    let command = command
        .replace("REGION", "us-east1")
        .replace("NUMBER", "123456789012")
        .replace("COMMAND", "CMD")
        .replace("CMD", "curl -sS http://hello");
    let script = format!(
        "cd /tmp; printf '%s' \"$GCLOUD\" >gcloud; chmod +x gcloud; ln -s /runsd runsd
         export PATH=/tmp:$PATH GCE_METADATA_HOST=127.0.0.1:1; {command}"
    );
    let laptop = CloudRun::new().option("--off").uid(65532);
    let out = laptop.env("GCLOUD", GCLOUD).run(&["sh", "-c", &script]);
    assert_eq!(out.status, 0, "{command}: {out:?}");
    out.stdout
}

/// `T` for each time.
fn untimed(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.parse::<f64>() {
        Ok(_) if word.contains('.') => "T",
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The commands of gcloud cannot be run without an account. A shell runs them
/// here with a gcloud that knows the flags they may have, and says what each of
/// them gets.
#[test]
fn the_commands_of_a_first_success_are_words_of_gcloud() {
    let dir = std::env::temp_dir().join(format!("first-success-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a scratch directory");
    copy(Path::new(&client_file("gcloud.sh")), &dir.join("gcloud"));
    write_program(&dir.join("curl"), "#!/bin/sh\necho curl \"$@\"\n");
    let path = format!("{}:/usr/bin:/bin", dir.display());
    let first = sh_blocks().into_iter().filter(|block| block.starts_with("gcloud"));
    let script = first.collect::<Vec<_>>().join("\n");
    let out = program("sh").args(["-euc", &script]).env("PATH", path).output().expect("sh starts");
    let _ = fs::remove_dir_all(&dir);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && stderr.is_empty(), "{stderr}");
    let got = String::from_utf8_lossy(&out.stdout);
    let want = "\
run deploy hello
run deploy caller
run services add-iam-policy-binding hello
curl https://caller-123456789012.us-east1.run.app
run jobs deploy look
run jobs logs read look
";
    assert_eq!(got, want);
}

/// By a shell: see `containers::copy`.
fn write_program(path: &Path, text: &str) {
    let out = program("sh").args(["-c", "printf %s \"$1\" >\"$0\"; chmod 755 \"$0\""]).arg(path).arg(text).output();
    assert!(out.expect("sh starts").status.success(), "{path:?}");
}

fn sh_blocks() -> Vec<&'static str> {
    let parts = README.split("```sh\n").skip(1);
    parts.filter_map(|part| part.split("```").next()).collect()
}

fn source_of(file: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "src", file].iter().collect();
    fs::read_to_string(path).expect(file)
}
