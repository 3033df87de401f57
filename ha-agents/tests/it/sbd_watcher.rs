//! Whether a node that was told to die is dead when others believe so.

use std::time::Duration;

use ha_agents::fence::sbd::{
    Ended, Input, Mail, Message, Output, StartMode, Watcher, WatcherConfig,
};
use ha_agents::watchdog::Timing;
use ha_core::laws;
use ha_core::machine::Machine;
use ha_core::time::Instant;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn config(disks: usize) -> WatcherConfig {
    WatcherConfig::builder("n2".parse().expect("a name"), disks).build().expect("valid")
}

/// An order as ours write it.
fn order(message: Message) -> Mail {
    let mut mail = Mail::new(message, "n1");
    mail.token = 9;
    mail
}

/// A watcher, with disks that answer as told.
struct Node {
    watcher: Watcher,
    now: Instant,
    /// What each disk does from when on: it answers after so long, or never.
    lag: Vec<Vec<(Instant, Option<Duration>)>>,
    /// Which mail stands on each disk, from when on.
    mails: Vec<Vec<(Instant, Mail)>>,
    reads: Vec<(Instant, usize, Option<Mail>)>,
    fed: Option<Instant>,
    told: Vec<(Instant, Output)>,
}

impl Node {
    fn new(config: WatcherConfig) -> Self {
        let disks = config.disks();
        Self {
            watcher: Watcher::new(config, Instant::ZERO),
            now: Instant::ZERO,
            lag: vec![vec![(Instant::ZERO, Some(Duration::ZERO))]; disks],
            mails: vec![vec![(Instant::ZERO, Mail::NONE)]; disks],
            reads: Vec::new(),
            fed: None,
            told: Vec::new(),
        }
    }

    /// Runs until the watcher has ended or it is `end`. Returns when the node is dead at the
    /// latest: by its own end, or by its watchdog.
    fn run(&mut self, end: Instant) -> Option<Instant> {
        loop {
            let reads = self.reads.iter().enumerate();
            let read = reads.map(|(at, (when, ..))| (*when, at)).min();
            let tick = self.watcher.deadline();
            let first = [read.map(|(when, _)| when), tick].into_iter().flatten().min();
            let Some(first) = first else { break };
            if first > end {
                return None;
            }
            self.now = first;
            let mut out = Vec::new();
            match read.filter(|(when, _)| *when == first) {
                Some((_, at)) => {
                    let (_, disk, mail) = self.reads.swap_remove(at);
                    let input = mail.map_or(Input::Failed(disk), |mail| Input::Read(disk, mail));
                    self.watcher.handle(first, input, &mut out);
                }
                None => self.watcher.tick(first, &mut out),
            }
            for output in out {
                self.take(output);
            }
        }
        let watchdog = self.fed.map(|fed| fed + Timing::default().watchdog());
        Some(watchdog.map_or(self.now, |fires| fires.min(self.now)))
    }

    fn take(&mut self, output: Output) {
        match &output {
            Output::Arm | Output::Feed => self.fed = Some(self.now),
            Output::Read(disk) => {
                let at = |changes: &[(Instant, Option<Duration>)]| {
                    changes.iter().rev().find(|(from, _)| *from <= self.now)?.1
                };
                let io = Timing::default().io();
                let lag = at(&self.lag[*disk]).filter(|lag| *lag < io);
                // A disk is read at the moment that is worst: when the read begins.
                let mails = self.mails[*disk].iter().rev();
                let mail = mails.clone().find(|(from, _)| *from <= self.now);
                let mail = mail.map(|(_, mail)| mail.clone());
                let (when, mail) = lag.map_or((io, None), |lag| (lag, mail));
                self.reads.push((self.now + when, *disk, mail));
            }
            Output::Write { .. } | Output::Obey(_) | Output::Tested(_) | Output::Ended(_) => {}
        }
        self.told.push((self.now, output));
    }

    fn said(&self, wanted: &Output) -> bool {
        self.told.iter().any(|(_, output)| output == wanted)
    }
}

