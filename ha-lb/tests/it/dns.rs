//! Pools that follow DNS: a name server of ours that misbehaves, and dnsmasq.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::Task;
use ha_lb::balancer::PickContext;
use ha_lb::discovery::dns::{Dns, DnsBuilder, Families};
use ha_lb::discovery::follow::{Follower, Status};
use ha_lb::discovery::{Discovery, DiscoveryError};
use ha_lb::pool::Pool;
use ha_lb::resilience::backoff::{Backoff, Jitter};
use tokio::sync::watch;

use crate::discovery::{empty_pool, names, until};
use crate::name_server::{
    A, AAAA, Answer, CNAME, NXDOMAIN, NameServer, Record, SERVFAIL, SRV, addresses, garbage,
};

const SHORT: Duration = Duration::from_millis(10);

/// Asks again after 10 ms whatever the answer was, and waits for 2 s at most.
fn quick(builder: DnsBuilder, server: SocketAddr) -> DnsBuilder {
    builder
        .servers([server])
        .refresh(SHORT, SHORT)
        .retry(Backoff::new(SHORT, SHORT, Jitter::None).expect("in range"))
        .timeout(Duration::from_secs(2))
}

struct Followed {
    pool: Pool,
    status: watch::Receiver<Status>,
    _task: Task<std::io::Result<()>>,
}

fn followed(builder: DnsBuilder) -> Followed {
    let pool = empty_pool();
    let follower = Follower::new(builder.build().expect("in range"), pool.clone());
    Followed { pool, status: follower.status(), _task: follower.spawn() }
}

const GOOD: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

#[tokio::test]
async fn a_pool_follows_the_addresses_of_a_name() {
    let server = NameServer::start(|name, kind| {
        assert_eq!(name, "db.example.");
        addresses(kind, &["192.0.2.2", "192.0.2.1", "2001:db8::1"], 0)
    })
    .await;
    let mut followed = followed(quick(Dns::addresses("db.example", 5432), server.address));
    until(&mut followed.status, |status| status.updates > 0).await;
    assert_eq!(names(&followed.pool), "192.0.2.1:5432 192.0.2.2:5432 2001:db8:0:0:0:0:0:1:5432 ");
    let held = followed.pool.pick(&PickContext::new()).expect("usable");
    server.answer(|_, kind| addresses(kind, &["192.0.2.1", "192.0.2.7"], 0));
    until(&mut followed.status, |status| status.endpoints == 2).await;
    assert_eq!(names(&followed.pool), "192.0.2.1:5432 192.0.2.7:5432 ");
    let snapshot = followed.pool.snapshot();
    let (_, state) = snapshot.iter().next().expect("the first stays");
    assert_eq!(held.name().as_str(), "192.0.2.1:5432");
    assert!(Arc::ptr_eq(state, held.state()));
}

#[tokio::test]
async fn whatever_goes_wrong_the_last_good_list_stays() {
    let server = NameServer::start(|_, kind| addresses(kind, &GOOD, 0)).await;
    let mut followed = followed(quick(Dns::addresses("db.example", 80), server.address));
    until(&mut followed.status, |status| status.updates > 0).await;
    let before = names(&followed.pool);
    let mut wrong = garbage();
    wrong.extend([
        Answer::Refusal(NXDOMAIN),
        Answer::Refusal(SERVFAIL),
        Answer::Refusal(5),
        Answer::Records { records: Vec::new(), large: false },
        Answer::Records {
            records: vec![Record { kind: A, ttl: 9, data: vec![0; 4] }],
            large: false,
        },
        Answer::Silence,
        Answer::WrongId(vec![Record::address(IpAddr::from([203, 0, 113, 66]), 300)]),
    ]);
    for wrong in wrong {
        let failures = followed.status.borrow().failures;
        let said = format!("{wrong:?}");
        server.answer(move |_, _| wrong.clone());
        let failed = until(&mut followed.status, |status| status.failures > failures).await;
        assert!(failed.error.is_some(), "{said}");
        assert_eq!(names(&followed.pool), before, "{said}");
        server.answer(|_, kind| addresses(kind, &GOOD, 0));
        until(&mut followed.status, |status| status.error.is_none()).await;
        assert_eq!(names(&followed.pool), before, "{said}");
    }
}

#[tokio::test]
async fn a_part_of_an_answer_is_not_an_answer() {
    let server = NameServer::start(|_, kind| addresses(kind, &["192.0.2.1", "2001:db8::1"], 0));
    let server = server.await;
    let mut followed = followed(quick(Dns::addresses("db.example", 80), server.address));
    until(&mut followed.status, |status| status.endpoints == 2).await;
    server.answer(|_, kind| match kind {
        AAAA => Answer::Refusal(SERVFAIL),
        _ => addresses(kind, &["192.0.2.1", "2001:db8::1"], 0),
    });
    let failed = until(&mut followed.status, |status| status.error.is_some()).await;
    assert!(failed.error.expect("failed").contains("AAAA of db.example"));
    assert_eq!(followed.pool.snapshot().len(), 2);
    // A name that has no address of one kind is no failure.
    server.answer(|_, kind| addresses(kind, &["192.0.2.1"], 0));
    until(&mut followed.status, |status| status.endpoints == 1).await;
}

