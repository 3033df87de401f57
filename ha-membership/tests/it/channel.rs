//! Channels: what gets through, what does not, and what is noticed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;
use ha_core::effect::Effect;
use ha_core::id::NodeName;
use ha_membership::transport::SharedKey;
use ha_membership::transport::channel::{
    CallError, ChannelStats, Channels, ChannelsConfig, Handler, MAX_MESSAGE_LEN, Topic,
};
use proptest::prelude::*;
use tokio::sync::Notify;

use super::{block_on, name};

/// A limit that only a failure reaches.
const LONG: Duration = Duration::from_secs(30);
const TOPIC: Topic = Topic::new(7);

/// Answers with the caller's name and the request; `wait` waits until it is told to go on.
#[derive(Debug, Default)]
struct Echo {
    go_on: Notify,
}

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, from: &NodeName, mut request: Vec<u8>) -> Vec<u8> {
        if request == b"wait" {
            self.go_on.notified().await;
        }
        request.extend_from_slice(from.as_str().as_bytes());
        request
    }
}

async fn bind(index: usize, key: u8, at: &str) -> Channels {
    let config = ChannelsConfig::builder(name(index), at.parse().expect("an address"))
        .key(SharedKey::new([key; 32]))
        .build()
        .expect("settings");
    Channels::bind(config).await.expect("a port")
}

/// Two nodes that know each other.
async fn pair(keys: [u8; 2]) -> (Channels, Channels) {
    let (a, b) = (bind(0, keys[0], "127.0.0.1:0").await, bind(1, keys[1], "127.0.0.1:0").await);
    let peers = [(name(0), a.local_addr()), (name(1), b.local_addr())];
    a.set_peers(peers.clone());
    b.set_peers(peers);
    (a, b)
}

/// Waits for a counter; a failure takes [`LONG`].
async fn until(channels: &Channels, holds: impl Fn(&ChannelStats) -> bool) -> ChannelStats {
    let wait = async {
        while !holds(&channels.stats()) {
            pause(Duration::from_millis(1)).await.expect("a timer");
        }
    };
    let waited = tokio::time::timeout(LONG, wait).await;
    assert!(waited.is_ok(), "{:?}", channels.stats());
    channels.stats()
}

#[test]
fn requests_of_all_sizes_are_answered_and_the_caller_is_known() {
    block_on(async {
        let (a, b) = pair([1, 1]).await;
        let _serving = b.serve(TOPIC, Arc::new(Echo::default())).expect("free");
        for size in [0, 1, 65_505, 65_506, 200_000, MAX_MESSAGE_LEN - 2] {
            let request: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let answer = a.call(&name(1), TOPIC, request.clone(), LONG).await.expect("an answer");
            assert_eq!(answer, [request.as_slice(), b"n0"].concat());
        }
        let large = vec![0; MAX_MESSAGE_LEN + 1];
        let error = a.call(&name(1), TOPIC, large, LONG).await.expect_err("too large");
        assert!(matches!(error, CallError::TooLarge { .. }), "{error}");
        assert_eq!((a.stats().connected, b.stats().accepted, b.stats().handled), (1, 1, 6));
    });
}

#[test]
fn a_slow_handler_delays_nobody_and_a_topic_has_one_handler() {
    block_on(async {
        let (a, b) = pair([1, 1]).await;
        let echo = Arc::new(Echo::default());
        let serving = b.serve(TOPIC, Arc::clone(&echo) as Arc<dyn Handler>).expect("free");
        b.serve(TOPIC, Arc::new(Echo::default())).expect_err("taken");
        let to = name(1);
        let slow = a.call(&to, TOPIC, b"wait".to_vec(), LONG);
        let quick = async {
            for _ in 0..100 {
                a.call(&name(1), TOPIC, b"quick".to_vec(), LONG).await.expect("an answer");
            }
            echo.go_on.notify_one();
        };
        let (slow, ()) = tokio::join!(slow, quick);
        assert_eq!(slow.expect("an answer"), b"waitn0");
        drop(serving);
        let error = a.call(&name(1), TOPIC, vec![], LONG).await.expect_err("not served");
        assert!(matches!(error, CallError::NotServed { .. }), "{error}");
        assert_eq!(error.effect(), Effect::None);
    });
}

#[test]
fn a_call_to_oneself_needs_no_network() {
    block_on(async {
        let (a, _b) = pair([1, 1]).await;
        let error = a.call(&name(0), TOPIC, vec![], LONG).await.expect_err("not served");
        assert!(matches!(error, CallError::NotServed { .. }), "{error}");
        let _serving = a.serve(TOPIC, Arc::new(Echo::default())).expect("free");
        let answer = a.call(&name(0), TOPIC, b"me, ".to_vec(), LONG).await.expect("an answer");
        assert_eq!(answer, b"me, n0");
        assert_eq!(a.stats().connected, 0);
    });
}

