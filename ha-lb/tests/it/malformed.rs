//! What clients must not get away with.

use std::time::Duration;

use ha_lb::l7;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Running, Server, config, pool, read_message};

#[tokio::test]
async fn malformed_requests_are_refused_and_reach_no_backend() {
    let backend = Server::http("a").await;
    let proxy = Running::l7(&pool(&[backend.address]));
    let huge = format!("GET / HTTP/1.1\r\nHost: shop\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    for (status, request) in [
        ("400", "GET / HTTP/1.1\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx"),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
        ("400", "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n"),
        ("400", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("400", "\x16\x03\x01 TLS where HTTP is spoken\r\n\r\n"),
        ("431", &huge),
        ("501", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    ] {
        let answer = proxy.talk(request.as_bytes()).await;
        let expected = format!("HTTP/1.1 {status} ");
        let expected_10 = format!("HTTP/1.0 {status} ");
        let right = answer.starts_with(&expected) || answer.starts_with(&expected_10);
        assert!(right, "{}: {answer}", &request[..request.len().min(80)]);
    }
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn two_framings_at_once_smuggle_nothing() {
    // The backend answers each message it sees with how it was framed.
    let backend = Server::start(|mut stream| async move {
        while let Some((head, body)) = read_message(&mut stream).await {
            let lower = head.to_lowercase();
            let framings = [lower.contains("content-length"), lower.contains("transfer-encoding")];
            let text = format!("{}|{framings:?}|{}", &head[..4], String::from_utf8_lossy(&body));
            let len = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{text}");
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    })
    .await;
    let proxy = Running::l7(&pool(&[backend.address]));
    let body = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for headers in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", body.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", body.len()),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}");
        let answer = proxy.talk(request.as_bytes()).await;
        // Read as chunked on both hops, with an empty body; the connection ends after it, so that
        // nothing of what follows is taken for a request (RFC 9112 §6.3).
        assert!(answer.ends_with("\r\n\r\nPOST|[false, true]|"), "{answer}");
        assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_trickles_its_head_is_cut() {
    let backend = Server::http("a").await;
    let config = l7::Config::builder(config().build().expect("in range"))
        .header_timeout(Duration::from_millis(50));
    let proxy = Running::l7_with(config, &pool(&[backend.address]));
    let mut client = proxy.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.expect("sent");
    let mut rest = Vec::new();
    // Ends by itself, whatever it says before.
    let _reset_or_end = client.read_to_end(&mut rest).await;
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_backend_that_speaks_nonsense_becomes_502() {
    for nonsense in [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/1.1 999999 no\r\n\r\n", b""] {
        let backend = Server::start(move |mut stream| async move {
            read_message(&mut stream).await;
            stream.write_all(nonsense).await.expect("sent");
        })
        .await;
        let proxy = Running::l7(&pool(&[backend.address]));
        let answer = proxy.get("/").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_end_in_an_answer_or_a_closed_connection(
        junk in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..512),
            "(GET|POST|X) [ -~]{0,40} HTTP/1[.][0-9]\r\n([!-~]{1,12}: ?[ -~]{0,30}\r\n){0,6}\r\n[ -~]{0,60}"
                .prop_map(String::into_bytes),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let backend = Server::http("a").await;
            let config = l7::Config::builder(config().build().expect("in range"))
                .header_timeout(Duration::from_millis(50))
                .response_timeout(Duration::from_millis(50));
            let proxy = Running::l7_with(config, &pool(&[backend.address]));
            let mut client = proxy.connect().await;
            let _cut = client.write_all(&junk).await;
            let _half_closed = client.shutdown().await;
            let mut answer = Vec::new();
            let _cut = client.read_to_end(&mut answer).await;
            // The proxy lives on.
            assert!(proxy.get("/").await.contains(" 200 OK"));
        });
    }
}