#[tokio::test]
async fn an_answer_that_does_not_fit_comes_by_tcp_and_is_bounded() {
    let records: Vec<_> = (0..1000_u32)
        .map(|n| Record::address(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), 0))
        .collect();
    let server = NameServer::start(move |_, kind| match kind {
        A => Answer::Records { records: records.clone(), large: true },
        _ => Answer::Records { records: Vec::new(), large: false },
    })
    .await;
    let mut all =
        quick(Dns::addresses("many.example", 80), server.address).build().expect("in range");
    let found = all.next().await.expect("by TCP");
    assert_eq!((found.endpoints.len(), found.notes.len()), (1000, 0));
    let mut some = quick(Dns::addresses("many.example", 80), server.address)
        .max_records(100)
        .build()
        .expect("in range");
    let found = some.next().await.expect("by TCP");
    assert_eq!(found.endpoints.len(), 100);
    assert_eq!(found.notes, ["900 records beyond the limit of 100 are left out"]);
}

/// Servers of a service, and their addresses.
fn service(name: &str, kind: u16) -> Answer {
    let records = match (name, kind) {
        ("_db._tcp.example.", SRV) => vec![
            Record::srv(20, 5, 5433, "spare.example"),
            Record::srv(10, 3, 5432, "one.example"),
            Record::srv(10, 1, 5432, "two.example"),
            Record::srv(10, 1, 5432, "gone.example"),
        ],
        ("one.example.", A) => vec![Record::address(IpAddr::from([192, 0, 2, 1]), 9)],
        ("two.example.", A) => vec![Record::address(IpAddr::from([192, 0, 2, 2]), 9)],
        ("spare.example.", A) => vec![Record::address(IpAddr::from([192, 0, 2, 3]), 9)],
        ("gone.example.", _) => return Answer::Refusal(NXDOMAIN),
        _ => Vec::new(),
    };
    Answer::Records { records, large: false }
}

#[tokio::test]
async fn services_have_ports_weights_and_backups() {
    let server = NameServer::start(service).await;
    let mut dns = quick(Dns::service("_db._tcp.example"), server.address).build().expect("ok");
    let found = dns.next().await.expect("answered");
    let said: Vec<_> = found
        .endpoints
        .iter()
        .map(|e| format!("{} {} {}", e.name(), e.weight(), e.is_backup()))
        .collect();
    let expected = ["192.0.2.1:5432 3 false", "192.0.2.2:5432 1 false", "192.0.2.3:5433 5 true"];
    assert_eq!(said, expected);

    server.answer(|_, kind| match kind {
        SRV => Answer::Records { records: vec![Record::srv(0, 0, 0, ".")], large: false },
        _ => panic!("there is nothing to ask for"),
    });
    let error = dns.next().await.expect_err("no such service");
    assert!(matches!(error, DiscoveryError::Empty { .. }), "{error}");

    // If one server's addresses cannot be had, the whole answer is not good.
    server.answer(|name, kind| match name {
        "two.example." => Answer::Refusal(SERVFAIL),
        _ => service(name, kind),
    });
    let error = dns.next().await.expect_err("a part");
    assert!(matches!(error, DiscoveryError::Lookup { .. }), "{error}");
}

#[tokio::test]
async fn a_chain_of_names_without_end_ends() {
    let server = NameServer::start(|_, _| {
        // The name is an alias of itself.
        let data = vec![0xc0, 12];
        Answer::Records { records: vec![Record { kind: CNAME, ttl: 0, data }], large: false }
    })
    .await;
    let mut dns = quick(Dns::addresses("loop.example", 80), server.address).build().expect("ok");
    let answer = tokio::time::timeout(Duration::from_mins(1), dns.next()).await;
    answer.expect("it ends").expect_err("no address");
}

#[tokio::test]
async fn only_the_families_that_are_wanted_are_asked_for() {
    let server = NameServer::start(|_, kind| {
        assert_eq!(kind, A);
        addresses(kind, &GOOD, 300)
    })
    .await;
    let builder = quick(Dns::addresses("db.example", 80), server.address).families(Families::V4);
    let mut dns = builder.build().expect("in range");
    assert_eq!(dns.next().await.expect("answered").endpoints.len(), 2);
    assert_eq!(dns.source(), "dns db.example:80");
}

