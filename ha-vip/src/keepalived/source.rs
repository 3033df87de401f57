//! Files into lines: comments, included files, definitions and conditions.

use std::collections::BTreeMap;
use std::io::{Error, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::lexer::without_comment;
use super::report::{Place, Report};
use super::{glob, limits};

/// A line after substitution.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) at: Place,
    pub(super) text: String,
}

/// A definition of several lines that is not complete yet.
#[derive(Debug)]
struct Open {
    name: String,
    value: String,
}

/// Reads files into lines.
#[derive(Debug)]
pub(super) struct Source<'a> {
    report: &'a mut Report,
    config_id: &'a str,
    folder: PathBuf,
    definitions: BTreeMap<String, String>,
    open: Option<Open>,
    lines: Vec<Line>,
    files: usize,
    /// How many bytes may still come, from files and from definitions.
    room: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(report: &'a mut Report, config_id: &'a str, folder: &Path) -> Self {
        let folder = folder.to_owned();
        let (definitions, lines) = (BTreeMap::new(), Vec::new());
        Self {
            report,
            config_id,
            folder,
            definitions,
            open: None,
            lines,
            files: 0,
            room: limits::BYTES,
        }
    }

    pub(super) fn finish(self) -> Vec<Line> {
        self.lines
    }

    /// Reads a file; `from` is the line that includes it.
    pub(super) fn file(&mut self, path: &Path, from: Option<&Place>, depth: usize) {
        let name: Rc<str> = path.display().to_string().into();
        let here = Place { file: Rc::clone(&name), line: 0 };
        let at = from.unwrap_or(&here);
        // What is wrong was told when the room ran out.
        if self.room == 0 {
            return;
        }
        self.files += 1;
        if self.files > limits::FILES || depth > limits::DEPTH {
            let allowed = format!("{} files, {} deep", limits::FILES, limits::DEPTH);
            self.report.wrong(at, format!("including {name}"), allowed);
            return;
        }
        let most = u64::try_from(limits::FILE).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        // A FIFO or a device would never end, or not even begin.
        let is_file = std::fs::metadata(path).map(|meta| meta.is_file());
        let opened = is_file.and_then(|is_file| {
            if is_file { std::fs::File::open(path) } else { Err(Error::other("it is not a file")) }
        });
        let read = opened.and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            self.report.wrong(at, format!("{name} ({error})"), "a file that can be read");
            return;
        }
        if bytes.len() > limits::FILE {
            let allowed = format!("files of at most {} bytes", limits::FILE);
            self.report.wrong(at, format!("the size of {name}"), allowed);
            return;
        }
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let outer = std::mem::replace(&mut self.folder, folder);
        self.text(&name, &String::from_utf8_lossy(&bytes), depth);
        self.folder = outer;
    }

    /// Reads a text that is called `name`.
    pub(super) fn text(&mut self, name: &Rc<str>, text: &str, depth: usize) {
        for (line, number) in text.lines().zip(1..) {
            if self.report.is_full() {
                return;
            }
            let at = Place { file: Rc::clone(name), line: number };
            let Some(room) = self.room.checked_sub(line.len() + limits::LINE) else {
                self.room = 0;
                self.report.wrong(&at, "so much text", format!("{} bytes", limits::BYTES));
                return;
            };
            self.room = room;
            let line = without_comment(line).trim();
            if let Some(mut open) = self.open.take() {
                let more = line.strip_suffix('\\');
                open.value.push_str(more.unwrap_or(line));
                match more {
                    Some(_) => {
                        open.value.push('\n');
                        self.open = Some(open);
                    }
                    None => self.define(open),
                }
            } else if let Some(pattern) = included(line) {
                self.include(&at, pattern, depth);
            } else {
                self.line(&at, line, 0);
            }
        }
        if let Some(open) = self.open.take() {
            self.define(open);
        }
    }

    fn include(&mut self, at: &Place, pattern: &str, depth: usize) {
        let pattern = pattern.trim_matches('"');
        if pattern.len() > limits::PATTERN {
            let allowed = format!("a pattern of at most {} bytes", limits::PATTERN);
            self.report.wrong(at, "including so long a pattern", allowed);
            return;
        }
        let files = glob::files(&self.folder, pattern);
        if files.is_empty() {
            self.report.warn(at, format!("`include {pattern}` names no file"));
        }
        for file in files {
            self.file(&file, Some(at), depth + 1);
        }
    }

    /// Takes one line, or what a definition made of it.
    fn line(&mut self, at: &Place, line: &str, depth: usize) {
        let line = line.trim();
        if depth > limits::DEPTH {
            self.report.wrong(at, "a definition that names itself", "definitions that end");
            return;
        }
        if let Some(rest) = line.strip_prefix('@') {
            let (id, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let wanted = match id.strip_prefix('^') {
                Some(other) => other != self.config_id,
                None => id == self.config_id,
            };
            if wanted {
                self.line(at, rest, depth + 1);
            }
            return;
        }
        if let Some((name, value)) = definition(line) {
            let open = Open { name: name.to_owned(), value: String::new() };
            match value.strip_suffix('\\') {
                Some(start) if depth == 0 => {
                    let value = match start.trim() {
                        "" => String::new(),
                        start => format!("{start}\n"),
                    };
                    self.open = Some(Open { value, ..open });
                }
                Some(_) | None => self.define(Open { value: value.trim().to_owned(), ..open }),
            }
            return;
        }
        if line.starts_with("~SEQ") || line.starts_with("~LST") {
            self.report.wrong(at, "`~SEQ` and `~LST`", "each line as it is meant");
            return;
        }
        match self.substitute(at, line) {
            Some(text) => {
                for line in text.lines() {
                    self.line(at, line, depth + 1);
                }
            }
            None if line.is_empty() => {}
            None => self.lines.push(Line { at: at.clone(), text: line.to_owned() }),
        }
    }

    fn define(&mut self, definition: Open) {
        self.definitions.insert(definition.name, definition.value);
    }

    /// The line with each definition replaced once; `None` if it names none.
    fn substitute(&mut self, at: &Place, line: &str) -> Option<String> {
        let (mut made, mut rest, mut replaced) = (String::new(), line, false);
        while let Some((before, after)) = rest.split_once('$') {
            made.push_str(before);
            let (name, tail) = reference(after);
            if let Some(value) = name.and_then(|name| self.value(name)) {
                replaced = true;
                self.room = self.room.saturating_sub(value.len() + limits::LINE);
                made.push_str(&value);
                rest = tail;
            } else {
                made.push('$');
                rest = after;
            }
            if self.room == 0 || made.len() > limits::FILE {
                let allowed = format!("definitions that make at most {} bytes", limits::BYTES);
                self.report.wrong(at, "so much text", allowed);
                return Some(String::new());
            }
        }
        made.push_str(rest);
        replaced.then_some(made)
    }

    fn value(&self, name: &str) -> Option<String> {
        match name.split_once(' ').map_or((name, ""), |(name, rest)| (name, rest.trim())) {
            ("_PWD", "") => Some(self.folder.display().to_string()),
            ("_INSTANCE", "") => Some(self.config_id.to_owned()),
            ("_ENV", variable) => std::env::var(variable).ok(),
            (name, "") => self.definitions.get(name).cloned(),
            (_, _) => None,
        }
    }
}

