//! Endpoints that are ejected because of how their work goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_core::driver::Task;
use ha_core::event::EventKind;
use ha_core::health::Health;
use ha_core::timeline::Timeline;
use ha_lb::algorithm::Algorithm;
use ha_lb::balancer::PickContext;
use ha_lb::endpoint::{Endpoint, parse_list};
use ha_lb::health::outlier::{Config, ConfigBuilder, Detection, Enforce, Standing, Status, Watch};
use ha_lb::pick::Outcome;
use ha_lb::pool::{Pool, SlowStart};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use crate::support::{Running, Server, nobody, pool, read_message};

fn quick() -> ConfigBuilder {
    let ms = Duration::from_millis;
    Config::builder().interval(ms(10)).base_ejection(ms(200)).max_ejection(ms(400))
}

fn watched(pool: &Pool, config: ConfigBuilder) -> (watch::Receiver<Vec<Status>>, Watching) {
    let timeline = Arc::new(Mutex::new(Timeline::default()));
    let watch = Watch::new(pool.clone(), config.build().expect("in range"));
    let watch = watch.with_observer(Arc::clone(&timeline) as _);
    (watch.status(), Watching { task: watch.spawn(), timeline })
}

/// A running watch, and what it told.
struct Watching {
    task: Task<std::io::Result<()>>,
    timeline: Arc<Mutex<Timeline>>,
}

impl Watching {
    async fn stop(self) -> Vec<String> {
        self.task.stop().await.expect("no panic").expect("a timer");
        let timeline = self.timeline.lock().expect("no panic");
        let line = |event: &ha_core::event::Event| {
            let EventKind::StateChanged { from, to } = &event.kind else { return None };
            Some(format!("{}: {from} → {to}, {}", event.subject, event.reason))
        };
        timeline.events().filter_map(line).collect()
    }
}

async fn until(
    status: &mut watch::Receiver<Vec<Status>>,
    position: usize,
    wanted: impl Fn(Standing) -> bool,
) {
    let found = |all: &Vec<Status>| all.get(position).is_some_and(|one| wanted(one.standing));
    status.wait_for(found).await.expect("the watch lives");
}

fn is_out(standing: Standing) -> bool {
    matches!(standing, Standing::Out { .. })
}

