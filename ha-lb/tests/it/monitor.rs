//! The monitor and its checks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_core::event::EventKind;
use ha_core::health::Health;
use ha_core::timeline::Timeline;
use ha_lb::balancer::PickContext;
use ha_lb::endpoint::Endpoint;
use ha_lb::health::http::HttpCheck;
use ha_lb::health::monitor::Monitor;
use ha_lb::health::outlier::{ErrorLimit, Observe};
use ha_lb::health::schedule::{InitState, OnError, Pace};
use ha_lb::health::tcp::TcpCheck;
use ha_lb::health::{Failed, FnCheck, HealthCheck, Passed, Target};
use ha_lb::pick::Outcome;
use ha_lb::pool::Pool;
use ha_lb::state::Admin;
use tokio::io::AsyncWriteExt;

use crate::support::{Server, nobody, pool, read_message};

fn fast() -> Pace {
    Pace::builder()
        .interval(Duration::from_millis(5))
        .timeout(Duration::from_secs(5))
        .rise(2)
        .fall(2)
        .build()
        .expect("in range")
}

/// Waits until the endpoint at `index` has the health.
pub(crate) async fn until(pool: &Pool, index: usize, health: Health) {
    let mut changes = pool.changes();
    loop {
        changes.borrow_and_update();
        let snapshot = pool.snapshot();
        let (_, state) = snapshot.iter().nth(index).expect("in the pool");
        if state.health() == health {
            return;
        }
        changes.changed().await.expect("the pool lives");
    }
}

#[tokio::test]
async fn a_backend_that_goes_is_taken_out_and_comes_back() {
    let stays = Server::http("stays").await;
    let goes = Server::http("goes").await;
    let address = goes.address;
    let pool = pool(&[stays.address, address]);
    let timeline = Arc::new(Mutex::new(Timeline::default()));
    let monitor = Monitor::new(pool.clone(), Arc::new(TcpCheck::new()), fast())
        .with_observer(Arc::clone(&timeline) as _)
        .spawn();
    until(&pool, 1, Health::Healthy).await;
    drop(goes);
    until(&pool, 1, Health::Unhealthy).await;
    for _ in 0..4 {
        assert_eq!(pool.pick(&PickContext::new()).expect("one is up").name().as_str(), "s1");
    }
    let _back = Server::start_on(address, |stream| async move { drop(stream) }).await;
    until(&pool, 1, Health::Healthy).await;
    monitor.stop().await.expect("no panic").expect("a timer");
    let timeline = timeline.lock().expect("no panic");
    let told: Vec<_> = timeline
        .events()
        .filter(|event| event.subject == "s2")
        .filter_map(|event| {
            let EventKind::HealthChanged { to, .. } = &event.kind else { return None };
            Some((*to, event.reason.clone()))
        })
        .collect();
    assert_eq!(told[0], (Health::Healthy, "connected".to_owned()));
    assert_eq!(told[1].0, Health::Unhealthy);
    assert!(told[1].1.starts_with("cannot connect: "), "{told:?}");
    assert_eq!(told[2].0, Health::Healthy);
}

