//! The known name that is nearest to a misspelt one.

/// Names longer than this are not compared: nobody misspells them.
const LONGEST: usize = 64;

/// A known name that was probably meant: the nearest one, if it is near. Upper and lower case, and
/// `_` in place of `-`, are no difference.
pub(super) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given = plain(given)?;
    let most = match given.len() {
        0..=2 => return None,
        3..=5 => 1,
        6..=11 => 2,
        _ => 3,
    };
    let near = known.filter_map(|name| {
        let wanted = plain(name)?;
        (wanted.len().abs_diff(given.len()) <= most).then_some(())?;
        let distance = distance(&given, &wanted);
        (distance <= most).then_some((distance, name))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

fn plain(name: &str) -> Option<Vec<char>> {
    let plain = |c: char| if c == '_' { '-' } else { c.to_ascii_lowercase() };
    (name.len() <= LONGEST).then(|| name.chars().map(plain).collect())
}

/// How many letters must be changed, added, left out or swapped with the next one.
fn distance(given: &[char], wanted: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=wanted.len()).collect();
    for (row, letter) in given.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, target) in wanted.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX);
            let change = at(&last, column).saturating_add(usize::from(letter != target));
            let add = at(&next, column).saturating_add(1);
            let omit = at(&last, column + 1).saturating_add(1);
            let mut best = change.min(add).min(omit);
            if let (Some(row), Some(column)) = (row.checked_sub(1), column.checked_sub(1))
                && given.get(row) == Some(target)
                && wanted.get(column) == Some(letter)
            {
                best = best.min(at(&before, column).saturating_add(1));
            }
            next.push(best);
        }
        before = std::mem::replace(&mut last, next);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_found_and_a_foreign_one_is_not() {
        let known = ["priority", "no-quorum-policy", "clone-max", "role"];
        let near = |given| nearest(given, known.into_iter());
        assert_eq!(near("pirority"), Some("priority"));
        assert_eq!(near("no_quorum_policy"), Some("no-quorum-policy"));
        assert_eq!(near("no-quorum-polcy"), Some("no-quorum-policy"));
        assert_eq!(near("Clone-Max"), Some("clone-max"));
        assert_eq!(near("clone-mux"), Some("clone-max"));
        assert_eq!(near("rule"), Some("role"));
        assert_eq!(near("rack"), None);
        assert_eq!(near("é"), None);
        assert_eq!(near(&"x".repeat(1000)), None);
    }

    #[test]
    fn distances_count_changes() {
        let count = |a: &str, b: &str| {
            distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
        };
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("abc", "abc"), 0);
        assert_eq!(count("acb", "abc"), 1);
        assert_eq!(count("abcd", "bcd"), 1);
        assert_eq!(count("kitten", "sitting"), 3);
    }
}
