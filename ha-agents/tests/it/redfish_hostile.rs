//! Redfish boards that misbehave, as small servers over plain HTTP, and what no emulator has:
//! sessions, `ActionInfo`, a board that is busy.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_agents::fence::redfish::{Login, RebootMethod, Redfish, RedfishBuilder};
use ha_agents::fence::{Evidence, FenceAction, FenceAgent, FenceError, Power};
use ha_core::effect::Effect;
use ha_core::id::NodeName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::block_on;

fn n1() -> NodeName {
    "n1".parse().expect("a name")
}

const ROOT: &str = r#"{"Systems": {"@odata.id": "/redfish/v1/Systems"}}"#;
const SYSTEMS: &str = r#"{"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]}"#;

/// A system in this state, whose action has this more.
fn system(power: &str, more: &str) -> String {
    format!(
        r##"{{"Id": "1", "PowerState": "{power}", "Actions": {{"#ComputerSystem.Reset":
        {{"target": "/redfish/v1/Systems/1/Reset"{more}}}}}}}"##
    )
}

fn json(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn empty(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
}

/// What was asked: method and path, the head's lines in lower case, the body.
#[derive(Debug, Clone)]
struct Asked {
    what: String,
    head: String,
    body: String,
}

/// Answers each request by `answer`; an answer that is empty closes the connection.
async fn serve(listener: TcpListener, answer: &(dyn Fn(&Asked) -> String + Sync)) {
    // One after the other: the agent has one connection.
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        while let Some(asked) = request(&mut stream).await {
            let answer = answer(&asked);
            if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                break;
            }
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<Asked> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let (what, rest) = head.split_once(" HTTP/1.1\r\n").expect("a request");
            let rest = rest.to_lowercase();
            let len = rest.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= len.map_or(0, |len| len.parse().expect("a number")) {
                return Some(Asked { what: what.to_owned(), head: rest, body: body.to_owned() });
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(len @ 1..) => text.push_str(std::str::from_utf8(&buffer[..len]).expect("text")),
            _ => return None,
        }
    }
}

/// Runs `test` beside a board that answers so; returns what the board was asked.
fn beside(
    answer: impl Fn(&Asked) -> String + Sync,
    test: impl AsyncFnOnce(RedfishBuilder),
) -> Vec<Asked> {
    let log = Arc::new(Mutex::new(Vec::new()));
    block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let builder = Redfish::builder("board", format!("http://127.0.0.1:{port}"))
            .insecure()
            .node(n1())
            .login("fence", "secret")
            .poll(Duration::from_millis(5))
            .timeout(Duration::from_secs(2));
        let answer = |asked: &Asked| {
            log.lock().expect("no panic").push(asked.clone());
            answer(asked)
        };
        tokio::select! {
            () = serve(listener, &answer) => {}
            () = test(builder) => {}
        }
    });
    Arc::into_inner(log).expect("nobody else has it").into_inner().expect("no panic")
}

/// A board whose system is switched by what it is asked, after `delay` looks.
struct Chassis {
    power: Mutex<(&'static str, u32, &'static str)>,
    more: &'static str,
}

impl Chassis {
    const fn new(more: &'static str) -> Self {
        Self { power: Mutex::new(("On", 0, "On")), more }
    }

    fn answer(&self, asked: &Asked) -> String {
        let mut power = self.power.lock().expect("no panic");
        match asked.what.as_str() {
            "GET /redfish/v1/" => json(ROOT),
            "GET /redfish/v1/Systems" => json(SYSTEMS),
            "GET /redfish/v1/Systems/1" => {
                power.1 = power.1.saturating_sub(1);
                if power.1 == 0 {
                    power.0 = power.2;
                }
                let shown = if power.0 == power.2 { power.0 } else { "PoweringOff" };
                json(&system(shown, self.more))
            }
            "POST /redfish/v1/Systems/1/Reset" => {
                let wanted = if asked.body.contains("Off") { "Off" } else { "On" };
                (power.1, power.2) = (3, wanted);
                empty("204 No Content")
            }
            _ => empty("404 Not Found"),
        }
    }
}

fn resets(asked: &[Asked]) -> Vec<&str> {
    let posts = asked.iter().filter(|asked| asked.what.ends_with("/Reset"));
    posts.map(|asked| asked.body.as_str()).collect()
}

