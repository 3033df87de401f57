//! The prober and the watch of holders.

use std::time::Duration;

use ha_lab::holders::HolderWatch;
use ha_lab::prober::{Prober, Responder};
use ha_lab::run_test;

use crate::{EVERY, LONG, lab};

#[test]
fn the_prober_sees_an_address_move_and_the_watch_a_vacancy() {
    run_test(|| {
        let (_lab, _lan, [client, a, b]) = lab();
        let (_one, _two) =
            (Responder::start(&a, 7).expect("a"), Responder::start(&b, 7).expect("b"));
        let vip = "10.77.0.99".parse().expect("an address");
        let watch = HolderWatch::start(vip, &[&a, &b]).expect("watched");
        a.add_address("eth0", "10.77.0.99/24").expect("added");
        watch.wait_for(&[a.name()], LONG).expect("held");
        let prober = Prober::start(&client, (vip, 7).into(), EVERY).expect("probed");
        prober.wait_for_answer_by(a.name(), LONG).expect("answered");
        a.power_off().expect("off");
        watch.wait_for(&[], LONG).expect("vacant");
        b.add_address("eth0", "10.77.0.99/24").expect("added");
        client.forget_neighbours(Some(vip)).expect("forgotten");
        prober.wait_for_answer_by(b.name(), LONG).expect("answered");
        let (report, holders) = (prober.finish(), watch.finish());
        assert_eq!(report.changes, 1, "{report}");
        assert!(report.longest_gap > Duration::ZERO, "{report}");
        assert!(report.gaps.iter().any(|gap| gap.lost > 0));
        assert_eq!(holders.spans.len(), 2, "{holders:?}");
        assert!(holders.overlaps.is_empty() && holders.vacant > Duration::ZERO, "{holders:?}");
        let [first, second] = &holders.spans[..] else { panic!("two spans") };
        assert_eq!((first.host.as_str(), second.host.as_str()), ("h2", "h3"));
    });
}

#[test]
fn two_holders_are_an_overlap_and_a_cut_host_is_still_one() {
    run_test(|| {
        let (_lab, _lan, [a, b]) = lab();
        a.add_address("eth0", "10.77.0.99/24").expect("added");
        let vip = "10.77.0.99".parse().expect("an address");
        let watch = HolderWatch::start(vip, &[&a, &b]).expect("watched");
        assert_eq!(watch.holders(), [a.name().clone()], "known from the start");
        a.cut().expect("cut");
        b.add_address("eth0", "10.77.0.99/24").expect("added");
        watch.wait_for(&[b.name(), a.name()], LONG).expect("both");
        a.remove_address("eth0", "10.77.0.99/24").expect("removed");
        watch.wait_for(&[b.name()], LONG).expect("one");
        let report = watch.finish();
        assert_eq!(report.overlaps.len(), 1, "{report:?}");
        assert_eq!(report.overlaps[0].hosts, [a.name().clone(), b.name().clone()]);
        assert!(report.vacancies.len() <= 1, "{report:?}");
    });
}

#[test]
fn instruments_end_with_the_lab_and_report_what_they_saw() {
    run_test(|| {
        let (lab, _lan, [client, server]) = lab();
        let responder = Responder::start(&server, 7).expect("answers");
        let watch = HolderWatch::start("10.77.0.2".parse().expect("an address"), &[&server]);
        let watch = watch.expect("watched");
        let target = "10.77.0.2:7".parse().expect("an address");
        let prober = Prober::start(&client, target, EVERY).expect("probed");
        prober.wait_for_answer_by(server.name(), LONG).expect("answered");
        drop(lab);
        drop(responder);
        assert!(prober.finish().answered > 0);
        assert_eq!(watch.finish().spans.len(), 1);
        let error = client.run(|| ()).expect_err("gone");
        assert!(error.to_string().contains("dropped"), "{error}");
    });
}
