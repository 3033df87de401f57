use super::*;
use crate::health::Health;

fn note(at_ms: u64, subject: &str, text: &str) -> Event {
    Event::new(Instant::from_millis(at_ms), subject, EventKind::Note { text: text.to_owned() })
}

#[test]
fn the_oldest_events_make_room_and_are_counted() {
    let mut timeline = Timeline::with_capacity(3);
    for at in 0..5 {
        timeline.record(note(at, "n", &at.to_string()));
    }
    let kept: Vec<u64> = timeline.events().map(|event| event.at.as_nanos() / 1_000_000).collect();
    assert_eq!(kept, [2, 3, 4]);
    assert_eq!(timeline.dropped(), 2);
    assert!(timeline.to_text().contains("2 older events were dropped"));
}

#[test]
fn late_events_are_sorted_in() {
    let mut timeline = Timeline::default();
    for at in [3, 1, 2, 1] {
        timeline.record(note(at, "n", "x"));
    }
    let times: Vec<Instant> = timeline.events().map(|event| event.at).collect();
    assert!(times.is_sorted());
}

#[test]
fn text_shows_times_since_the_first_event_and_reasons() {
    let mut timeline = Timeline::default();
    timeline.record(note(1_000, "client", "starts"));
    let down = EventKind::HealthChanged { from: Health::Healthy, to: Health::Unhealthy };
    timeline.record(Event::new(Instant::from_millis(1_250), "web1", down).because("refused"));
    let text = timeline.to_text();
    assert!(text.contains("0.2500 s  web1    healthy → unhealthy  (refused)"), "{text}");
}

#[test]
fn svg_is_balanced_xml_with_hostile_texts_escaped() {
    let mut timeline = Timeline::default();
    let address = "192.0.2.1/24".to_owned();
    timeline.record(Event::new(
        Instant::from_millis(1),
        "a<script>",
        EventKind::AddressAdded { address: address.clone() },
    ));
    let fault = EventKind::Fault { what: "\"&\u{1}<".to_owned() };
    timeline.record(Event::new(Instant::from_millis(2), "lab", fault));
    let gone = EventKind::AddressRemoved { address };
    timeline.record(Event::new(Instant::from_millis(900), "a<script>", gone));
    let svg = timeline.to_svg("5 < 6 & \"so on\"");
    assert!(!svg.contains("<script>") && svg.contains("&lt;script&gt;"));
    assert!(!svg.contains('\u{1}'));
    for element in ["svg", "text", "title"] {
        let opened = svg.matches(&format!("<{element}")).count();
        let closed = svg.matches(&format!("</{element}>")).count();
        assert_eq!(opened, closed, "{element} in {svg}");
    }
    assert!(svg.contains("class=\"held\""), "who held the address is a bar");
}

#[test]
fn an_empty_timeline_renders() {
    assert_eq!(Timeline::default().to_text(), "no events\n");
    assert!(Timeline::default().to_svg("nothing").ends_with("</svg>\n"));
}
