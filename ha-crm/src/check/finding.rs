//! What is found.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::cib::{Place, Spot};

/// How much a finding matters. The graver one is the lesser, so it sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// It is wrong: a part of the description cannot mean what it says.
    Error,
    /// It works, but most likely not as it was meant.
    Warning,
    /// It is good to know; there may be reasons for it.
    Hint,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        })
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)+) => {
        /// What kind of problem it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum FindingKind {
            $($(#[$doc])* $variant,)+
        }

        impl FindingKind {
            /// All kinds, in the order of the alphabet.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name, as it is serialized.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

kinds! {
    /// A resource may run on no node.
    BannedEverywhere = "banned-everywhere",
    /// A clone that can have no copies, or no promoted ones.
    CloneLimit = "clone-limit",
    /// Resources are to be together and apart at once.
    ColocationContradiction = "colocation-contradiction",
    /// Resources each must be with the next, in a circle.
    ColocationLoop = "colocation-loop",
    /// A range of dates ends before it begins.
    DateRange = "date-range",
    /// An element refers to one that is not there.
    Dangling = "dangling",
    /// Two elements have one id.
    DuplicateId = "duplicate-id",
    /// Two operations are the same, or cannot be told apart.
    DuplicateOperation = "duplicate-operation",
    /// Fencing is switched off.
    FencingDisabled = "fencing-disabled",
    /// A failure is to be answered with fencing, which is switched off.
    FencingNeeded = "fencing-needed",
    /// A fencing level that cannot do its work.
    FencingLevel = "fencing-level",
    /// A group of one.
    GroupOfOne = "group-of-one",
    /// An element or attribute that must be there is not.
    Lacking = "lacking",
    /// A resource must be on a node and must not.
    LocationContradiction = "location-contradiction",
    /// A location says the same in two ways.
    LocationScore = "location-score",
    /// There are more findings than are listed.
    More = "more",
    /// Fencing is on, but there is nothing to fence with.
    NoFenceDevice = "no-fence-device",
    /// A resource is not watched.
    NoMonitor = "no-monitor",
    /// A node is described twice.
    NodeTwice = "node-twice",
    /// It is valid, but it has no effect.
    NoEffect = "no-effect",
    /// Without quorum all goes on.
    NoQuorum = "no-quorum",
    /// An older name, which has another one now or none.
    Obsolete = "obsolete",
    /// Failures that are answered in a way that is not possible.
    OnFail = "on-fail",
    /// Each waits for the next to start or stop, in a circle.
    OrderLoop = "order-loop",
    /// A role of a resource that has no roles.
    Role = "role",
    /// A rule that cannot be read.
    Rule = "rule",
    /// A rule that never holds.
    RuleNeverHolds = "rule-never-holds",
    /// A set of resources that joins nothing.
    SetSize = "set-size",
    /// Two settings speak against each other.
    SettingsContradict = "settings-contradict",
    /// A timeout in which nothing can be done, or that another setting cuts short.
    Timeout = "timeout",
    /// It is nested too deep.
    TooDeep = "too-deep",
    /// An attribute of an element that nobody knows.
    UnknownAttribute = "unknown-attribute",
    /// An element that nobody knows.
    UnknownElement = "unknown-element",
    /// An option, meta-attribute, or operation that nobody knows.
    UnknownName = "unknown-name",
    /// A node that there is not.
    UnknownNode = "unknown-node",
    /// A resource, tag or template that there is not.
    UnknownResource = "unknown-resource",
    /// A ticket that is called otherwise.
    UnknownTicket = "unknown-ticket",
    /// A resource needs more than any node has.
    Utilization = "utilization",
    /// A value that cannot be read.
    Value = "value",
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something of a cluster's description that its administrator should know.
///
/// Shown as `error: line 3, column 5, resources/…: WHAT; REMEDY`. Serialized as a map of
/// `severity`, `kind`, `line`, `column`, `path`, `what` and `remedy`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// What kind of problem it is.
    pub kind: FindingKind,
    /// What it is, with the value.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}; {}", self.severity, self.place, self.what, self.remedy)
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Finding", 7)?;
        map.serialize_field("severity", &self.severity)?;
        map.serialize_field("kind", &self.kind)?;
        map.serialize_field("line", &self.place.spot.line)?;
        map.serialize_field("column", &self.place.spot.column)?;
        map.serialize_field("path", &*self.place.path)?;
        map.serialize_field("what", &self.what)?;
        map.serialize_field("remedy", &self.remedy)?;
        map.end()
    }
}

/// How many findings of a kind are kept.
pub(super) const MAX_OF_A_KIND: usize = 1000;

/// Collects findings, at most so many of each kind.
#[derive(Debug, Default)]
pub(super) struct Findings {
    all: Vec<Finding>,
    counts: std::collections::BTreeMap<FindingKind, usize>,
}

impl Findings {
    pub(super) fn error(&mut self, kind: FindingKind, place: Place, what: String, remedy: String) {
        self.add(Severity::Error, kind, place, what, remedy);
    }

    pub(super) fn warn(&mut self, kind: FindingKind, place: Place, what: String, remedy: String) {
        self.add(Severity::Warning, kind, place, what, remedy);
    }

    pub(super) fn hint(&mut self, kind: FindingKind, place: Place, what: String, remedy: String) {
        self.add(Severity::Hint, kind, place, what, remedy);
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        kind: FindingKind,
        place: Place,
        what: String,
        remedy: String,
    ) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= MAX_OF_A_KIND {
            self.all.push(Finding { severity, place, kind, what, remedy });
        }
    }

    /// All, by place, none twice.
    pub(super) fn into_sorted(self) -> Vec<Finding> {
        let Self { mut all, counts } = self;
        for (kind, count) in counts.into_iter().filter(|(_, count)| *count > MAX_OF_A_KIND) {
            let more = count - MAX_OF_A_KIND;
            all.push(Finding {
                severity: Severity::Hint,
                place: top("cib"),
                kind: FindingKind::More,
                what: format!("{more} more findings of the kind {kind}"),
                remedy: "mend those that are listed, and check again".to_owned(),
            });
        }
        let key = |f: &Finding| (f.place.spot, f.place.path.clone(), f.severity, f.kind);
        all.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.what.cmp(&b.what)));
        all.dedup();
        all
    }
}

/// The beginning of the text, for what has no place of its own.
pub(super) fn top(path: &str) -> Place {
    Place { spot: Spot { line: 1, column: 1 }, path: path.into() }
}

/// A text of the CIB in quotes, cut to 80 characters, so that a line stays a line.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// Some names, and how many more there are.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let mut text = String::new();
    let mut more = 0_usize;
    for (index, name) in names.enumerate() {
        if index >= SHOWN {
            more += 1;
            continue;
        }
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&quote(name));
    }
    if more > 0 {
        text.push_str(" and ");
        text.push_str(&more.to_string());
        text.push_str(" more");
    }
    text
}
