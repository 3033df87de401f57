//! Endpoints that are marked down or up: hooks, sessions that are shut, tracking.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_core::health::Health;
use ha_core::id::EndpointName;
use ha_lb::algorithm::Algorithm;
use ha_lb::balancer::PickContext;
use ha_lb::endpoint::Endpoint;
use ha_lb::health::monitor::{FnHook, Monitor, ShutBackupSessions, ShutSessions, Track, Turn};
use ha_lb::health::schedule::Pace;
use ha_lb::health::{Failed, FnCheck, Passed, Target};
use ha_lb::pool::{Pool, SlowStart};
use ha_lb::state::Admin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::monitor::until;
use crate::support::{Running, Server, config, nobody, pool, read_message};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n";

fn name(text: &str) -> EndpointName {
    text.parse().expect("a name")
}

async fn echo() -> Server {
    Server::start(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _gone = tokio::io::copy(&mut from, &mut to).await;
    })
    .await
}

/// Two regular endpoints and a backup, and a check that fails for the names in the list.
fn checked(addresses: &[std::net::SocketAddr]) -> (Pool, Arc<Mutex<Vec<&'static str>>>, FnCheckOf) {
    let endpoints = addresses
        .iter()
        .zip(["a", "b", "spare"])
        .map(|(address, text)| Endpoint::new(name(text), *address).with_backup(text == "spare"));
    let pool = Pool::new(&Algorithm::First, endpoints.collect()).expect("unique");
    let down: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let judge = Arc::clone(&down);
    let check: FnCheckOf = Arc::new(FnCheck::new(move |target: Target| {
        let asked = target.name().expect("of a pool").to_string();
        let is_down = judge.lock().expect("no panic").contains(&asked.as_str());
        async move {
            if is_down { Err(Failed::because("told so")) } else { Ok(Passed::because("fine")) }
        }
    }));
    (pool, down, check)
}

type FnCheckOf = Arc<dyn ha_lb::health::HealthCheck>;

fn fast() -> Pace {
    let ms = Duration::from_millis;
    Pace::builder().interval(ms(5)).timeout(ms(5000)).rise(1).fall(1).build().expect("in range")
}

#[tokio::test]
async fn sessions_of_an_endpoint_that_is_marked_down_are_shut_and_no_others() {
    let servers = [echo().await, echo().await, echo().await];
    let (pool, down, check) = checked(&servers.each_ref().map(|server| server.address));
    let turns = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&turns);
    let hook = FnHook::new(move |turn: &Turn<'_>| {
        let line = format!("{} {} {}", turn.endpoint.name(), turn.to, turn.reason);
        noted.lock().expect("no panic").push(line);
    });
    let monitor = Monitor::new(pool.clone(), check, fast())
        .with_hook(Arc::new(ShutSessions::new()))
        .with_hook(Arc::new(hook))
        .spawn();
    let proxy = Running::l4(config(), &pool);
    until(&pool, 1, Health::Healthy).await;
    let mut on_a = proxy.connect().await;
    on_a.write_all(b"x").await.expect("sent");
    assert_eq!(on_a.read_u8().await.expect("echoed"), b'x');
    down.lock().expect("no panic").push("a");
    until(&pool, 0, Health::Unhealthy).await;
    let mut on_b = proxy.connect().await;
    assert!(on_a.read_u8().await.is_err(), "its server is down");
    on_b.write_all(b"y").await.expect("sent");
    assert_eq!(on_b.read_u8().await.expect("echoed"), b'y');
    assert_eq!(servers[1].connections(), 1);
    monitor.stop().await.expect("no panic").expect("a timer");
    let turns = turns.lock().expect("no panic");
    assert!(turns.contains(&"a unhealthy told so".to_owned()), "{turns:?}");
}

#[tokio::test]
async fn clients_of_a_backup_go_when_a_regular_endpoint_is_back() {
    let servers = [echo().await, echo().await, echo().await];
    let (pool, down, check) = checked(&servers.each_ref().map(|server| server.address));
    down.lock().expect("no panic").extend(["a", "b"]);
    let hook = Arc::new(ShutBackupSessions::new());
    let monitor = Monitor::new(pool.clone(), check, fast()).with_hook(hook).spawn();
    let proxy = Running::l4(config(), &pool);
    until(&pool, 0, Health::Unhealthy).await;
    until(&pool, 1, Health::Unhealthy).await;
    let mut client = proxy.connect().await;
    client.write_all(b"x").await.expect("sent");
    assert_eq!(client.read_u8().await.expect("echoed"), b'x');
    assert_eq!(servers[2].connections(), 1, "the backup");
    down.lock().expect("no panic").retain(|name| *name != "b");
    assert!(client.read_u8().await.is_err(), "b is back");
    monitor.stop().await.expect("no panic").expect("a timer");
}

