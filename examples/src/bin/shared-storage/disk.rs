//! The shared disk, and the folder of the show; both go with the program, however it ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ha_lab::find_program;

use crate::stage::Failure;

/// How large the file system is, in bytes.
const SIZE: u64 = 64 << 20;
/// Waits for the end of its standard input, which is our end, and removes the folder then. Other
/// processes of the show may still be dying, so it tries again. The folder is looked at with the
/// eyes of the machine: what nodes have mounted in it is not seen here and not touched.
const JANITOR: &str = r#"read -r _
for _ in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf --one-file-system -- "$1" 2>/dev/null && exit
  sleep 0.2
done"#;

/// A temporary folder that is removed when this is dropped, and when the program is killed.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    janitor: Child,
}

impl Folder {
    pub(crate) fn new() -> Result<Self, Failure> {
        // Memory rather than a disk: then no other program's writes delay those of the show.
        let shared_memory = PathBuf::from("/dev/shm");
        let base = if shared_memory.is_dir() { shared_memory } else { std::env::temp_dir() };
        let path = base.join(format!("shared-storage.{}", std::process::id()));
        fs::create_dir(&path)?;
        let mut janitor = Command::new("/bin/sh");
        janitor.args(["-c", JANITOR, "janitor"]).arg(&path).current_dir("/");
        // Ctrl-C is for the show, and none to it.
        janitor.stdin(Stdio::piped()).process_group(0);
        Ok(Self { path, janitor: janitor.spawn()? })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        drop(self.janitor.wait());
    }
}

/// What the nodes mount: one at a time, if all is well.
#[derive(Debug)]
pub(crate) struct Disk {
    /// What the mounts have as their source.
    pub(crate) source: String,
    /// The type and options of the mounts.
    pub(crate) fstype: Option<&'static str>,
    pub(crate) options: &'static str,
    /// What it is, for people.
    pub(crate) kind: String,
    /// Keeps the loop device, which goes when nobody has it open any more.
    _device: Option<File>,
}

impl Disk {
    /// A file system on a loop device, or a directory where loop devices are not permitted.
    pub(crate) fn new(folder: &Path) -> Result<Self, Failure> {
        match loop_device(&folder.join("disk.img")) {
            Ok((source, device)) => Ok(Self {
                kind: format!("ext4 on {source}"),
                source,
                fstype: Some("ext4"),
                options: "noatime",
                _device: Some(device),
            }),
            Err(why) => {
                let shared = folder.join("shared");
                fs::create_dir(&shared)?;
                Ok(Self {
                    kind: format!("a directory, bind-mounted, as there is no loop device: {why}"),
                    source: shared.display().to_string(),
                    fstype: None,
                    options: "bind",
                    _device: None,
                })
            }
        }
    }
}

fn loop_device(image: &Path) -> io::Result<(String, File)> {
    if !rustix::process::geteuid().is_root() || in_user_namespace() {
        return Err(io::Error::other("an ordinary user may not"));
    }
    File::create(image)?.set_len(SIZE)?;
    run("mkfs.ext4", &["-q", "-F"], image)?;
    let device = run("losetup", &["--show", "-f"], image)?.trim().to_owned();
    let open = File::open(&device);
    // Detached as soon as nobody has it open: neither this program nor a mount. The kernel sees
    // to that also when the program is killed.
    run("losetup", &["-d"], Path::new(&device))?;
    Ok((device, open?))
}

/// Whether root is root of a user namespace only.
fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) != Some("4294967295")
}

/// Runs a program; its output, or what it complained of.
fn run(program: &str, args: &[&str], path: &Path) -> io::Result<String> {
    let found = find_program(program).ok_or_else(|| {
        io::Error::other(format!("{program} is not installed (util-linux, e2fsprogs)"))
    })?;
    let output = Command::new(found).args(args).arg(path).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default();
    Err(io::Error::other(format!("{program}: {said}")))
}
