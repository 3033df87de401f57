//! Native fence agents from the words of a configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_agents::fence::{Device, DeviceError, NativeAgent};

use super::block_on;

fn words(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn nodes(plug: &str) -> BTreeMap<ha_core::id::NodeName, String> {
    [("n1".parse().expect("a name"), plug.to_owned())].into()
}

#[test]
fn every_parameter_that_is_described_is_known_and_no_other() {
    for agent in NativeAgent::ALL {
        assert!(agent.parameters.is_sorted_by_key(|parameter| parameter.name), "{agent:?}");
        let mut given = words(&[]);
        for parameter in agent.parameters {
            let value = parameter.default.unwrap_or("192.0.2.1");
            given.insert(parameter.name.to_owned(), value.to_owned());
        }
        given.insert("url".to_owned(), "https://192.0.2.1".to_owned());
        given.remove("ca"); // its default is no file
        let file = tempfile::NamedTempFile::new().expect("a file");
        if given.remove("password_file").is_some() {
            given.remove("password");
            std::fs::write(file.path(), "secret\n").expect("written");
            let path = file.path().display().to_string();
            given.insert("password_file".to_owned(), path);
        }
        if agent.name != "redfish" {
            given.remove("url");
        }
        let made = agent.make("device", &nodes("-n"), &given, Some(Duration::from_secs(1)));
        if agent.name == "ssh" {
            let error = made.expect_err("a host that would be an option").to_string();
            assert!(error.contains("hosts.n1"), "{error}");
        }
        let made = agent.make("device", &nodes("1"), &given, Some(Duration::from_secs(1)));
        assert_eq!(made.expect("all known and right").device(), "device");
        given.insert("adress".to_owned(), "x".to_owned());
        let error = agent.make("device", &nodes("1"), &given, None).expect_err("unknown");
        assert_eq!(error.problems().len(), 1, "{error}");
        assert_eq!(error.problems()[0].path, "adress");
    }
}

#[test]
#[cfg(feature = "ipmi")]
fn what_is_wrong_is_told_at_once_and_without_secrets() {
    let ipmi = NativeAgent::named("ipmi").expect("with its feature");
    let given = words(&[
        ("password", "a password that is too long"),
        ("cipher", "0"),
        ("method", "hope"),
        ("privlvl", "king"),
        ("ipport", "x"),
    ]);
    let error = ipmi.make("board", &nodes(""), &given, None).expect_err("six mistakes");
    let both = words(&[("ip", "192.0.2.1"), ("password", "x"), ("password_file", "/no/file")]);
    let doubt = ipmi.make("board", &nodes(""), &both, None).expect_err("which one?");
    assert!(doubt.problems().iter().all(|problem| problem.path == "password_file"), "{doubt}");
    assert_eq!(error.problems().len(), 6, "{error}");
    assert!(!error.to_string().contains("too long"), "{error}");
    let mut two = nodes("");
    two.insert("n2".parse().expect("a name"), String::new());
    ipmi.make("board", &two, &words(&[("ip", "192.0.2.1")]), None).expect_err("a board has one");
}

#[test]
fn a_configuration_names_a_native_agent_as_it_names_a_program() {
    block_on(async {
        let n1 = || "n1".parse().expect("a name");
        let device = Device::new("last-resort", "ssh").node(n1(), "192.0.2.1");
        assert_eq!(device.check().await.expect("right"), Vec::<String>::new());
        let agent = device.resolve().await.expect("made");
        assert_eq!(agent.device(), "last-resort");
        assert_eq!(agent.list().await.expect("told"), [n1()]);
        let error = device.parameter("prot", "22").resolve().await.expect_err("unknown");
        assert!(matches!(error, DeviceError::Parameters { .. }), "{error}");
    });
}