/// Answers with errors while the flag is up.
async fn moody(broken: &Arc<AtomicBool>) -> Server {
    let broken = Arc::clone(broken);
    Server::start(move |mut stream| {
        let broken = Arc::clone(&broken);
        async move {
            while read_message(&mut stream).await.is_some() {
                let status = if broken.load(Ordering::SeqCst) { "500 Oops" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_backend_that_answers_with_errors_is_out_and_comes_back_when_it_works() {
    let broken = Arc::new(AtomicBool::new(true));
    let (bad, good) = (moody(&broken).await, Server::http("good").await);
    let pool = pool(&[bad.address, good.address]);
    let (mut status, watch) = watched(&pool, quick());
    until(&mut status, 1, |standing| standing == Standing::In).await;
    let proxy = Running::l7(&pool);
    let mut errors = 0;
    while !is_out(status.borrow()[0].standing) {
        errors += usize::from(proxy.get("/").await.starts_with("HTTP/1.1 500"));
    }
    assert!((5..8).contains(&errors), "{errors} errors reached clients");
    assert!(pool.explain(&PickContext::new()).to_string().contains("error answers in a row"));
    broken.store(false, Ordering::SeqCst);
    until(&mut status, 0, |standing| standing == Standing::OnProbation).await;
    let snapshot = pool.snapshot();
    let (_, state) = snapshot.iter().next().expect("in the pool");
    assert_eq!(state.share().parts(), 26, "a tenth");
    while status.borrow()[0].standing != Standing::In {
        proxy.get("/").await;
    }
    assert_eq!(state.share().parts(), 256);
    let told = watch.stop().await;
    let ejected = &told[0];
    assert!(ejected.starts_with("s1: in → ejected, 5 error answers in a row; for "), "{told:?}");
    assert_eq!(told[1], "s1: ejected → on probation, its time is over");
    assert_eq!(told[2], "s1: on probation → in, its work goes well");
}

#[tokio::test]
async fn a_backend_that_refuses_connections_is_passed_over_without_being_tried() {
    let good = Server::http("good").await;
    let pool = pool(&[nobody().await, good.address]);
    let long = Duration::from_hours(1);
    let (mut status, watch) =
        watched(&pool, Config::builder().base_ejection(long).max_ejection(long));
    until(&mut status, 1, |standing| standing == Standing::In).await;
    let proxy = Running::l7(&pool);
    while !is_out(status.borrow()[0].standing) {
        assert!(proxy.get("/").await.starts_with("HTTP/1.1 200"));
    }
    let retried = proxy.handle.stats().retried;
    for _ in 0..20 {
        assert!(proxy.get("/").await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(proxy.handle.stats().retried, retried);
    // A watch that ends leaves nobody out.
    watch.stop().await;
    let snapshot = pool.snapshot();
    assert!(snapshot.iter().all(|(_, state)| !state.is_ejected()));
}

#[tokio::test]
async fn one_whose_checks_fail_stays_out_and_one_that_leaves_is_forgotten() {
    let addresses = [nobody().await, nobody().await, nobody().await];
    let pool = pool(&addresses);
    let (mut status, watch) = watched(&pool, quick());
    until(&mut status, 2, |standing| standing == Standing::In).await;
    let name: ha_core::id::EndpointName = "s1".parse().expect("a name");
    let fail = |pool: &Pool| {
        let mut runs = 0;
        while runs < 5 {
            let pick = pool.pick(&PickContext::new()).expect("usable");
            let is_first = pick.name() == &name;
            runs += usize::from(is_first);
            pick.finish(if is_first { Outcome::Failed } else { Outcome::Completed });
        }
    };
    fail(&pool);
    until(&mut status, 0, is_out).await;
    pool.set_health(&name, Health::Unhealthy, "its check fails");
    // Time goes on: another one is ejected at an interval and comes back at a later one.
    for _ in 0..8 {
        status.changed().await.expect("the watch lives");
    }
    assert!(is_out(status.borrow()[0].standing));
    pool.set_health(&name, Health::Healthy, "its check passes");
    until(&mut status, 0, |standing| standing == Standing::In).await;
    fail(&pool);
    until(&mut status, 0, is_out).await;
    // Another endpoint of that name starts anew.
    let endpoints = [("s1", addresses[1]), ("s2", addresses[0])];
    let endpoints =
        endpoints.map(|(text, address)| Endpoint::new(text.parse().expect("a name"), address));
    pool.update(endpoints.to_vec()).expect("unique");
    status.wait_for(|all| all.len() == 2).await.expect("the watch lives");
    assert_eq!(status.borrow()[0].standing, Standing::In);
    assert_eq!(status.borrow()[0].cause, None);
    watch.stop().await;
}

#[tokio::test]
async fn what_is_only_observed_goes_on() {
    let pool = pool(&[nobody().await, nobody().await]);
    let observing = quick().enforce(Detection::LocalErrors, Enforce::Observe);
    let (mut status, watch) = watched(&pool, observing);
    until(&mut status, 1, |standing| standing == Standing::In).await;
    for _ in 0..40 {
        pool.pick(&PickContext::new()).expect("usable").finish(Outcome::ConnectFailed);
    }
    status.wait_for(|all| all.iter().all(|one| one.cause.is_some())).await.expect("it lives");
    assert!(status.borrow().iter().all(|one| one.standing == Standing::In));
    let totals =
        pool.snapshot().iter().map(|(_, state)| state.totals().connect_failures).sum::<u64>();
    assert_eq!(totals, 40);
    assert_eq!(watch.stop().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_endpoint_that_comes_back_takes_up_work_slowly_if_the_pool_says_so() {
    let list = "s1=192.0.2.1:80,s2=192.0.2.2:80";
    let pool = Pool::builder(Algorithm::RoundRobin.balancer())
        .endpoints(parse_list(list).expect("a list"))
        .slow_start(SlowStart::new(Duration::from_millis(100)))
        .build()
        .expect("unique");
    for name in ["s1", "s2"] {
        pool.set_health(&name.parse().expect("a name"), Health::Healthy, "its check passes");
    }
    let (mut status, watch) = watched(&pool, quick());
    until(&mut status, 1, |standing| standing == Standing::In).await;
    while !pool.snapshot().iter().any(|(_, state)| state.runs().local == 5) {
        let pick = pool.pick(&PickContext::new()).expect("usable");
        let is_first = pick.name().as_str() == "s1";
        pick.finish(if is_first { Outcome::Failed } else { Outcome::Completed });
    }
    until(&mut status, 0, is_out).await;
    until(&mut status, 0, |standing| standing == Standing::In).await;
    let snapshot = pool.snapshot();
    let (_, state) = snapshot.iter().next().expect("in the pool");
    while state.share().parts() < 256 {
        tokio::task::yield_now().await;
    }
    watch.stop().await;
}
