//! Deciding on clusters of growing size: `simulate` beside Pacemaker's `crm_simulate`, each a
//! process of its own, in one run, on one machine.
//!
//! ```text
//! cargo build --release --bins
//! target/release/scheduler --write docs
//! ```
//!
//! Prints a table; with `--write` it is put into `measured/scheduler.md` of that folder, and a
//! figure of the growth into `scheduler-growth.svg`. Needs python3, which measures the processes;
//! without `crm_simulate` (Debian: pacemaker-cli-utils) ours alone is measured. Ends after some
//! five minutes.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use ha_benches::clusters::{Activity, Clusters, Shape};
use ha_lab::find_program;

type Failure = Box<dyn Error + Send + Sync>;

/// Runs a program, and prints its wall time, processor time and the most memory it had.
const MEASURE: &str = r"
import os, resource, signal, sys, time
limit = float(sys.argv[1])
begun = time.monotonic()
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=[
    (os.POSIX_SPAWN_OPEN, 1, '/dev/null', os.O_WRONLY, 0),
    (os.POSIX_SPAWN_OPEN, 2, '/dev/null', os.O_WRONLY, 0)])
signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
signal.setitimer(signal.ITIMER_REAL, limit)
_, status, usage = os.wait4(child, 0)
took = time.monotonic() - begun
print(status, took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
";

/// Measures the scheduler beside Pacemaker's.
#[derive(Debug, Parser)]
struct Flags {
    /// How often each case is run; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// How long one run may take, in s
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=3600))]
    limit_s: u32,
    /// The folder of the documentation to write the page and the figure into
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// Only cases whose name has this in it
    #[arg(long, default_value = "")]
    only: String,
}

/// A cluster, and what is asked about it.
struct Case {
    name: String,
    made: Clusters,
    /// Whether it is carried through until nothing more would be done.
    settles: bool,
    /// The number of primitives, if it is a point of the figure.
    point: Option<usize>,
}

impl Case {
    fn new(name: impl Into<String>, made: Clusters) -> Self {
        Self { name: name.into(), made, settles: false, point: None }
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Cost {
    wall_s: f64,
    cpu_s: f64,
    rss_mib: f64,
}

/// A case with what both took; nothing if it did not end in time.
struct Row {
    case: Case,
    bytes: usize,
    ours: Option<Cost>,
    theirs: Option<Cost>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for primitives in [125, 250, 500, 1000, 2000] {
        let made = Clusters::new(16, primitives);
        let name = format!("16 × {primitives}, start all");
        cases.push(Case { point: Some(primitives), ..Case::new(name, made) });
    }
    let quiet = Clusters::new(16, 2000).activity(Activity::Running);
    cases.push(Case::new("16 × 2000, quiet", quiet));
    cases.push(Case::new("16 × 2000, one node lost", quiet.activity(Activity::Lost)));
    let sparse = |nodes, primitives| Clusters::new(nodes, primitives).activity(Activity::Sparse);
    cases.push(Case::new("100 × 1000, quiet, own history", sparse(100, 1000)));
    cases.push(Case::new("1000 × 10000, quiet, own history", sparse(1000, 10_000)));
    for shape in Shape::ALL.into_iter().filter(|shape| *shape != Shape::Locations) {
        cases.push(Case::new(
            format!("16 × 500, {shape}, start all"),
            Clusters::new(16, 500).shape(shape),
        ));
    }
    let settled = Case::new("16 × 100, start all, to the end", Clusters::new(16, 100));
    cases.push(Case { settles: true, ..settled });
    let settled = Case::new("16 × 500, start all, to the end", Clusters::new(16, 500));
    cases.push(Case { settles: true, ..settled });
    cases
}

fn main() -> Result<(), Failure> {
    let flags = Flags::parse();
    let simulate = std::env::current_exe()?.with_file_name("simulate");
    if !simulate.exists() {
        return Err(format!(
            "cannot find {}: build it first, cargo build --release --bins",
            simulate.display()
        )
        .into());
    }
    let theirs = find_program("crm_simulate");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cib.xml");
    let mut rows = Vec::new();
    for case in cases().into_iter().filter(|case| case.name.contains(&flags.only)) {
        let text = case.made.xml();
        fs::write(&file, &text)?;
        let ours_args: &[&str] = if case.settles { &["--settle"] } else { &[] };
        let ours = measure(&flags, &simulate, &[&[path(&file)?], ours_args].concat())?;
        let theirs = match &theirs {
            Some(program) => {
                let way = if case.settles { "-S" } else { "-R" };
                measure(&flags, program, &[way, "-x", path(&file)?])?
            }
            None => None,
        };
        eprintln!("{}: {ours:?} {theirs:?}", case.name);
        rows.push(Row { case, bytes: text.len(), ours, theirs });
    }
    let table = table(&rows)?;
    println!("{table}");
    if let Some(docs) = &flags.write {
        fs::write(docs.join("measured/scheduler.md"), page(&flags, &table))?;
        fs::write(docs.join("scheduler-growth.svg"), figure(&rows)?)?;
    }
    Ok(())
}

fn path(file: &Path) -> Result<&str, Failure> {
    file.to_str().ok_or_else(|| "the name of the folder for temporary files is no text".into())
}

/// The median of the runs; nothing if one does not end in time or fails.
fn measure(flags: &Flags, program: &Path, args: &[&str]) -> Result<Option<Cost>, Failure> {
    let mut costs = Vec::new();
    for _ in 0..flags.runs {
        let output = Command::new("python3")
            .args(["-c", MEASURE, &flags.limit_s.to_string()])
            .arg(program)
            .args(args)
            .output()
            .map_err(|error| format!("cannot run python3: {error}; install it"))?;
        let text = String::from_utf8(output.stdout)?;
        let numbers: Vec<f64> =
            text.split_whitespace().filter_map(|one| one.parse().ok()).collect();
        let [status, wall_s, cpu_s, rss_kib] = numbers.as_slice() else {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        };
        if *status != 0.0 {
            return Ok(None);
        }
        costs.push(Cost { wall_s: *wall_s, cpu_s: *cpu_s, rss_mib: rss_kib / 1024.0 });
    }
    costs.sort_by(|one, other| one.wall_s.total_cmp(&other.wall_s));
    Ok(costs.get(costs.len() / 2).copied())
}

fn table(rows: &[Row]) -> Result<String, std::fmt::Error> {
    let mut table = "| cluster | file, MB | ours: wall, s | CPU, s | RSS, MiB | \
                     crm_simulate: wall, s | CPU, s | RSS, MiB | times faster | times smaller |\n\
                     |---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let mebi = f64::from(u32::try_from(row.bytes / 1000).unwrap_or(u32::MAX)) / 1000.0;
        let part = |cost: Option<Cost>| match cost {
            Some(Cost { wall_s, cpu_s, rss_mib }) => {
                format!("{wall_s:.3} | {cpu_s:.3} | {rss_mib:.0}")
            }
            None => "– | – | –".to_owned(),
        };
        let ratio = match (row.ours, row.theirs) {
            (Some(ours), Some(theirs)) => {
                let (wall, rss) = (theirs.wall_s / ours.wall_s, theirs.rss_mib / ours.rss_mib);
                format!("{wall:.1} | {rss:.1}")
            }
            _ => "– | –".to_owned(),
        };
        let (name, ours, theirs) = (&row.case.name, part(row.ours), part(row.theirs));
        writeln!(table, "| {name} | {mebi:.1} | {ours} | {theirs} | {ratio} |")?;
    }
    Ok(table)
}

fn page(flags: &Flags, table: &str) -> String {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
    };
    let (theirs, kernel) = (said("crm_simulate", &["--version"]), said("uname", &["-sr"]));
    let (day, runs, limit) = (said("date", &["+%F"]), flags.runs, flags.limit_s);
    format!(
        "# The scheduler

How long it takes to decide on a cluster, from the file to the decision: `simulate` beside
Pacemaker's `crm_simulate`, each a process of its own, one after the other, in one run, on one
machine. Medians of {runs}; – is what did not end within {limit} s, or failed.

{theirs}; {kernel}, {day}. Run it with

```text
cargo build --release --bins
target/release/scheduler --write docs
```

![Wall time by the number of primitives, on both axes by powers](../scheduler-growth.svg)

{table}
How to read it: the clusters are made up (`benches/src/clusters.rs`), the same for both. *Start
all*: everything was probed and nothing runs. *Quiet*: everything runs. *Own history*: only the nodes that
run a resource know of it, and nothing is probed. *To the end*: the decision is taken for done and
decided on again until nothing more would be done (`--settle`, `-S`). Without other words each
primitive prefers three nodes. `crm_simulate` validates the file against its schema, too (`-R`
otherwise). Memory is the most that was resident; less than some 14 MiB cannot be told.
"
    )
}