#[tokio::test]
async fn the_time_to_live_says_when_to_ask_again() {
    let server = NameServer::start(|_, kind| addresses(kind, &GOOD, 3600)).await;
    let builder = || Dns::addresses("db.example", 80).servers([server.address]);
    let mut dns = builder().refresh(SHORT, Duration::from_hours(2)).build().expect("in range");
    dns.next().await.expect("answered");
    server.answer(|_, _| panic!("asked too early"));
    let early = tokio::time::timeout(Duration::from_millis(200), dns.next()).await;
    assert!(early.is_err());
    // The upper bound comes before the hour.
    server.answer(|_, kind| addresses(kind, &GOOD, 3600));
    let mut dns = builder().refresh(SHORT, SHORT).build().expect("in range");
    dns.next().await.expect("answered");
    server.answer(|_, kind| addresses(kind, &["192.0.2.9"], 3600));
    assert_eq!(dns.next().await.expect("answered").endpoints.len(), 1);
}

#[tokio::test]
async fn every_wrong_setting_is_named() {
    let error = Dns::addresses("", 0)
        .servers(["127.0.0.1:53".parse().expect("an address")])
        .refresh(Duration::from_secs(2), Duration::from_secs(1))
        .timeout(Duration::ZERO)
        .max_records(0)
        .build()
        .expect_err("all are wrong");
    let paths: Vec<_> = error.problems().iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["name", "port", "refresh.max", "timeout", "max_records"]);
}

/// dnsmasq on a free port; ends when dropped.
struct Dnsmasq(std::process::Child, SocketAddr);

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Dnsmasq {
    /// `None` if it is not installed.
    async fn start(records: &[&str]) -> Option<Self> {
        let program = ["/usr/sbin/dnsmasq", "/usr/bin/dnsmasq"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists())?;
        let free = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = free.local_addr().expect("bound");
        drop(free);
        let child = std::process::Command::new(program)
            .args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"])
            .args(["--bind-interfaces", "--listen-address=127.0.0.1", "--pid-file", "--user=root"])
            .arg(format!("--port={}", address.port()))
            .args(records)
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        Some(Self(child, address))
    }
}

#[tokio::test]
async fn dnsmasq_is_followed() {
    let records = [
        "--host-record=db.test,192.0.2.1",
        "--host-record=db.test,2001:db8::1",
        "--host-record=one.test,192.0.2.11",
        "--srv-host=_db._tcp.test,one.test,5432,10,7",
        "--srv-host=_db._tcp.test,db.test,5433,20,1",
        "--local=/test/",
    ];
    let Some(dnsmasq) = Dnsmasq::start(&records).await else {
        let skipped = "skipped dnsmasq_is_followed: dnsmasq is not installed";
        assert!(std::env::var_os("HA_REQUIRE_ALL").is_none_or(|value| value != "1"), "{skipped}");
        eprintln!("{skipped}");
        return;
    };
    let mut by_address = followed(quick(Dns::addresses("db.test", 80), dnsmasq.1));
    until(&mut by_address.status, |status| status.updates > 0).await;
    assert_eq!(names(&by_address.pool), "192.0.2.1:80 2001:db8:0:0:0:0:0:1:80 ");
    let mut dns = quick(Dns::service("_db._tcp.test"), dnsmasq.1).build().expect("in range");
    let found = dns.next().await.expect("answered");
    let said: Vec<_> =
        found.endpoints.iter().map(|e| format!("{e} {} {}", e.weight(), e.is_backup())).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].ends_with("=192.0.2.11:5432 7 false"), "{said:?}");
    let mut none = quick(Dns::addresses("nobody.test", 80), dnsmasq.1).build().expect("in range");
    let error = none.next().await.expect_err("no such name");
    assert!(matches!(error, DiscoveryError::Empty { .. }), "{error}");
    // It goes, and comes back no more: what was known stays.
    drop(dnsmasq);
    until(&mut by_address.status, |status| status.error.is_some()).await;
    assert_eq!(by_address.pool.snapshot().len(), 2);
}

#[tokio::test]
async fn a_service_of_too_many_servers_says_so() {
    let server = NameServer::start(|name, kind| match kind {
        SRV => {
            let record = |number: u16| Record::srv(0, 1, 80, &format!("s{number}.example"));
            Answer::Records { records: (0..260).map(record).collect(), large: true }
        }
        A => {
            let number: String = name.chars().filter(char::is_ascii_digit).collect();
            let [high, low] = number.parse::<u16>().expect("a number").to_be_bytes();
            let address = IpAddr::from([10, 0, high, low]);
            Answer::Records { records: vec![Record::address(address, 9)], large: false }
        }
        _ => Answer::Records { records: Vec::new(), large: false },
    })
    .await;
    let dns = quick(Dns::service("_db._tcp.example"), server.address);
    let found = dns.build().expect("in range").next().await.expect("answered");
    assert_eq!(found.endpoints.len(), 256);
    assert_eq!(found.notes, ["4 servers beyond the first 256 are left out"]);
}
