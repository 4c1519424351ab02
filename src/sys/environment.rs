//! The environment as C has it.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt as _;

unsafe extern "C" {
    /// Ends in null.
    pub safe static environ: *const *const c_char;
}

/// The variables whose names begin with `prefix`, without it, and their values.
/// In one pass, which copies nothing else: with std it would be a pass for each
/// name, or a copy of all.
pub fn beginning_with(prefix: &str) -> Vec<(OsString, OsString)> {
    let mut found = Vec::new();
    let mut at = environ;
    // SAFETY: a list of strings with null at its end, or null; nobody changes
    // the environment of this process.
    unsafe {
        while !at.is_null() && !(*at).is_null() {
            let entry = CStr::from_ptr(*at).to_bytes();
            if let Some(entry) = entry.strip_prefix(prefix.as_bytes())
                && let Some(end) = entry.iter().position(|&b| b == b'=')
            {
                let words = [&entry[..end], &entry[end + 1..]];
                let [name, value] = words.map(|word| OsStr::from_bytes(word).to_owned());
                found.push((name, value));
            }
            at = at.add(1);
        }
    }
    found
}