#[test]
fn powering_off_is_not_off() {
    let chassis = Chassis::new("");
    let asked = beside(
        |asked| chassis.answer(asked),
        async |builder| {
            let agent = builder.build().expect("valid");
            agent.off(&n1()).await.expect("confirmed");
            assert_eq!(agent.status(&n1()).await.expect("told"), Power::Off);
        },
    );
    assert_eq!(resets(&asked), [r#"{"ResetType":"ForceOff"}"#], "asked once");
    let looks = asked.iter().filter(|asked| asked.what == "GET /redfish/v1/Systems/1").count();
    assert!(looks >= 5, "on, twice on its way, off, and the status: {looks}");
    let root = asked.first().expect("asked");
    assert!(!root.head.contains("authorization"), "the root is open: no password for it");
    // "fence:secret"
    assert!(asked[1].head.contains("authorization: basic zmvuy2u6c2vjcmv0"), "{asked:?}");
}

#[test]
fn a_board_that_never_switches_is_found_out() {
    let asked = beside(
        |asked| match asked.what.as_str() {
            "GET /redfish/v1/" => json(ROOT),
            "GET /redfish/v1/Systems" => json(SYSTEMS),
            "GET /redfish/v1/Systems/1" => json(&system("On", "")),
            _ => empty("204 No Content"),
        },
        async |builder| {
            let agent = builder.build().expect("valid");
            let error = agent.off(&n1()).await.expect_err("it is still on");
            assert!(matches!(error, FenceError::NoAnswer { .. }), "{error}");
            assert_eq!(error.effect(), Effect::Unknown);
        },
    );
    assert_eq!(resets(&asked).len(), 1);
}

#[test]
fn a_task_that_was_accepted_is_not_done() {
    let chassis = Chassis::new("");
    let asked = beside(
        |asked| {
            let answer = chassis.answer(asked);
            if answer.contains("204") { empty("202 Accepted") } else { answer }
        },
        async |builder| {
            let agent = builder.build().expect("valid");
            agent.off(&n1()).await.expect("it is seen to be off");
            assert_eq!(agent.status(&n1()).await.expect("told"), Power::Off);
        },
    );
    assert!(!resets(&asked).is_empty());

    beside(
        |asked| match asked.what.as_str() {
            "GET /redfish/v1/" => json(ROOT),
            "GET /redfish/v1/Systems" => json(SYSTEMS),
            "GET /redfish/v1/Systems/1" => json(&system("On", "")),
            _ => empty("202 Accepted"),
        },
        async |builder| {
            // A restart by the board itself leaves nothing to look for but its word.
            let builder = builder.reboot_method(RebootMethod::ForceRestart);
            let agent = builder.build().expect("valid");
            for action in [FenceAction::Off, FenceAction::Reboot] {
                let error = agent.perform(&n1(), action).await.expect_err("it was never off");
                assert_eq!(error.effect(), Effect::Unknown, "{error}");
            }
        },
    );
}

#[test]
fn what_a_system_allows_is_what_it_is_asked_for() {
    let here = r#", "ResetType@Redfish.AllowableValues": ["ForceOn", "ForceOff", "ForceRestart"]"#;
    let chassis = Chassis::new(here);
    let asked = beside(
        |asked| chassis.answer(asked),
        async |builder| {
            let agent = builder.build().expect("valid");
            let evidence = agent.perform(&n1(), FenceAction::Reboot).await.expect("confirmed");
            assert_eq!(evidence, Evidence::VerifiedOff);
        },
    );
    let wanted = [r#"{"ResetType":"ForceOff"}"#, r#"{"ResetType":"ForceOn"}"#];
    assert_eq!(resets(&asked), wanted);
    let asked = beside(
        |asked| chassis.answer(asked),
        async |builder| {
            let builder = builder.reboot_method(RebootMethod::ForceRestart);
            let agent = builder.build().expect("valid");
            let evidence = agent.perform(&n1(), FenceAction::Reboot).await.expect("it said so");
            assert_eq!(evidence, Evidence::Acknowledged);
        },
    );
    assert_eq!(resets(&asked), [r#"{"ResetType":"ForceRestart"}"#]);

    // The values are in another resource, and ForceOff is not among them: GracefulShutdown, which
    // a node that hangs does not do, is not a fence.
    let there = Chassis::new(r#", "@Redfish.ActionInfo": "/redfish/v1/Systems/1/ResetInfo""#);
    let info =
        r#"{"Parameters": [{"Name": "ResetType", "AllowableValues": ["GracefulShutdown"]}]}"#;
    let asked = beside(
        |asked| match asked.what.as_str() {
            "GET /redfish/v1/Systems/1/ResetInfo" => json(info),
            _ => there.answer(asked),
        },
        async |builder| {
            let error = builder.build().expect("valid").off(&n1()).await.expect_err("it cannot");
            assert_eq!(error.effect(), Effect::None, "{error}");
            assert!(error.to_string().contains("it allows GracefulShutdown"), "{error}");
        },
    );
    assert!(resets(&asked).is_empty());
}

#[test]
fn a_session_is_opened_used_and_ended() {
    let chassis = Chassis::new("");
    let asked = beside(
        |asked| match asked.what.as_str() {
            "POST /redfish/v1/SessionService/Sessions" => {
                let url = "https://board.example/redfish/v1/SessionService/Sessions/7";
                format!(
                    "HTTP/1.1 201 Created\r\nX-Auth-Token: t0k3n\r\nLocation: {url}\r\n\
                     Content-Length: 2\r\n\r\n{{}}"
                )
            }
            "DELETE /redfish/v1/SessionService/Sessions/7" => empty("204 No Content"),
            _ => chassis.answer(asked),
        },
        async |builder| {
            let agent = builder.login_by(Login::Session).build().expect("valid");
            agent.off(&n1()).await.expect("confirmed");
        },
    );
    let login = &asked[1];
    let words: serde_json::Value = serde_json::from_str(&login.body).expect("JSON");
    assert_eq!(words, serde_json::json!({ "UserName": "fence", "Password": "secret" }));
    for later in &asked[2..] {
        assert!(later.head.contains("x-auth-token: t0k3n"), "{later:?}");
        assert!(!later.head.contains("authorization"), "{later:?}");
    }
    assert!(asked.last().expect("asked").what.starts_with("DELETE "), "logged out");
}

#[test]
fn a_board_that_is_busy_or_hangs_up_in_between_is_asked_again() {
    let chassis = Chassis::new("");
    let troubles = Mutex::new(vec![
        empty("503 Service Unavailable"),
        String::new(),
        empty("500 Internal Server Error"),
    ]);
    let asked = beside(
        |asked| {
            let is_switched = chassis.power.lock().expect("no panic").2 == "Off";
            let trouble = if is_switched { troubles.lock().expect("no panic").pop() } else { None };
            trouble.unwrap_or_else(|| chassis.answer(asked))
        },
        async |builder| builder.build().expect("valid").off(&n1()).await.expect("confirmed"),
    );
    assert_eq!(resets(&asked).len(), 1);
    assert!(troubles.lock().expect("no panic").is_empty());
}

#[test]
fn answers_that_make_no_sense_do_no_harm() {
    let long = "9".repeat(2 << 20);
    let deep = "[".repeat(100_000);
    let leads_away = r#"{"Systems": {"@odata.id": "https://elsewhere.example/systems"}}"#;
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{".to_owned();
    let words = r#"{"error": {"message": "no\u0007 for secret", "@Message.ExtendedInfo": []}}"#;
    let refused =
        format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{words}", words.len());
    let strange = system("Sideways", "");
    for (answer, wanted) in [
        (json(&long), "did not answer"),
        (json(&deep), "makes no sense"),
        (json("nothing"), "makes no sense"),
        (json(leads_away), "a link to somewhere else"),
        (half, "did not answer"),
        (String::new(), "did not answer"),
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "did not answer"),
        (refused, "no for …"),
        (json(&strange), "0 systems"),
    ] {
        beside(
            |_| answer.clone(),
            async |builder| {
                let agent = builder.build().expect("valid");
                for result in [agent.off(&n1()).await, agent.monitor().await] {
                    let error = result.expect_err("no sense");
                    assert_eq!(error.effect(), Effect::None, "{error}");
                    let text = error.to_string();
                    assert!(text.contains(wanted) || text.contains("within"), "{wanted}: {text}");
                    assert!(text.len() < 500 && !text.contains("secret"), "{text}");
                }
            },
        );
    }
    let none = r#"{"Id": "1"}"#;
    for body in [none, &strange, r#"{"Members": []}"#] {
        beside(
            |asked| match asked.what.as_str() {
                "GET /redfish/v1/" => json(ROOT),
                "GET /redfish/v1/Systems" if !body.contains("Members") => json(SYSTEMS),
                _ => json(body),
            },
            async |builder| {
                let error = builder.build().expect("valid").off(&n1()).await.expect_err("none");
                assert_eq!(error.effect(), Effect::None, "{error}");
            },
        );
    }
}

#[test]
fn settings_that_cannot_work_are_refused_all_at_once() {
    let wrong = |url: &str| Redfish::builder("board", url).node(n1()).build().expect_err("wrong");
    for url in [
        "",
        "board",
        "http://board",
        "ftp://board",
        "https://fence:secret@board",
        "https://board/x",
    ] {
        let error = wrong(url).to_string();
        assert!(error.contains("url") && !error.contains("secret"), "{error}");
    }
    let error = Redfish::builder("board", "https://board")
        .node(n1())
        .plug("n2".parse().expect("a name"), "")
        .login("a:b", "")
        .timeout(Duration::ZERO)
        .poll(Duration::ZERO)
        .authorities("none")
        .build()
        .expect_err("six mistakes");
    assert_eq!(error.problems().len(), 6, "{error}");
}
