//! Clients that stay with their endpoint, and requests that wait for one, through the proxies.

use std::time::Duration;

use ha_core::health::Health;
use ha_lb::algorithm::Algorithm;
use ha_lb::algorithm::hash::Key;
use ha_lb::endpoint::Endpoint;
use ha_lb::l7;
use ha_lb::pool::{Pool, PoolBuilder};
use ha_lb::queue::QueueConfig;
use ha_lb::state::Admin;
use ha_lb::stick::{Cookie, CookieMode, StickTable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::support::{Running, Server, config, read_message};

async fn web(name: &'static str, headers: &'static str) -> Server {
    Server::start(move |mut stream| async move {
        while let Some((head, _)) = read_message(&mut stream).await {
            let text = format!("{name}\n{head}");
            let len = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {len}\r\n\r\n{text}");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

fn builder(servers: &[&Server]) -> PoolBuilder {
    let endpoint = |(index, server): (usize, &&Server)| {
        Endpoint::new(format!("s{index}").parse().expect("a name"), server.address)
    };
    let endpoints = servers.iter().enumerate().map(endpoint).collect();
    Pool::builder(Algorithm::RoundRobin.balancer()).endpoints(endpoints)
}

fn http() -> l7::ConfigBuilder {
    l7::Config::builder(config().build().expect("in range"))
}

async fn ask(proxy: &Running, header: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{header}\r\n");
    proxy.talk(request.as_bytes()).await.to_lowercase()
}

/// Which server answered.
fn server(answer: &str) -> &str {
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    body.lines().next().expect("its name")
}

#[tokio::test]
async fn an_inserted_cookie_brings_a_client_back_and_is_not_seen_by_servers() {
    let (a, b) = (web("a", "").await, web("b", "").await);
    let pool = builder(&[&a, &b]).build().expect("a pool");
    let cookie = Cookie::new("SERVERID", CookieMode::Insert).expect("a name");
    let proxy = Running::l7_with(http().cookie(cookie), &pool);
    let first = ask(&proxy, "").await;
    assert!(first.contains("\r\nset-cookie: serverid=s0; path=/; httponly\r\n"), "{first}");
    assert!(first.contains("\r\ncache-control: private\r\n"), "{first}");
    for _ in 0..4 {
        let again = ask(&proxy, "Cookie: lang=en; SERVERID=s0; x=1\r\n").await;
        assert_eq!(server(&again), "a");
        assert!(!again.contains("set-cookie"), "the client knows already: {again}");
        assert!(again.contains("\ncookie: lang=en; x=1\r\n"), "{again}");
    }
    // Also while it is drained; but not when it is down, and then the client is told so.
    let s0 = "s0".parse().expect("a name");
    pool.set_admin(&s0, Admin::Drain).expect("in the pool");
    assert_eq!(server(&ask(&proxy, "Cookie: SERVERID=s0\r\n").await), "a");
    assert_eq!(server(&ask(&proxy, "").await), "b", "a new client");
    pool.set_health(&s0, Health::Unhealthy, "test").expect("in the pool");
    let moved = ask(&proxy, "Cookie: SERVERID=s0\r\n").await;
    assert_eq!(server(&moved), "b");
    assert!(moved.contains("set-cookie: serverid=s1;"), "{moved}");
    assert!(!moved.contains("\ncookie:"), "nothing is left of the header: {moved}");
    // A name that nobody has, and one that is none.
    for nonsense in ["SERVERID=nobody", "SERVERID=../..", "SERVERID=", "SERVERID"] {
        let answer = ask(&proxy, &format!("Cookie: {nonsense}\r\n")).await;
        assert_eq!(server(&answer), "b", "{nonsense}");
    }
}

#[tokio::test]
async fn the_cookie_of_an_application_carries_the_endpoint() {
    let set = "set-cookie: lang=en\r\nset-cookie: JSESSION=abc; Path=/app\r\n";
    let (a, b) = (web("a", set).await, web("b", set).await);
    let pool = builder(&[&a, &b]).build().expect("a pool");
    let cookie = Cookie::new("JSESSION", CookieMode::Prefix).expect("a name");
    let proxy = Running::l7_with(http().cookie(cookie), &pool);
    let first = ask(&proxy, "").await;
    assert!(first.contains("\r\nset-cookie: lang=en\r\n"), "{first}");
    assert!(first.contains("\r\nset-cookie: jsession=s0~abc; path=/app\r\n"), "{first}");
    for _ in 0..3 {
        let again = ask(&proxy, "Cookie: JSESSION=s1~abc\r\n").await;
        assert_eq!(server(&again), "b");
        assert!(again.contains("\ncookie: jsession=abc\r\n"), "{again}");
    }
}

#[tokio::test]
async fn a_stick_table_remembers_by_whatever_it_is_told() {
    let (a, b, c) = (web("a", "").await, web("b", "").await, web("c", "").await);
    let table = StickTable::new(1_000, Duration::from_mins(5));
    let pool = builder(&[&a, &b, &c]).stick_table(table).build().expect("a pool");
    let config = http().stick_on(Key::Header("x-user".into()));
    let proxy = Running::l7_with(config, &pool);
    let ann = ask(&proxy, "X-User: ann\r\n").await;
    let bob = ask(&proxy, "X-User: bob\r\n").await;
    assert_ne!(server(&ann), server(&bob));
    for _ in 0..4 {
        assert_eq!(server(&ask(&proxy, "X-User: ann\r\n").await), server(&ann));
        assert_eq!(server(&ask(&proxy, "X-User: bob\r\n").await), server(&bob));
    }
    // Whoever says nothing is not remembered.
    let anybody = [(); 3].map(|()| ask(&proxy, ""));
    let mut seen = Vec::new();
    for answer in anybody {
        seen.push(server(&answer.await).to_owned());
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "c"]);
    assert_eq!(pool.stick_table().expect("it has one").len(), 2);
}

#[tokio::test]
async fn tcp_clients_stick_by_their_address() {
    let says = |name: &'static str| {
        Server::start(move |mut stream| async move {
            let _gone = stream.write_all(name.as_bytes()).await;
        })
    };
    let (a, b) = (says("a").await, says("b").await);
    let table = StickTable::new(1_000, Duration::from_mins(5));
    let pool = builder(&[&a, &b]).stick_table(table).build().expect("a pool");
    let proxy = Running::l4(config(), &pool);
    for _ in 0..4 {
        assert_eq!(proxy.talk(b"").await, "a");
    }
    pool.set_health(&"s0".parse().expect("a name"), Health::Unhealthy, "test").expect("there");
    assert_eq!(proxy.talk(b"").await, "b");
    pool.set_health(&"s0".parse().expect("a name"), Health::Healthy, "test").expect("there");
    assert_eq!(proxy.talk(b"").await, "b", "where it was last");
}

/// Answers when it is let go.
async fn slow(go: watch::Receiver<bool>) -> Server {
    Server::start(move |mut stream| {
        let mut go = go.clone();
        async move {
            while read_message(&mut stream).await.is_some() {
                drop(go.wait_for(|go| *go).await);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

fn with_room_for_one(server: &Server) -> PoolBuilder {
    let endpoint = Endpoint::new("s0".parse().expect("a name"), server.address);
    let endpoints = vec![endpoint.with_max_connections(1)];
    Pool::builder(Algorithm::RoundRobin.balancer()).endpoints(endpoints)
}

#[tokio::test]
async fn requests_wait_for_a_full_pool_and_get_503_when_too_many_do() {
    let (release, go) = watch::channel(false);
    let backend = slow(go).await;
    let queue = QueueConfig::new(Duration::from_mins(1)).with_max_len(2);
    let pool = with_room_for_one(&backend).queue(queue).build().expect("a pool");
    let proxy = Running::l7(&pool);
    let mut clients = Vec::new();
    for waiting in [0, 1, 2] {
        let mut client = proxy.connect().await;
        let request =
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
        client.write_all(request).await.expect("sent");
        clients.push(client);
        while (pool.queue_len(), backend.connections()) != (waiting, 1) {
            tokio::task::yield_now().await;
        }
    }
    let refused = proxy.get("/").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("so is the queue"), "{refused}");
    release.send_replace(true);
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
    }
    assert_eq!(pool.queue_len(), 0);
}

#[tokio::test]
async fn without_a_queue_a_full_pool_is_an_answer_at_once() {
    let (_release, go) = watch::channel(false);
    let backend = slow(go).await;
    let pool = with_room_for_one(&backend).build().expect("a pool");
    let proxy = Running::l7(&pool);
    let mut client = proxy.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    while backend.connections() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(proxy.get("/").await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn who_waits_too_long_for_a_tcp_backend_is_cut_off() {
    let backend = Server::start(|mut stream| async move {
        let mut all = Vec::new();
        let _end = stream.read_to_end(&mut all).await;
    })
    .await;
    let queue = QueueConfig::new(Duration::from_millis(1));
    let pool = with_room_for_one(&backend).queue(queue).build().expect("a pool");
    let proxy = Running::l4(config(), &pool);
    let _first = proxy.connect().await;
    while backend.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let mut second = proxy.connect().await;
    let mut all = Vec::new();
    assert!(second.read_to_end(&mut all).await.is_err(), "a reset, not an empty answer");
    assert_eq!(backend.connections(), 1);
}
