//! Addresses in a real kernel: whose they are, how long they stay, and many at once.

use std::process::Command;
use std::time::Duration;

use ha_lab::holders::HolderWatch;
use ha_lab::{Host, Lab};
use ha_vip::VirtualAddress;
use ha_vip::backend::{AddressBackend, BackendError, NetlinkBackend};

const PATIENCE: Duration = Duration::from_secs(20);

fn address(text: &str) -> VirtualAddress {
    text.parse().expect("an address")
}

fn host(lab: &Lab) -> Host {
    let lan = lab.network("lan").expect("a network");
    lab.host("a").and_then(|host| host.join(&lan, "10.77.0.1/16")).expect("a host")
}

/// Runs `test` with a backend of the host's interface, in a runtime that ends with it.
fn with_backend<R: Send>(host: &Host, test: impl AsyncFnOnce(NetlinkBackend) -> R + Send) -> R {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let backend = NetlinkBackend::open("eth0").await.expect("the interface is there");
            test(backend).await
        })
    };
    host.run(run).expect("the lab runs")
}

/// How many seconds an address of the host has left; `None`: it stays for ever.
fn lease(host: &Host, address: VirtualAddress) -> Option<u64> {
    let output = host.run(|| Command::new("ip").args(["address", "show", "dev", "eth0"]).output());
    let output = output.expect("the lab runs").expect("ip runs");
    let shown = String::from_utf8(output.stdout).expect("text");
    let mut lines = shown.lines().skip_while(|line| !line.contains(&address.to_string()));
    let lifetime = lines.nth(1).expect("the address is there").trim();
    lifetime.strip_prefix("valid_lft ")?.split_once("sec")?.0.parse().ok()
}

#[test]
fn a_lease_ends_by_itself_when_nobody_renews_it() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let a = host(&lab);
        let addresses = ["10.77.0.200/16", "2001:db8::200/64"].map(address);
        with_backend(&a, async |backend| {
            let backend = backend.with_lease(Duration::from_millis(1_500));
            assert_eq!(backend.lease(), Some(Duration::from_secs(2)), "whole seconds");
            backend.add_all(&addresses).await.expect("added");
            // Renewing what is there changes its lease only.
            backend.add_all(&addresses).await.expect("renewed");
        });
        // The process's part is over; the kernel does the rest.
        for address in addresses {
            let watch = HolderWatch::start(address.ip(), &[&a]).expect("a watch");
            watch.wait_for(&[], PATIENCE).expect("its lease ends");
        }
    });
}

#[test]
fn a_renewed_lease_is_longer_and_another_programs_address_gets_none() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let a = host(&lab);
        a.add_address("eth0", "10.77.0.99/16").expect("another program's");
        let (ours, foreign) = (address("10.77.0.200/16"), address("10.77.0.99/16"));
        with_backend(&a, async |backend| {
            let short = backend.with_lease(Duration::from_secs(1_000));
            short.add_all(&[ours, foreign]).await.expect("added");
            assert!(lease(&a, ours).is_some_and(|lease| lease <= 1_000));
            let long = short.with_lease(Duration::from_hours(2));
            long.add_all(&[ours, foreign]).await.expect("renewed");
        });
        assert!(lease(&a, ours).is_some_and(|lease| lease > 1_000));
        assert_eq!(lease(&a, foreign), None, "it stays for ever");
    });
}

#[test]
fn leftovers_are_cleared_and_a_foreign_address_is_never_removed() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let a = host(&lab);
        a.add_address("eth0", "10.77.0.99/16").expect("another program's");
        let (ours, foreign) = (address("10.77.0.200/16"), address("10.77.0.99/16"));
        let six = address("2001:db8::200/64");
        with_backend(&a, async |first_life| {
            first_life.add_all(&[ours, foreign, six]).await.expect("added");
        });
        with_backend(&a, async |second_life| {
            assert_eq!(second_life.list().await.expect("a list"), [ours, six]);
            second_life.remove(foreign).await.expect("nothing to do");
            second_life.remove_all(&[foreign]).await.expect("nothing to do");
            let cleared = second_life.clear_leftovers(&[ours, foreign, six]).await;
            assert_eq!(cleared.expect("cleared"), [ours, six]);
        });
        assert!(a.holds(foreign.ip()).expect("addresses"));
        assert!(!a.holds(ours.ip()).expect("addresses") && !a.holds(six.ip()).expect("addresses"));
    });
}

#[test]
fn as_many_addresses_as_a_message_has_come_and_go_together() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let a = host(&lab);
        let all: Vec<_> = (1..=255)
            .flat_map(|n| [format!("10.77.9.{n}/16"), format!("2001:db8::{n:x}/64")])
            .map(|text| address(&text))
            .collect();
        with_backend(&a, async |backend| {
            backend.add_all(&all).await.expect("added");
            assert_eq!(backend.list().await.expect("a list").len(), 510);
            backend.remove_all(&all).await.expect("removed");
            assert_eq!(backend.list().await.expect("a list"), []);
        });
        assert!(a.holds("10.77.0.1".parse().expect("an address")).expect("addresses"));
    });
}

#[test]
fn a_kernel_that_cannot_be_asked_is_not_an_interface_that_is_gone() {
    let runtime = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime")
    };
    let first = runtime();
    let backend = first.block_on(NetlinkBackend::open("lo")).expect("there is one");
    let gone = first.block_on(NetlinkBackend::open("no-such")).expect_err("there is none");
    assert!(matches!(gone, BackendError::NoInterface { .. }), "{gone}");
    // The connection to the kernel ends with the runtime that runs it.
    drop(first);
    runtime().block_on(async {
        let ours = address("192.0.2.77/32");
        let unreadable = |error: BackendError| {
            assert!(matches!(error, BackendError::Unreadable { .. }), "{error}");
        };
        unreadable(backend.list().await.expect_err("no answer"));
        unreadable(backend.remove(ours).await.expect_err("no answer"));
        unreadable(backend.clear_leftovers(&[ours]).await.expect_err("no answer"));
        let leased = backend.with_lease(Duration::from_mins(1));
        unreadable(leased.add(ours).await.expect_err("no answer"));
    });
}