#[tokio::test]
async fn endpoints_that_join_are_checked_and_those_in_maintenance_are_not() {
    let checks = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&checks);
    let check = FnCheck::new(move |_: Target| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok(Passed::because("fine")) }
    });
    let pool = pool(&[]);
    let monitor = Monitor::new(pool.clone(), Arc::new(check), fast()).spawn();
    let name: ha_core::id::EndpointName = "late".parse().expect("a name");
    let late = Endpoint::new(name.clone(), "192.0.2.1:80".parse().expect("an address"));
    pool.update(vec![late]).expect("unique");
    until(&pool, 0, Health::Healthy).await;
    pool.set_admin(&name, Admin::Maintenance).expect("in the pool");
    // Another endpoint's checks show that time goes on.
    let other = Endpoint::new("other".parse().expect("a name"), nobody().await);
    let late = Endpoint::new(name.clone(), "192.0.2.1:80".parse().expect("an address"));
    pool.update(vec![late, other]).expect("unique");
    until(&pool, 1, Health::Healthy).await;
    let (before, health) = {
        let snapshot = pool.snapshot();
        let (_, state) = snapshot.iter().next().expect("in the pool");
        (state.admin(), state.health())
    };
    assert_eq!((before, health), (Admin::Maintenance, Health::Healthy));
    pool.update(Vec::new()).expect("empty");
    monitor.stop().await.expect("no panic").expect("a timer");
    assert!(checks.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn a_check_that_hangs_counts_as_failed_and_is_dropped() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dropped);
    let check = FnCheck::new(move |_: Target| {
        let guard = Dropped(Arc::clone(&flag));
        async move {
            let _guard = guard;
            std::future::pending::<Result<Passed, Failed>>().await
        }
    });
    let pool = pool(&[nobody().await]);
    let pace = Pace::builder().interval(Duration::from_millis(5)).build().expect("in range");
    let monitor = Monitor::new(pool.clone(), Arc::new(check), pace).spawn();
    until(&pool, 0, Health::Unhealthy).await;
    assert!(pool.explain(&PickContext::new()).to_string().contains("no answer within 5ms"));
    monitor.stop().await.expect("no panic").expect("a timer");
    assert!(dropped.load(Ordering::SeqCst));
}

