//! Fence devices from the words of a configuration.

use std::collections::BTreeMap;
use std::error::Error as _;

use ha_agents::fence::{Device, DeviceError, FenceAgent, FenceError, Power, resolve};
use ha_core::config::ConfigError;
use ha_core::effect::Effect;
use ha_core::id::NodeName;

use super::{block_on, executable};

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

/// Remembers what it was told; knows the parameters `ip` and `delay`.
const AGENT: &str = r#"#!/bin/sh
input=$(cat)
case "$input" in
*action=metadata*) cat <<'END'
<resource-agent name="fence_test"><parameters>
<parameter name="action" required="1"><content type="string"/></parameter>
<parameter name="plug" required="1" obsoletes="port"><content type="string"/></parameter>
<parameter name="port" required="1" deprecated="1"><content type="string"/></parameter>
<parameter name="ip" required="1"><content type="string"/></parameter>
<parameter name="delay"><content type="integer"/></parameter>
</parameters><actions><action name="off"/></actions></resource-agent>
END
;;
*action=list*) printf '3,\n4,\n9,\n';;
*) echo "$input" | tr '\n' ' ' >> "${0%/*}/told";;
esac
"#;

#[test]
fn a_device_is_found_checked_and_fences_its_nodes_only() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        executable(&dir.path().join("fence_test"), AGENT);
        let device = Device::new("pdu", "fence_test")
            .search(dir.path())
            .node(node("n1"), "3")
            .node(node("n2"), "4")
            .parameter("ip", "192.0.2.1");
        assert_eq!(device.check().await.expect("right"), Vec::<String>::new());
        assert!(!dir.path().join("told").exists(), "a check fences nobody");
        let agent = device.resolve().await.expect("made");
        agent.off(&node("n2")).await.expect("confirmed");
        let told = std::fs::read_to_string(dir.path().join("told")).expect("told");
        assert_eq!(told, "action=off port=4 ip=192.0.2.1 ");
        assert_eq!(agent.list().await.expect("told"), [node("n1"), node("n2")]);
        let error = agent.off(&node("n9")).await.expect_err("at no plug");
        assert!(matches!(error, FenceError::UnknownNode { .. }), "{error}");
        assert_eq!(error.effect(), Effect::None);
        let doubts = device.clone().parameter("delay", "soon").check().await.expect("doubtful");
        assert!(doubts.len() == 1 && doubts[0].contains("delay"), "{doubts:?}");
    });
}

#[test]
fn what_is_wrong_with_a_device_is_told_at_once() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        executable(&dir.path().join("fence_test"), AGENT);
        let device = Device::new("pdu", "fence_test").search(dir.path());
        let error = device.clone().parameter("ipp", "secret").resolve().await.expect_err("wrong");
        let source = error.source().and_then(|source| source.downcast_ref::<ConfigError>());
        let problems = source.expect("parameters are wrong").problems();
        let names: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(names, ["ip", "ipp"]);
        let text = format!("{error} {}", error.source().expect("a cause"));
        assert!(text.contains("fence device pdu") && !text.contains("secret"), "{text}");
        let error = device.parameter("port", "5").check().await.expect_err("set by us");
        assert!(matches!(error, DeviceError::Parameters { .. }), "{error}");

        let missing = Device::new("pdu", "fence_no_such").search(dir.path()).check().await;
        let text = missing.expect_err("not there").to_string();
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
        assert!(text.contains("/usr/sbin") && text.contains("install it"), "{text}");
        let missing = Device::new("pdu", "/no/such/agent").check().await.expect_err("not there");
        assert!(matches!(missing, DeviceError::NotInstalled { .. }), "{missing}");

        // Without metadata it is taken as it is.
        executable(&dir.path().join("fence_mute"), "#!/bin/sh\nexit 1\n");
        let mute = Device::new("pdu", dir.path().join("fence_mute").display().to_string());
        let doubts = mute.parameter("any", "thing").check().await.expect("nothing to check by");
        assert!(doubts.len() == 1 && doubts[0].contains("not checked"), "{doubts:?}");
    });
}

/// The real `fence_dummy` of Debian's package fence-agents, by its name alone.
#[test]
fn the_real_fence_dummy_is_found_and_checked() {
    if ha_lab::require_program("fence_dummy").is_none() {
        return;
    }
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("status").display().to_string();
        let nodes = BTreeMap::from([(node("n1"), "1".to_owned())]);
        let right = BTreeMap::from([("status_file".to_owned(), file.clone())]);
        let agent = resolve("dummy", "fence_dummy", &nodes, &right).await.expect("made");
        agent.on(&node("n1")).await.expect("on");
        agent.off(&node("n1")).await.expect("confirmed");
        assert_eq!(agent.status(&node("n1")).await.expect("told"), Power::Off);
        let wrong = BTreeMap::from([("statusfile".to_owned(), file)]);
        let error = resolve("dummy", "fence_dummy", &nodes, &wrong).await.expect_err("misspelt");
        assert!(matches!(error, DeviceError::Parameters { .. }), "{error}");
    });
}