/// What an `include` line includes; its variants only differ in what they complain about.
fn included(line: &str) -> Option<&str> {
    let (keyword, rest) = line.split_once(char::is_whitespace)?;
    let known = ["include", "includer", "includem", "includew", "includeb", "includea"];
    known.contains(&keyword).then_some(rest.trim())
}

fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('$')?.split_once('=')?;
    is_name(name).then_some((name, value))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The name after a `$`, and what follows it: `{NAME}`, or `NAME` up to a space.
fn reference(after: &str) -> (Option<&str>, &str) {
    if let Some(inner) = after.strip_prefix('{') {
        return match inner.split_once('}') {
            Some((name, tail)) => (Some(name), tail),
            None => (None, after),
        };
    }
    let end = after.find(char::is_whitespace).unwrap_or(after.len());
    let (name, tail) = after.split_at_checked(end).unwrap_or((after, ""));
    (is_name(name).then_some(name), tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(config_id: &str, text: &str) -> Vec<String> {
        let mut report = Report::new(false);
        let mut source = Source::new(&mut report, config_id, Path::new("/etc/keepalived"));
        source.text(&"keepalived.conf".into(), text, 0);
        let lines = source.finish().into_iter().map(|line| line.text).collect();
        report.finish(|_| Some(())).expect("nothing wrong");
        lines
    }

    #[test]
    fn definitions_are_replaced_when_they_are_used() {
        let text = "$BASE=10.2.${SUB}\n$SUB=0\n${BASE}.100/32\n$SUB=10\n${BASE}.100/32 # x\n\
                    a $SUB b\n$SUB.x ${NOBODY} $5\n${_PWD}/x";
        let expected = [
            "10.2.0.100/32",
            "10.2.10.100/32",
            "a 10 b",
            "$SUB.x ${NOBODY} $5",
            "/etc/keepalived/x",
        ];
        assert_eq!(lines("", text), expected);
    }

    #[test]
    fn definitions_have_lines_and_lines_have_conditions() {
        let text = "$I= \\\nvrrp_instance V${N} { \\\n  @main priority 200 \\\n  \
                    @^main priority 100 \\\n}\n$N=1\n$I\n@main $N=2\n$I\n";
        let main = ["vrrp_instance V1 {", "priority 200", "}", "vrrp_instance V2 {"];
        assert_eq!(lines("main", text)[..4], main);
        let other = ["vrrp_instance V1 {", "priority 100", "}", "vrrp_instance V1 {"];
        assert_eq!(lines("other", text)[..4], other);
    }

    #[test]
    fn definitions_that_explode_or_turn_around_are_told() {
        let levels = (1..40).map(|level| (level, level - 1));
        let levels = levels.map(|(a, b)| format!("$A{a}=${{A{b}}}${{A{b}}}"));
        let bomb = levels.collect::<Vec<_>>().join("\n") + "\n$A0=xxxxxxxxxxxxxxxx\n$A39\n";
        for text in [bomb.as_str(), "$A=${A}\n$A\n", "$A=\\\n$A \\\n$A \\\n\n$A\n"] {
            let mut report = Report::new(false);
            Source::new(&mut report, "", Path::new("/")).text(&"x".into(), text, 0);
            report.finish(|_| Some(())).expect_err("told");
        }
    }
}
