//! What callers notice when servers fail, return, come and go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use ha_core::id::EndpointName;
use tower_service::Service;

use super::*;
use crate::algorithm::Algorithm;
use crate::discovery::channel::WatchList;
use crate::discovery::follow::follow;
use crate::endpoint::{Endpoint, parse_list};
use crate::pick::PickError;
use crate::pool::Pool;
use crate::queue::QueueConfig;
use crate::resilience::backoff::{Backoff, Jitter};
use crate::resilience::budget::Budget;
use crate::resilience::hedge::{Delay, Hedge};
use crate::resilience::retry::Policy;

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Is {
    Up,
    /// Refuses connections, and those that it has are gone.
    Down,
    /// Takes connections and fails requests.
    Broken,
    /// Takes requests and never answers.
    Hanging,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(&'static str);

/// Servers, and who was asked.
#[derive(Debug, Clone, Default)]
struct World {
    servers: Arc<Mutex<BTreeMap<String, Is>>>,
    connects: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    open: Arc<AtomicU32>,
}

impl World {
    fn set(&self, name: &str, is: Is) {
        self.servers.lock().expect("no panic").insert(name.to_owned(), is);
    }

    fn is(&self, name: &EndpointName) -> Is {
        let servers = self.servers.lock().expect("no panic");
        servers.get(name.as_str()).copied().unwrap_or(Is::Up)
    }

    fn connects(&self) -> usize {
        self.connects.load(Ordering::SeqCst)
    }

    fn connector(
        &self,
    ) -> impl Fn(Endpoint) -> AnswerFuture<Connection, Broken> + Send + Sync + Clone + 'static {
        let world = self.clone();
        move |endpoint| {
            let world = world.clone();
            Box::pin(async move {
                world.connects.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                match world.is(endpoint.name()) {
                    Is::Down => Err(Broken("refused")),
                    Is::Up | Is::Broken | Is::Hanging => Ok(Connection { world, endpoint }),
                }
            })
        }
    }
}

#[derive(Clone)]
struct Connection {
    world: World,
    endpoint: Endpoint,
}

impl Service<String> for Connection {
    type Response = String;
    type Error = Broken;
    type Future = AnswerFuture<String, Broken>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.world.is(self.endpoint.name()) {
            Is::Down => Poll::Ready(Err(Broken("gone"))),
            Is::Up | Is::Broken | Is::Hanging => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, _: String) -> Self::Future {
        let Self { world, endpoint } = self.clone();
        Box::pin(async move {
            world.calls.fetch_add(1, Ordering::SeqCst);
            world.open.fetch_add(1, Ordering::SeqCst);
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            world.open.fetch_sub(1, Ordering::SeqCst);
            match world.is(endpoint.name()) {
                Is::Up => Ok(endpoint.name().to_string()),
                Is::Hanging => std::future::pending().await,
                Is::Broken | Is::Down => Err(Broken("broken")),
            }
        })
    }
}

fn list(names: &str) -> Vec<Endpoint> {
    if names.is_empty() {
        return Vec::new();
    }
    let texts = names.chars().map(|name| format!("{name}=192.0.2.1:{}", u32::from(name)));
    parse_list(&texts.collect::<Vec<_>>().join(",")).expect("endpoints")
}

fn pool(names: &str) -> Pool {
    Pool::new(&Algorithm::RoundRobin, list(names)).expect("unique names")
}

fn backoff(ms: u64) -> Backoff {
    let pause = Duration::from_millis(ms);
    Backoff::new(pause, pause, Jitter::None).expect("in range")
}

async fn call<S>(client: &S) -> Result<String, S::Error>
where
    S: Service<String, Response = String> + Clone,
{
    let mut client = client.clone();
    std::future::poll_fn(|context| client.poll_ready(context)).await?;
    client.call("work".to_owned()).await
}

/// Lets it go on, once.
async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_pending()))
        .await
}

fn connections(pool: &Pool) -> u32 {
    pool.snapshot().iter().map(|(_, state)| state.connections()).sum()
}

#[tokio::test]
async fn a_server_that_dies_and_returns_costs_no_request() {
    let (world, pool) = (World::default(), pool("abc"));
    let client = Balance::builder(pool.clone(), world.connector()).backoff(backoff(1)).build();
    let client = client.expect("in range");
    for round in 0..300 {
        match round {
            100 => world.set("b", Is::Down),
            200 => world.set("b", Is::Up),
            _ => {}
        }
        let answer = call(&client).await.expect("two are there");
        assert!(answer != "b" || !(100..200).contains(&round));
    }
    // It comes back by itself, as soon as its pause is over.
    while call(&client).await.expect("all are there") != "b" {}
    assert_eq!(connections(&pool), 0);
}

