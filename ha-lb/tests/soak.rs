//! Everything at once: endpoints come, go, fail, drain and change weight while all threads pick.
//!
//! Each endpoint has a generation that is odd while it is closed: it is made odd after the pool was
//! told to close it, and even before the pool is told to open it. A pick whose endpoint had the same
//! odd generation before and after was led to one that was closed all the while.

#![expect(clippy::expect_used, reason = "these are tests, and so are their helpers")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ha_core::health::Health;
use ha_core::id::EndpointName;
use ha_lb::algorithm::Algorithm;
use ha_lb::balancer::{Balancer, PickContext};
use ha_lb::endpoint::{Endpoint, Weight};
use ha_lb::pick::Outcome;
use ha_lb::pool::Pool;
use ha_lb::snapshot::{EndpointIndex, Endpoints};
use ha_lb::state::{Admin, EndpointState, Share};

const ALGORITHMS: [&str; 19] = [
    "round-robin",
    "static-rr",
    "least-connections",
    "least-time",
    "random",
    "random,draws=1",
    "peak-ewma",
    "prequal",
    "first",
    "single-writer",
    "single-writer,failback=never",
    "source",
    "source,hash-type=consistent",
    "source,hash-type=ketama",
    "source,hash-type=nginx",
    "source,hash-type=maglev,size=500",
    "source,hash-type=rendezvous,balance-factor=150",
    "source,hash-type=multi-probe",
    "source,hash-type=jump",
];

const PICKERS: u32 = 3;
/// At least so many by each thread; more, up to a bound, until there were enough changes.
const PICKS: u32 = 10_000;
const MOST_PICKS: u32 = 300_000;
const CHANGES: usize = 300;
/// Of an endpoint: those below the first number are always open, those below the second one change
/// their health, the others come and go.
const ALWAYS: usize = 2;
const CHANGING: usize = 7;
const ALL: usize = 12;

/// A small generator of numbers (Marsaglia's xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }
}

fn name(number: usize) -> EndpointName {
    format!("s{number}").parse().expect("a name")
}

fn endpoint(number: usize) -> Endpoint {
    let port = u16::try_from(number + 1).expect("small");
    let endpoint = Endpoint::new(name(number), ([127, 0, 0, 1], port).into());
    // Some fill up, some are of another level.
    let limit = if number.is_multiple_of(3) && number >= ALWAYS { 2 } else { 0 };
    endpoint.with_max_connections(limit).with_priority(u8::from(number == 5 || number == 9))
}

struct Soak {
    pool: Pool,
    generations: [AtomicU64; ALL],
    violations: AtomicUsize,
    failed: AtomicUsize,
    pickers_left: AtomicUsize,
    changes: AtomicUsize,
}

impl Soak {
    fn new(balancer: Arc<dyn Balancer>) -> Self {
        let pool = Pool::builder(balancer).endpoints((0..ALL).map(endpoint).collect());
        Self {
            pool: pool.build().expect("unique names"),
            generations: std::array::from_fn(|_| AtomicU64::new(0)),
            violations: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            pickers_left: AtomicUsize::new(usize::try_from(PICKERS).expect("small")),
            changes: AtomicUsize::new(0),
        }
    }

    fn generation(&self, number: usize) -> u64 {
        self.generations[number].load(Ordering::SeqCst)
    }

