//! Compares balancing algorithms on simulated servers, in the same traffic.
//!
//! ```text
//! balance-simulation --servers 10 --slow 1x5 --load 0.6
//! balance-simulation --figure docs/balancing.svg
//! ```
//!
//! Prints a table; with `--figure` it draws three situations in one picture, whose table it prints.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Parser;
use ha_lb::algorithm::Algorithm;
use ha_lb::algorithm::prequal::PrequalConfig;
use ha_lb::simulation::{Report, Server, Service, Simulation};

const ALGORITHMS: [&str; 9] = [
    "round-robin",
    "random,draws=1",
    "random",
    "least-connections",
    "least-time",
    "peak-ewma",
    "prequal",
    "hash,hash-type=maglev",
    "hash,hash-type=maglev,balance-factor=150",
];

/// Compares balancing algorithms on simulated servers.
#[derive(Debug, Parser)]
struct Flags {
    /// How many servers there are
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    servers: u16,
    /// How many of them are slower, and how many times: 2x5
    #[arg(long, value_parser = slow)]
    slow: Option<(u16, f64)>,
    /// How many requests a server works on at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    workers: u16,
    /// Median time of a request, in ms; times are log-normal, with a long tail
    #[arg(long, default_value_t = 10.0)]
    median_ms: f64,
    /// The load, in parts of what all servers can do together
    #[arg(long, default_value_t = 0.7)]
    load: f64,
    /// How many clients balance, each for itself
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    clients: u16,
    /// How many requests are made
    #[arg(long, default_value_t = 100_000)]
    requests: u32,
    /// The same seed gives the same table
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Algorithms, separated by spaces; all unless named
    #[arg(long, value_delimiter = ' ')]
    algorithms: Vec<Algorithm>,
    /// Draws three situations into this SVG file instead
    #[arg(long, value_name = "FILE")]
    figure: Option<PathBuf>,
}

fn slow(text: &str) -> Result<(u16, f64), String> {
    let wanted = || "COUNTxTIMES, such as 2x5".to_owned();
    let (count, times) = text.split_once('x').ok_or_else(wanted)?;
    Ok((count.parse().map_err(|_| wanted())?, times.parse().map_err(|_| wanted())?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse();
    let algorithms = if flags.algorithms.is_empty() {
        ALGORITHMS.iter().map(|name| name.parse()).collect::<Result<Vec<Algorithm>, _>>()?
    } else {
        flags.algorithms.clone()
    };
    let situations = situations(&flags);
    let mut panels = Vec::new();
    for (title, simulation) in situations {
        println!("## {title}\n");
        println!("| algorithm | p50, ms | p99, ms | p99.9, ms | most at one server | errors, % |");
        println!("|---|---|---|---|---|---|");
        let mut reports: Vec<Report> = algorithms.iter().map(|a| simulation.run(a)).collect();
        if flags.algorithms.is_empty() {
            reports.push(simulation.run_probed(&PrequalConfig::default()));
        }
        for report in &reports {
            println!("{}", row(report));
        }
        println!();
        panels.push((title, reports));
    }
    if let Some(path) = &flags.figure {
        std::fs::write(path, figure(&panels)?)?;
    }
    Ok(())
}

fn situations(flags: &Flags) -> Vec<(String, Simulation)> {
    let service = Service::LogNormal { median_ms: flags.median_ms, sigma: 1.0 };
    let server = Server::new(service).workers(flags.workers);
    let simulation = |slow: u16, times: f64, load: f64| {
        let servers = (0..flags.servers)
            .map(|number| if number < slow { server.slowed(times) } else { server });
        Simulation::new(flags.seed)
            .servers(servers.collect())
            .clients(flags.clients)
            .load(load)
            .requests(flags.requests)
    };
    let all = flags.servers;
    if flags.figure.is_some() {
        return vec![
            (format!("{all} equal servers at 70 %"), simulation(0, 1.0, 0.7)),
            (format!("{all} equal servers at 95 %"), simulation(0, 1.0, 0.95)),
            (format!("{all} servers, one ten times slower, at 50 %"), simulation(1, 10.0, 0.5)),
        ];
    }
    let (count, times) = flags.slow.unwrap_or((0, 1.0));
    let slow =
        if count > 0 { format!(", {count} of them {times} times slower") } else { String::new() };
    let title = format!("{all} servers{slow}, load {}", flags.load);
    vec![(title, simulation(count, times, flags.load))]
}

fn row(report: &Report) -> String {
    let Report { algorithm, p50, p99, p999, max_load, error_rate, .. } = report;
    let ms = |time: &std::time::Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let (p50, p99, p999) = (ms(p50), ms(p99), ms(p999));
    format!("| {algorithm} | {p50} | {p99} | {p999} | {max_load} | {:.2} |", error_rate * 100.0)
}

/// Bars of the 99th percentile, a panel for each situation, each to its own scale.
fn figure(panels: &[(String, Vec<Report>)]) -> Result<String, std::fmt::Error> {
    const WIDTH: f64 = 320.0;
    let rows = panels.iter().map(|(_, reports)| reports.len()).max().unwrap_or_default();
    let rows = f64::from(u32::try_from(rows).unwrap_or_default());
    let panel_height = 34.0 + 20.0 * rows;
    let height = panel_height * f64::from(u32::try_from(panels.len()).unwrap_or_default()) + 8.0;
    let mut svg = String::new();
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
    )?;
    let mut top = 8.0;
    for (title, reports) in panels {
        let best = reports.iter().map(|report| report.p99.as_secs_f64()).fold(f64::MAX, f64::min);
        // Longer bars than eight times the best are cut, and say so by their number.
        let scale = WIDTH / (best * 8.0).max(1e-9);
        writeln!(
            svg,
            "<text x=\"8\" y=\"{}\" font-weight=\"bold\">{title}: 99 % of answers within</text>",
            top + 14.0
        )?;
        let mut y = top + 24.0;
        for report in reports {
            let seconds = report.p99.as_secs_f64();
            let bar = (seconds * scale).min(WIDTH);
            let colour = if seconds <= best * 1.25 { "#2a7f62" } else { "#9db4c0" };
            writeln!(
                svg,
                "<text x=\"272\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"280\" y=\"{y}\" width=\"{bar:.1}\" height=\"14\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{:.0} ms</text>",
                y + 11.0,
                report.algorithm,
                286.0 + bar,
                y + 11.0,
                seconds * 1e3,
            )?;
            y += 20.0;
        }
        top += panel_height;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
