use super::*;

fn address(text: &str) -> VirtualAddress {
    text.parse().expect("an address")
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script, "sh", "{address}", "{ip}", "{prefix}", "{interface}"]
        .map(str::to_owned)
        .to_vec()
}

#[tokio::test]
async fn each_argument_is_handed_over_as_it_is_without_a_shell() {
    let backend = CommandBackend::builder("eth0; false")
        .add_command(shell(r#"test "$*" = '192.0.2.1/24 192.0.2.1 24 eth0; false'"#))
        .remove_command(["test", "{{ip}}-{IP}-{", "=", "{192.0.2.1}-{IP}-{"])
        .build()
        .expect("a backend");
    backend.add(address("192.0.2.1/24")).await.expect("the arguments are right");
    backend.remove(address("192.0.2.1/24")).await.expect("the arguments are right");
    assert_eq!(backend.list().await.expect("a list"), []);
}

#[tokio::test]
async fn the_environment_is_clean() {
    let backend = CommandBackend::builder("eth0")
        .add_command(shell(r#"test "$A" = b && test -z "$HOME$USER$CARGO" && test "$PWD" = /"#))
        .remove_command(["true"])
        .env("A", "b")
        .build()
        .expect("a backend");
    backend.add(address("192.0.2.1/24")).await.expect("clean");
}

#[tokio::test]
async fn what_a_command_says_is_in_the_error() {
    let backend = CommandBackend::builder("eth0")
        .add_command(shell("echo no such route table >&2; exit 3"))
        .remove_command(["/nonexistent/program"])
        .build()
        .expect("a backend");
    let text = |error: BackendError| {
        let source = std::error::Error::source(&error).expect("a source").to_string();
        format!("{error}: {source}")
    };
    let refused = text(backend.add(address("192.0.2.1/24")).await.expect_err("it fails"));
    assert!(refused.contains("no such route table") && refused.contains('3'), "{refused}");
    let missing = text(backend.remove(address("192.0.2.1/24")).await.expect_err("it fails"));
    assert!(missing.contains("/nonexistent/program"), "{missing}");
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_of_its_group() {
    let file = std::env::temp_dir().join(format!("ha-vip-hangs-{}", std::process::id()));
    let path = file.display().to_string();
    let backend = CommandBackend::builder("eth0")
        .add_command(shell(&format!("sleep 1000 & echo $! > {path}; wait")))
        .remove_command(["true"])
        .timeout(Duration::from_millis(500))
        .build()
        .expect("a backend");
    let error = backend.add(address("192.0.2.1/24")).await.expect_err("it hangs");
    assert!(matches!(error, BackendError::NoAnswer { .. }), "{error}");
    assert_eq!(error.effect(), ha_core::effect::Effect::Unknown);
    let child = std::fs::read_to_string(&path).expect("it had started");
    std::fs::remove_file(&path).expect("removed");
    let alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z ") && stat.contains("(sleep)"))
    };
    while alive() {
        tokio::task::yield_now().await;
    }
    // It may have been added, so it is removed.
    assert_eq!(backend.list().await.expect("a list").len(), 1);
    backend.remove(address("192.0.2.1/24")).await.expect("removed");
}

#[tokio::test]
async fn a_list_is_read_line_by_line_and_only_what_it_has_is_removed() {
    let backend = CommandBackend::builder("eth0")
        .add_command(["true"])
        .remove_command(["false"])
        .list_command(["printf", "192.0.2.1/24\n\n 2001:db8::1/64 \n"])
        .build()
        .expect("a backend");
    let listed = backend.list().await.expect("a list");
    assert_eq!(listed, ["192.0.2.1/24", "2001:db8::1/64"].map(address));
    backend.remove(address("192.0.2.9/24")).await.expect("nobody's: no command runs");
    backend.remove(address("192.0.2.1/24")).await.expect_err("the command runs, and fails");

    let wrong = CommandBackend::builder("e")
        .add_command(["true"])
        .remove_command(["true"])
        .list_command(["echo", "x"]);
    let error = wrong.build().expect("a backend").list().await.expect_err("no address");
    assert!(matches!(error, BackendError::Command { .. }));
}

#[test]
fn all_problems_are_told_at_once() {
    let backend = CommandBackend::builder("eth0")
        .add_command(["ip", "{adress}"])
        .list_command(["show", "{ip}"])
        .env("A=B", "c")
        .timeout(Duration::ZERO);
    let error = backend.build().expect_err("it is wrong").to_string();
    for part in ["{adress}", "remove", "one of {interface}", "A=B", "1 ms to 24 h"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
