//! Taking a proxy out of service.

use std::time::Duration;

use ha_lb::l7;
use ha_lb::proxy::Phase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::{Running, Server, config, pool, read_message};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n";

/// Answers once the semaphore has a permit.
async fn patient() -> (Server, &'static Semaphore) {
    let gate: &Semaphore = Box::leak(Box::new(Semaphore::new(0)));
    let server = Server::start(move |mut stream| async move {
        while read_message(&mut stream).await.is_some() {
            gate.acquire().await.expect("open").forget();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
            stream.write_all(answer).await.expect("sent");
        }
    })
    .await;
    (server, gate)
}

#[tokio::test]
async fn a_lame_duck_answers_and_asks_clients_to_leave() {
    let backend = Server::http("a").await;
    let proxy = Running::l7(&pool(&[backend.address]));
    let mut client = proxy.connect().await;
    client.write_all(GET).await.expect("sent");
    let (head, _) = read_message(&mut client).await.expect("an answer");
    assert!(!head.to_lowercase().contains("connection: close"), "{head}");
    proxy.handle.lame_duck();
    client.write_all(GET).await.expect("sent");
    let (head, _) = read_message(&mut client).await.expect("an answer");
    assert!(head.to_lowercase().contains("connection: close"), "{head}");
    assert_eq!(client.read(&mut [0]).await.expect("closed"), 0);
    // New clients are served still.
    assert!(proxy.get("/").await.contains(" 200 OK"));
}

#[tokio::test]
async fn a_switchover_between_two_proxies_loses_no_request() {
    let (backend, gate) = patient().await;
    let pool = pool(&[backend.address]);
    let shared = config().reuse_port(true);
    let old = Running::l7_with(l7::Config::builder(shared.build().expect("in range")), &pool);
    let address = old.handle.local_addr();

    let (mut idle, mut busy) = (old.connect().await, old.connect().await);
    gate.add_permits(1);
    idle.write_all(GET).await.expect("sent");
    read_message(&mut idle).await.expect("an answer");
    busy.write_all(GET).await.expect("sent");
    // The request has reached the backend, which counts one more connection or reads on the kept.
    while old.handle.stats().requests < 2 {
        tokio::task::yield_now().await;
    }
    old.handle.hold_off().expect("an unfiltered socket");
    assert_eq!(idle.read(&mut [0]).await.expect("closed"), 0, "idle connections are closed");

    // Its SYN is dropped now, and repeated by the kernel after a second.
    let late = ha_core::driver::Task::spawn(|_stop| async move {
        let mut late = TcpStream::connect(address).await.expect("connected in the end");
        late.write_all(GET).await.expect("sent");
        read_message(&mut late).await.expect("an answer")
    });
    gate.add_permits(2);
    let (head, body) = read_message(&mut busy).await.expect("the request under way is finished");
    assert!(head.to_lowercase().contains("connection: close"), "{head}");
    assert_eq!(body, b"done");
    old.handle.drained().await;
    assert_eq!((old.handle.phase(), old.handle.connections()), (Phase::HoldOff, 0));

    let proxy = ha_lb::proxy::Config::builder(address).reuse_port(true).build().expect("in range");
    let new = Running::l7_with(l7::Config::builder(proxy), &pool);
    assert_eq!(old.task.stop().await.expect("no panic").cut, 0);
    let mut late = late;
    let (head, _) = late.ended().await.expect("no panic");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(new.handle.stats().requests, 1, "the new proxy has answered it");
    let stats = old.handle.stats();
    assert_eq!((stats.requests, stats.failed), (2, 0));
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way() {
    let (backend, gate) = patient().await;
    let proxy = Running::l7(&pool(&[backend.address]));
    let mut client = proxy.connect().await;
    client.write_all(GET).await.expect("sent");
    while backend.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let (handle, stopping) = (proxy.handle.clone(), proxy.task.stop());
    let answered = async {
        while handle.phase() != Phase::Stopping {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        read_message(&mut client).await.expect("an answer")
    };
    let (ended, (_, body)) = tokio::join!(stopping, answered);
    assert_eq!((ended.expect("no panic").cut, body.as_slice()), (0, &b"done"[..]));
    assert!(TcpStream::connect(handle.local_addr()).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn what_is_not_done_within_the_grace_is_cut() {
    let (backend, _gate) = patient().await;
    let config = config().grace(Duration::from_millis(20)).build().expect("in range");
    let proxy = Running::l7_with(l7::Config::builder(config), &pool(&[backend.address]));
    let mut client = proxy.connect().await;
    client.write_all(GET).await.expect("sent");
    while backend.connections() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(proxy.task.stop().await.expect("no panic").cut, 1);
    let mut rest = Vec::new();
    let _reset_or_end = client.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
