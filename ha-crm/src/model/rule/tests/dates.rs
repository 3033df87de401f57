use ha_core::time::WallTime;
use proptest::prelude::*;

use super::{condition, moment, wall};
use crate::model::rule::{Condition, DateExpression, DateRange, DateSpec, Facts, Join, Moment};
use crate::model::rule::{Period, Rule, Span};

fn holds(condition: &Condition, now: &str) -> bool {
    condition.holds(&Facts::at(wall(now)))
}

/// What Pacemaker 2.1.5 reads too, but for the compact forms, the offset without a space, which it
/// drops, and the fraction.
#[test]
fn dates_are_read_in_all_forms() {
    for (text, expected) in [
        ("2005-06-01", "2005-06-01T00:00:00Z"),
        ("20050601", "2005-06-01T00:00:00Z"),
        ("2005-6-1", "2005-06-01T00:00:00Z"),
        ("2005-06-01T12:00:00Z", "2005-06-01T12:00:00Z"),
        ("2005-06-01 12:00:00", "2005-06-01T12:00:00Z"),
        ("2005-06-01 12:00", "2005-06-01T12:00:00Z"),
        ("2005-06-01 12", "2005-06-01T12:00:00Z"),
        ("2005-06-01T1200", "2005-06-01T12:00:00Z"),
        ("20050601T120001Z", "2005-06-01T12:00:01Z"),
        ("2005-06-01 12:00:00.75", "2005-06-01T12:00:00Z"),
        ("2005-06-01 12:00:00 Z", "2005-06-01T12:00:00Z"),
        ("2005-06-01 12:00:00 -05:00", "2005-06-01T17:00:00Z"),
        ("2005-06-01T12:00:00+0130", "2005-06-01T10:30:00Z"),
        ("2005-06-01T00:00:00+01", "2005-05-31T23:00:00Z"),
        ("2005-06-01 24:00:00", "2005-06-02T00:00:00Z"),
        ("2005-152", "2005-06-01T00:00:00Z"),
        ("2005152", "2005-06-01T00:00:00Z"),
        ("2004-366", "2004-12-31T00:00:00Z"),
        ("2005-W01-1", "2005-01-03T00:00:00Z"),
        ("2005W011", "2005-01-03T00:00:00Z"),
        ("2004-W53-7T06:30", "2005-01-02T06:30:00Z"),
        ("0001-01-01", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ] {
        assert_eq!(moment(text).to_string(), expected, "{text}");
    }
}

#[test]
fn what_is_no_date_is_refused_with_what_is_allowed() {
    for text in [
        "",
        "now",
        "2005",
        "2005-06",
        "200506",
        "2005-13-01",
        "2005-00-01",
        "2005-02-29",
        "2005-04-31",
        "2005-06-00",
        "2005-000",
        "2005-366",
        "2005-W00-1",
        "2005-W53-1",
        "2005-W01-0",
        "2005-W01-8",
        "2005-W01",
        "2005-06-01x",
        "2005-06-01T",
        "T12:00",
        "12:00:00",
        "2005-06-01 25:00",
        "2005-06-01 24:00:01",
        "2005-06-01 12:60",
        "2005-06-01 12:00:60",
        "2005-06-01 12:00:00 +25:00",
        "2005-06-01 12:00:00 foo",
        "2005-06-01 12:00:00:00",
        "2005-06-01 1200000",
        "2005-06-01 120",
        "2005-06-01 12:00.5",
        "0000-01-01",
        "-2005-01-01",
        "10000-01-01",
        "9999-12-31T24:00:00",
        "２００５-06-01",
        "2005-é6-01",
        "2005é",
    ] {
        let error = text.parse::<Moment>().unwrap_err().to_string();
        assert!(error.contains("2005-06-01"), "{text}: {error}");
    }
}

#[test]
fn periods_follow_the_calendar() {
    let after = |start: &str, period: &str| {
        let period: Period = serde_json::from_str(period).unwrap();
        period.after(moment(start)).to_string()
    };
    for (start, period, expected) in [
        ("2019-01-31", r#"{"months": 1}"#, "2019-02-28T00:00:00Z"),
        ("2019-10-31", r#"{"months": 4}"#, "2020-02-29T00:00:00Z"),
        ("2020-02-29", r#"{"years": 1}"#, "2021-02-28T00:00:00Z"),
        ("2020-02-29", r#"{"years": 4}"#, "2024-02-29T00:00:00Z"),
        ("2020-03-01", r#"{"years": 1}"#, "2021-03-01T00:00:00Z"),
        ("2020-01-31", r#"{"years": 1, "months": 1}"#, "2021-02-28T00:00:00Z"),
        ("2019-01-31", r#"{"months": 1, "days": 1}"#, "2019-03-01T00:00:00Z"),
        ("2019-12-31 23:59:59", r#"{"seconds": 1}"#, "2020-01-01T00:00:00Z"),
        ("2019-09-01", r#"{"weeks": 1}"#, "2019-09-08T00:00:00Z"),
        ("2019-09-01", r#"{"hours": 25, "minutes": 61}"#, "2019-09-02T02:01:00Z"),
        ("2019-03-31", r#"{"months": -13}"#, "2018-02-28T00:00:00Z"),
        ("2019-12-15", r#"{"months": 19}"#, "2021-07-15T00:00:00Z"),
        ("9999-12-31", r#"{"years": 2147483647}"#, "9999-12-31T23:59:59Z"),
        ("2019-01-01", r#"{"years": -2147483648}"#, "0001-01-01T00:00:00Z"),
    ] {
        assert_eq!(after(start, period), expected, "{start} {period}");
    }
}

#[test]
fn ends_of_ranges_belong_to_them_and_limits_do_not() {
    let noon = "2019-09-23 12:00:00";
    for (json, expected) in [
        (r#"{"date": {"after": "2019-09-23 12:00:00"}}"#, false),
        (r#"{"date": {"after": "2019-09-23 11:59:59"}}"#, true),
        (r#"{"date": {"before": "2019-09-23 12:00:00"}}"#, false),
        (r#"{"date": {"before": "2019-09-23 12:00:01"}}"#, true),
        (r#"{"date": {"in-range": {"start": "2019-09-23 12:00", "end": "2019-09-24"}}}"#, true),
        (r#"{"date": {"in-range": {"start": "2019-09-22", "end": "2019-09-23 12:00"}}}"#, true),
        (r#"{"date": {"in-range": {"start": "2019-09-22"}}}"#, true),
        (r#"{"date": {"in-range": {"end": "2019-09-22"}}}"#, false),
        (
            r#"{"date": {"in-range": {"start": "2019-09-23 11:00", "duration": {"hours": 1}}}}"#,
            true,
        ),
        (
            r#"{"date": {"in-range": {"start": "2019-09-23 11:00", "duration": {"minutes": 59}}}}"#,
            false,
        ),
        // The end wins over the duration.
        (
            r#"{"date": {"in-range": {"start": "2019-09-23 11:00", "end": "2019-09-24",
                "duration": {"minutes": 59}}}}"#,
            true,
        ),
    ] {
        assert_eq!(holds(&condition(json), noon), expected, "{json}");
    }
}

#[test]
fn a_second_has_not_ended_before_its_last_microsecond() {
    let until = condition(r#"{"date": {"in-range": {"end": "2019-09-23 12:00:00"}}}"#);
    let at =
        |micros| Facts::at(WallTime::from_micros(wall("2019-09-23 12:00:00").as_micros() + micros));
    assert!(until.holds(&at(999_999)));
    assert!(!until.holds(&at(1_000_000)));
}

#[test]
fn specs_match_field_by_field() {
    let noon = "2019-09-23 12:00:00";
    for (spec, now, expected) in [
        ("{}", noon, true),
        (r#"{"hours": "12"}"#, noon, true),
        (r#"{"hours": 12}"#, noon, true),
        (r#"{"hours": "012"}"#, noon, true),
        (r#"{"hours": "9-12"}"#, "2019-09-23 12:59:59", true),
        (r#"{"hours": "9-12"}"#, "2019-09-23 13:00:00", false),
        (r#"{"hours": "-12"}"#, noon, true),
        (r#"{"hours": "-11"}"#, noon, false),
        (r#"{"hours": "12-"}"#, noon, true),
        (r#"{"hours": "13-"}"#, noon, false),
        (r#"{"weekdays": "1"}"#, noon, true),
        (r#"{"weekdays": "7"}"#, "2019-09-22", true),
        (r#"{"weekdays": "1-5", "hours": "9-16"}"#, "2019-09-21 12:00", false),
        (r#"{"yeardays": "266"}"#, noon, true),
        (r#"{"yeardays": "366"}"#, "2020-12-31", true),
        (r#"{"yeardays": "366"}"#, "2019-12-31", false),
        (r#"{"weeks": "39", "weekyears": "2019"}"#, noon, true),
        (r#"{"weeks": "53", "weekyears": "2020", "years": "2021"}"#, "2021-01-01", true),
        (r#"{"months": "2", "monthdays": "29"}"#, "2024-02-29 23:59:59", true),
        (r#"{"months": "2", "monthdays": "29"}"#, "2024-03-01", false),
        (r#"{"weekdays": "5", "monthdays": "13"}"#, "2019-09-13", true),
        (r#"{"minutes": "0", "seconds": "30-"}"#, "2019-09-23 12:00:30", true),
        (r#"{"minutes": "0", "seconds": "30-"}"#, "2019-09-23 12:01:30", false),
        (r#"{"moon": "7"}"#, noon, true),
    ] {
        let spec = condition(&format!(r#"{{"date": {{"spec": {spec}}}}}"#));
        assert_eq!(holds(&spec, now), expected, "{spec:?} {now}");
    }
}

#[test]
fn the_next_change_is_the_true_one_where_it_is_near() {
    let now = "2019-09-23 12:00:00";
    for (json, expected) in [
        (r#"{"after": "2019-09-23 12:00:00"}"#, Some("2019-09-23 12:00:01")),
        (r#"{"after": "2019-09-23 11:59:59"}"#, None),
        (r#"{"before": "2019-09-24"}"#, Some("2019-09-24")),
        (r#"{"before": "2019-09-23"}"#, None),
        (r#"{"in-range": {"start": "2020-01-01", "end": "2021-01-01"}}"#, Some("2020-01-01")),
        (
            r#"{"in-range": {"start": "2019-01-01", "end": "2019-09-24"}}"#,
            Some("2019-09-24 00:00:01"),
        ),
        (r#"{"in-range": {"start": "2019-01-01"}}"#, None),
        (r#"{"spec": {"hours": "9-16"}}"#, Some("2019-09-23 17:00:00")),
        (r#"{"spec": {"hours": "13"}}"#, Some("2019-09-23 13:00:00")),
        (r#"{"spec": {"weekdays": "6-7"}}"#, Some("2019-09-28")),
        (r#"{"spec": {"months": "2", "monthdays": "29"}}"#, Some("2020-02-29")),
        (
            r#"{"spec": {"months": "2", "monthdays": "29", "hours": "3", "minutes": "4",
                "seconds": "5"}}"#,
            Some("2020-02-29 03:04:05"),
        ),
        (r#"{"spec": {"years": "2019"}}"#, Some("2020-01-01")),
        (r#"{"spec": {"years": "-2018"}}"#, None),
        (r#"{"spec": {"years": "2030-"}}"#, Some("2030-01-01")),
        (r#"{"spec": {"weekyears": "2020"}}"#, Some("2019-12-30")),
        (r#"{"spec": {"weekyears": "2018", "seconds": "7"}}"#, None),
        (r#"{"spec": {}}"#, None),
    ] {
        let rule = Rule::new(Join::All, vec![condition(&format!(r#"{{"date": {json}}}"#))]);
        assert_eq!(rule.next_change(wall(now)), expected.map(wall), "{json}");
    }
}

fn any_moment() -> impl Strategy<Value = i64> {
    // 2018-12 to 2025, dense around a year's end.
    prop_oneof![1_543_622_400_i64..1_735_689_600, 1_577_700_000_i64..1_578_000_000]
}

fn at(seconds: i64) -> Moment {
    Moment::of(WallTime::from_micros(seconds * 1_000_000))
}

fn any_span(from: u32, to: u32) -> impl Strategy<Value = Option<Span>> {
    prop_oneof![
        3 => Just(None),
        1 => (from..=to).prop_map(|one| Some(Span::one(one))),
        1 => (from..=to, from..=to).prop_map(|(a, b)| Some(Span::new(a.min(b), a.max(b)))),
        1 => (from..=to).prop_map(|from| format!("{from}-").parse().ok()),
        1 => (from..=to).prop_map(|to| format!("-{to}").parse().ok()),
    ]
}

prop_compose! {
    fn any_spec()(
        clock in (any_span(0, 59), any_span(0, 59), any_span(0, 23)),
        day in (any_span(1, 31), any_span(1, 7), any_span(1, 366), any_span(0, 7)),
        year in (any_span(1, 12), any_span(1, 53), any_span(2018, 2026), any_span(2018, 2026)),
    ) -> DateSpec {
        DateSpec {
            seconds: clock.0, minutes: clock.1, hours: clock.2,
            monthdays: day.0, weekdays: day.1, yeardays: day.2, moon: day.3,
            months: year.0, weeks: year.1, years: year.2, weekyears: year.3,
        }
    }
}

fn any_date() -> impl Strategy<Value = DateExpression> {
    prop_oneof![
        1 => any_moment().prop_map(|start| DateExpression::After(at(start))),
        1 => any_moment().prop_map(|end| DateExpression::Before(at(end))),
        1 => (any_moment(), any_moment()).prop_filter_map("a range", |(start, end)| {
            DateRange::new(Some(at(start)), Some(at(end))).map(DateExpression::InRange)
        }),
        1 => (any_moment(), 0..20_i32, 0..40_i32).prop_map(|(start, months, hours)| {
            let period = Period { months, hours, ..Period::default() };
            DateExpression::InRange(DateRange::lasting(at(start), period))
        }),
        4 => any_spec().prop_map(DateExpression::Spec),
    ]
}

proptest! {
    #[test]
    fn between_now_and_the_next_change_nothing_changes(
        dates in prop::collection::vec(any_date(), 1..4),
        any: bool,
        now in any_moment(),
        samples in prop::collection::vec((0.0..1.0_f64, 0..100_000_i64), 20),
    ) {
        let join = if any { Join::Any } else { Join::All };
        let rule = Rule::new(join, dates.into_iter().map(Condition::Date).collect());
        let now = now * 1_000_000 + 250_000;
        let next = rule.next_change(WallTime::from_micros(now)).map(WallTime::as_micros);
        prop_assert!(next.is_none_or(|next| next > now));
        // Without a change ahead, look at the next 20 years.
        let end = next.unwrap_or(now + 20 * 31_556_952 * 1_000_000);
        let held = rule.holds(&Facts::at(WallTime::from_micros(now)));
        let last = [now, end - 1, end - 1_000_000];
        for sample in samples
            .iter()
            .flat_map(|(part, near)| {
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    reason = "a sample"
                )]
                let far = now + ((end - now) as f64 * part) as i64;
                [far, now + near * 1_000_000, end - near * 1_000_000]
            })
            .chain(last)
            .filter(|sample| (now..end).contains(sample))
        {
            let time = WallTime::from_micros(sample);
            prop_assert_eq!(rule.holds(&Facts::at(time)), held, "at {} of {:?}", time, next);
        }
    }

    #[test]
    fn a_change_of_a_spec_that_is_near_is_a_true_one(spec in any_spec(), now in any_moment()) {
        let rule = Rule::new(Join::All, vec![Condition::Date(DateExpression::Spec(spec))]);
        let time = WallTime::from_micros(now * 1_000_000);
        let near = WallTime::from_micros((now + 86_400 * 30) * 1_000_000);
        if let Some(next) = rule.next_change(time).filter(|next| *next < near) {
            let held = rule.holds(&Facts::at(time));
            prop_assert_ne!(rule.holds(&Facts::at(next)), held, "{} {}", spec, next);
        }
    }

    #[test]
    fn moments_come_back_as_they_were_written(seconds in -62_135_596_800_i64..253_402_300_800) {
        let moment = at(seconds);
        prop_assert_eq!(moment.to_string().parse::<Moment>(), Ok(moment));
        prop_assert_eq!(moment.start().as_micros(), seconds * 1_000_000);
    }

    #[test]
    fn no_text_makes_reading_panic(text in "\\PC{0,24}", dateish in "[0-9WTZ+:. -]{0,24}") {
        for text in [text, dateish] {
            if let Ok(moment) = text.parse::<Moment>() {
                prop_assert_eq!(moment.to_string().parse::<Moment>(), Ok(moment));
            }
            if let Ok(span) = text.parse::<Span>() {
                prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
            }
        }
    }

    #[test]
    fn spans_hold_what_lies_between_their_ends(
        from in 0..100_u32,
        to in 0..100_u32,
        number in 0..100_u32,
    ) {
        let has = |text: &str| text.parse::<Span>().unwrap().contains(i64::from(number));
        prop_assert_eq!(has(&format!("{from}-{to}")), (from..=to).contains(&number));
        prop_assert_eq!(has(&format!("{from}-")), number >= from);
        prop_assert_eq!(has(&format!("-{to}")), number <= to);
        prop_assert_eq!(has(&format!("{from}")), number == from);
    }

    #[test]
    fn any_time_and_period_can_be_used(micros: i64, parts: [i32; 7], start: i64) {
        let [years, months, weeks, days, hours, minutes, seconds] = parts;
        let period = Period { years, months, weeks, days, hours, minutes, seconds };
        let start = Moment::of(WallTime::from_micros(start));
        let range = DateExpression::InRange(DateRange::lasting(start, period));
        let moon = Some(Span::one(3));
        let spec = DateExpression::Spec(DateSpec { moon, ..DateSpec::default() });
        for date in [range, spec] {
            let rule = Rule::new(Join::Any, vec![Condition::Date(date)]);
            let now = WallTime::from_micros(micros);
            let next = rule.next_change(now);
            prop_assert!(next.is_none_or(|next| Moment::of(next) > Moment::of(now)));
            prop_assert!(!rule.why(&Facts::at(now)).is_empty());
        }
    }
}
