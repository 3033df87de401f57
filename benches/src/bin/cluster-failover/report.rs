//! The table.

use std::collections::BTreeMap;

/// The values of the rows, by the rows' names.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    rows: BTreeMap<&'static str, Vec<f64>>,
    steps: BTreeMap<(bool, &'static str), Vec<f64>>,
    /// Why not everything was measured.
    pub(crate) ended_early: Option<String>,
}

impl Measured {
    pub(crate) fn add(&mut self, row: &'static str, value: f64) {
        self.rows.entry(row).or_default().push(value);
    }

    pub(crate) fn add_step(&mut self, leader: bool, row: &'static str, value: f64) {
        self.steps.entry((leader, row)).or_default().push(value);
    }
}

/// A subject and what it showed.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) measured: Measured,
    /// Whether the ratios are taken to it: it runs the peer's agents.
    pub(crate) like: bool,
    pub(crate) ours: bool,
}

const ROWS: [(&str, &str); 19] = [
    ("formed", "first formation, empty disks: all runs, s"),
    ("cold", "power back on all three: all runs, s"),
    ("node gap", "node loses power, not the leader: client gap, s"),
    ("node service", "… : service runs elsewhere, s"),
    ("leader gap", "node loses power, the leader: client gap, s"),
    ("leader service", "… : service runs elsewhere, s"),
    ("cut gap", "cable cut, not the leader: client gap, s"),
    ("margin", "… : address gone there → taken elsewhere, s"),
    ("killed", "service dies → runs again, s"),
    ("move gap", "planned move: client gap, s"),
    ("move service", "… : ordered → service runs there, s"),
    ("cpu busy", "idle, node that runs all: CPU, % of a core"),
    ("cpu idle", "idle, other nodes: CPU, % of a core"),
    ("pss busy", "node that runs all: PSS, MiB"),
    ("pss idle", "other nodes: PSS, MiB"),
    ("rss busy", "node that runs all: RSS, MiB"),
    ("rss idle", "other nodes: RSS, MiB"),
    ("load before", "load of the machine before (1 min)"),
    ("load after", "… after"),
];

const STEPS: [&str; 7] = [
    "not heard",
    "view without it",
    "new leader",
    "fencing asked for",
    "fencing confirmed",
    "start of the address ordered",
    "address started",
];

pub(crate) fn table(columns: &[Column]) -> String {
    let titles = columns.iter().map(|column| column.title.to_owned());
    let mut text = line("", titles.chain(["peer / ours".to_owned()]));
    text.push_str(&line("---", (0..=columns.len()).map(|_| "---".to_owned())));
    for (row, title) in ROWS {
        let cells = columns.iter().map(|column| cell(column.measured.rows.get(row)));
        let bare = row.starts_with("load") || row == "margin";
        let ratio = if bare { String::new() } else { ratios(columns, row) };
        text.push_str(&line(title, cells.chain([ratio])));
    }
    for Column { title, measured, .. } in columns {
        if let Some(why) = &measured.ended_early {
            text.push_str(&["\n", title, ": ended early: ", why, "\n"].concat());
        }
    }
    text
}

/// A line of a table.
fn line(first: &str, cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> = cells.into_iter().collect();
    format!("| {first} | {} |\n", cells.join(" | "))
}

/// The peer's medians through that of ours with the same agents, in the order of the columns.
fn ratios(columns: &[Column], row: &str) -> String {
    let value = |column: &Column| column.measured.rows.get(row).map(|values| median(values));
    let ours = columns.iter().find(|column| column.like && column.ours).and_then(value);
    let peers = columns.iter().filter(|column| !column.ours).filter_map(value);
    let ratio = |peer: f64| match ours {
        Some(ours) if ours > 0.0 => format!("{:.1}", peer / ours),
        _ => "—".to_owned(),
    };
    peers.map(ratio).collect::<Vec<_>>().join("; ")
}

/// Where the time of a node's loss goes, of our columns.
pub(crate) fn steps(columns: &[Column]) -> String {
    let ours: Vec<&Column> = columns.iter().filter(|column| column.ours).collect();
    let titles =
        ours.iter().flat_map(|column| [column.title.to_owned(), "… of the leader".to_owned()]);
    let mut text = line("since the loss of power, s", titles);
    text.push_str(&line("---", ours.iter().flat_map(|_| ["---"; 2].map(str::to_owned))));
    for step in STEPS {
        let pairs = ours.iter().flat_map(|column| [false, true].map(|leader| (column, leader)));
        let cells = pairs.map(|(column, leader)| cell(column.measured.steps.get(&(leader, step))));
        text.push_str(&line(step, cells));
    }
    text
}

fn cell(values: Option<&Vec<f64>>) -> String {
    let Some(values) = values.filter(|values| !values.is_empty()) else { return "—".to_owned() };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shown = |value: f64| match value.abs() {
        small if small < 10.0 => format!("{value:.3}"),
        _ => format!("{value:.1}"),
    };
    if values.len() == 1 {
        return shown(least);
    }
    format!("{} ({}–{})", shown(median(values)), shown(least), shown(most))
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = |index: usize| values.get(index).copied().unwrap_or_default();
    f64::midpoint(middle(values.len() / 2), middle(values.len().saturating_sub(1) / 2))
}
