//! The TCP proxy.

use std::io::ErrorKind;
use std::time::Duration;

use ha_core::health::Health;
use ha_lb::proxy::Config;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Running, Server, config, nobody, pool};

async fn echo() -> Server {
    Server::start(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _end = tokio::io::copy(&mut from, &mut to).await;
        let _gone = to.shutdown().await;
    })
    .await
}

/// Says its name and closes.
async fn named(name: &'static str) -> Server {
    Server::start(move |mut stream| async move {
        let _gone = stream.write_all(name.as_bytes()).await;
    })
    .await
}

#[tokio::test]
async fn a_half_closed_connection_still_brings_the_answer() {
    let backend = Server::start(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("until the client is done");
        all.reverse();
        stream.write_all(&all).await.expect("sent");
    })
    .await;
    let pool = pool(&[backend.address]);
    let proxy = Running::l4(config(), &pool);
    let mut client = proxy.connect().await;
    client.write_all(b"olleh").await.expect("sent");
    client.shutdown().await.expect("half-closed");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("answered");
    assert_eq!(answer, "hello");
    assert_eq!(proxy.task.stop().await.expect("no panic").cut, 0);
    let counted = proxy.handle.stats();
    assert_eq!((counted.bytes_up, counted.bytes_down, counted.failed), (5, 5, 0));
    let snapshot = pool.snapshot();
    let (_, state) = snapshot.iter().next().expect("one endpoint");
    assert_eq!((state.connections(), state.totals().completed), (0, 1));
}

#[tokio::test]
async fn many_bytes_arrive_whole_in_both_directions_at_once() {
    const SIZE: usize = 16 << 20;
    let backend = echo().await;
    let proxy = Running::l4(config(), &pool(&[backend.address]));
    let bytes: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at % 253).expect("small")).collect();
    let client = proxy.connect().await;
    let (mut from, mut to) = client.into_split();
    let mut back = Vec::new();
    let send = async {
        to.write_all(&bytes).await.expect("sent");
        to.shutdown().await.expect("half-closed");
    };
    let ((), read) = tokio::join!(send, from.read_to_end(&mut back));
    read.expect("all of it");
    assert!(back == bytes);
}

#[tokio::test]
async fn a_backend_that_refuses_is_passed_over() {
    let good = named("good").await;
    let proxy = Running::l4(config(), &pool(&[nobody().await, good.address, nobody().await]));
    for _ in 0..6 {
        assert_eq!(proxy.talk(b"").await, "good");
    }
    let stats = proxy.handle.stats();
    assert!(stats.retried > 0 && stats.failed == 0, "{stats:?}");
}

#[tokio::test]
async fn without_a_backend_the_client_sees_a_reset() {
    let proxy = Running::l4(config().retries(1), &pool(&[nobody().await, nobody().await]));
    let mut client = proxy.connect().await;
    let error = client.read(&mut [0]).await.expect_err("not a clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let backend = Server::start(|mut stream| async move {
        stream.write_all(b"half").await.expect("sent");
        stream.read_u8().await.expect("the client has seen it");
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    })
    .await;
    let proxy = Running::l4(config(), &pool(&[backend.address]));
    let mut client = proxy.connect().await;
    let mut half = [0; 4];
    client.read_exact(&mut half).await.expect("the first half");
    client.write_all(b"!").await.expect("sent");
    let error = client.read(&mut half).await.expect_err("not a clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_that_stands_still_is_cut() {
    let backend = echo().await;
    let proxy =
        Running::l4(config().idle_timeout(Duration::from_millis(20)), &pool(&[backend.address]));
    let mut client = proxy.connect().await;
    client.write_all(b"x").await.expect("sent");
    let mut all = Vec::new();
    assert!(client.read_to_end(&mut all).await.is_err(), "cut, not closed");
    assert_eq!(all, b"x");
}

#[tokio::test]
async fn connections_to_a_backend_that_is_marked_down_are_cut_if_asked_for() {
    let backend = echo().await;
    let pool = pool(&[backend.address]);
    let proxy = Running::l4(config().cut_marked_down(true), &pool);
    let mut client = proxy.connect().await;
    client.write_all(b"x").await.expect("sent");
    assert_eq!(client.read_u8().await.expect("echoed"), b'x');
    pool.set_health(&"s1".parse().expect("a name"), Health::Unhealthy, "test");
    assert!(client.read_u8().await.is_err());
}

#[tokio::test]
async fn no_more_connections_than_allowed_are_served_at_once() {
    let backend = echo().await;
    let proxy = Running::l4(config().max_connections(1), &pool(&[backend.address]));
    let mut first = proxy.connect().await;
    first.write_all(b"1").await.expect("sent");
    assert_eq!(first.read_u8().await.expect("echoed"), b'1');
    let mut second = proxy.connect().await; // by the kernel
    second.write_all(b"2").await.expect("sent");
    assert_eq!(proxy.handle.connections(), 1);
    drop(first);
    assert_eq!(second.read_u8().await.expect("its turn"), b'2');
}

#[tokio::test]
async fn dropping_a_proxy_cuts_its_connections_and_frees_the_port() {
    let backend = echo().await;
    let pool = pool(&[backend.address]);
    let proxy = ha_lb::l4::Proxy::bind(config().build().expect("in range"), pool).expect("bound");
    let address = proxy.handle().local_addr();
    let mut client = tokio::net::TcpStream::connect(address).await.expect("listening");
    client.write_all(b"x").await.expect("sent");
    let mut running = Box::pin(proxy.run(std::future::pending()));
    tokio::select! {
        _ended = &mut running => unreachable!("nobody stops it"),
        echoed = client.read_u8() => assert_eq!(echoed.expect("echoed"), b'x'),
    }
    drop(running);
    assert!(client.read_u8().await.is_err());
    let again = Config::builder(address).build().expect("in range");
    let error = std::net::TcpListener::bind(again.listen()).err();
    assert!(error.is_none_or(|error| error.kind() == ErrorKind::AddrInUse), "no other error");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let taken = echo().await;
    let config = Config::builder(taken.address).build().expect("in range");
    let error = ha_lb::l4::Proxy::bind(config, pool(&[])).expect_err("in use").to_string();
    assert!(error.starts_with(&format!("cannot listen on {}: ", taken.address)), "{error}");
    assert!(error.contains("choose another port"), "{error}");
}