    /// Closes an endpoint by `close`, lets the pickers see it for a while, and opens it again.
    fn closed_for_a_while(&self, number: usize, close: impl FnOnce(), open: impl FnOnce()) {
        close();
        self.generations[number].fetch_add(1, Ordering::SeqCst);
        for _ in 0..5 {
            std::thread::yield_now();
        }
        self.generations[number].fetch_add(1, Ordering::SeqCst);
        open();
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Picks, and holds a few picks at a time; returns every state that it has met.
    fn pick(&self, picker: u32) -> Vec<Arc<EndpointState>> {
        let mut numbers = Numbers(u64::from(picker) * 7 + 99);
        let (mut held, mut met) = (Vec::new(), BTreeMap::new());
        for nth in 0..MOST_PICKS {
            if nth >= PICKS && self.changes.load(Ordering::Relaxed) >= CHANGES {
                break;
            }
            if nth.is_multiple_of(16) {
                std::thread::yield_now();
            }
            let before: [u64; ALL] = std::array::from_fn(|number| self.generation(number));
            let client = std::net::Ipv4Addr::from(nth % 97 * 0x0101 + picker);
            let context = PickContext::new().with_client(client.into());
            let Ok(pick) = self.pool.pick(&context) else {
                self.failed.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let number: usize = pick.name().as_str()[1..].parse().expect("a number");
            let (was, is) = (before[number], self.generation(number));
            if was % 2 == 1 && is == was {
                self.violations.fetch_add(1, Ordering::Relaxed);
            }
            met.entry(Arc::as_ptr(pick.state())).or_insert_with(|| Arc::clone(pick.state()));
            held.push(pick);
            if held.len() > 4 {
                let ended = held.swap_remove(numbers.below(4));
                match numbers.below(4) {
                    0 => ended.finish(Outcome::Failed),
                    1 => drop(ended),
                    _ => ended.finish(Outcome::Completed),
                }
            }
        }
        self.pickers_left.fetch_sub(1, Ordering::SeqCst);
        met.into_values().collect()
    }

    fn goes_on(&self) -> bool {
        self.pickers_left.load(Ordering::SeqCst) > 0
    }

    /// Changes health, the operator's will, ejection and shares.
    fn change_health(&self) {
        let mut numbers = Numbers(3);
        while self.goes_on() {
            let number = ALWAYS + numbers.below(CHANGING - ALWAYS);
            let (pool, name) = (&self.pool, name(number));
            match numbers.below(5) {
                0 | 1 => self.closed_for_a_while(
                    number,
                    || {
                        pool.set_health(&name, Health::Unhealthy, "soak");
                    },
                    || {
                        pool.set_health(&name, Health::Healthy, "soak");
                    },
                ),
                2 => {
                    let admin = [Admin::Drain, Admin::Maintenance][numbers.below(2)];
                    self.closed_for_a_while(
                        number,
                        || {
                            pool.set_admin(&name, admin);
                        },
                        || {
                            pool.set_admin(&name, Admin::Ready);
                        },
                    );
                }
                3 => self.closed_for_a_while(
                    number,
                    || {
                        pool.eject(&name, "soak");
                    },
                    || {
                        pool.restore(&name, "soak");
                    },
                ),
                _ => {
                    let parts = u16::try_from(numbers.below(256)).expect("small");
                    pool.set_share(&name, Share::of_parts(parts));
                }
            }
        }
    }

    /// Has endpoints leave and join, and changes weights, to 0 as well.
    fn change_list(&self) {
        let mut numbers = Numbers(5);
        let mut list: Vec<Endpoint> = (0..ALL).map(endpoint).collect();
        let update = |list: &[Endpoint]| self.pool.update(list.to_vec()).expect("unique names");
        while self.goes_on() {
            let number = CHANGING + numbers.below(ALL - CHANGING);
            let weight = u16::try_from(1 + numbers.below(20)).expect("small");
            let weight = Weight::new(weight).expect("in range");
            if numbers.below(2) == 0 {
                let mut without = list.clone();
                without.remove(number);
                self.closed_for_a_while(number, || update(&without), || update(&list));
            } else {
                let none = Weight::new(0).expect("in range");
                let pool = &self.pool;
                list[number] = list[number].clone().with_weight(weight);
                self.closed_for_a_while(
                    number,
                    || {
                        pool.set_weight(&name(number), none);
                    },
                    || {
                        pool.set_weight(&name(number), weight);
                    },
                );
            }
        }
    }

    /// Everything at once; returns every state that anybody has met.
    fn run(&self) -> Vec<Arc<EndpointState>> {
        std::thread::scope(|scope| {
            let pickers: Vec<_> =
                (0..PICKERS).map(|picker| scope.spawn(move || self.pick(picker))).collect();
            scope.spawn(|| self.change_health());
            scope.spawn(|| self.change_list());
            let met = pickers.into_iter().map(|picker| picker.join().expect("no panic"));
            met.flatten().collect()
        })
    }
}

#[test]
fn no_algorithm_picks_what_is_closed_fails_or_loses_count() {
    for text in ALGORITHMS {
        let algorithm: Algorithm = text.parse().expect("an algorithm");
        let soak = Soak::new(algorithm.balancer());
        let met = soak.run();
        let changes = soak.changes.load(Ordering::Relaxed);
        assert!(changes >= CHANGES, "{text}: only {changes} changes went on meanwhile");
        assert_eq!(soak.violations.load(Ordering::Relaxed), 0, "{text}: was led to a closed one");
        assert_eq!(soak.failed.load(Ordering::Relaxed), 0, "{text}: two are always open");
        for state in met {
            assert_eq!(state.connections(), 0, "{text}: {}", state.name());
        }
        let picks: u64 = soak.pool.snapshot().iter().map(|(_, state)| state.totals().picks).sum();
        assert!(picks > 0, "{text}");
    }
}

/// Picks whatever there is, usable or not.
#[derive(Debug, Default)]
struct Reckless(AtomicUsize, AtomicBool);

impl Balancer for Reckless {
    fn name(&self) -> &'static str {
        "reckless"
    }

    fn pick(&self, endpoints: &Endpoints, _: &PickContext<'_>) -> Option<EndpointIndex> {
        let nth = self.0.fetch_add(1, Ordering::Relaxed).checked_rem(endpoints.len())?;
        self.1.store(true, Ordering::Relaxed);
        u32::try_from(nth).ok().map(EndpointIndex::new)
    }
}

#[test]
fn a_balancer_that_does_not_look_is_caught() {
    let reckless = Arc::new(Reckless::default());
    let soak = Soak::new(reckless.clone());
    soak.run();
    assert!(reckless.1.load(Ordering::Relaxed));
    assert!(soak.violations.load(Ordering::Relaxed) > 0);
}
