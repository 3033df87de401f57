//! What a process group was doing when its time was up.

use std::fmt;

/// How many processes are named in a sentence.
const SHOWN: usize = 4;
/// How many characters of the last line are.
const MAX_WORDS: usize = 120;

/// The processes of an operation whose time was up, just before they were told to end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The processes, by rising id; at most 32.
    pub processes: Vec<ProcessState>,
    /// How many there were beyond these.
    pub more: usize,
    /// The last lines of its standard output, at most 20 and 4 KiB.
    pub output: Vec<String>,
    /// The last lines of its standard error, likewise.
    pub errors: Vec<String>,
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
    /// The functions of the kernel that it is in, the innermost first, at most 16; empty if it is in
    /// none, or this process may not see them (it takes root).
    pub stack: Vec<String>,
    /// Its command line, cut to 200 characters; `[name]` where it cannot be read.
    pub command: String,
}

impl fmt::Display for Diagnosis {
    /// One line: up to four processes, parent before what it waits for as far as their ids tell,
    /// and the last line that was said. The fields have all of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, process) in self.processes.iter().take(SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let ProcessState { pid, parent, state, command, waits_in, .. } = process;
            write!(f, "{separator}{pid} (parent {parent}) {state} {command:?}")?;
            if !waits_in.is_empty() {
                write!(f, " in {waits_in}")?;
            }
        }
        match self.processes.len().saturating_sub(SHOWN) + self.more {
            0 => {}
            more => write!(f, "; {more} more")?,
        }
        let mut words = self.output.iter().chain(&self.errors);
        if let Some(words) = words.rfind(|line| !line.trim().is_empty()) {
            let words: String = words.trim().chars().take(MAX_WORDS).collect();
            let separator = if self.processes.is_empty() { "" } else { "; " };
            write!(f, "{separator}last said {words:?}")?;
        }
        Ok(())
    }
}

impl Diagnosis {
    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.output.is_empty() && self.errors.is_empty()
    }
}

/// The last lines of a text, as a diagnosis keeps them.
#[cfg(feature = "tokio")]
pub(crate) fn last_lines(text: &str) -> Vec<String> {
    let from = text.ceil_char_boundary(text.len().saturating_sub(4 * 1024));
    let tail = text.get(from..).unwrap_or_default();
    let lines: Vec<_> = tail.lines().map(str::to_owned).collect();
    let from = lines.len().saturating_sub(20);
    lines.into_iter().skip(from).collect()
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_few_and_whole_characters() {
        assert_eq!(last_lines("a\nb\n"), ["a", "b"]);
        let many = "line\n".repeat(100);
        assert_eq!(last_lines(&many).len(), 20);
        let wide = "\u{20ac}".repeat(10_000);
        let kept = last_lines(&wide);
        assert!(kept.len() == 1 && kept[0].len() <= 4 * 1024 && kept[0].starts_with('\u{20ac}'));
    }

    #[test]
    fn the_text_is_short_whatever_there_is() {
        let process = |pid| ProcessState {
            pid,
            parent: 1,
            group: 1,
            state: 'S',
            waits_in: "do_wait".to_owned(),
            stack: vec!["do_wait".to_owned()],
            command: "x".repeat(200),
        };
        let diagnosis = Diagnosis {
            processes: (0..32).map(process).collect(),
            more: 9_968,
            output: vec!["out".to_owned()],
            errors: vec![format!("cannot reach\u{1b}[31m {}", "x".repeat(500)), String::new()],
        };
        let text = diagnosis.to_string();
        assert!(text.len() < 1_500, "{} {text}", text.len());
        assert!(text.contains("9996 more") && !text.contains('\u{1b}'), "{text}");
    }
}
