//! The texts of `-help` and `-version`.

use super::flags::{FLAGS, Flag, FlagKind, IGNORED_SWITCHES, IGNORED_VALUES};

/// Returns the text of `-help`.
pub fn help() -> String {
    let mut text = String::from(
        "runsd: reach every Cloud Run service of your project as http://NAME, authenticated\n\n\
         usage: runsd [FLAGS] [--] COMMAND [ARGUMENTS]\n\n\
         in a Dockerfile:      ENTRYPOINT [\"/runsd\", \"--\", \"/app\"]\n\
         as an ordinary user:  ENTRYPOINT [\"/runsd\", \"-user=65532:65532\", \"--\", \"/app\"]\n\
         look at one name:     /runsd -check hello\n\
         off Cloud Run:        CLOUD_RUN_ID_TOKEN=$(gcloud auth print-identity-token) \\\n\
         \x20                       runsd -gcp_region=REGION -gcp_project_number=NUMBER -- COMMAND\n\
         and more:             ",
    );
    text.push_str(env!("CARGO_PKG_REPOSITORY"));
    text.push_str("#readme\n\n");
    for flag in &FLAGS {
        let value = match flag.kind {
            FlagKind::Value(placeholder, _) => format!("={placeholder}"),
            FlagKind::Check => "[=NAME]".to_owned(),
            _ => String::new(),
        };
        let default = match flag.default {
            "" => String::new(),
            default => format!(" (default {default})"),
        };
        let Flag { name, about, .. } = flag;
        text.push_str(&format!("  -{name}{value}\n        {about}{default}\n"));
    }
    text.push_str(
        "\nEach setting is also read from the environment, as RUNSD_ and its name in upper case\n\
         (RUNSD_GCP_REGION); flags win.\n",
    );
    text.push_str(&format!("accepted and ignored: -{} -{}\n", IGNORED_SWITCHES.join(" -"), IGNORED_VALUES.join(" -"),));
    text
}

/// Returns the text of `-version`.
pub fn version() -> String {
    format!("runsd {} ({})\n", env!("CARGO_PKG_VERSION"), option_env!("RUNSD_COMMIT").unwrap_or("unknown commit"),)
}
