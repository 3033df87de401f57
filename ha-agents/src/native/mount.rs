//! A file system as a resource.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;
use ha_core::time::{BootClock, Clock as _, Instant};
use rustix::process::Signal;
use tokio::process::Command;

use super::claim::{Claim, Claimed};
use super::described;
use super::holders;
use super::mountinfo::{self, Mounted};
use super::rescan::{ADAPTERS, rescan};
use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::leftovers;
use crate::outcome::Outcome;
use crate::run::{Ended, Guard, run};

/// Where `mount` looks for helper programs.
const HELPERS: [&str; 4] = ["/sbin", "/sbin/fs.d", "/sbin/fs", "/usr/sbin"];
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How often a start looks for its source, and a stop tries again.
const POLL: Duration = Duration::from_millis(50);
/// How often a start lets adapters look for new disks.
const RESCAN: Duration = Duration::from_secs(5);
/// How long a monitor asks again whether a disk that seems free of mounts is in use: what has just
/// been unmounted may take a moment.
const IN_USE: Duration = Duration::from_millis(500);
/// The longest time between SIGTERM and SIGKILL to those who hold the file system.
const HOLDERS_GRACE: Duration = Duration::from_secs(2);
/// The file that a monitor of depth 20 writes.
const CHECK_FILE: &str = ".ha-mount-check";

/// Mounts a file system, and unmounts it: Pacemaker's `ocf:heartbeat:Filesystem`.
///
/// - A **start** waits for a source that is a path and not there yet (a disk that is being
///   attached), as long as it may take, and mounts it. The directory must be there. The same
///   source mounted there already is a success, another one a failure. A regular file is mounted
///   through a loop device, which goes with the mount.
/// - A **monitor** asks the kernel's list of mounts, which no dead disk delays. At depth 10 it
///   asks the file system itself (`statfs`), at depth 20 it writes and reads back the file
///   `.ha-mount-check` in it (with the option `ro` it only asks); a file system that does not
///   answer is an operation whose time is up.
/// - A **stop** unmounts whatever is mounted at the directory and below it, tries again while it is
///   busy, and says who holds it. With [`kill_holders`](Self::kill_holders) these are told to end,
///   then killed. There is no lazy unmount: it only takes the names away, and who has a file open
///   goes on writing to a disk that another node mounts meanwhile. A stop that fails is for the
///   fence.
///
/// Network file systems and those of FUSE are mounted through their helper programs, such as
/// `mount.nfs` and `mount.fuse`; a node without the helper is not installed. What is mounted with a
/// type `fuse.…` counts as the source whatever name its program gives it.
///
/// It works in the mount namespace of this process. The programs `mount` and `umount` (util-linux)
/// do the work, and `stat`, `dd` the checks: a system call on a dead disk or server does not come
/// back, and a program can be left behind where a thread of this process cannot.
///
/// A block device is in use as long as one mount of it is, also one that this process cannot see:
/// in a namespace of others (a container), of a `mount` that hangs, or taken off lazily. The kernel
/// is asked, by opening the device exclusively for a moment. While it is, a stop does not succeed,
/// and a monitor that finds nothing mounted answers a failure. That takes the right to open the
/// device (root has it), and is not asked of other sources, nor while the device is mounted
/// elsewhere in this namespace.
///
/// ```no_run
/// use ha_agents::native::Mount;
///
/// let data = Mount::new("/dev/vg0/data", "/srv/data").fstype("ext4").options("noatime");
/// ```
#[derive(Debug, Clone)]
pub struct Mount {
    source: String,
    directory: PathBuf,
    fstype: Option<String>,
    options: String,
    kill_holders: bool,
    exclusive: bool,
    rescan: bool,
    claim: Claim,
}

