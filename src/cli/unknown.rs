//! Variables that look like a flag's and are none.

use std::ffi::OsString;

use super::VARIABLES;
use super::flags::{FLAGS, IGNORED_SWITCHES, IGNORED_VALUES};

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
        let lower = name.to_ascii_lowercase();
        let meant = known()
            .map(|known| (distance(known, &lower), known))
            .filter(|(distance, known)| *distance <= 2 && *distance < known.len())
            .min();
        let hint = match meant {
            Some((_, meant)) => {
                format!("; {VARIABLES}{} may be meant", meant.to_ascii_uppercase())
            }
            None => "; `runsd -help` lists them all".to_owned(),
        };
        sentences.push(format!("there is no setting {VARIABLES}{name}{hint}"));
    }
    sentences
}

/// How many letters are to be added, left out or exchanged between two words.
fn distance(one: &str, other: &str) -> usize {
    // The distances from a beginning of the one to each beginning of the other.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in other.bytes().enumerate() {
            let exchanged = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = exchanged.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
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