/// Wall time by size, both logarithmic.
fn figure(rows: &[Row]) -> Result<String, std::fmt::Error> {
    const WIDTH: f64 = 560.0;
    const HEIGHT: f64 = 320.0;
    const LEFT: f64 = 70.0;
    const TOP: f64 = 30.0;
    let x = |primitives: f64| LEFT + (primitives / 100.0).log10() / 1.5 * WIDTH;
    let y = |seconds: f64| TOP + (1.0 - (seconds / 0.001).log10() / 4.0) * HEIGHT;
    let mut svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 680 410\" \
                   font-family=\"sans-serif\" font-size=\"13\">\n\
                   <rect width=\"680\" height=\"410\" fill=\"white\"/>\n"
        .to_owned();
    let mut draw = |line: std::fmt::Arguments<'_>| writeln!(svg, "{line}");
    for (seconds, name) in
        [(0.001, "1 ms"), (0.01, "10 ms"), (0.1, "0.1 s"), (1.0, "1 s"), (10.0, "10 s")]
    {
        let (at, end) = (y(seconds), LEFT + WIDTH);
        draw(format_args!(
            "<line x1=\"{LEFT}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"62\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            at + 4.0
        ))?;
    }
    for primitives in [125_u32, 250, 500, 1000, 2000] {
        let (at, end) = (x(f64::from(primitives)), TOP + HEIGHT);
        draw(format_args!(
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{end}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{primitives}</text>",
            end + 18.0
        ))?;
    }
    draw(format_args!(
        "<text x=\"350\" y=\"395\" text-anchor=\"middle\">primitives on 16 nodes, all to be \
         started; wall time from file to decision</text>"
    ))?;
    let ours = rows.iter().filter_map(|row| Some((row.case.point?, row.ours?.wall_s)));
    let theirs = rows.iter().filter_map(|row| Some((row.case.point?, row.theirs?.wall_s)));
    let (ours, theirs): (Vec<_>, Vec<_>) = (ours.collect(), theirs.collect());
    let lines = [("simulate", "#0a6", ours), ("crm_simulate", "#c40", theirs)];
    for (name, colour, points) in lines {
        let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let places: Vec<(f64, f64)> =
            points.iter().map(|(size, wall)| (x(number(*size)), y(*wall))).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let Some((end_x, end_y)) = places.last() else { continue };
        draw(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        ))?;
        for (x, y) in &places {
            draw(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"))?;
        }
        draw(format_args!(
            "<text x=\"{end_x:.1}\" y=\"{:.1}\" text-anchor=\"end\" \
             fill=\"{colour}\">{name}</text>",
            end_y - 10.0
        ))?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