impl Mount {
    /// Mounts `source` at `directory`: a block device, by its path or as `UUID=…` or `LABEL=…`, a
    /// regular file, with the option `bind` a directory, or what the file system's type
    /// understands, such as `server:/export`.
    pub fn new(source: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            directory: directory.into(),
            fstype: None,
            options: String::new(),
            kill_holders: false,
            exclusive: true,
            rescan: false,
            claim: Claim::default(),
        }
    }

    /// Sets the type, such as `ext4`. Default: what `mount` finds.
    #[must_use]
    pub fn fstype(mut self, fstype: impl Into<String>) -> Self {
        self.fstype = Some(fstype.into());
        self
    }

    /// Sets the options, with commas between, such as `noatime,ro`; `bind` is one. Default: none.
    #[must_use]
    pub fn options(mut self, options: impl Into<String>) -> Self {
        self.options = options.into();
        self
    }

    /// Sets whether a device that is mounted nowhere here must be free as well: not in use by
    /// another mount namespace of this computer, or by a mount that hangs. Default: yes. Say no
    /// where several nodes share one kernel, as in a laboratory.
    #[must_use]
    pub const fn exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Sets whether a start lets all SCSI adapters look for new disks, at once and every 5 s, while
    /// a source in `/dev` is not there: a disk that was added to a storage or taken over from
    /// another node is not told of by every adapter. Default: no, as each disk is asked.
    #[must_use]
    pub const fn rescan(mut self, rescan: bool) -> Self {
        self.rescan = rescan;
        self
    }

    /// Sets whether a stop ends the processes that hold the file system. Default: no, while
    /// `Filesystem` does (`force_unmount`).
    #[must_use]
    pub const fn kill_holders(mut self, kill: bool) -> Self {
        self.kill_holders = kill;
        self
    }

    fn has_option(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option.trim() == name)
    }

    /// Whether a program in user space serves it.
    fn is_fuse(&self) -> bool {
        self.fstype.as_deref().is_some_and(|t| t == "fuse" || t.starts_with("fuse."))
    }

    /// The helper program of its type that is missing on this node, if one is: without it `mount`
    /// cannot tell the kernel what it needs.
    fn missing_helper(&self) -> Option<String> {
        let fstype = self.fstype.as_deref()?;
        let helper = match fstype {
            "cifs" | "glusterfs" | "nfs" | "nfs4" | "smb3" => format!("mount.{fstype}"),
            _ if self.is_fuse() => "mount.fuse".to_owned(),
            _ => return None,
        };
        let there = HELPERS.iter().any(|folder| Path::new(folder).join(&helper).exists());
        (!there).then_some(helper)
    }

    fn is_bind(&self) -> bool {
        self.has_option("bind") || self.has_option("rbind")
    }

    /// Where the kernel lists the directory: without links on the way to it. The directory itself
    /// is not looked at, as a dead file system may be mounted on it. `None`: its parent is not
    /// there, so nothing is mounted on it.
    fn place(&self) -> io::Result<Option<PathBuf>> {
        let name = self.directory.file_name();
        let (Some(parent), Some(name)) = (self.directory.parent(), name) else {
            return Ok(Some(self.directory.clone()));
        };
        match fs::canonicalize(parent) {
            Ok(parent) => Ok(Some(parent.join(name))),
            // Any other error says nothing about what is mounted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The path of the source, if it is one: tags are links that udev makes.
    fn path(&self) -> Option<PathBuf> {
        let tag = self.source.split_once('=').and_then(|(tag, value)| {
            let folder = match tag {
                "LABEL" => "by-label",
                "PARTLABEL" => "by-partlabel",
                "PARTUUID" => "by-partuuid",
                "UUID" => "by-uuid",
                _ => return None,
            };
            Some(Path::new("/dev/disk").join(folder).join(value.trim_matches('"')))
        });
        tag.or_else(|| self.source.starts_with('/').then(|| PathBuf::from(&self.source)))
    }

    /// Whether what is mounted is the source.
    fn is_ours(&self, all: &[Mounted], mounted: &Mounted) -> bool {
        let named = mounted.source.to_string_lossy();
        if self.is_fuse() {
            // The program names the source as it likes.
            return mounted.fstype.starts_with("fuse");
        }
        let Some(path) = self.path().filter(|_| named != self.source || self.is_bind()) else {
            return named.trim_end_matches('/') == self.source.trim_end_matches('/');
        };
        let Ok(path) = fs::canonicalize(path) else { return false };
        if self.is_bind() {
            // Without what is mounted at the place itself, which may hide its own source.
            let others: Vec<Mounted> =
                all.iter().filter(|other| *other != mounted).cloned().collect();
            return mountinfo::containing(&others, &path).is_some_and(|(around, name)| {
                around.device == mounted.device && name == mounted.root
            });
        }
        let Ok(metadata) = fs::metadata(&path) else { return false };
        if metadata.file_type().is_block_device() {
            return is_of(mounted, &path, &metadata);
        }
        let loop_file = format!("/sys/dev/block/{}/loop/backing_file", mounted.device);
        fs::read_to_string(loop_file).is_ok_and(|file| Path::new(file.trim_end()) == path)
    }

    /// Looks at the kernel's list, on a thread that may hang where a dead disk is on the way.
    async fn state(&self) -> io::Result<State> {
        let agent = self.clone();
        let look = move || {
            let Some(place) = agent.place()? else { return Ok(State::Free) };
            let all = mountinfo::read()?;
            let Some(mounted) = mountinfo::at(&all, &place) else {
                return Ok(State::Free);
            };
            if agent.is_ours(&all, mounted) {
                return Ok(State::Ours(place));
            }
            let (source, at) = (mounted.source.to_string_lossy(), place.display());
            let (fstype, ours) = (&mounted.fstype, &agent.source);
            Ok(State::Other(format!("{source} ({fstype}) is mounted at {at}, not {ours}")))
        };
        tokio::task::spawn_blocking(look).await?
    }

    /// The source, if it is a block device of which no mount is in the kernel's list.
    fn unlisted(&self) -> io::Result<Option<PathBuf>> {
        let Some(path) = self.path().filter(|_| !self.is_bind()) else { return Ok(None) };
        let Ok(path) = fs::canonicalize(path) else { return Ok(None) };
        let Ok(metadata) = fs::metadata(&path) else { return Ok(None) };
        if !metadata.file_type().is_block_device() {
            return Ok(None);
        }
        let listed = mountinfo::read()?.iter().any(|mounted| is_of(mounted, &path, &metadata));
        Ok((!listed).then_some(path))
    }

    /// Why nothing mounted does not mean that nothing is in use, if it does not: asks until
    /// `retry`, and waits for the kernel's word until `end`.
    async fn in_use(&self, retry: Instant, end: Instant) -> io::Result<Option<String>> {
        if !self.exclusive {
            return Ok(None);
        }
        let mut busy = false;
        loop {
            let agent = self.clone();
            let device = tokio::task::spawn_blocking(move || agent.unlisted()).await??;
            let Some(device) = device else { return Ok(None) };
            let (answer, device) = (self.claim.ask(&device, end).await?, device.display());
            if answer == Claimed::Free {
                return Ok(None);
            }
            busy |= answer == Claimed::Busy;
            let now = BootClock::new().now();
            if now < retry {
                pause(POLL.min(retry.since(now))).await?;
            } else if busy {
                return Ok(Some(format!(
                    "the file system on {device} is still in use: by another mount namespace or a mount that hangs"
                )));
            } else {
                return Ok(Some(format!(
                    "cannot tell whether {device} is in use: the kernel does not answer; look at the disk"
                )));
            }
        }
    }

    /// The answer of a stop that finds nothing mounted.
    async fn gone(&self, context: &OpContext, end: Instant) -> io::Result<Report> {
        // A moment more for the kernel's word, as also an `umount` may have taken until the end.
        let why = self.in_use(end, end + context.timeout / 10).await?;
        Ok(why.map_or_else(Report::success, |why| Report::new(Outcome::GenericError, why)))
    }

    /// What is wrong with the settings on this node, if anything is.
    fn objection(&self) -> Option<Report> {
        let directory = self.directory.display();
        if !self.directory.is_absolute() {
            let reason = format!("the directory {directory} does not begin with /");
            return Some(Report::new(Outcome::NotConfigured, reason));
        }
        if let Some(helper) = self.missing_helper() {
            let reason = format!("this node has no {helper}; install the package that has it");
            return Some(Report::new(Outcome::NotInstalled, reason));
        }
        match fs::symlink_metadata(&self.directory) {
            Ok(metadata) if metadata.is_dir() => None,
            Ok(metadata) if metadata.is_symlink() => {
                let reason = format!("{directory} is a symbolic link; name the directory itself");
                Some(Report::new(Outcome::NotConfigured, reason))
            }
            // A bind mount may cover a file.
            Ok(_) if self.is_bind() => None,
            Ok(_) => {
                let reason = format!("{directory} is no directory");
                Some(Report::new(Outcome::NotConfigured, reason))
            }
            Err(error) => {
                let reason = format!("cannot use the directory {directory}: {error}; make it");
                Some(Report::new(Outcome::NotInstalled, reason))
            }
        }
    }

    /// Waits for a source that is a path; `false`: it did not come until `end`.
    async fn await_source(&self, end: Instant) -> io::Result<bool> {
        let Some(path) = self.path() else { return Ok(true) };
        let rescans = self.rescan && path.starts_with("/dev");
        let (mut next, mut scan) = (BootClock::new().now(), None::<JoinHandle<()>>);
        while fs::symlink_metadata(&path).is_err() {
            let now = BootClock::new().now();
            if now >= end {
                return Ok(false);
            }
            if rescans && now >= next && scan.as_ref().is_none_or(JoinHandle::is_finished) {
                next = now + RESCAN;
                scan = Some(look_for_disks()?);
            }
            pause(POLL.min(end.since(now))).await?;
        }
        Ok(true)
    }

    async fn mount(&self, context: &OpContext) -> OpResult {
        let failed = |source| io_error(context, "start", source);
        let end = nearly(context);
        match self.state().await.map_err(failed)? {
            State::Free => {}
            State::Other(reason) => return Ok(Report::new(Outcome::GenericError, reason)),
            State::Ours(_) => return Ok(Report::success()),
        }
        if let Some(report) = self.objection() {
            return Ok(report);
        }
        if !self.await_source(end).await.map_err(failed)? {
            let reason = format!("{} is not there; attach it", self.source);
            return Ok(Report::new(Outcome::NotInstalled, reason));
        }
        let mut args: Vec<&str> = Vec::new();
        if let Some(fstype) = &self.fstype {
            args.extend(["-t", fstype]);
        }
        if !self.options.is_empty() {
            args.extend(["-o", &self.options]);
        }
        args.extend(["--", &self.source]);
        let said = call("mount", &args, &self.directory, context).await.map_err(failed)?;
        let doubt = || "mount says that it has, and the kernel that it has not".to_owned();
        Ok(match self.state().await.map_err(failed)? {
            State::Ours(_) => Report::success(),
            State::Other(reason) => Report::new(Outcome::GenericError, reason),
            State::Free => Report::new(Outcome::GenericError, said.unwrap_or_else(doubt)),
        })
    }

    async fn unmount(&self, context: &OpContext) -> OpResult {
        let failed = |source| io_error(context, "stop", source);
        let (begin, end) = (BootClock::new().now(), nearly(context));
        let kill_at = begin + HOLDERS_GRACE.min(context.timeout / 4);
        let agent = self.clone();
        let place = tokio::task::spawn_blocking(move || agent.place()).await;
        let place = place.map_err(io::Error::from).flatten().map_err(failed)?;
        let Some(place) = place else { return self.gone(context, end).await.map_err(failed) };
        let mut asked = false;
        loop {
            // The last one mounted first: it may lie in or over an earlier one.
            let all = mountinfo::read().map_err(failed)?;
            let Some(top) = all.iter().rev().find(|mounted| mounted.at.starts_with(&place)) else {
                return self.gone(context, end).await.map_err(failed);
            };
            let said = call("umount", &["--"], &top.at, context).await.map_err(failed)?;
            let Some(said) = said else { continue };
            let now = BootClock::new().now();
            if self.kill_holders && (!asked || now >= kill_at) {
                let signal = if asked { Signal::KILL } else { Signal::TERM };
                asked = true;
                let place = place.clone();
                let work = move || holders::signal(&place, signal);
                tokio::task::spawn_blocking(work).await.map_err(|e| failed(e.into()))?;
            }
            if now >= end {
                let held = place.clone();
                let found = tokio::task::spawn_blocking(move || holders::find(&held)).await;
                let who = holders::names(&found.unwrap_or_default());
                let reason = format!("{said}; it is held by {who}");
                return Ok(Report::new(Outcome::GenericError, reason));
            }
            pause(POLL.min(end.since(now))).await.map_err(failed)?;
        }
    }

    async fn look(&self, context: &OpContext, check: Check) -> OpResult {
        let failed = |source| io_error(context, "monitor", source);
        let (begin, end) = (BootClock::new().now(), nearly(context));
        let place = match self.state().await.map_err(failed)? {
            State::Ours(place) => place,
            State::Free => {
                let why = self.in_use(end.min(begin + IN_USE), end).await.map_err(failed)?;
                let free = || Report::new(Outcome::NotRunning, "");
                return Ok(why.map_or_else(free, |why| Report::new(Outcome::GenericError, why)));
            }
            State::Other(reason) => return Ok(Report::new(Outcome::GenericError, reason)),
        };
        let mut said = None;
        if check.depth >= 10 {
            said = call("stat", &["-f", "--"], &place, context).await.map_err(failed)?;
        }
        if check.depth >= 20 && said.is_none() && !self.has_option("ro") {
            let file = place.join(CHECK_FILE);
            let write = format!("of={}", file.display());
            let write = ["if=/dev/urandom", &write, "bs=512", "count=1", "conv=fsync"];
            said = call("dd", &write, "status=none", context).await.map_err(failed)?;
            if said.is_none() {
                let read = format!("if={}", file.display());
                let read = [read.as_str(), "of=/dev/null", "bs=512", "count=1"];
                said = call("dd", &read, "status=none", context).await.map_err(failed)?;
            }
        }
        Ok(said.map_or_else(Report::success, |said| Report::new(Outcome::GenericError, said)))
    }
}

/// Whether what is mounted is the block device at `path`, which has no links in it.
fn is_of(mounted: &Mounted, path: &Path, metadata: &fs::Metadata) -> bool {
    let device = metadata.rdev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    mounted.device == format!("{major}:{minor}")
        || fs::canonicalize(&mounted.source).is_ok_and(|source| source == path)
}

/// On a thread that is none of the runtime's, as a runtime waits for its own when it ends.
fn look_for_disks() -> io::Result<JoinHandle<()>> {
    let work = || match rescan(Path::new(ADAPTERS)) {
        Ok(adapters) => tracing::info!(adapters, "disks looked for"),
        Err(error) => tracing::warn!(%error, "cannot look for disks"),
    };
    std::thread::Builder::new().name("ha-rescan".to_owned()).spawn(work)
}

/// What the kernel says of the directory.
enum State {
    /// Nothing is mounted there.
    Free,
    /// Something else is mounted there: what, in words.
    Other(String),
    /// The source is mounted, and where, as the kernel names it.
    Ours(PathBuf),
}

/// When an answer must be begun, so that it comes before the time is up.
fn nearly(context: &OpContext) -> Instant {
    BootClock::new().now() + context.timeout * 4 / 5
}

fn io_error(context: &OpContext, what: &'static str, source: io::Error) -> AgentError {
    AgentError::Io { resource: context.resource.clone(), what, source }
}

/// Runs a program with `args` and then `last`; its words if it failed.
async fn call(
    program: &str,
    args: &[&str],
    last: impl AsRef<OsStr>,
    context: &OpContext,
) -> io::Result<Option<String>> {
    let mut command = Command::new(program);
    command.args(args).arg(last).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
    leftovers::mark(&mut command, context);
    // The operation's own limit comes first, and drops this.
    let limit = context.timeout.saturating_mul(2);
    let guard = if program == "stat" { Guard::Nobody } else { Guard::Warden };
    match Box::pin(run(command, limit, Duration::ZERO, guard)).await? {
        Ended::Exited(status, _) if status.success() => Ok(None),
        Ended::Exited(status, details) => {
            // The first line says what is wrong; `mount` ends with a hint at the kernel's log.
            let first = details.errors.lines().find(|line| !line.trim().is_empty());
            let words = first.map_or_else(|| status.to_string(), |line| line.trim().to_owned());
            Ok(Some(words.chars().take(300).collect()))
        }
        Ended::TimedOut(diagnosis) => Ok(Some(format!("{program} hung: {diagnosis}"))),
    }
}

#[async_trait]
impl ResourceAgent for Mount {
    async fn start(&self, context: &OpContext) -> OpResult {
        context.limit("start", self.mount(context)).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        context.limit("stop", self.unmount(context)).await
    }

    async fn monitor(&self, context: &OpContext, check: Check) -> OpResult {
        context.limit("monitor", self.look(context, check)).await
    }

    async fn validate(&self, _context: &OpContext) -> OpResult {
        Ok(self.objection().unwrap_or_else(Report::success))
    }

    fn metadata(&self) -> Metadata {
        let parameters = [
            ("source", "what to mount", None),
            ("directory", "where, a directory that exists", None),
            ("fstype", "its type, such as ext4", Some("")),
            ("options", "mount options, with commas between", Some("")),
            ("kill_holders", "whether a stop kills who holds it", Some("false")),
            ("exclusive", "whether the device must be free when stopped", Some("true")),
            ("rescan", "whether a start looks for new disks", Some("false")),
        ];
        described("mount", "Mounts a file system", &parameters)
    }
}
