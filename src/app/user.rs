//! `-user user[:group]`: as whom the application runs.
//!
//! As `docker run --user` reads it: names or numbers, from /etc/passwd and
//! /etc/group where they exist; numbers work in an image that has neither.

use std::fs;
use std::path::Path;

use rustix::fs::{Gid, Uid};

use crate::sys::Credentials;

/// A user, and what its processes are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// The supplementary groups, the user's own among them.
    pub groups: Vec<u32>,
    /// `None` for a number that no one has.
    pub name: Option<String>,
    pub home: String,
}

impl User {
    /// Looks a user up in this container's files.
    pub fn lookup(text: &str) -> Result<User, String> {
        User::lookup_in(text, Path::new("/etc/passwd"), Path::new("/etc/group"))
    }

    /// The same, with files of the caller's.
    pub fn lookup_in(text: &str, passwd: &Path, group: &Path) -> Result<User, String> {
        // A file that cannot be read is one that knows no name.
        let content = |path| fs::read(path).unwrap_or_default();
        find(text, &String::from_utf8_lossy(&content(passwd)), &String::from_utf8_lossy(&content(group)))
    }

    pub fn credentials(&self) -> Credentials {
        Credentials {
            uid: Uid::from_raw(self.uid),
            gid: Gid::from_raw(self.gid),
            groups: self.groups.iter().copied().map(Gid::from_raw).collect(),
        }
    }
}

fn find(text: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (wanted, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let uid = id(wanted);
    let mut user = match (passwd_lines(passwd).find(|user| user.is(wanted, uid)), uid) {
        (Some(user), _) => user,
        // Docker's choice: the root group, which makes a process no more than
        // a member of it.
        (None, Some(uid)) => User { uid, gid: 0, groups: Vec::new(), name: None, home: "/".to_owned() },
        (None, None) => return Err(format!("there is no user {wanted:?} in /etc/passwd")),
    };
    match wanted_group {
        Some(wanted) => {
            user.gid = group_lines(group)
                .find(|(name, ..)| *name == wanted)
                .map(|(_, gid, _)| gid)
                .or_else(|| id(wanted))
                .ok_or_else(|| format!("there is no group {wanted:?} in /etc/group"))?;
            user.groups = vec![user.gid];
        }
        None => {
            user.groups = vec![user.gid];
            for (_, gid, mut members) in group_lines(group) {
                let named = members.any(|member| Some(member) == user.name.as_deref());
                if named && !user.groups.contains(&gid) {
                    user.groups.push(gid);
                }
            }
        }
    }
    Ok(user)
}

impl User {
    /// A number is a number, even where someone has it for a name.
    fn is(&self, wanted: &str, uid: Option<u32>) -> bool {
        match uid {
            Some(uid) => self.uid == uid,
            None => self.name.as_deref() == Some(wanted),
        }
    }
}

/// `name:password:uid:gid:comment:home:shell`; other lines are passed over.
fn passwd_lines(file: &str) -> impl Iterator<Item = User> {
    file.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
        Some(User { uid, gid, groups: Vec::new(), name: Some(name.to_owned()), home: home.to_owned() })
    })
}

/// `name:password:gid:member,member`; other lines are passed over.
fn group_lines(file: &str) -> impl Iterator<Item = (&str, u32, std::str::Split<'_, char>)> {
    file.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = id(fields.nth(1)?)?;
        Some((name, gid, fields.next().unwrap_or_default().trim_end().split(',')))
    })
}

/// A user's or group's number; the largest means "nobody is meant".
fn id(text: &str) -> Option<u32> {
    // FromStr would let a "+" through.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a comment\n+nis\nbad:x:y:z::/:\n\
                          www:x:33:34:web:/var/www:/usr/sbin/nologin\n\
                          short:x:50:51\n77:x:78:79::/odd:\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:34:www\nadm:x:4:root,www\nssl:x:101:www\nbroken\n";

    fn user(uid: u32, gid: u32, groups: &[u32], name: &str, home: &str) -> Result<User, String> {
        Ok(User {
            uid,
            gid,
            groups: groups.to_vec(),
            name: (!name.is_empty()).then(|| name.to_owned()),
            home: home.to_owned(),
        })
    }

    #[test]
    fn users() {
        for (text, want) in [
            ("www", user(33, 34, &[34, 4, 101], "www", "/var/www")),
            ("33", user(33, 34, &[34, 4, 101], "www", "/var/www")),
            ("www:", user(33, 34, &[34, 4, 101], "www", "/var/www")),
            ("www:adm", user(33, 4, &[4], "www", "/var/www")),
            ("www:7", user(33, 7, &[7], "www", "/var/www")),
            ("65532", user(65532, 0, &[0], "", "/")),
            ("65532:65532", user(65532, 65532, &[65532], "", "/")),
            ("root", user(0, 0, &[0, 4], "root", "/root")),
            ("short", user(50, 51, &[51], "short", "/")),
            // A number, though there is a user of that name.
            ("77", user(77, 0, &[0], "", "/")),
            ("nobody", Err("there is no user \"nobody\" in /etc/passwd".to_owned())),
            ("bad", Err("there is no user \"bad\" in /etc/passwd".to_owned())),
            ("", Err("there is no user \"\" in /etc/passwd".to_owned())),
            (":adm", Err("there is no user \"\" in /etc/passwd".to_owned())),
            ("-1", Err("there is no user \"-1\" in /etc/passwd".to_owned())),
            ("4294967295", Err("there is no user \"4294967295\" in /etc/passwd".to_owned())),
            ("www:none", Err("there is no group \"none\" in /etc/group".to_owned())),
        ] {
            assert_eq!(find(text, PASSWD, GROUP), want, "{text:?}");
        }
    }

    #[test]
    fn without_files_numbers_work() {
        let nowhere = Path::new("/nonexistent/file");
        let lookup = |text| User::lookup_in(text, nowhere, nowhere);
        assert_eq!(lookup("1000:1000"), user(1000, 1000, &[1000], "", "/"));
        assert!(lookup("www").is_err());
    }
}
