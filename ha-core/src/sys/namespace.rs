//! Namespaces: of the calling thread, of a child that is about to be started, and the first
//! process of a process namespace with a mount namespace of its own.
//!
//! For laboratories and tests. Nothing here has a name in the file system: a namespace lives as
//! long as a thread, a process or a descriptor holds it, so the kernel removes it in every way in
//! which its maker can end.
#![expect(unsafe_code, reason = "unshare, clone3 and code between fork and exec have no safe form")]

use std::ffi::CStr;
use std::io::{self, PipeWriter, Read as _};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getegid, geteuid, pidfd_send_signal, waitid,
};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

/// Moves the calling thread into a new, empty network namespace; other threads stay where they are.
///
/// # Errors
///
/// The kernel's: `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` when
/// `/proc/sys/user/max_net_namespaces` is used up.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: `unshare` is unsafe for the flag FILES alone, which is not given.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

/// Moves the calling process into a new user namespace in which it is user and group 0 and has all
/// capabilities; outside it stays who it was.
///
/// # Errors
///
/// The kernel's: `EINVAL` when the process has more than one thread, `EPERM` or `ENOSPC` when user
/// namespaces are forbidden.
pub fn enter_user_namespace() -> io::Result<()> {
    Maps::of_caller().enter()
}

/// Makes `command` start its program in a new user namespace, as [`enter_user_namespace`] does.
///
/// What fails there comes back as the error of [`Command::spawn`].
pub fn start_in_user_namespace(command: &mut Command) {
    let maps = Maps::of_caller();
    // SAFETY: the closure runs between fork and exec in a child of a process that may have many
    // threads; it makes system calls only (unshare, open, write, close), on texts that were
    // written before the fork, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(move || maps.enter()) };
}

/// The identity maps of a new user namespace, made beforehand because the child of a process with
/// threads must not allocate.
#[derive(Debug)]
struct Maps {
    uid: String,
    gid: String,
}

impl Maps {
    fn of_caller() -> Self {
        Self {
            uid: format!("0 {} 1", geteuid().as_raw()),
            gid: format!("0 {} 1", getegid().as_raw()),
        }
    }

    /// Calls the kernel only: no allocation, no lock.
    fn enter(&self) -> io::Result<()> {
        // SAFETY: `unshare` is unsafe for the flag FILES alone, which is not given.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }?;
        // An unprivileged process may map its group only after it gave up `setgroups`.
        put(c"/proc/self/setgroups", b"deny")?;
        put(c"/proc/self/uid_map", self.uid.as_bytes())?;
        put(c"/proc/self/gid_map", self.gid.as_bytes())
    }
}

/// Writes `text` to a file of `/proc` in one call, without allocating.
fn put(path: &CStr, text: &[u8]) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text)?;
    Ok(())
}

/// The first process of a process namespace: as long as it lives others can be started there, and
/// when it dies the kernel kills them all, including those that have made themselves daemons.
///
/// It has a mount namespace of its own, which begins as a copy of the caller's: what is mounted or
/// unmounted in it is seen in it alone, and goes with its last process. `/proc` there shows the
/// processes of the namespace, unless the kernel forbids that mount (in a user namespace of a
/// container that hides parts of `/proc`): then it is the caller's.
///
/// It does nothing but reap. It holds no descriptor, ignores every signal but a kill from outside,
/// and dies with the thread that started it. Dropping this value leaves it running; call
/// [`NamespaceInit::kill`].
#[derive(Debug)]
pub struct NamespaceInit {
    pid: Pid,
    pidfd: OwnedFd,
    /// Held so that the child can see whether its parent is still there.
    _alive: PipeWriter,
}

