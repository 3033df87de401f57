#![no_main]

use ha_core::time::WallTime;
use ha_crm::check::check;
use ha_crm::cib::Cib;
use ha_crm::scheduler::Scheduler;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// What values of attributes are replaced by.
const EDGES: [&str; 20] = [
    "",
    "0",
    "-1",
    "1",
    "INFINITY",
    "-INFINITY",
    "4294967295",
    "18446744073709551615",
    "-9223372036854775808",
    "true",
    "false",
    "Stopped",
    "Promoted",
    "stop",
    "monitor",
    "start",
    "P99999Y",
    "2024-02-29T23:59:60Z",
    "r00000",
    "n0000",
];

fuzz_target!(|text: &str| {
    let Ok((cib, notes)) = Cib::parse(text) else { return };
    drop(check(&cib, &notes));
    let now = cib.execution_date.unwrap_or(WallTime::from_micros(1_700_000_000_000_000));
    if let Ok(decided) = Scheduler::new().decide(&cib, now) {
        drop((decided.transition.to_dot(), decided.transition.to_svg()));
    }
    let (again, _) = Cib::parse(&cib.to_xml()).expect("what is written can be read");
    assert_eq!(again.resources.len(), cib.resources.len());
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = seed;
    let mut below = |limit: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % limit.max(1)
    };
    let changed = (below(4) > 0)
        .then(|| std::str::from_utf8(data.get(..size).unwrap_or_default()).ok())
        .flatten()
        .and_then(|text| mutate(text, &mut below));
    match changed {
        Some(text) if text.len() <= max_size && text.len() <= data.len() => {
            data[..text.len()].copy_from_slice(text.as_bytes());
            text.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});

/// Another value for an attribute, an element less, or once more, or in another's place.
fn mutate(text: &str, below: &mut dyn FnMut(usize) -> usize) -> Option<String> {
    let mut text = text.to_owned();
    for _ in 0..=below(3) {
        let quotes: Vec<usize> = text.match_indices('"').map(|(at, _)| at).collect();
        let values: Vec<(usize, usize)> =
            quotes.chunks_exact(2).map(|pair| (pair[0] + 1, pair[1])).collect();
        let (from, to) = *values.get(below(values.len()))?;
        match below(4) {
            0 => text.replace_range(from..to, EDGES[below(EDGES.len())]),
            1 => {
                let (start, end) = values[below(values.len())];
                let value = text[start..end].to_owned();
                text.replace_range(from..to, &value);
            }
            kind => {
                let start = text[..from].rfind('<')?;
                let end = from + text[from..].find("/>")? + 2;
                if text[from..end].contains('<') {
                    continue;
                }
                let element = text[start..end].to_owned();
                let keeps = if kind == 2 { "" } else { element.as_str() };
                let places: Vec<usize> = text.match_indices("/>").map(|(at, _)| at + 2).collect();
                let place = places[below(places.len())];
                text.insert_str(place, keeps);
                if kind == 2 {
                    text.replace_range(start..end, "");
                }
            }
        }
    }
    Some(text)
}