#[tokio::test]
async fn an_http_request_under_way_is_made_anew_elsewhere_when_sessions_are_shut() {
    let asked: &Semaphore = Box::leak(Box::new(Semaphore::new(0)));
    let mute = Server::start(move |mut stream| async move {
        read_message(&mut stream).await;
        asked.add_permits(1);
        std::future::pending::<()>().await;
    })
    .await;
    let good = Server::http("good").await;
    let pool = pool(&[mute.address, good.address]);
    let proxy = Running::l7(&pool);
    let mut client = proxy.connect().await;
    client.write_all(GET).await.expect("sent");
    asked.acquire().await.expect("open").forget();
    assert_eq!(pool.shut_sessions(&name("s1")), Some(1));
    let (head, body) = read_message(&mut client).await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.starts_with(b"good"), "{head}");
    assert_eq!(pool.shut_sessions(&name("nobody")), None);
}

#[tokio::test]
async fn half_an_answer_is_cut_visibly_and_kept_connections_are_not_used_again() {
    let half = Server::start(|mut stream| async move {
        while read_message(&mut stream).await.is_some() {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";
            stream.write_all(answer).await.expect("sent");
            stream.read_u8().await.expect_err("nothing more comes");
        }
    })
    .await;
    let proxied = pool(&[half.address]);
    let proxy = Running::l7(&proxied);
    let mut client = proxy.connect().await;
    client.write_all(GET).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"half") {
        answer.push(client.read_u8().await.expect("the first half"));
    }
    proxied.shut_sessions(&name("s1"));
    client.read_u8().await.expect_err("a reset, not an end");

    let kept = Server::http("kept").await;
    let proxied = pool(&[kept.address]);
    let proxy = Running::l7(&proxied);
    let mut client = proxy.connect().await;
    for connections in [1, 1, 2] {
        client.write_all(GET).await.expect("sent");
        read_message(&mut client).await.expect("an answer");
        assert_eq!(kept.connections(), connections);
        if kept.accepted.load(Ordering::SeqCst) == 1 && proxy.handle.stats().requests == 2 {
            proxied.shut_sessions(&name("s1"));
        }
    }
}

#[tokio::test]
async fn endpoints_take_their_health_from_those_of_another_pool() {
    let model = pool(&[nobody().await, nobody().await]);
    let endpoints = ["s1", "s2-admin", "alone", "free"];
    let endpoints = endpoints.map(|text| Endpoint::new(name(text), model_address()));
    let tracked = Pool::new(&Algorithm::RoundRobin, endpoints.to_vec()).expect("unique");
    let turns = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&turns);
    let hook = FnHook::new(move |_: &Turn<'_>| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let track = Track::new(tracked.clone(), model.clone())
        .with_mapping(|endpoint| match endpoint.name().as_str() {
            "free" => None,
            other => other.trim_end_matches("-admin").parse().ok(),
        })
        .with_hook(Arc::new(hook))
        .spawn();
    tracked.set_health(&name("free"), Health::Healthy, "checked by itself");
    tracked.set_health(&name("alone"), Health::Healthy, "checked before");
    model.set_health(&name("s1"), Health::Healthy, "status 200");
    model.set_admin(&name("s2"), Admin::Maintenance);
    until(&tracked, 0, Health::Healthy).await;
    until(&tracked, 1, Health::Unhealthy).await;
    until(&tracked, 2, Health::Unknown).await;
    let reason = |position: usize| {
        let snapshot = tracked.snapshot();
        let (_, state) = snapshot.iter().nth(position).expect("in the pool");
        (state.health(), state.reason().to_string())
    };
    assert_eq!(reason(0).1, "tracks s1: status 200");
    assert_eq!(reason(1).1, "tracks s2: in maintenance");
    assert_eq!(reason(2).1, "tracks alone: not there");
    assert_eq!(reason(3), (Health::Healthy, "checked by itself".to_owned()));
    // Whoever joins follows at once.
    let mut endpoints = endpoints.to_vec();
    endpoints.push(Endpoint::new(name("s1-admin"), model_address()));
    tracked.update(endpoints).expect("unique");
    until(&tracked, 4, Health::Healthy).await;
    track.stop().await.expect("no panic").expect("no error");
    assert_eq!(turns.load(Ordering::SeqCst), 4);
    assert!(tracked.pick(&PickContext::new()).is_ok());
}

fn model_address() -> std::net::SocketAddr {
    "192.0.2.1:80".parse().expect("an address")
}

#[tokio::test]
async fn slow_starts_go_on_without_a_monitor_of_the_pool() {
    let model = pool(&[nobody().await]);
    let window = SlowStart::new(Duration::from_millis(100));
    let tracked = Pool::builder(Algorithm::RoundRobin.balancer())
        .endpoints(vec![Endpoint::new(name("s1"), model_address())])
        .slow_start(window)
        .build()
        .expect("unique");
    let track = Track::new(tracked.clone(), model.clone()).spawn();
    model.set_health(&name("s1"), Health::Unhealthy, "told so");
    until(&tracked, 0, Health::Unhealthy).await;
    model.set_health(&name("s1"), Health::Healthy, "told so");
    until(&tracked, 0, Health::Healthy).await;
    let snapshot = tracked.snapshot();
    let (_, state) = snapshot.iter().next().expect("in the pool");
    assert!(state.share().parts() < 256);
    while state.share().parts() < 256 {
        tokio::task::yield_now().await;
    }
    track.stop().await.expect("no panic").expect("a timer");
}
