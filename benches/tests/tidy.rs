//! What lints cannot check, as a test: `CONTRIBUTING.md` has the rules and their reasons.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 600;

struct File {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files of the workspace with one of these endings, without build results.
fn files(endings: &[&str]) -> Vec<File> {
    let (mut found, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty());
    found
}

/// Fails with all complaints at once.
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn files_have_one_idea_in_them() {
    let long = files(&[".rs"]).into_iter().filter(|file| file.text.lines().count() > MAX_LINES);
    let complaints: Vec<String> = long
        .map(|file| {
            format!("{}: {} lines, at most {MAX_LINES}", file.path, file.text.lines().count())
        })
        .collect();
    none(&complaints);
}

#[test]
fn machines_do_no_input_or_output() {
    let mut complaints = Vec::new();
    for file in files(&[".rs"]) {
        let code = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_core = code.lines().any(|line| {
            line.starts_with("impl") && line.contains("Machine for") && line.ends_with('{')
        });
        if !is_core || file.path.contains("/tests/") {
            continue;
        }
        for word in [".await", "tokio::", "std::net::Udp", "std::net::Tcp", "Clock", "thread::"] {
            let used = |line: &&str| line.contains(word) && !line.trim_start().starts_with("//");
            if code.lines().any(|line| used(&line)) {
                complaints.push(format!("{}: a machine with `{word}` in it", file.path));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_example_in_the_documentation_is_compiled() {
    let fence = format!("```{}", "ignore");
    let complaints: Vec<String> = files(&[".rs", ".md"])
        .into_iter()
        .filter(|file| file.text.contains(&fence))
        .map(|file| format!("{}: an ignored example; use no_run or compile_fail", file.path))
        .collect();
    none(&complaints);
}

#[test]
fn nothing_is_left_for_later_without_saying_so() {
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["unimple", "mented!"].concat()];
    let mut complaints = Vec::new();
    for file in files(&[".rs"]) {
        for (number, line) in file.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(*word)) {
                complaints.push(format!("{}:{}: {word}", file.path, number + 1));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_requirement_in_the_conformance_tables_has_a_test_that_exists() {
    let code: String = files(&[".rs"]).into_iter().map(|file| file.text).collect();
    let (mut complaints, mut rows) = (Vec::new(), 0);
    for file in files(&[".md"]).iter().filter(|file| file.path.contains("docs/conformance")) {
        for line in file.text.lines().filter(|line| line.starts_with("| §")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let Some(test) = cells.iter().rev().find(|cell| !cell.is_empty()) else { continue };
            rows += 1;
            if test.starts_with("GAP") {
                continue;
            }
            for name in test.split(',').map(|name| name.trim().trim_matches('`')) {
                if !code.contains(&format!("fn {name}(")) {
                    complaints.push(format!("{}: no test {name} for {line}", file.path));
                }
            }
        }
    }
    assert!(rows > 10, "only {rows} requirements");
    none(&complaints);
}

#[test]
fn every_program_and_crate_is_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut complaints = Vec::new();
    for entry in fs::read_dir(root().join("examples/src/bin")).unwrap().map(Result::unwrap) {
        let name = entry.path().file_stem().unwrap().to_string_lossy().into_owned();
        if !readme.contains(&format!("`{name}`")) {
            complaints.push(format!("README.md does not name the program {name}"));
        }
    }
    for entry in fs::read_dir(root()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("ha-") && !readme.contains(&format!("`{name}`")) {
            complaints.push(format!("README.md does not name the crate {name}"));
        }
    }
    none(&complaints);
}