impl NamespaceInit {
    /// Starts it, in a new process namespace; the calling thread itself moves nowhere.
    ///
    /// Call it from a thread that lives as long as the namespace shall: its end ends the namespace.
    ///
    /// # Errors
    ///
    /// The kernel's: `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` when
    /// `/proc/sys/user/max_pid_namespaces` is used up or namespaces are nested too deeply.
    pub fn start() -> io::Result<Self> {
        let (alive, held) = io::pipe()?;
        let (mut ready, ready_in_child) = io::pipe()?;
        let signals = BlockedSignals::new()?;
        let mut pidfd: RawFd = -1;
        // SAFETY: all zeros are a valid `clone_args`: every part of it is an optional number.
        let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
        args.flags = FLAGS;
        args.exit_signal = EXIT_SIGNAL;
        args.pidfd = (&raw mut pidfd).addr() as u64;
        // SAFETY: `args` is valid and its size stated; without CLONE_VM the child works on a copy
        // of this memory, and it runs `be_init` only, which makes system calls and never returns.
        let pid = unsafe {
            libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>())
        };
        if pid == 0 {
            be_init(alive.as_raw_fd(), held.as_raw_fd(), ready_in_child.as_raw_fd());
        }
        let error = io::Error::last_os_error();
        drop(signals);
        let number = i32::try_from(pid).ok().filter(|pid| *pid > 0);
        let Some(pid) = number.and_then(Pid::from_raw) else {
            return Err(error);
        };
        // SAFETY: the kernel has stored a new descriptor here that nobody else knows.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        drop(ready_in_child);
        let init = Self { pid, pidfd, _alive: held };
        // The child closes its end once it is set up: end of file. Before, it may name an error.
        let mut words = Vec::new();
        ready.read_to_end(&mut words)?;
        if let Ok(number) = words.try_into() {
            init.wait()?;
            return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(number)));
        }
        Ok(init)
    }

    /// Its number in the process namespace of the caller.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// Moves the calling thread into its mount namespace, and the thread's future children into
    /// its process namespace, too; the working directory stays. Other threads stay where they are.
    ///
    /// Call it on a thread that starts a child and then ends: there is no way back.
    ///
    /// # Errors
    ///
    /// The kernel's: `ESRCH` when it is dead, `EPERM` without `CAP_SYS_ADMIN` and `CAP_SYS_CHROOT`.
    pub fn enter(&self) -> io::Result<()> {
        let folder = std::env::current_dir();
        // A thread that shares its root and working directory with others may not move.
        // SAFETY: `unshare` is unsafe for the flag FILES alone, which is not given.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
        let kinds = ThreadNameSpaceType::PROCESS_ID | ThreadNameSpaceType::MOUNT;
        move_into_thread_name_spaces(self.pidfd.as_fd(), kinds)?;
        // A directory that has been removed is none to return to: stay in the root.
        if let Ok(folder) = folder {
            rustix::process::chdir(folder)?;
        }
        Ok(())
    }

    /// Kills it and with it every process of its namespace; does not wait.
    ///
    /// # Errors
    ///
    /// The kernel's; none when it was dead already.
    pub fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it is dead and no process of its namespace is left.
    ///
    /// The caller's own children in the namespace count as left until the caller has waited for
    /// them, on another thread or beforehand.
    ///
    /// # Errors
    ///
    /// The kernel's; none when it was waited for already.
    pub fn wait(&self) -> io::Result<()> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(_) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The descriptor of the process, for `setns` and `poll`.
impl AsFd for NamespaceInit {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

const FLAGS: u64 = (libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_PIDFD) as u64;
const EXIT_SIGNAL: u64 = libc::SIGCHLD as u64;

/// All that the first process does, on a copy of the memory of a process that may have had many
/// threads: system calls only, no allocation, no lock, no return.
fn be_init(alive: RawFd, held: RawFd, ready: RawFd) -> ! {
    let mut parent = libc::pollfd { fd: alive, events: 0, revents: 0 };
    // SAFETY: plain system calls with constant arguments, on texts and one struct that are alive;
    // the descriptors are of this process and nothing of Rust in it uses them any more. All
    // signals are blocked since before the fork, so no handler of the parent's program runs here.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        libc::close(held);
        // A parent that died before the line above has closed its end of the pipe.
        if libc::poll(&raw mut parent, 1, 0) != 0 {
            libc::_exit(1);
        }
        let (none, proc) = (std::ptr::null::<libc::c_char>(), c"proc".as_ptr());
        // Else mounts would be seen outside, and outlive this namespace.
        let private = libc::MS_REC | libc::MS_PRIVATE;
        if libc::mount(none, c"/".as_ptr(), none, private, std::ptr::null()) != 0 {
            let error = (*libc::__errno_location()).to_ne_bytes();
            libc::write(ready, error.as_ptr().cast(), error.len());
            libc::_exit(1);
        }
        // Refused in some user namespaces: then `/proc` stays the one from outside.
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        libc::mount(proc, c"/proc".as_ptr(), proc, flags, std::ptr::null());
        libc::prctl(libc::PR_SET_NAME, c"ha-lab-init".as_ptr(), 0, 0, 0);
        // Children of an ignoring parent are reaped by the kernel.
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        libc::setsid();
        libc::chdir(c"/".as_ptr());
        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
        loop {
            libc::pause();
        }
    }
}

/// While it lives, the calling thread gets no signal; afterwards those it got before.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn new() -> io::Result<Self> {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both sets are locals of the right type; `sigfillset` fills the first one wholly,
        // and `pthread_sigmask` the second unless it fails, which is looked at.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            match libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) {
                0 => Ok(Self(before.assume_init())),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set is the one that the kernel gave; a null pointer asks for no copy.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_of_a_namespace_dies_when_told() {
        // Needs CAP_SYS_ADMIN; ha-lab's tests cover the rest, with and without it.
        let Ok(init) = NamespaceInit::start() else { return };
        let name = std::fs::read_to_string(format!("/proc/{}/comm", init.pid().as_raw_pid()));
        assert_eq!(name.expect("it runs"), "ha-lab-init\n");
        init.kill().expect("killed");
        init.wait().expect("waited");
        init.kill().expect("a dead one is no error");
        init.wait().expect("nor is a second wait");
    }

    #[test]
    fn a_child_in_a_user_namespace_believes_to_be_root() {
        let mut command = Command::new("id");
        command.arg("-u");
        start_in_user_namespace(&mut command);
        // Where the kernel forbids it, the error arrives here.
        let Ok(output) = command.output() else { return };
        assert_eq!(output.stdout, b"0\n");
    }
}