proptest! {
    /// A message is written to more than half of the disks, at any time; disks fail, and are slow,
    /// as they like: the node is dead before the message wait is over.
    #[test]
    fn a_node_is_dead_when_the_message_wait_is_over(
        disks in 1..=3usize,
        at in 10_000..20_000u64,
        skipped in 0..3usize,
        lags in prop::collection::vec(
            prop::collection::vec((0..25_000u64, prop::option::of(0..2_999u64)), 0..6), 3),
    ) {
        let mut node = Node::new(config(disks));
        let written = Instant::from_millis(at);
        for (disk, changes) in lags.into_iter().take(disks).enumerate() {
            let mut changes: Vec<_> = changes
                .into_iter()
                .map(|(from, lag)| (Instant::from_millis(from), lag.map(Duration::from_millis)))
                .collect();
            changes.push((Instant::ZERO, Some(Duration::ZERO)));
            changes.sort_by_key(|(from, _)| *from);
            node.lag[disk] = changes;
            // With three disks one may lack it.
            if disks < 3 || disk != skipped {
                node.mails[disk].push((written, order(Message::Reset)));
            }
        }
        let wait = Timing::default().message_wait();
        let dead = node.run(written + 10 * wait);
        prop_assert!(dead.is_some_and(|dead| dead <= written + wait), "{dead:?} {written}");
    }

    #[test]
    fn the_watcher_is_a_lawful_machine(
        disks in 1..=3usize,
        steps in prop::collection::vec((0..3_000u64, 0..9usize, 0..4usize, 0..6usize), 0..60),
    ) {
        let schedule: Vec<_> = steps
            .into_iter()
            .map(|(wait, what, disk, message)| {
                let input = match what {
                    0..=3 => Input::Read(disk, Mail::NONE),
                    4 => Input::Read(disk, order(Message::ALL[message])),
                    5 => Input::Failed(disk),
                    6 => Input::Healthy,
                    7 => Input::Harmless,
                    _ => Input::Stop,
                };
                (Duration::from_millis(wait), Some(input))
            })
            .collect();
        laws::check(|| Watcher::new(config(disks), Instant::from_secs(1_000)), &schedule)
            .expect("lawful");
    }
}

/// That it is the rule that holds the property up: with half of the disks a message can be missed.
#[test]
fn a_message_on_half_of_the_disks_is_not_enough() {
    let mut node = Node::new(config(2));
    let written = Instant::from_secs(10);
    node.mails[0].push((written, order(Message::Reset)));
    node.lag[0].push((Instant::from_secs(9), None));
    assert_eq!(node.run(written + 100 * SECOND), None, "it lives by the other disk");
}

#[test]
fn lost_disks_end_a_node_as_sbd_has_it() {
    for (disks, lost, lives) in
        [(1, 1, false), (2, 1, true), (2, 2, false), (3, 1, true), (3, 2, false)]
    {
        let mut node = Node::new(config(disks));
        for disk in 0..lost {
            node.lag[disk].push((Instant::from_secs(20), None));
        }
        let dead = node.run(Instant::from_secs(60));
        assert_eq!(dead.is_none(), lives, "{lost} of {disks} lost: {dead:?}");
        if !lives {
            assert!(node.said(&Output::Ended(Ended::Lost)));
        }
    }
}

#[test]
fn a_node_that_the_cluster_calls_healthy_outlives_its_disks_for_so_long() {
    let mut node = Node::new(config(1));
    node.lag[0].push((Instant::from_secs(20), None));
    for second in 20..60 {
        assert_eq!(node.run(Instant::from_secs(second)), None, "at {second} s");
        let mut out = Vec::new();
        node.now = Instant::from_secs(second);
        node.watcher.handle(node.now, Input::Healthy, &mut out);
        for output in out {
            node.take(output);
        }
    }
    let dead = node.run(Instant::from_secs(100)).expect("it is dead");
    assert!(dead <= Instant::from_secs(59 + 10), "{dead}");
}

#[test]
fn it_starts_only_with_more_than_half_of_the_disks() {
    for (disks, lost, starts) in [(1, 1, false), (2, 1, false), (3, 1, true), (3, 2, false)] {
        let mut node = Node::new(config(disks));
        for disk in 0..lost {
            node.lag[disk] = vec![(Instant::ZERO, None)];
        }
        node.run(Instant::from_secs(30));
        assert_eq!(node.said(&Output::Arm), starts, "{lost} of {disks} lost");
    }
}

