//! The HTTP proxy.

use std::time::Duration;

use ha_lb::l7;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Running, Server, config, nobody, pool, pool_with, read_message};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n";

#[tokio::test]
async fn requests_take_turns_and_say_who_asked_for_whom() {
    let (a, b) = (Server::http("a").await, Server::http("b").await);
    let proxy = Running::l7(&pool(&[a.address, b.address]));
    let first = proxy.get("/x?y=1").await;
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert!(first.contains("\r\n\r\na\nGET /x?y=1 HTTP/1.1\r\n"), "{first}");
    let lower = first.to_lowercase();
    assert!(lower.contains("\r\nhost: shop\r\n"), "{first}");
    assert!(lower.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{first}");
    let request = lower.split_once("\r\n\r\n").expect("a body").1;
    assert!(!request.contains("connection:"), "the client's hop is not passed on: {first}");
    assert!(proxy.get("/").await.contains("\r\n\r\nb\n"));
    assert_eq!(proxy.handle.stats().requests, 2);
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let backend = Server::http("a").await;
    let proxy = Running::l7(&pool(&[backend.address]));
    let mut client = proxy.connect().await;
    for _ in 0..20 {
        client.write_all(GET).await.expect("sent");
        let (head, _) = read_message(&mut client).await.expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    assert_eq!((proxy.handle.stats().accepted, backend.connections()), (1, 1));
}

#[tokio::test]
async fn a_backend_that_refuses_is_passed_over_for_any_method() {
    let good = Server::http("good").await;
    let pool = pool(&[nobody().await, nobody().await, good.address]);
    let proxy = Running::l7(&pool);
    let post =
        b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    for _ in 0..4 {
        let answer = proxy.talk(post).await;
        assert!(answer.contains("\r\n\r\ngood\n") && answer.contains("body: 5"), "{answer}");
    }
    assert_eq!(proxy.handle.stats().failed, 0);
    let totals: Vec<_> = pool.snapshot().iter().map(|(_, state)| state.totals()).collect();
    assert!(totals[0].connect_failures > 0);
    assert_eq!(totals[2].completed, 4);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_costs_nothing() {
    // Every connection is closed after one answer, without saying so.
    let backend = Server::start(|mut stream| async move {
        if read_message(&mut stream).await.is_some() {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.expect("sent");
        }
    })
    .await;
    let proxy = Running::l7(&pool(&[backend.address]));
    for _ in 0..50 {
        assert!(proxy.get("/").await.ends_with("ok"));
    }
    assert_eq!(proxy.handle.stats().failed, 0);
}

#[tokio::test]
async fn idempotent_requests_are_repeated_elsewhere_when_a_backend_breaks_off() {
    let bad = Server::start(|mut stream| async move {
        read_message(&mut stream).await;
    })
    .await;
    let good = Server::http("good").await;
    let proxy = Running::l7(&pool(&[bad.address, good.address]));
    for _ in 0..4 {
        assert!(proxy.get("/").await.contains("\r\n\r\ngood\n"));
    }
    // A POST may have been carried out: it is not repeated.
    let post = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
    let (one, two) = (proxy.talk(post).await, proxy.talk(post).await);
    let broken = [&one, &two].into_iter().filter(|a| a.starts_with("HTTP/1.1 502")).count();
    assert_eq!(broken, 1, "{one}\n{two}");
}

#[tokio::test]
async fn half_an_answer_is_not_taken_for_a_whole_one() {
    let backend = Server::start(|mut stream| async move {
        read_message(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
        stream.write_all(answer).await.expect("sent");
    })
    .await;
    let proxy = Running::l7(&pool(&[backend.address]));
    let mut client = proxy.connect().await;
    client.write_all(GET).await.expect("sent");
    let mut answer = Vec::new();
    let end = client.read_to_end(&mut answer).await;
    // Either a reset, or an end before the 100 bytes: both tell the client.
    assert!(end.is_err() || !String::from_utf8_lossy(&answer).contains("half0"), "{end:?}");
    assert!(answer.len() < 150);
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    const SIZE: usize = 8 << 20;
    let backend = Server::start(|mut stream| async move {
        while let Some((_, body)) = read_message(&mut stream).await {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.expect("sent");
            stream.write_all(&body).await.expect("sent");
        }
    })
    .await;
    let proxy = Running::l7(&pool(&[backend.address]));
    let body: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at % 251).expect("small")).collect();
    let mut client = proxy.connect().await;
    let head = format!("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: {SIZE}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("sent");
    client.write_all(&body).await.expect("sent");
    let (_, echoed) = read_message(&mut client).await.expect("an answer");
    assert!(echoed == body);
}

#[tokio::test]
async fn without_a_usable_backend_the_answer_is_503() {
    let proxy = Running::l7(&pool(&[]));
    assert!(proxy.get("/").await.starts_with("HTTP/1.1 503"));
    let refused = Running::l7(&pool(&[nobody().await]));
    let answer = refused.get("/").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("no backend could be connected"));
}

#[tokio::test]
async fn a_silent_backend_becomes_504_and_is_not_asked_twice() {
    let backend = Server::start(|mut stream| async move {
        let mut sink = Vec::new();
        let _end = stream.read_to_end(&mut sink).await;
    })
    .await;
    let config = l7::Config::builder(config().build().expect("in range"))
        .response_timeout(Duration::from_millis(30));
    let proxy = Running::l7_with(config, &pool(&[backend.address]));
    let answer = proxy.get("/").await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways() {
    let backend = Server::start(|mut stream| async move {
        let (head, _) = read_message(&mut stream).await.expect("a request");
        assert!(head.to_lowercase().contains("upgrade: echo\r\n"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                       upgrade: echo\r\n\r\nhello ";
        stream.write_all(answer).await.expect("sent");
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.expect("echoed");
    })
    .await;
    let proxy = Running::l7(&pool(&[backend.address]));
    let mut client = proxy.connect().await;
    let request = b"GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    client.write_all(request).await.expect("sent");
    client.write_all(b"world").await.expect("sent");
    client.shutdown().await.expect("half-closed");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello world"), "{answer}");
}

#[tokio::test]
async fn old_clients_and_half_closed_ones_get_their_answer() {
    let backend = Server::http("a").await;
    let proxy = Running::l7(&pool(&[backend.address]));
    let answer = proxy.talk(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains(" 200 OK\r\n") && answer.contains("\r\n\r\na\n"), "{answer}");
    let mut client = proxy.connect().await;
    client.write_all(GET).await.expect("sent");
    client.shutdown().await.expect("half-closed");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.contains("\r\n\r\na\n"), "{answer}");
}

#[tokio::test]
async fn requests_go_where_haproxy_sends_them_by_what_is_in_them() {
    let text = include_str!("../../testdata/haproxy-hash.json");
    let recorded: serde_json::Value = serde_json::from_str(text).expect("the recorded vectors");
    let mut servers = Vec::new();
    for name in ["1", "2", "3", "4", "5"] {
        servers.push(Server::http(name).await);
    }
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let vectors = recorded["vectors"].as_array().expect("a list");
    let wanted = |balance: &str| {
        let same = |vector: &&serde_json::Value| {
            vector["servers"] == "eq5"
                && vector["balance"] == balance
                && vector["hash_type"] == "consistent"
        };
        vectors.iter().find(same).expect("it was recorded")
    };
    for (balance, algorithm) in [
        ("uri depth 1", "uri,depth=1,hash-type=consistent"),
        ("url_param k", "query,name=k,hash-type=consistent"),
        ("hdr(X-Key)", "header,name=x-key,hash-type=consistent"),
        ("hdr(X-Key)", "cookie,name=key,hash-type=consistent"),
    ] {
        let vector = wanted(balance);
        let algorithm = algorithm.parse().expect("an algorithm");
        let proxy = Running::l7(&pool_with(&algorithm, &addresses));
        let keys = recorded["keys"][vector["keys"].as_str().expect("a name")].as_array();
        let picked = vector["picked"].as_array().expect("a list");
        for (key, server) in keys.expect("a list").iter().zip(picked) {
            let key = key.as_str().expect("text");
            if key.is_empty() {
                continue;
            }
            let target = match balance {
                "uri depth 1" => key.to_owned(),
                "url_param k" => format!("/p?z=1&k={key}"),
                _ => "/".to_owned(),
            };
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: shop\r\nX-Key: {key}\r\nCookie: a=b; key={key}\r\n\
                 Connection: close\r\n\r\n"
            );
            let answer = proxy.talk(request.as_bytes()).await;
            assert!(answer.contains(&format!("\r\n\r\n{server}\n")), "{algorithm} {key}: {answer}");
        }
    }
}