#[test]
fn whoever_has_another_key_or_name_is_refused_and_counted() {
    block_on(async {
        let (a, b) = pair([1, 2]).await;
        let error = a.call(&name(1), TOPIC, vec![], LONG).await.expect_err("another key");
        assert!(matches!(error, CallError::Refused { .. }), "{error}");
        assert_eq!(error.effect(), Effect::None);
        until(&b, |stats| stats.refused_key == 1).await;

        let stranger = bind(9, 2, "127.0.0.1:0").await;
        stranger.set_peers([(name(1), b.local_addr())]);
        let error = stranger.call(&name(1), TOPIC, vec![], LONG).await.expect_err("not a peer");
        assert!(matches!(error, CallError::Refused { .. }), "{error}");
        until(&b, |stats| stats.refused_name == 1).await;

        let error = a.call(&name(5), TOPIC, vec![], LONG).await.expect_err("nobody");
        assert!(matches!(error, CallError::UnknownPeer { .. }), "{error}");
        assert_eq!((b.stats().accepted, b.stats().handled), (0, 0));
    });
}

#[test]
fn keys_are_changed_without_a_stop() {
    block_on(async {
        let (a, _) = pair([1, 1]).await;
        let (old, new) = (SharedKey::new([1; 32]), SharedKey::new([2; 32]));
        let any = "127.0.0.1:0".parse().expect("an address");
        let config = ChannelsConfig::builder(name(1), any).key(new).key(old).build();
        let b = Channels::bind(config.expect("settings")).await.expect("a port");
        b.set_peers([(name(0), a.local_addr())]);
        a.set_peers([(name(1), b.local_addr())]);
        let _serving = b.serve(TOPIC, Arc::new(Echo::default())).expect("free");
        a.call(&name(1), TOPIC, vec![], LONG).await.expect("the old key is accepted");
    });
}

