//! Interfaces with virtual link-layer addresses, in a laboratory.

use std::process::Command;

use ha_lab::{Host, Lab};
use ha_vip::net::macvlan::{MacVlan, MacVlanError, VirtualMac};
use ha_vip::vrrp::Vrid;

use crate::real_kernel::hosts;

fn mac(vrid: u8) -> VirtualMac {
    VirtualMac::V4(Vrid::new(vrid).expect("not 0"))
}

fn ip(host: &Host, arguments: &str) -> String {
    let run = || Command::new("ip").args(arguments.split(' ')).output();
    let output = host.run(run).expect("the lab runs").expect("ip runs");
    String::from_utf8(output.stdout).expect("text")
}

fn in_runtime<R: Send>(host: &Host, test: impl AsyncFnOnce() -> R + Send) -> R {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test())
    };
    host.run(run).expect("the lab runs")
}

#[test]
fn it_has_the_virtual_address_is_up_and_has_no_other_address() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, _b] = hosts(&lab);
        let six = VirtualMac::V6(Vrid::new(255).expect("not 0"));
        in_runtime(&a, async || {
            let four = MacVlan::open("eth0", mac(51)).await.expect("made");
            let six = MacVlan::open("eth0", six).await.expect("made");
            assert_eq!((four.name(), six.name()), ("vrrp.51", "vrrp6.255"));
            let shown = ip(&a, "-d address show dev vrrp.51");
            assert!(shown.contains("00:00:5e:00:01:33") && shown.contains("UP"), "{shown}");
            assert!(shown.contains("macvlan mode bridge"), "{shown}");
            assert!(!shown.contains("inet"), "{shown}");
            assert!(ip(&a, "link show dev vrrp6.255").contains("00:00:5e:00:02:ff"));
            four.remove().await.expect("removed");
            six.remove().await.expect("removed");
        });
        assert_eq!(ip(&a, "link").matches("vrrp").count(), 0);
    });
}

#[test]
fn a_leftover_is_replaced_or_removed_and_a_foreign_one_is_not_touched() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, _b] = hosts(&lab);
        ip(&a, "link add vrrp.52 link eth0 address 00:00:5e:00:01:34 type macvlan mode bridge");
        in_runtime(&a, async || {
            drop(MacVlan::open("eth0", mac(51)).await.expect("made, and left"));
        });
        in_runtime(&a, async || {
            drop(MacVlan::open("eth0", mac(51)).await.expect("made anew"));
            assert!(MacVlan::remove_leftover(mac(51)).await.expect("removed"));
            assert!(!MacVlan::remove_leftover(mac(51)).await.expect("nothing there"));
            let error = MacVlan::open("eth0", mac(52)).await.expect_err("not ours");
            assert!(matches!(error, MacVlanError::Foreign { .. }), "{error}");
            assert!(!MacVlan::remove_leftover(mac(52)).await.expect("not ours"));
            let error = MacVlan::open("eth9", mac(53)).await.expect_err("no base");
            assert!(matches!(error, MacVlanError::NoBase { .. }), "{error}");
        });
        let links = ip(&a, "link");
        assert!(links.contains("vrrp.52") && !links.contains("vrrp.51"), "{links}");
    });
}
