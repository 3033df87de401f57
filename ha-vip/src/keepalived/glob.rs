//! Names of files with wildcards.

use std::path::{Path, PathBuf};

/// More files than this match nothing more.
const MOST: usize = 1_000;
/// Steps of one comparison: many stars in a row take long.
const STEPS: usize = 100_000;

/// The existing files that a pattern names, sorted; `*`, `?`, `[…]` and `{a,b}` are understood.
pub(super) fn files(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for pattern in braces(pattern) {
        let start = if pattern.starts_with('/') { Path::new("/") } else { folder };
        let mut level = vec![start.to_owned()];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            level = level.iter().flat_map(|folder| below(folder, part)).take(MOST).collect();
        }
        level.retain(|path| path.is_file());
        level.sort();
        found.extend(level);
        found.truncate(MOST);
    }
    found
}

/// What is in a folder by this pattern.
fn below(folder: &Path, part: &str) -> Vec<PathBuf> {
    if !part.contains(['*', '?', '[']) {
        return vec![folder.join(part)];
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let hidden = |name: &str| name.starts_with('.') && !part.starts_with('.');
    let matching = names.filter(|name| !hidden(name) && matches(part, name));
    matching.take(MOST).map(|name| folder.join(name)).collect()
}

/// The patterns without braces that one with braces stands for, at most 64.
fn braces(pattern: &str) -> Vec<String> {
    let (mut open, mut done) = (vec![pattern.to_owned()], Vec::new());
    while let Some(pattern) = open.pop() {
        if open.len() + done.len() >= 64 {
            break;
        }
        let pair = pair(&pattern);
        match pair {
            Some((head, choices, tail)) => {
                let made = choices.into_iter().map(|choice| format!("{head}{choice}{tail}"));
                open.extend(made.rev());
            }
            None => done.push(pattern),
        }
    }
    done
}

/// The first pair of braces: what is before it, its choices, what is after it.
fn pair(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let (head, inside) = pattern.split_once('{')?;
    let (mut depth, mut start, mut choices) = (0_usize, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                choices.push(inside.get(start..at)?);
                start = at + 1;
            }
            '}' if depth == 0 => {
                choices.push(inside.get(start..at)?);
                return Some((head, choices, inside.get(at + 1..)?));
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let mut steps = 0;
    part_matches(&pattern, &name, &mut steps)
}

fn part_matches(pattern: &[char], name: &[char], steps: &mut usize) -> bool {
    *steps += 1;
    if *steps > STEPS {
        return false;
    }
    match (pattern.split_first(), name.split_first()) {
        (None, rest) => rest.is_none(),
        (Some(('*', after)), _) => (0..=name.len())
            .any(|skip| part_matches(after, name.get(skip..).unwrap_or_default(), steps)),
        (Some(('?', after)), Some((_, rest))) => part_matches(after, rest, steps),
        (Some(('[', after)), Some((c, rest))) => match after.iter().position(|c| *c == ']') {
            Some(end) => {
                let (set, after) = after.split_at_checked(end).unwrap_or_default();
                in_set(set, *c) && part_matches(after.get(1..).unwrap_or_default(), rest, steps)
            }
            None => false,
        },
        (Some((wanted, after)), Some((c, rest))) => wanted == c && part_matches(after, rest, steps),
        (Some(_), None) => false,
    }
}

fn in_set(set: &[char], c: char) -> bool {
    let (negated, mut set) = match set.split_first() {
        Some(('!' | '^', rest)) => (true, rest),
        Some(_) | None => (false, set),
    };
    let mut found = false;
    while let Some((first, rest)) = set.split_first() {
        if let ['-', last, ..] = rest {
            found |= (*first..=*last).contains(&c);
            set = rest.get(2..).unwrap_or_default();
        } else {
            found |= *first == c;
            set = rest;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("vi_?.c*f", "vi_1.conf", true),
            ("[a-c][!0-9]", "bx", true),
            ("[a-c][!0-9]", "b1", false),
            ("[", "[", false),
            ("**a**b", "xxaxxb", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(40), &"a".repeat(200).replace("aa", "ab")), "bounded");
    }

    #[test]
    fn braces_are_choices() {
        assert_eq!(braces("a{b,c{d,e}}f"), ["abf", "acdf", "acef"].map(String::from));
        assert_eq!(braces("a}b{"), ["a}b{"]);
        assert!(braces(&"{a,b}".repeat(40)).len() <= 64, "bounded");
    }
}