#[test]
fn a_call_to_nobody_fails_at_once_and_works_when_somebody_comes() {
    block_on(async {
        let (a, b) = pair([1, 1]).await;
        let address = b.local_addr();
        drop(b);
        let wait = async {
            loop {
                // The port closes when the server's task has ended.
                match a.call(&name(1), TOPIC, vec![], LONG).await {
                    Err(error @ CallError::Unreachable { .. }) => break error,
                    Err(_) => tokio::task::yield_now().await,
                    Ok(_) => panic!("nobody is there"),
                }
            }
        };
        let error = tokio::time::timeout(LONG, wait).await.expect("at once");
        assert_eq!(error.effect(), Effect::None);

        let b = bind(1, 1, &address.to_string()).await;
        b.set_peers([(name(0), a.local_addr())]);
        let _serving = b.serve(TOPIC, Arc::new(Echo::default())).expect("free");
        let wait = async {
            while let Err(error) = a.call(&name(1), TOPIC, vec![], LONG).await {
                assert_eq!(error.effect(), Effect::None, "{error}");
                pause(Duration::from_millis(5)).await.expect("a timer");
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("it is back");
    });
}

#[test]
fn a_member_that_restarted_is_reached_anew() {
    block_on(async {
        let (a, b) = pair([1, 1]).await;
        let address = b.local_addr();
        let serving = b.serve(TOPIC, Arc::new(Echo::default())).expect("free");
        a.call(&name(1), TOPIC, vec![], LONG).await.expect("an answer");
        drop((serving, b));
        let wait = async { while a.call(&name(1), TOPIC, vec![], LONG).await.is_ok() {} };
        tokio::time::timeout(LONG, wait).await.expect("it is gone");
        let b = bind(1, 1, &address.to_string()).await;
        b.set_peers([(name(0), a.local_addr())]);
        let _serving = b.serve(TOPIC, Arc::new(Echo::default())).expect("free");
        let wait = async {
            while a.call(&name(1), TOPIC, vec![], LONG).await.is_err() {
                pause(Duration::from_millis(5)).await.expect("a timer");
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("it is back");
    });
}

/// Passes bytes on until it is told to swallow them, as a network does whose cable is cut.
fn cuttable(to: SocketAddr) -> (SocketAddr, Arc<std::sync::atomic::AtomicBool>) {
    use std::sync::atomic::{AtomicBool, Ordering};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = Arc::clone(&cut);
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.expect("a peer"), TcpStream::connect(to).expect("it listens"));
            let dead = is_cut.load(Ordering::SeqCst);
            for (mut from, mut to) in
                [(near.try_clone().expect("a copy"), far.try_clone().expect("a copy")), (far, near)]
            {
                let is_cut = Arc::clone(&is_cut);
                std::thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while let Ok(len @ 1..) = from.read(&mut bytes) {
                        // A connection of before the cut stays dead; later ones are well.
                        let swallow = !dead && is_cut.load(Ordering::SeqCst);
                        if !swallow && to.write_all(&bytes[..len]).is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    (address, cut)
}

#[test]
fn a_member_that_vanished_without_a_word_is_given_up_and_reached_anew() {
    block_on(async {
        let (a, b) = pair([1, 1]).await;
        let (proxy, cut) = cuttable(b.local_addr());
        a.set_peers([(name(1), proxy)]);
        let _serving = b.serve(TOPIC, Arc::new(Echo::default())).expect("free");
        a.call(&name(1), TOPIC, vec![], LONG).await.expect("an answer");
        cut.store(true, std::sync::atomic::Ordering::SeqCst);
        let limit = Duration::from_millis(50);
        let error = a.call(&name(1), TOPIC, vec![], limit).await.expect_err("swallowed");
        assert!(matches!(error, CallError::NoAnswer { sent: true, .. }), "{error}");
        assert_eq!(error.effect(), Effect::Unknown);
        a.call(&name(1), TOPIC, vec![], LONG).await.expect("over a new connection");
        assert_eq!(a.stats().connected, 2);
    });
}

/// Writes bytes to a node from outside and reads until it hangs up.
fn intrude(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("a limit");
    let mut answer = Vec::new();
    // It may hang up before it has read all.
    if stream.write_all(bytes).is_ok() {
        let _closed_or_reset = stream.shutdown(std::net::Shutdown::Write);
        let _closed_or_reset = stream.read_to_end(&mut answer);
    }
    answer
}

#[test]
fn what_is_no_channel_or_another_version_is_turned_away() {
    block_on(async {
        let (_a, b) = pair([1, 1]).await;
        let to = b.local_addr();
        let ask =
            move |bytes: &'static [u8]| tokio::task::spawn_blocking(move || intrude(to, bytes));
        assert_eq!(ask(b"GET / HTTP/1.1\r\n\r\n").await.expect("ran"), b"");
        // It says which version it speaks.
        assert_eq!(ask(b"HAC\xff").await.expect("ran"), b"HAC\x01");
        assert_eq!(ask(b"HA").await.expect("ran"), b"");
        // A length that is too large, and one that more should follow.
        assert_eq!(ask(b"HAC\x01\xff\xffxx").await.expect("ran"), b"HAC\x01");
        assert_eq!(ask(b"HAC\x01\x00\x30xx").await.expect("ran"), b"HAC\x01");
        assert_eq!(ask(b"HAC\x01\x00\x04abcd").await.expect("ran"), b"HAC\x01");
        let stats = b.stats();
        assert_eq!((stats.refused_stranger, stats.refused_version, stats.refused_key), (4, 1, 1));
    });
}

#[test]
fn a_peer_of_another_version_is_named() {
    block_on(async {
        let (a, _b) = pair([1, 1]).await;
        let newer = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        a.set_peers([(name(1), newer.local_addr().expect("an address"))]);
        let serve = async {
            let (mut stream, _) = newer.accept().await.expect("a connection");
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HAC\x02").await.expect("sent");
            stream
        };
        let to = name(1);
        let (answer, _stream) = tokio::join!(a.call(&to, TOPIC, vec![], LONG), serve);
        let error = answer.expect_err("another version");
        assert!(matches!(error, CallError::Version { theirs: 2, ours: 1, .. }), "{error}");
    });
}

/// Records what one call of `a` sends to `b`.
async fn recorded_call(a: &Channels, b: &Channels) -> Vec<u8> {
    let tap = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    a.set_peers([(name(1), tap.local_addr().expect("an address"))]);
    let to = b.local_addr();
    let pass = async {
        let (mut near, _) = tap.accept().await.expect("a connection");
        let mut far = tokio::net::TcpStream::connect(to).await.expect("it listens");
        let (mut sent, mut bytes) = (Vec::new(), [0; 4096]);
        let (mut near_read, mut near_write) = near.split();
        let (mut far_read, mut far_write) = far.split();
        let back = tokio::io::copy(&mut far_read, &mut near_write);
        let forth = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            while let Ok(len @ 1..) = near_read.read(&mut bytes).await {
                sent.extend_from_slice(&bytes[..len]);
                far_write.write_all(&bytes[..len]).await.expect("passed on");
            }
        };
        tokio::select! { _ = back => {}, () = forth => {} }
        sent
    };
    let call = async {
        a.call(&name(1), TOPIC, b"once".to_vec(), LONG).await.expect("an answer");
        a.set_peers([]); // ends the connection
    };
    tokio::join!(pass, call).0
}

#[test]
fn a_recorded_connection_that_is_played_again_does_nothing() {
    block_on(async {
        let (a, b) = pair([1, 1]).await;
        let _serving = b.serve(TOPIC, Arc::new(Echo::default())).expect("free");
        let recorded = recorded_call(&a, &b).await;
        assert_eq!(b.stats().handled, 1);
        let to = b.local_addr();
        let replay = tokio::task::spawn_blocking(move || intrude(to, &recorded));
        replay.await.expect("ran");
        let stats = until(&b, |stats| stats.malformed == 1).await;
        assert_eq!(stats.handled, 1, "the recorded request was not handled again");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]
    #[test]
    fn any_bytes_after_the_mark_are_turned_away(bytes: Vec<u8>) {
        block_on(async {
            let (_a, b) = pair([1, 1]).await;
            let to = b.local_addr();
            let bytes = [b"HAC\x01".as_slice(), &bytes].concat();
            tokio::task::spawn_blocking(move || intrude(to, &bytes)).await.expect("ran");
            assert_eq!((b.stats().accepted, b.stats().handled), (0, 0));
        });
    }
}
