//! Disks that the kernel has not been told of yet.

use std::fs;
use std::io;
use std::path::Path;

/// Where the kernel lists the adapters that disks hang on.
pub(crate) const ADAPTERS: &str = "/sys/class/scsi_host";

/// Lets each adapter look for new disks: all channels, targets and units; how many were asked.
///
/// One that hangs keeps its asker waiting: call it on a thread that may.
///
/// # Errors
///
/// The last refusal, if all refused.
pub(crate) fn rescan(adapters: &Path) -> io::Result<usize> {
    let hosts = match fs::read_dir(adapters) {
        Ok(hosts) => hosts,
        // There is none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let (mut asked, mut refused) = (0, None);
    for host in hosts.flatten() {
        match fs::OpenOptions::new().write(true).open(host.path().join("scan")) {
            Ok(mut scan) => match io::Write::write_all(&mut scan, b"- - -") {
                Ok(()) => asked += 1,
                Err(error) => refused = Some(error),
            },
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if asked == 0 => Err(error),
        Some(_) | None => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_adapter_is_asked_and_one_that_refuses_keeps_none() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(rescan(&dir.path().join("none")).expect("no adapters"), 0);
        for host in ["host0", "host1", "host2"] {
            fs::create_dir(dir.path().join(host)).expect("made");
        }
        assert!(rescan(dir.path()).is_err(), "all refuse");
        for host in ["host0", "host2"] {
            fs::write(dir.path().join(host).join("scan"), "").expect("made");
        }
        assert_eq!(rescan(dir.path()).expect("asked"), 2);
        for host in ["host0", "host2"] {
            let told = fs::read_to_string(dir.path().join(host).join("scan"));
            assert_eq!(told.expect("read"), "- - -");
        }
    }
}
