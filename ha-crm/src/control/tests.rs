use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_core::driver::pause;
use ha_core::effect::Effect;
use ha_membership::Revision;
use ha_membership::store::{ClusterStore, Expected, MAX_VALUE_LEN, MemoryStore, StoreError, Write};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::wire::{Ask, Bytes, Written};
use super::*;

const LIMIT: Duration = Duration::from_secs(20);

/// Agrees to all but moves, and never answers a question why.
#[derive(Debug)]
struct Node;

#[async_trait]
impl Handler for Node {
    async fn answer(&self, request: Request) -> Response {
        if let Request::Move { node, .. } = request {
            return Response::Refused { reason: format!("there is no node {node}") };
        }
        if matches!(request, Request::Explain { .. }) {
            std::future::pending::<()>().await;
        }
        Response::Done
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

fn standby() -> Request {
    Request::Standby { node: "n2".parse().expect("a name") }
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
fn requests_are_answered_one_line_each() {
    let (_folder, socket) = folder();
    run(async {
        let server = Server::bind(&socket, Arc::new(Node)).await.expect("bound");
        let mode = std::fs::metadata(&socket).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let answers = raw(
            &socket,
            b"{\"request\":\"status\"}\n\n{\"request\":\"move\",\"resource\":\"r\",\"node\":\"n9\"}",
        );
        let wanted = "{\"response\":\"done\"}\n\
                      {\"response\":\"refused\",\"reason\":\"there is no node n9\"}\n";
        assert_eq!(answers.await, wanted);
        let mut client = Client::connect(&socket).await.expect("connected");
        for _ in 0..3 {
            assert_eq!(client.ask(&standby(), LIMIT).await.expect("asked"), Response::Done);
        }
        assert_eq!((server.tally().accepted, server.tally().malformed), (2, 0));
        server.stop().await;
        assert!(!socket.exists());
        let error = client.ask(&standby(), LIMIT).await.expect_err("it is gone");
        assert_eq!(error.effect(), Effect::Unknown);
        let error = client.ask(&standby(), LIMIT).await.expect_err("nobody listens");
        assert!(error.to_string().contains("is it running"), "{error}");
    });
}

#[test]
fn lines_that_make_no_sense_are_answered_and_counted() {
    let (_folder, socket) = folder();
    run(async {
        let server = Server::bind(&socket, Arc::new(Node)).await.expect("bound");
        for (line, why) in [
            (&b"hello"[..], "expected value"),
            (b"{}", "neither a `request` nor a `store`"),
            (b"{\"request\":\"fly\"}", "unknown variant `fly`"),
            (b"{\"request\":\"standby\",\"node\":\"\"}", "cannot use"),
            (b"{\"store\":\"get\",\"key\":\"k\"}", "no access to a store"),
            (b"\xff\xfe", "cannot read this line"),
        ] {
            let mut bytes = line.to_vec();
            bytes.extend(b"\n{\"request\":\"status\"}\n");
            let answers = raw(&socket, &bytes).await;
            let (error, rest) = answers.split_once('\n').expect("two lines");
            assert!(error.starts_with("{\"error\":") && error.contains(why), "{answers}");
            assert_eq!(rest, "{\"response\":\"done\"}\n");
        }
        let long = vec![b'['; MAX_REQUEST + 10];
        assert!(raw(&socket, &long).await.contains("more than 4194304 bytes"));
        let deep = [&vec![b'['; 100_000][..], b"\n"].concat();
        assert!(raw(&socket, &deep).await.contains("cannot read"));
        assert_eq!(server.tally().malformed, 8);
        server.stop().await;
    });
}

#[test]
fn a_store_is_the_same_through_the_socket() {
    let (_folder, socket) = folder();
    run(async {
        let inner = Arc::new(MemoryStore::new());
        let node = Server::bind_with_store(&socket, Arc::new(Node), inner.clone());
        let server = node.await.expect("bound");
        let store = SocketStore::new(&socket);
        let key = |text: &str| text.parse::<ha_membership::Key>().expect("a key");
        let first = store.put(&key("a/1"), (*b"text").into()).await.expect("written");
        let second = store.put(&key("a/2"), [0, 0xff][..].into()).await.expect("written");
        store.put(&key("b"), (*b"").into()).await.expect("written");
        assert_eq!(
            store.get(&key("a/2")).await.expect("read"),
            inner.get(&key("a/2")).await.expect("read")
        );
        assert_eq!(store.get(&key("none")).await.expect("read"), None);
        assert_eq!(store.list("a/").await.expect("read"), inner.list("a/").await.expect("read"));

        let write = Write { key: key("a/1"), expected: Expected::Absent, value: None };
        let error = store.write(write).await.expect_err("it is there");
        assert!(matches!(error, StoreError::Conflict { found, .. } if found == Some(first)));
        let write = Write { key: key("a/1"), expected: Expected::Revision(first), value: None };
        let gone = store.write(write).await.expect("deleted");
        let change = store.next_change("a/", second).await.expect("a change");
        assert_eq!((change.value, change.revision), (None, gone));

        let large = vec![b'"'; MAX_VALUE_LEN];
        store.put(&key("large"), large.clone().into()).await.expect("room for the largest");
        assert_eq!(
            store.get(&key("large")).await.expect("read").expect("there").value,
            large.into()
        );
        let larger = store.put(&key("larger"), vec![0; MAX_VALUE_LEN + 1].into()).await;
        assert!(matches!(larger, Err(StoreError::TooLarge { .. })));
        assert!(server.tally().accepted == 1, "one connection serves all calls in turn");

        // After a restart of the node the store finds it again.
        server.stop().await;
        assert!(matches!(store.get(&key("b")).await, Err(StoreError::Unavailable { .. })));
        let node = Server::bind_with_store(&socket, Arc::new(Node), inner);
        let server = node.await.expect("bound");
        assert!(store.get(&key("b")).await.expect("read").is_some());
        server.stop().await;
    });
}

#[test]
fn watchers_that_are_gone_take_no_room() {
    let (_folder, socket) = folder();
    run(async {
        let inner = Arc::new(MemoryStore::new());
        let node = Server::bind_with_store(&socket, Arc::new(Node), inner.clone());
        let server = node.await.expect("bound");
        let store = SocketStore::new(&socket);
        for _ in 0..3 * MAX_CONNECTIONS {
            tokio::select! { biased;
                change = store.next_change("a", Revision::ZERO) => panic!("{change:?}"),
                _timer = pause(Duration::from_millis(1)) => {}
            }
        }
        assert_eq!(server.tally().refused, 0);
        let (change, _) = tokio::join!(store.next_change("a", Revision::ZERO), async {
            pause(Duration::from_millis(5)).await.expect("a timer");
            inner.put(&"a".parse().expect("a key"), (*b"1").into()).await
        });
        assert_eq!(change.expect("a change").value.as_deref(), Some(&b"1"[..]));
        server.stop().await;
    });
}

proptest! {
    #[test]
    fn values_are_the_same_on_the_other_side(bytes: Vec<u8>) {
        let bytes = Bytes(bytes.into());
        let line = serde_json::to_string(&bytes).expect("text");
        prop_assert_eq!(serde_json::from_str::<Bytes>(&line).expect("the same"), bytes);
    }

    #[test]
    fn no_hex_makes_it_panic(text: String) {
        let _is_no_panic = Bytes::try_from(Written::Hex(text));
    }

    #[test]
    fn no_line_makes_it_panic(line: Vec<u8>) {
        let _is_no_panic = Ask::decode(&line);
    }
}