#[tokio::test]
async fn while_all_are_down_requests_fail_at_once_and_nobody_is_asked() {
    let (world, pool) = (World::default(), pool("abc"));
    for name in ["a", "b", "c"] {
        world.set(name, Is::Down);
    }
    let client = Balance::builder(pool.clone(), world.connector()).backoff(backoff(3_600_000));
    let client = client.build().expect("in range");
    let error = call(&client).await.expect_err("all are down");
    assert!(matches!(error, CallError::Connect { .. }), "{error}");
    assert_eq!(error.effect(), ha_core::effect::Effect::None);
    assert_eq!(world.connects(), 3, "each was tried once");
    for _ in 0..10 {
        let error = call(&client).await.expect_err("all are left alone");
        let CallError::Resting { why, retry_in, .. } = &error else { panic!("{error}") };
        assert!(&**why == "refused" && *retry_in > Duration::from_mins(50), "{error}");
    }
    assert_eq!((world.connects(), connections(&pool)), (3, 0));
    // A new one serves at once, whatever is with the others.
    pool.update(list("abcd")).expect("unique names");
    assert_eq!(call(&client).await.expect("d is up"), "d");
}

#[tokio::test]
async fn nothing_usable_is_an_error_with_its_reason() {
    let client = Balance::new(pool(""), World::default().connector());
    let error = call(&client).await.expect_err("empty");
    assert!(matches!(error, CallError::Pick(PickError::Empty)), "{error}");
    let wrong = Balance::builder(pool("a"), World::default().connector()).connect_tries(0);
    let wrong = wrong.connect_timeout(Duration::ZERO).build();
    assert_eq!(wrong.expect_err("two are wrong").problems().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_clones_share_connections_and_counts() {
    let (world, pool) = (World::default(), pool("abc"));
    let client = Balance::new(pool.clone(), world.connector());
    let clones = std::iter::repeat_n(client, 100).map(|client| async move {
        for _ in 0..20 {
            call(&client).await.expect("all are up");
        }
    });
    // On all threads.
    let mut set = tokio::task::JoinSet::new();
    clones.for_each(|clone| drop(set.spawn(clone)));
    assert_eq!(set.join_all().await.len(), 100);
    assert_eq!(world.calls.load(Ordering::SeqCst), 2_000);
    assert_eq!((world.connects(), connections(&pool)), (3, 0));
    let done: u64 = pool.snapshot().iter().map(|(_, state)| state.totals().completed).sum();
    assert_eq!(done, 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_the_list_changes() {
    let (world, pool) = (World::default(), pool(""));
    let (sender, receiver) = tokio::sync::watch::channel(list("ab"));
    let follower = follow(WatchList::new(receiver), pool.clone());
    let mut changes = pool.changes();
    while pool.snapshot().is_empty() {
        changes.changed().await.expect("the pool is there");
    }
    let client = Balance::new(pool.clone(), world.connector());
    let requests = join_all((0..8).map(|_| async {
        for _ in 0..300 {
            call(&client).await.expect("some are always there");
            tokio::task::yield_now().await;
        }
    }));
    let updates = async {
        for round in 0..200 {
            sender.send_replace(list(["ab", "bc", "cd", "da"][round % 4]));
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(requests, updates);
    assert_eq!(world.calls.load(Ordering::SeqCst), 2_400);
    follower.stop().await.expect("no panic").expect("no error");
    assert_eq!(connections(&pool), 0);
}

#[tokio::test]
async fn a_dropped_answer_gives_its_connection_back() {
    let (world, pool) = (World::default(), pool("a"));
    world.set("a", Is::Hanging);
    let mut client = Balance::new(pool.clone(), world.connector());
    let mut answer = client.call("work".to_owned());
    while world.open.load(Ordering::SeqCst) == 0 {
        assert!(is_pending(&mut answer).await);
    }
    assert_eq!(connections(&pool), 1);
    drop(answer);
    assert_eq!(connections(&pool), 0);
    let totals = pool.snapshot().iter().next().expect("one").1.totals();
    assert_eq!((totals.picks, totals.completed, totals.failures), (1, 0, 0));
}

#[tokio::test]
async fn requests_of_one_key_go_to_one_server_and_weights_do_not_cost_connections() {
    let world = World::default();
    let algorithm = "hash,hash-type=rendezvous".parse::<Algorithm>().expect("an algorithm");
    let pool = Pool::new(&algorithm, list("abcde")).expect("unique names");
    let client = Balance::builder(pool.clone(), world.connector())
        .key_of(|request: &String| Some(Bytes::copy_from_slice(request.as_bytes())));
    let client = client.build().expect("in range");
    let mut servers: Vec<String> = Vec::new();
    for _ in 0..10 {
        servers.push(call(&client).await.expect("all are up"));
        pool.change_limits_for_test();
    }
    servers.dedup();
    assert_eq!((servers.len(), world.connects()), (1, 1));
}

impl Pool {
    /// Changes the list, but nothing that matters to connections.
    fn change_limits_for_test(&self) {
        let snapshot = self.snapshot();
        let changed = snapshot.iter().map(|(endpoint, _)| {
            let limit = endpoint.max_connections().map_or(50, |limit| limit.get() + 1);
            endpoint.clone().with_max_connections(limit)
        });
        let changed = changed.collect();
        self.update(changed).expect("unique names");
    }
}

#[tokio::test]
async fn a_full_pool_refuses_or_lets_wait() {
    let world = World::default();
    let single: Vec<_> = list("a").into_iter().map(|one| one.with_max_connections(1)).collect();
    let client = Balance::new(
        Pool::new(&Algorithm::RoundRobin, single.clone()).expect("unique names"),
        world.connector(),
    );
    let (first, second) = tokio::join!(call(&client), call(&client));
    assert!(first.is_ok());
    assert!(matches!(second, Err(CallError::Pick(PickError::AllFull))));
    let pool = Pool::builder(Algorithm::RoundRobin.balancer()).endpoints(single);
    let pool = pool.queue(QueueConfig::new(Duration::from_mins(1))).build().expect("in range");
    let client = Balance::new(pool, world.connector());
    let answers = join_all((0..20).map(|_| call(&client))).await;
    assert!(answers.iter().all(Result::is_ok), "each waited for its turn");
}

#[tokio::test]
async fn what_may_be_repeated_is_tried_elsewhere_and_nothing_else() {
    let (world, pool) = (World::default(), pool("ab"));
    world.set("a", Is::Broken);
    let balance = Balance::new(pool.clone(), world.connector());
    let policy = Policy::builder().tries(3).backoff(Backoff::IMMEDIATE).build().expect("ok");
    let generous = || Budget::builder().percent(1000).min_per_second(100).build().expect("ok");
    let careful = Retrying::new(balance.clone(), policy, generous());
    let answers = [call(&careful).await, call(&careful).await];
    assert!(answers.iter().any(|answer| matches!(answer, Err(CallError::Call { .. }))));
    let client = careful.idempotent(|_| true);
    for _ in 0..10 {
        assert_eq!(call(&client).await.expect("b is there"), "b");
    }
    // All are broken: as many tries as there may be, then the last error.
    world.set("b", Is::Broken);
    let before = world.calls.load(Ordering::SeqCst);
    assert!(matches!(call(&client).await, Err(CallError::Call { .. })));
    assert_eq!(world.calls.load(Ordering::SeqCst) - before, 3);
    // Without a budget there is one try.
    let none = Budget::builder().percent(0).min_per_second(0).build().expect("ok");
    let unpaid = Retrying::new(balance, policy, none).idempotent(|_| true);
    let before = world.calls.load(Ordering::SeqCst);
    call(&unpaid).await.expect_err("broken");
    assert_eq!(world.calls.load(Ordering::SeqCst) - before, 1);
    assert_eq!(connections(&pool), 0);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_takes_too_long_is_made_elsewhere_and_the_whole_has_a_time() {
    let (world, pool) = (World::default(), pool("ab"));
    world.set("a", Is::Hanging);
    let policy = Policy::builder().tries(2).backoff(Backoff::IMMEDIATE);
    let policy = policy.try_timeout(Duration::from_secs(20)).build().expect("in range");
    let balance = Balance::new(pool.clone(), world.connector());
    let client = Retrying::new(balance.clone(), policy, Budget::default()).idempotent(|_| true);
    for _ in 0..4 {
        assert_eq!(call(&client).await.expect("b answers"), "b");
    }
    world.set("b", Is::Hanging);
    let client = Retrying::new(balance, Policy::default(), Budget::default());
    let error = call(&client.timeout(Duration::from_secs(20))).await.expect_err("too late");
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    assert_eq!((error.effect(), connections(&pool)), (ha_core::effect::Effect::Unknown, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_is_sent_to_another_server_and_the_first_is_dropped() {
    let (world, pool) = (World::default(), pool("ab"));
    world.set("a", Is::Hanging);
    let hedge = || Hedge::builder(Delay::Fixed(Duration::from_secs(5))).build().expect("ok");
    let balance = Balance::new(pool.clone(), world.connector());
    let client = Hedged::new(balance.clone(), hedge(), |_: &String| true);
    assert_eq!(call(&client).await.expect("b answers"), "b");
    assert_eq!(connections(&pool), 0);
    let never = Hedged::new(balance, hedge(), |_: &String| false);
    assert_eq!(world.calls.load(Ordering::SeqCst), 2);
    let mut answer = Box::pin(call(&never));
    while world.calls.load(Ordering::SeqCst) < 3 {
        assert!(is_pending(&mut answer).await, "it is a's turn");
    }
    tokio::time::timeout(Duration::from_secs(50), answer).await.expect_err("not hedged");
    assert_eq!((world.calls.load(Ordering::SeqCst), connections(&pool)), (3, 0));
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}

mod body {
    use std::pin::Pin;

    use http_body::{Body, Frame};
    use tokio::sync::mpsc;

    use super::*;
    use crate::balancer::PickContext;
    use crate::pick::Outcome;

    /// Parts as they are sent; an empty one is an error.
    struct Parts(mpsc::Receiver<&'static str>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = Broken;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
            self.0.poll_recv(context).map(|part| {
                let part = part?;
                Some(if part.is_empty() {
                    Err(Broken("broken off"))
                } else {
                    Ok(Frame::data(Bytes::from_static(part.as_bytes())))
                })
            })
        }
    }

    fn answer(pool: &Pool) -> (mpsc::Sender<&'static str>, Pin<Box<PickBody<Parts>>>) {
        let (sender, receiver) = mpsc::channel(4);
        let pick = pool.pick(&PickContext::new()).expect("usable");
        (sender, Box::pin(PickBody::new(Parts(receiver), pick, Outcome::Completed)))
    }

    async fn next(body: &mut Pin<Box<PickBody<Parts>>>) -> Option<bool> {
        let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await;
        frame.map(|frame| frame.is_ok())
    }

    #[tokio::test]
    async fn a_body_counts_until_its_end_its_failure_or_its_drop() {
        let pool = pool("a");
        let totals = || pool.snapshot().iter().next().expect("one").1.totals();
        let (sender, mut body) = answer(&pool);
        sender.send("part").await.expect("room");
        assert_eq!((next(&mut body).await, connections(&pool)), (Some(true), 1));
        drop(sender);
        assert_eq!((next(&mut body).await, connections(&pool)), (None, 0));
        assert_eq!(totals().completed, 1);
        let (sender, mut body) = answer(&pool);
        sender.send("").await.expect("room");
        assert_eq!((next(&mut body).await, connections(&pool)), (Some(false), 0));
        assert_eq!((totals().completed, totals().failures), (1, 1));
        let (_sender, body) = answer(&pool);
        assert_eq!(connections(&pool), 1);
        drop(body);
        assert_eq!((connections(&pool), totals().picks, totals().completed), (0, 3, 1));
        let pick = pool.pick(&PickContext::new()).expect("usable");
        let (_sender, receiver) = mpsc::channel(4);
        drop(PickBody::new(Parts(receiver), pick, Outcome::Failed));
        assert_eq!((connections(&pool), totals().failures), (0, 2));
    }

    #[test]
    fn a_status_of_a_server_in_trouble_counts_as_its_failure() {
        let pool = pool("a");
        for (status, errors) in [(200, (0, 0)), (404, (0, 0)), (500, (1, 0)), (503, (1, 1))] {
            let response = http::Response::builder().status(status).body(()).expect("valid");
            let pick = pool.pick(&PickContext::new()).expect("usable");
            let response = AtHead.finish(response, pick);
            let totals = pool.snapshot().iter().next().expect("one").1.totals();
            assert_eq!((totals.error_answers, totals.gateway_errors), errors);
            assert_eq!(failure_by_status(&response).is_some(), status >= 400);
        }
    }
}
