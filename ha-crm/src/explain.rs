//! Why is it there, and why not elsewhere?

use std::collections::BTreeMap;
use std::fmt;

use ha_core::id::NodeName;
use serde::Serialize;

use crate::model::Score;

/// One part of a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Part {
    /// Where it comes from.
    pub why: String,
    /// How much it is.
    pub score: Score,
}

/// The score of a resource on one node, with its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Sheet {
    parts: Vec<Part>,
}

impl Sheet {
    pub(crate) fn add(&mut self, why: impl Into<String>, score: Score) {
        self.parts.push(Part { why: why.into(), score });
    }

    /// The parts, in the order in which they were found.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The sum of the parts.
    #[must_use]
    pub fn total(&self) -> Score {
        self.parts.iter().fold(Score::ZERO, |sum, part| sum + part.score)
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total())?;
        for (index, part) in self.parts.iter().enumerate() {
            let separator = if index == 0 { " = " } else { " + " };
            write!(f, "{separator}{} ({})", part.score, part.why)?;
        }
        Ok(())
    }
}

/// Where a resource shall be, and how that came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Placement {
    /// Where it shall be active; empty: nowhere.
    pub nodes: Vec<NodeName>,
    /// Why there, or why nowhere.
    pub reason: String,
    /// The score on every node.
    pub sheets: BTreeMap<NodeName, Sheet>,
}

impl fmt::Display for Placement {
    /// The reason, then one node a line with its score.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<&str> = self.nodes.iter().map(NodeName::as_str).collect();
        let place = if nodes.is_empty() { "nowhere".to_owned() } else { nodes.join(", ") };
        writeln!(f, "{place}: {}", self.reason)?;
        for (node, sheet) in &self.sheets {
            writeln!(f, "   {node}: {sheet}")?;
        }
        Ok(())
    }
}
