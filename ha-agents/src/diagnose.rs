//! What a process group was doing when its time was up.

use std::fmt;

/// The processes of an operation whose time was up, just before they were told to end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The processes, by rising id; at most 32.
    pub processes: Vec<ProcessState>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessState {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// The kernel's letter: `R` runs, `S` sleeps, `D` waits for a device and cannot be killed, `Z`
    /// has ended, ….
    pub state: char,
    /// Where in the kernel it waits; empty if it does not, or the kernel does not tell.
    pub waits_in: String,
    /// Its command line, cut to 200 characters; `[name]` where it cannot be read.
    pub command: String,
}

impl fmt::Display for Diagnosis {
    /// One line: a process each, parent before what it waits for as far as their ids tell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, process) in self.processes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let ProcessState { pid, parent, state, command, waits_in, .. } = process;
            write!(f, "{separator}{pid} (parent {parent}) {state} {command:?}")?;
            if !waits_in.is_empty() {
                write!(f, " in {waits_in}")?;
            }
        }
        Ok(())
    }
}