async fn answering(answer: &'static str) -> Server {
    Server::start(move |mut stream| async move {
        let (head, _) = read_message(&mut stream).await.expect("a request");
        assert!(head.starts_with("GET /health HTTP/1.1\r\n"), "{head}");
        let _gone = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

#[tokio::test]
async fn http_checks_judge_status_and_body() {
    let check = || HttpCheck::new("/health").expect("a path");
    let ok = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(
        check().check(&ok.address.into()).await,
        Ok(Passed::because("status 204 No Content"))
    );
    let broken = answering("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").await;
    let failed = check().check(&broken.address.into()).await.expect_err("500");
    assert!(failed.reason().starts_with("status 500"), "{failed}");
    let page = answering("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall is well").await;
    assert!(check().expect_body("is well").check(&page.address.into()).await.is_ok());
    assert!(check().expect_body("is bad").check(&page.address.into()).await.is_err());
    assert!(check().expect_status(201..=299).check(&page.address.into()).await.is_err());
    for nonsense in ["", "220 mail.example ESMTP\r\n", "HTTP/1.1 200 OK\r\nx: \0\r\n\r\n"] {
        let server = answering(nonsense).await;
        assert!(check().check(&server.address.into()).await.is_err(), "{nonsense:?}");
    }
    let refused = check().check(&nobody().await.into()).await.expect_err("nobody listens");
    assert!(refused.reason().starts_with("cannot connect: "), "{refused}");
}

#[tokio::test]
async fn an_endless_body_does_not_fill_memory() {
    let server = Server::start(|mut stream| async move {
        read_message(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("sent");
        while stream.write_all(b"5\r\nxxxxx\r\n").await.is_ok() {}
    })
    .await;
    let check = HttpCheck::new("/").expect("a path").expect_body("never");
    assert!(check.check(&server.address.into()).await.is_err());
}

#[tokio::test]
async fn no_more_checks_run_at_once_than_allowed_and_all_get_their_turn() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (now, peak, door) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
    let check = FnCheck::new(move |_: Target| {
        let (now, peak, door) = (Arc::clone(&now), Arc::clone(&peak), Arc::clone(&door));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            door.acquire().await.expect("open").forget();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Passed::because("fine"))
        }
    });
    let addresses: Vec<_> = (1..=40).map(|port| ([192, 0, 2, 1], port).into()).collect();
    let pool = pool(&addresses);
    // Long enough that each is checked once; the time limit starts when a check does.
    let pace = Pace::builder().interval(Duration::from_hours(1)).build().expect("in range");
    let monitor = Monitor::new(pool.clone(), Arc::new(check), pace).with_max_running(3).spawn();
    let healthy = || {
        let snapshot = pool.snapshot();
        snapshot.iter().filter(|(_, state)| state.health() == Health::Healthy).count()
    };
    let mut changes = pool.changes();
    for done in 1..=40 {
        gate.add_permits(1);
        while healthy() < done {
            changes.changed().await.expect("the pool lives");
        }
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    monitor.stop().await.expect("no panic").expect("a timer");
}

#[tokio::test]
async fn a_pool_starts_as_init_state_says_before_any_check_has_ended() {
    let check = FnCheck::new(|_: Target| std::future::pending::<Result<Passed, Failed>>());
    let check: Arc<dyn HealthCheck> = Arc::new(check);
    for (init_state, health) in
        [(InitState::FullyDown, Health::Unhealthy), (InitState::Up, Health::Healthy)]
    {
        let pool = pool(&[nobody().await]);
        let pace = Pace::builder().interval(Duration::from_hours(1)).init_state(init_state);
        let pace = pace.build().expect("in range");
        let monitor = Monitor::new(pool.clone(), Arc::clone(&check), pace).spawn();
        until(&pool, 0, health).await;
        let snapshot = pool.snapshot();
        let (_, state) = snapshot.iter().next().expect("in the pool");
        assert_eq!(*state.reason(), *format!("not checked yet, init-state {init_state}"));
        assert_eq!(pool.pick(&PickContext::new()).is_ok(), health == Health::Healthy);
        monitor.stop().await.expect("no panic").expect("a timer");
    }
}

#[tokio::test]
async fn errors_of_the_work_take_an_endpoint_out_between_two_checks() {
    let check = FnCheck::new(|_: Target| async { Ok(Passed::because("fine")) });
    let pool = pool(&[nobody().await, nobody().await]);
    let pace = Pace::builder().interval(Duration::from_hours(1)).build().expect("in range");
    let limit = ErrorLimit::new(Observe::Layer7).after(4).then(OnError::MarkDown);
    let monitor = Monitor::new(pool.clone(), Arc::new(check), pace).with_error_limit(limit).spawn();
    until(&pool, 0, Health::Healthy).await;
    until(&pool, 1, Health::Healthy).await;
    let mut outcomes =
        [Outcome::Failed, Outcome::ErrorAnswer, Outcome::ConnectFailed].iter().cycle();
    let mut broken = 0;
    for _ in 0..8 {
        let pick = pool.pick(&PickContext::new()).expect("usable");
        if pick.name().as_str() == "s2" {
            broken += 1;
            pick.finish(*outcomes.next().expect("endless"));
        } else {
            pick.finish(Outcome::Completed);
        }
    }
    assert_eq!(broken, 4);
    until(&pool, 1, Health::Unhealthy).await;
    let explained = pool.explain(&PickContext::new()).to_string();
    assert!(explained.contains("not s2: unhealthy: 4 errors in a row"), "{explained}");
    monitor.stop().await.expect("no panic").expect("a timer");
}

#[tokio::test]
async fn first_checks_of_a_large_pool_do_not_start_in_one_burst() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let check: Arc<dyn HealthCheck> = Arc::new(FnCheck::new(move |_: Target| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok(Passed::because("fine")) }
    }));
    let pace = || Pace::builder().interval(Duration::from_hours(10));
    let addresses: Vec<_> = (1..=1000).map(|port| ([192, 0, 2, 1], port).into()).collect();
    // By default over the interval, of which 36 s are for each.
    let large = pool(&addresses);
    let monitor =
        Monitor::new(large.clone(), Arc::clone(&check), pace().build().expect("fine")).spawn();
    until(&large, 0, Health::Healthy).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    monitor.stop().await.expect("no panic").expect("a timer");
    // And all within this time, if asked for.
    let large = pool(&addresses);
    let spread = pace().start_spread(Duration::from_millis(50)).build().expect("fine");
    let monitor = Monitor::new(large.clone(), check, spread).spawn();
    for index in [0, 500, 999] {
        until(&large, index, Health::Healthy).await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1001);
    monitor.stop().await.expect("no panic").expect("a timer");
}
