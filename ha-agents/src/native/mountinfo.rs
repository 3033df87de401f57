//! What is mounted where: `/proc/self/mountinfo`, which the kernel gives without asking a device.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// The device, as `MAJOR:MINOR`.
    pub(crate) device: String,
    /// Which directory of the file system is mounted; `/` but for bind mounts.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) at: PathBuf,
    /// Its type, such as `ext4`.
    pub(crate) fstype: String,
    /// What was mounted, in the words of who did it.
    pub(crate) source: OsString,
}

/// All that is mounted, in the order of mounting.
pub(crate) fn read() -> io::Result<Vec<Mounted>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// What is mounted at `directory`: of several the last one, which hides the others.
pub(crate) fn at<'a>(all: &'a [Mounted], directory: &Path) -> Option<&'a Mounted> {
    all.iter().rev().find(|mounted| mounted.at == directory)
}

/// In which mount the path lies, and under which name in its file system.
pub(crate) fn containing<'a>(all: &'a [Mounted], path: &Path) -> Option<(&'a Mounted, PathBuf)> {
    let around = path.ancestors().find_map(|ancestor| at(all, ancestor))?;
    let inside = path.strip_prefix(&around.at).ok()?;
    let name =
        if inside.as_os_str().is_empty() { around.root.clone() } else { around.root.join(inside) };
    Some((around, name))
}

/// What a text of the kernel's, such as another process's, says is mounted.
pub(crate) fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|&byte| byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /root /at rw,noatime shared:1 - ext4 /dev/sda1 rw`; any number of fields before
/// the dash.
fn line(line: &[u8]) -> Option<Mounted> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let dash = fields.iter().skip(6).position(|&field| field == b"-")? + 6;
    let field = |index: usize| fields.get(index).map(|field| unescape(field));
    Some(Mounted {
        device: field(2)?.into_string().ok()?,
        root: field(3)?.into(),
        at: field(4)?.into(),
        fstype: field(dash + 1)?.into_string().ok()?,
        source: field(dash + 2)?,
    })
}

/// The kernel writes blanks and backslashes as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'\\').then(|| after.split_at_checked(3)).flatten();
        let code = code.and_then(|(digits, after)| {
            let digits = str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 8).ok()?, after))
        });
        let (byte, after) = code.unwrap_or((byte, after));
        plain.push(byte);
        rest = after;
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /srv/a\\040b rw - tmpfs none rw
31 22 0:26 / /srv/a\\040b rw shared:3 master:1 - xfs /dev/sdb\\134 rw
32 22 8:1 /home/x /mnt rw - ext4 /dev/sda1 rw
nonsense
33 22 8:1 / /short";

    #[test]
    fn mounts_are_read_with_their_escapes_and_the_last_one_hides_the_others() {
        let all = parse(TEXT);
        assert_eq!(all.len(), 4, "what is no mount is passed over");
        let top = at(&all, Path::new("/srv/a b")).expect("mounted");
        assert_eq!((top.fstype.as_str(), top.source.to_str()), ("xfs", Some("/dev/sdb\\")));
        assert_eq!(at(&all, Path::new("/srv")), None);
        let (around, name) = containing(&all, Path::new("/mnt/y/z")).expect("in a mount");
        assert_eq!((around.device.as_str(), name), ("8:1", "/home/x/y/z".into()));
        let (_, name) = containing(&all, Path::new("/mnt")).expect("in a mount");
        assert_eq!(name, Path::new("/home/x"));
        assert_eq!(containing(&all, Path::new("/var/x")).expect("the root").1, Path::new("/var/x"));
    }

    #[test]
    fn the_kernels_own_list_is_read() {
        assert!(at(&read().expect("read"), Path::new("/proc")).is_some());
    }
}
