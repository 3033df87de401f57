//! The table.

use std::collections::BTreeMap;

/// The values of the rows, by the rows' names.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    rows: BTreeMap<&'static str, Vec<f64>>,
    steps: BTreeMap<(bool, &'static str), Vec<f64>>,
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
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let mut text = format!("| | {} | peer / ours |\n", titles.join(" | "));
    text += &format!("|---|{}---|\n", "---|".repeat(columns.len()));
    for (row, title) in ROWS {
        let cells = columns.iter().map(|column| cell(column.measured.rows.get(row)));
        let cells: Vec<String> = cells.collect();
        let ratio = if row.starts_with("load") || row == "margin" {
            String::new()
        } else {
            ratios(columns, row)
        };
        text += &format!("| {title} | {} | {ratio} |\n", cells.join(" | "));
    }
    text
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
    let mut text = String::from("| since the loss of power, s |");
    for column in &ours {
        text += &format!(" {} | … of the leader |", column.title);
    }
    text += &format!("\n|---|{}\n", "---|---|".repeat(ours.len()));
    for step in STEPS {
        text += &format!("| {step} |");
        for column in &ours {
            for leader in [false, true] {
                text += &format!(" {} |", cell(column.measured.steps.get(&(leader, step))));
            }
        }
        text += "\n";
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
    values.get(values.len() / 2).copied().unwrap_or_default()
}
