use std::os::unix::net::UnixListener as Plain;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::effect::Effect;

const LIMIT: Duration = Duration::from_secs(20);

/// Says the word it was given, but never says "never".
#[derive(Debug)]
struct Program;

#[async_trait]
impl Responder for Program {
    async fn respond(&self, line: &[u8], _from: &mut Lines) -> Answer {
        match serde_json::from_slice::<String>(line) {
            Ok(word) if word == "never" => std::future::pending().await,
            Ok(word) if word == "nobody" => Answer::Nobody,
            Ok(word) if word == "much" => Answer::Line(vec![b'x'; MAX_ANSWER + 1]),
            Ok(word) => Answer::of(&word),
            Err(error) => Answer::unreadable(&error),
        }
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("ha.sock");
    (folder, socket)
}

/// Sends bytes, ends, and reads all answers.
async fn raw(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.expect("connected");
    // The server may have enough of it before the end.
    stream.write_all(bytes).await.unwrap_or_default();
    stream.shutdown().await.unwrap_or_default();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap_or_default();
    String::from_utf8(answers).expect("text")
}

#[test]
fn lines_are_answered_one_by_one_and_nonsense_is_counted() {
    let (_folder, socket) = folder();
    run(async {
        let server = Server::bind(&socket, Arc::new(Program)).await.expect("bound");
        let answers = raw(&socket, b"\"a\"\n\n\xff\n\"much\"\n\"nobody\"\n\"b\"\n").await;
        let lines: Vec<&str> = answers.lines().collect();
        assert_eq!(lines.len(), 3, "{answers}");
        assert_eq!(lines[0], "\"a\"");
        assert!(lines[1].contains("cannot read this line"), "{answers}");
        assert!(lines[2].contains("ask for less"), "{answers}");
        let long = vec![b'['; MAX_REQUEST + 10];
        assert!(raw(&socket, &long).await.contains("more than 4194304 bytes"));
        assert_eq!(server.tally(), Tally { accepted: 2, malformed: 2, ..Tally::default() });
        server.stop().await;
        let error = Client::connect(&socket).await.expect_err("it is gone");
        assert_eq!(error.effect(), Effect::None);
        assert!(error.to_string().contains("is it running"), "{error}");
    });
}

#[test]
fn a_socket_is_taken_over_from_the_dead_only() {
    let (_folder, socket) = folder();
    run(async {
        drop(Plain::bind(&socket).expect("bound"));
        let server = Server::bind(&socket, Arc::new(Program)).await.expect("the other is dead");
        let error = Server::bind(&socket, Arc::new(Program)).await.expect_err("it lives");
        assert!(matches!(error, ControlError::InUse { .. }), "{error}");
        // Another one that took its place stays.
        std::fs::remove_file(&socket).expect("removed");
        let next = Server::bind(&socket, Arc::new(Program)).await.expect("free");
        server.stop().await;
        assert!(socket.exists());
        next.stop().await;

        std::fs::write(&socket, "a file").expect("written");
        let error = Server::bind(&socket, Arc::new(Program)).await.expect_err("it is a file");
        assert!(matches!(error, ControlError::NotASocket { .. }), "{error}");
        let error = Server::bind(socket.join("no/folder"), Arc::new(Program)).await;
        assert!(matches!(error.expect_err("none"), ControlError::Listen { .. }));
    });
}

#[test]
fn who_waits_for_one_answer_holds_up_nobody_else() {
    let (_folder, socket) = folder();
    run(async {
        let server = Server::bind(&socket, Arc::new(Program)).await.expect("bound");
        let mut slow = Client::connect(&socket).await.expect("connected");
        let limit = Duration::from_millis(20);
        let error = slow.ask::<String>(&"never", limit).await.expect_err("never answered");
        assert!(matches!(error, ControlError::NoAnswer { .. }), "{error}");
        // The next answer is not that to the request that was given up.
        assert_eq!(slow.ask::<String>(&"b", LIMIT).await.expect("asked"), "b");
        server.stop().await;
    });
}

#[test]
fn more_connections_than_there_is_room_for_are_told_so() {
    let (_folder, socket) = folder();
    run(async {
        let server = Server::bind(&socket, Arc::new(Program)).await.expect("bound");
        let mut clients = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut client = Client::connect(&socket).await.expect("connected");
            client.ask::<String>(&"a", LIMIT).await.expect("asked");
            clients.push(client);
        }
        let mut late = Client::connect(&socket).await.expect("connected");
        let error = late.ask::<String>(&"a", LIMIT).await.expect_err("no room").to_string();
        assert!(error.contains("64 connections are open"), "{error}");
        assert_eq!(server.tally().refused, 1);
        clients.clear();
        // The ends of the others are noticed in their own time.
        while late.ask::<String>(&"a", LIMIT).await.is_err() {}
        server.stop().await;
    });
}
