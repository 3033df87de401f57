//! Users and groups by name.

use std::io::Read;

/// Longer files are no accounts of a host.
const MOST: u64 = 4 << 20;

/// The host's own users and groups: `/etc/passwd` and `/etc/group`, not what a directory knows.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: Option<String>,
    groups: Option<String>,
}

impl Accounts {
    /// Number and group of a user, by name or number.
    pub(super) fn user(&mut self, name: &str) -> Option<(u32, u32)> {
        if name == "root" {
            return Some((0, 0));
        }
        let text = self.users.get_or_insert_with(|| read("/etc/passwd"));
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let user = fields.next()?;
            let (user_id, group) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            (user == name || name.parse() == Ok(user_id)).then_some((user_id, group))
        })
    }

    /// Number of a group, by name or number.
    pub(super) fn group(&mut self, name: &str) -> Option<u32> {
        if let Ok(number) = name.parse() {
            return Some(number);
        }
        let text = self.groups.get_or_insert_with(|| read("/etc/group"));
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
        })
    }
}

fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    // A host without the file has no accounts.
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
}
