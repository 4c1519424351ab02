//! Variables that look like a flag's and are none.

use std::ffi::OsString;

use super::VARIABLES;
use super::flags::{FLAGS, IGNORED_SWITCHES, IGNORED_VALUES, closest};

/// A sentence for each variable that no flag reads, with the one that may have
/// been meant. They are named without [`VARIABLES`].
pub fn variables(variables: &[(OsString, OsString)]) -> Vec<String> {
    let mut sentences = Vec::new();
    for (name, _) in variables {
        let name = name.to_string_lossy();
        let known = || {
            let ignored = IGNORED_SWITCHES.iter().chain(&IGNORED_VALUES).copied();
            FLAGS.iter().map(|flag| flag.name).chain(ignored)
        };
        if known().any(|known| known.to_ascii_uppercase() == name) {
            continue;
        }
        let hint = match closest(&name) {
            Some(meant) => {
                format!("; {VARIABLES}{} may be meant", meant.to_ascii_uppercase())
            }
            None => "; `runsd -help` lists them all".to_owned(),
        };
        sentences.push(format!("there is no setting {VARIABLES}{name}{hint}"));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_meant() {
        for (name, want) in [
            ("DISABLE", ""),
            ("LOGTOSTDERR", ""),
            ("DISABLED", "; RUNSD_DISABLE may be meant"),
            ("GCP_REGOIN", "; RUNSD_GCP_REGION may be meant"),
            ("disable", "; RUNSD_DISABLE may be meant"),
            ("V1", "; `runsd -help` lists them all"),
            ("TOKEN", "; `runsd -help` lists them all"),
        ] {
            let got = variables(&[(name.into(), "1".into())]);
            let want: Vec<String> = match want {
                "" => Vec::new(),
                want => vec![format!("there is no setting RUNSD_{name}{want}")],
            };
            assert_eq!(got, want);
        }
    }
}
