//! Variables whose name begins as a flag's, but that are not one's.

use std::ffi::OsString;

use super::flags::{FLAGS, IGNORED_SWITCHES, IGNORED_VALUES, closest};
use super::{VARIABLE_PREFIX, is_variable_of};

/// Returns a sentence for each variable that no flag reads, with the one that may have been meant. `variables` are named
/// without [`VARIABLE_PREFIX`].
pub fn unknown_variables(variables: &[(OsString, OsString)]) -> Vec<String> {
    let is_known = |name: &OsString| {
        let mut flags = FLAGS.iter().map(|flag| flag.name).chain(IGNORED_SWITCHES).chain(IGNORED_VALUES);
        flags.any(|flag| is_variable_of(name, flag))
    };
    let unknown = variables.iter().map(|(name, _)| name).filter(|name| !is_known(name));
    unknown
        .map(|name| match (name.display(), closest(&name.to_string_lossy())) {
            (name, Some(flag)) => {
                let meant = flag.to_ascii_uppercase();
                format!("there is no setting {VARIABLE_PREFIX}{name}; {VARIABLE_PREFIX}{meant} may be meant")
            }
            (name, None) => format!("there is no setting {VARIABLE_PREFIX}{name}; `runsd -help` lists them all"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variables_and_suggestions() {
        for (name, want) in [
            ("DISABLE", ""),
            ("LOGTOSTDERR", ""),
            ("DISABLED", "; RUNSD_DISABLE may be meant"),
            ("GCP_REGOIN", "; RUNSD_GCP_REGION may be meant"),
            ("disable", "; RUNSD_DISABLE may be meant"),
            ("V1", "; `runsd -help` lists them all"),
            ("TOKEN", "; `runsd -help` lists them all"),
        ] {
            let got = unknown_variables(&[(name.into(), "1".into())]);
            let want: Vec<String> = match want {
                "" => Vec::new(),
                want => vec![format!("there is no setting RUNSD_{name}{want}")],
            };
            assert_eq!(got, want);
        }
    }
}
