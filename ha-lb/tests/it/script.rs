//! Checks that are dialogues, against servers that say exactly this.

use ha_lb::health::script::{Pattern, Script};
use ha_lb::health::{Failed, HealthCheck, Passed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Server, nobody};

/// Says `greeting`, then echoes lines in capitals; `quit` ends it.
async fn shouting(greeting: &'static [u8]) -> Server {
    Server::start(move |mut stream| async move {
        stream.write_all(greeting).await.expect("sent");
        let mut line = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            line.push(byte);
            if line == b"quit\n" {
                return;
            }
            if byte == b'\n' {
                let answer = line.to_ascii_uppercase();
                line.clear();
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

async fn run(script: &str, server: &Server) -> Result<Passed, Failed> {
    script.parse::<Script>().expect("a script").check(&server.address.into()).await
}

fn why(result: Result<Passed, Failed>) -> String {
    result.expect_err("it fails").reason().to_owned()
}

#[tokio::test]
async fn a_dialogue_passes_if_every_step_goes_as_written() {
    let server = shouting(b"220 ready\r\n").await;
    let script = "expect wild 220*\\n\nsend hello\\n\nexpect string HELLO\nsend-binary 6869300a\n\
                  expect wild H*0\nexpect ! string HELLO";
    assert_eq!(run(script, &server).await, Ok(Passed::because("all 7 steps")));
    // What was matched is behind us.
    let twice = "comment greets once\nexpect string 220\nsend quit\\n\nexpect string 220";
    let reason = why(run(twice, &server).await);
    assert_eq!(
        reason,
        "step 4 (greets once), expect \"220\": the connection ended after \" ready\\r\\n\""
    );
    let unwanted = Script::new().expect_not(Pattern::exact("ready")).build().expect("fine");
    let reason = why(unwanted.check(&server.address.into()).await);
    assert_eq!(reason, "step 2, expect not \"ready\": it is in \"220 ready\\r\\n\"");
    let anew = "expect string ready\nconnect\nexpect string 220\nsend x\\n\nexpect string X";
    assert!(run(anew, &server).await.is_ok());
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn other_ports_and_refusals() {
    let (server, other) = (shouting(b"main").await, shouting(b"other").await);
    let port = other.address.port();
    let both = format!("connect\nexpect string main\nconnect port {port}\nexpect string other");
    assert!(run(&both, &server).await.is_ok());
    let script = Script::new().build().expect("only a connect");
    let refused = script.check(&nobody().await.into()).await;
    assert!(why(refused).starts_with("step 1, connect: cannot connect: "));
}

#[tokio::test]
async fn endless_talk_does_not_fill_memory() {
    let server = Server::start(|mut stream| async move {
        while stream.write_all(&[b'x'; 1000]).await.is_ok() {}
    })
    .await;
    let reason = why(run("expect string y", &server).await);
    assert!(reason.starts_with("step 2, expect \"y\": not in the first 16 KiB: \"xxx"), "{reason}");
    assert!(reason.len() < 200, "{reason}");
}
