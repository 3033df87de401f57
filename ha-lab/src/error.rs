//! What can go wrong in a laboratory.

use std::io;
use std::time::Duration;

use ha_core::id::NameError;

/// A laboratory, or an operation in it, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The text is not an address with a prefix length.
    #[error(
        "cannot use {text:?} as an address: {why}; write it with its prefix length, such as \
         10.77.0.1/24 or fd00::1/64"
    )]
    Address {
        /// The text, cut to 80 characters.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The lab of this handle is gone.
    #[error("cannot {what}: its lab was dropped; keep the `Lab` value alive as long as its hosts")]
    Closed {
        /// What was asked for.
        what: String,
    },
    /// There is such a name already.
    #[error("cannot add {what} {name:?}: there is one of that name; choose another")]
    Duplicate {
        /// `a host` or `a network`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The awaited line will never come: the process has ended.
    #[error(
        "cannot see the awaited line of {program} on {host}: it has ended ({status}), its last \
         line was {last:?}; look at the process's `lines()`"
    )]
    Ended {
        /// The program.
        program: String,
        /// Where it ran.
        host: String,
        /// How it ended.
        status: String,
        /// The last line it wrote.
        last: String,
    },
    /// A setting of this machine forbids namespaces.
    #[error("cannot {what}: {setting} forbids it; {remedy}")]
    Forbidden {
        /// What was tried.
        what: &'static str,
        /// The setting that forbids it.
        setting: String,
        /// What to do.
        remedy: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused.
    #[error(
        "cannot {what}: the kernel refused; look at the cause, and whether the lab still lives"
    )]
    Kernel {
        /// What was tried.
        what: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The name is not allowed.
    #[error("cannot name it so: the name is not allowed; choose another")]
    Name(
        #[from]
        #[source]
        NameError,
    ),
    /// A program is not installed.
    #[error("cannot {what}: the program {program} is not here; install the package {package}")]
    NoProgram {
        /// What needs it.
        what: &'static str,
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// There is no such host, interface or network here.
    #[error("cannot find {what} {name:?}: {why}; check the name and the order of the calls")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is there instead.
        why: String,
    },
    /// The number is outside of its range.
    #[error("cannot use {value} as {what}: it is out of range; choose one of {allowed}")]
    Range {
        /// What it was for.
        what: &'static str,
        /// The number.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// `nft` refused the rules.
    #[error(
        "cannot put the faults in place: nft said {said:?}; check that the kernel has nf_tables \
             with bridge support (module nf_tables)"
    )]
    Rules {
        /// Its standard error.
        said: String,
    },
    /// The process has threads already.
    #[error(
        "cannot enter a user namespace: the process has {count} threads, and the kernel lets only \
         a process with one in; call `ha_lab::enter` first in `main`, or wrap a test in \
         `ha_lab::run_test`"
    )]
    Threads {
        /// How many.
        count: usize,
    },
    /// Something did not happen in time; it may happen yet.
    #[error(
        "cannot {what}: it took more than {limit:?}; {seen}; raise the limit or look for the cause"
    )]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What was seen meanwhile.
        seen: String,
    },
    /// The process lacks the capabilities that a laboratory needs.
    #[error(
        "cannot {what}: this process lacks CAP_SYS_ADMIN or CAP_NET_ADMIN; call `ha_lab::enter` \
         first in `main`, wrap a test in `ha_lab::run_test`, or run it as root"
    )]
    Unprivileged {
        /// What needs them.
        what: &'static str,
    },
}

impl LabError {
    pub(crate) fn kernel(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Kernel { what: what.into(), source: source.into() }
    }
}
