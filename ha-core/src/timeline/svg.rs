//! The timeline as a picture.

use std::fmt::{self, Display, Formatter, Write};

use super::{Mark, Timeline, Tone, mark};
use crate::event::{Event, EventKind};
use crate::time::Instant;

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 64.0;
const LANE: f64 = 46.0;
const STYLE: &str = "text{font:12px sans-serif;fill:#24292f}\
.title{font-size:16px;font-weight:bold}.small{font-size:10px;fill:#57606a}\
.grid{stroke:#d0d7de;stroke-width:1}.good{fill:#4ac26b}.held{fill:#218bff}.bad{fill:#fa4549}\
.dot{fill:#24292f}.fault{fill:#cf222e}";

/// A timeline, displayed as an SVG document.
pub(super) struct Picture<'a> {
    pub(super) timeline: &'a Timeline,
    pub(super) title: &'a str,
}

impl Display for Picture<'_> {
    fn fmt(&self, svg: &mut Formatter<'_>) -> fmt::Result {
        let subjects = self.timeline.subjects();
        #[expect(clippy::cast_precision_loss, reason = "lanes are few")]
        let height = TOP + LANE * subjects.len() as f64 + 40.0;
        write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{0}</title>\n\
             <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text class=\"title\" x=\"16\" y=\"28\">{0}</text>\n",
            escape(self.title)
        )?;
        if let Some((start, end)) = self.timeline.range() {
            let scale = Scale { start, seconds: end.since(start).as_secs_f64().max(1e-6) };
            axis(svg, &scale, height)?;
            let mut y = TOP;
            for subject in subjects {
                lane(svg, &scale, self.timeline, subject, y)?;
                y += LANE;
            }
        }
        svg.write_str("</svg>\n")
    }
}

struct Scale {
    start: Instant,
    seconds: f64,
}

impl Scale {
    fn x(&self, at: Instant) -> f64 {
        self.place(at.since(self.start).as_secs_f64())
    }

    fn place(&self, seconds: f64) -> f64 {
        LEFT + seconds / self.seconds * (WIDTH - LEFT - RIGHT)
    }
}

/// A vertical line with its time at each round number, about ten in all.
fn axis(svg: &mut impl Write, scale: &Scale, height: f64) -> fmt::Result {
    let raw = scale.seconds / 10.0;
    let magnitude = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|step| *step >= raw);
    let step = step.unwrap_or(raw);
    let mut at = 0.0;
    while at <= scale.seconds {
        let x = scale.place(at);
        let label = if step < 1.0 { format!("{:.0} ms", at * 1e3) } else { format!("{at:.0} s") };
        writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
             <text class=\"small\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            TOP - 8.0,
            height - 26.0,
            height - 12.0
        )?;
        at += step;
    }
    Ok(())
}

fn lane(
    svg: &mut impl Write,
    scale: &Scale,
    timeline: &Timeline,
    subject: &str,
    y: f64,
) -> fmt::Result {
    writeln!(svg, "<text x=\"16\" y=\"{:.1}\">{}</text>", y + 18.0, escape(subject))?;
    let mut open: Option<(Instant, Tone)> = None;
    let mut dots = String::new();
    let mut end = scale.start;
    for event in timeline.events() {
        end = event.at;
        if event.subject != subject {
            continue;
        }
        let mark = mark(&event.kind);
        if mark == Mark::Dot {
            dot(&mut dots, scale, event, y)?;
            continue;
        }
        if let Some((from, tone)) = open.take() {
            rectangle(svg, scale, (from, event.at), tone, y)?;
        }
        if let Mark::Starts(tone) = mark {
            open = Some((event.at, tone));
        }
    }
    if let Some((from, tone)) = open {
        rectangle(svg, scale, (from, end), tone, y)?;
    }
    svg.write_str(&dots)
}

fn rectangle(
    svg: &mut impl Write,
    scale: &Scale,
    (from, to): (Instant, Instant),
    tone: Tone,
    y: f64,
) -> fmt::Result {
    let class = match tone {
        Tone::Good => "good",
        Tone::Held => "held",
        Tone::Bad => "bad",
    };
    let x = scale.x(from);
    let width = (scale.x(to) - x).max(1.5);
    let millis = to.since(from).as_secs_f64() * 1e3;
    writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"16\" \
         rx=\"2\"><title>{millis:.1} ms</title></rect>",
        y + 4.0
    )?;
    if tone == Tone::Bad {
        label(svg, x, y, &format!("{millis:.0} ms"))?;
    }
    Ok(())
}

fn dot(svg: &mut impl Write, scale: &Scale, event: &Event, y: f64) -> fmt::Result {
    let (class, name) = match &event.kind {
        EventKind::Bug { what } | EventKind::Fault { what } => ("fault", Some(what)),
        EventKind::Command { what } => ("dot", Some(what)),
        EventKind::AddressAdded { .. }
        | EventKind::AddressRemoved { .. }
        | EventKind::HealthChanged { .. }
        | EventKind::Note { .. }
        | EventKind::Served
        | EventKind::StateChanged { .. }
        | EventKind::Unserved => ("dot", None),
    };
    let x = scale.x(event.at);
    writeln!(
        svg,
        "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{}</title></circle>",
        y + 12.0,
        escape(&event.to_string())
    )?;
    name.map_or(Ok(()), |name| label(svg, x, y, name))
}

/// A few words under a lane; at the right edge they end, elsewhere they begin, at their place.
fn label(svg: &mut impl Write, x: f64, y: f64, text: &str) -> fmt::Result {
    let anchor = if x > WIDTH * 0.85 { "end" } else { "start" };
    let text = escape(text);
    writeln!(
        svg,
        "<text class=\"small\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>",
        y + 32.0
    )
}

/// Makes text safe inside an element or an attribute; control characters are not allowed in XML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
