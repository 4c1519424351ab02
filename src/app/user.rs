//! `-user USER[:GROUP]`: the user that the application runs as.
//!
//! Read as `docker run --user` reads it: names or numbers, by /etc/passwd and /etc/group where they exist; numbers work
//! in an image that has neither.

use std::fs;
use std::path::Path;

use rustix::fs::{Gid, Uid};

use crate::sys::Credentials;

/// A user, and what its processes are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The number of the user.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// The supplementary groups, `gid` among them.
    pub groups: Vec<u32>,
    /// `None` for a number without a line in /etc/passwd.
    pub name: Option<String>,
    /// The home directory, `/` where none is known.
    pub home: String,
}

impl User {
    /// Looks a user up in this container's files.
    ///
    /// # Errors
    /// A sentence that says which name is not in them.
    pub fn lookup(text: &str) -> Result<User, String> {
        User::lookup_in(text, Path::new("/etc/passwd"), Path::new("/etc/group"))
    }

    fn lookup_in(text: &str, passwd: &Path, group: &Path) -> Result<User, String> {
        // A file that cannot be read has no names.
        let content = |path| fs::read(path).unwrap_or_default();
        find(text, &String::from_utf8_lossy(&content(passwd)), &String::from_utf8_lossy(&content(group)))
    }

    /// Returns the ids for its processes.
    pub fn credentials(&self) -> Credentials {
        Credentials {
            uid: Uid::from_raw(self.uid),
            gid: Gid::from_raw(self.gid),
            groups: self.groups.iter().copied().map(Gid::from_raw).collect(),
        }
    }

    /// Returns whether this line of /etc/passwd is the one for `name`, or for the number `uid`, which goes first even
    /// where a user has the same number for a name.
    fn matches(&self, name: &str, uid: Option<u32>) -> bool {
        match uid {
            Some(uid) => self.uid == uid,
            None => self.name.as_deref() == Some(name),
        }
    }
}

/// Reads `USER[:GROUP]` by the texts of /etc/passwd and /etc/group.
///
/// # Errors
/// A sentence that says which name is not in them.
pub fn find(text: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user_text, group_text) = text.split_once(':').unwrap_or((text, ""));
    let uid = parse_id(user_text);
    let mut user = match (passwd_lines(passwd).find(|user| user.matches(user_text, uid)), uid) {
        (Some(user), _) => user,
        // Group 0, as Docker has it; it gives a process the rights of the group's members alone.
        (None, Some(uid)) => User { uid, gid: 0, groups: Vec::new(), name: None, home: "/".to_owned() },
        (None, None) => return Err(format!("there is no user {user_text:?} in /etc/passwd")),
    };
    if group_text.is_empty() {
        user.groups = vec![user.gid];
        for (_, gid, mut members) in group_lines(group) {
            let is_member = members.any(|member| Some(member) == user.name.as_deref());
            if is_member && !user.groups.contains(&gid) {
                user.groups.push(gid);
            }
        }
    } else {
        user.gid = group_lines(group)
            .find(|(name, ..)| *name == group_text)
            .map(|(_, gid, _)| gid)
            .or_else(|| parse_id(group_text))
            .ok_or_else(|| format!("there is no group {group_text:?} in /etc/group"))?;
        user.groups = vec![user.gid];
    }
    Ok(user)
}

/// Reads passwd(5), `name:password:uid:gid:comment:home:shell`; other lines are skipped.
fn passwd_lines(file: &str) -> impl Iterator<Item = User> {
    file.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = parse_id(fields.nth(1)?)?;
        let gid = parse_id(fields.next()?)?;
        let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
        Some(User { uid, gid, groups: Vec::new(), name: Some(name.to_owned()), home: home.to_owned() })
    })
}

/// Reads group(5), `name:password:gid:member,member`; other lines are skipped.
fn group_lines(file: &str) -> impl Iterator<Item = (&str, u32, std::str::Split<'_, char>)> {
    file.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = parse_id(fields.nth(1)?)?;
        Some((name, gid, fields.next().unwrap_or_default().trim_end().split(',')))
    })
}

/// Reads the number of a user or group; the largest one stands for none in setresuid(2).
fn parse_id(text: &str) -> Option<u32> {
    // FromStr would accept a "+".
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
    fn users_and_groups_by_name_and_number() {
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
            // A number, though a user has it for a name.
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
    fn numbers_work_without_files() {
        let nowhere = Path::new("/nonexistent/file");
        let lookup = |text| User::lookup_in(text, nowhere, nowhere);
        assert_eq!(lookup("1000:1000"), user(1000, 1000, &[1000], "", "/"));
        assert!(lookup("www").is_err());
    }
}