#[test]
fn messages_are_obeyed_cleared_or_end_the_watcher() {
    for message in Message::ALL {
        let mut node = Node::new(config(1));
        let mail = order(message);
        node.mails[0].push((Instant::from_secs(5), mail.clone()));
        let dead = node.run(Instant::from_secs(8));
        let obeyed = node.said(&Output::Obey(mail.clone()));
        let cleared = node.said(&Output::Write { disk: 0, old: mail.clone(), new: Mail::NONE });
        let exited = node.said(&Output::Ended(Ended::Exit));
        let tested = node.said(&Output::Tested(mail));
        let expected = match message {
            Message::Clear => (false, false, false, false),
            Message::Test => (false, true, false, true),
            Message::Exit => (false, false, true, false),
            Message::Reset | Message::Off | Message::Crashdump => (true, false, false, false),
        };
        assert_eq!((obeyed, cleared, exited, tested), expected, "{message}");
        assert_eq!(dead.is_some(), exited, "{message}: an order still has its time");
    }
}

#[test]
fn an_order_that_is_carried_out_is_acknowledged_on_all_disks() {
    let mut node = Node::new(config(3));
    let mail = order(Message::Off);
    node.mails[2].push((Instant::from_secs(5), mail.clone()));
    node.run(Instant::from_secs(6));
    assert!(node.said(&Output::Obey(mail.clone())));
    let fed = node.fed;
    let mut out = Vec::new();
    node.watcher.handle(Instant::from_secs(7), Input::Harmless, &mut out);
    let new = mail.acknowledgement(&"n2".parse().expect("a name")).expect("it asks for one");
    let mut expected: Vec<_> =
        (0..3).map(|disk| Output::Write { disk, old: mail.clone(), new: new.clone() }).collect();
    expected.push(Output::Ended(Ended::Ordered(mail)));
    assert_eq!(out, expected);
    assert_eq!(node.fed, fed, "it is not fed any more");

    // The tool's orders ask for none; one that the node gave itself by the tool is obeyed.
    let mut node = Node::new(config(1));
    let mail = Mail::new(Message::Reset, "n2");
    node.mails[0].push((Instant::from_secs(5), mail.clone()));
    node.run(Instant::from_secs(6));
    let mut out = Vec::new();
    node.watcher.handle(Instant::from_secs(7), Input::Harmless, &mut out);
    assert_eq!(out, [Output::Ended(Ended::Ordered(mail))]);
}

#[test]
fn a_node_that_was_fenced_starts_as_it_is_told_to() {
    let old = order(Message::Off);
    let mut node = Node::new(config(1));
    node.mails[0] = vec![(Instant::ZERO, old.clone())];
    node.run(Instant::from_millis(10));
    assert!(node.said(&Output::Arm) && !node.said(&Output::Obey(old.clone())));
    assert!(node.said(&Output::Write { disk: 0, old: old.clone(), new: Mail::NONE }));

    let clean = WatcherConfig::builder("n2".parse().expect("a name"), 1).start(StartMode::Clean);
    let mut node = Node::new(clean.build().expect("valid"));
    node.mails[0] = vec![(Instant::ZERO, old.clone())];
    node.run(Instant::from_secs(10));
    assert!(node.said(&Output::Ended(Ended::Fenced(old))) && !node.said(&Output::Arm));
}

#[test]
fn an_order_of_before_the_start_is_not_obeyed_on_a_disk_that_comes_later() {
    let old = order(Message::Off);
    let mut node = Node::new(config(3));
    node.mails = vec![vec![(Instant::ZERO, old.clone())]; 3];
    // The node that was switched off is on again, and one of its three disks is late.
    node.lag[2] = vec![(Instant::ZERO, None), (Instant::from_secs(4), Some(Duration::ZERO))];
    for disk in 0..2 {
        node.mails[disk].push((Instant::from_millis(1), Mail::NONE));
    }
    node.run(Instant::from_secs(8));
    assert!(node.said(&Output::Arm), "{:?}", node.told);
    assert!(!node.said(&Output::Obey(old.clone())), "fenced twice for one order");
    assert!(node.said(&Output::Write { disk: 2, old: old.clone(), new: Mail::NONE }));

    let mut another = order(Message::Off);
    another.token = 10;
    node.mails[2].push((Instant::from_secs(9), another.clone()));
    node.mails[1].push((Instant::from_secs(9), another.clone()));
    node.run(Instant::from_secs(20));
    assert!(node.said(&Output::Obey(another)), "a new order is obeyed: {:?}", node.told);
}
