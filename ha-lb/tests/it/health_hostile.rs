//! Every check against servers that hang, babble, trickle, lie and hang up.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_lb::health::galera::GaleraCheck;
use ha_lb::health::http::{HttpCheck, HttpVersion};
use ha_lb::health::postgres::PostgresCheck;
use ha_lb::health::tls::Tls;
use ha_lb::health::{HealthCheck, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::Server;

/// Far more than any of them may take; they are bounded by what they read, not by this.
const PATIENCE: Duration = Duration::from_mins(1);

/// Every check that says or keep something.
fn checks() -> Vec<Arc<dyn HealthCheck>> {
    [
        "http:/",
        "https:/",
        "h2:/",
        "h2s:/",
        "grpc",
        "grpcs:a",
        "tls:a.example",
        "redis",
        "redis:replica@user:geheim",
        "postgres",
        "postgres:primary@user:geheim",
        "mysql",
        "mysql@user",
        "galera@user:geheim",
        "smtp",
        "ldap",
        "ldap@cn=user:geheim",
    ]
    .map(|text| parse(text).expect(text))
    .into()
}

/// Starts of what servers say, each the right one for some check.
const STARTS: [&[u8]; 12] = [
    b"",
    b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n",
    b"\0\0\0\x04\0\0\0\0\0",
    b"\x16\x03\x03\x40\x00\x02\x00\x00\x00",
    b"+OK\r\n+PONG\r\n$131072\r\n",
    b"*1000000000\r\n",
    b"R\0\0\0\x08\0\0\0\0",
    b"R\0\0\0\x08\0\0\0\x05",
    b"\x05\0\0\0\x0a1.0\0",
    b"\xff\xff\xff\0",
    b"220-mail\r\n",
    b"\x30\x84\0\0\xff\xff\x02\x01\x01\x61",
];

/// What comes after a start, again and again.
const REPEATED: [&[u8]; 6] =
    [b"\0", b"\xff", b"220-mail\r\n", b"x", b"\x01\0\0\0\xfe", b"N\0\0\0\x04"];

#[tokio::test]
async fn endless_servers_are_cut_off() {
    for start in STARTS {
        for repeated in REPEATED {
            let server = Server::start(move |mut stream| async move {
                let flood = repeated.repeat(1000);
                if stream.write_all(start).await.is_ok() {
                    while stream.write_all(&flood).await.is_ok() {}
                }
            })
            .await;
            all_fail(&server, &format!("{start:?} {repeated:?}")).await;
        }
    }
}

#[tokio::test]
async fn servers_that_trickle_and_hang_up_are_read_to_their_end() {
    for start in STARTS {
        let server = Server::start(move |mut stream| async move {
            let _nodelay = stream.set_nodelay(true);
            for byte in start {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            half_close(stream).await;
        })
        .await;
        all_fail(&server, &format!("{start:?}")).await;
    }
}

/// Ends its side and reads what comes, so that the client sees an end and no reset.
async fn half_close(mut stream: TcpStream) {
    let _closed = stream.shutdown().await;
    let _rest = stream.read_to_end(&mut Vec::new()).await;
}

async fn all_fail(server: &Server, what: &str) {
    for check in checks() {
        let target = server.address.into();
        let result = tokio::time::timeout(PATIENCE, check.check(&target)).await;
        assert!(result.is_ok(), "{check:?} hangs at {what}");
        match result.expect("in time") {
            Ok(passed) => may_pass(&check, what, passed.reason()),
            Err(failed) => {
                assert!(!failed.reason().contains("geheim"), "{check:?} at {what}: {failed}");
                assert!(!failed.reason().is_empty(), "{check:?} at {what}");
            }
        }
    }
}

/// Some starts are what a good server says, as far as a shallow check looks.
fn may_pass(check: &Arc<dyn HealthCheck>, what: &str, reason: &str) {
    let good = ["status 200 OK", "answers PING", "takes connections, asks for a password"];
    assert!(good.contains(&reason), "{check:?} passes at {what}: {reason}");
}

#[tokio::test]
async fn a_check_that_is_given_up_leaves_no_connection() {
    for start in STARTS {
        for check in checks() {
            let (begun, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (told, tells) = (Arc::clone(&begun), Arc::clone(&ended));
            let server = Server::start(move |mut stream| {
                let (told, tells) = (Arc::clone(&told), Arc::clone(&tells));
                async move {
                    let _sent = stream.write_all(start).await;
                    told.notify_one();
                    // Never answers; returns when the client is gone.
                    let _rest = stream.read_to_end(&mut Vec::new()).await;
                    tells.notify_one();
                }
            })
            .await;
            let target = server.address.into();
            {
                let running = check.check(&target);
                tokio::select! {
                    _ = running => {}
                    () = begun.notified() => {}
                }
            }
            let gone = tokio::time::timeout(PATIENCE, ended.notified()).await;
            assert!(gone.is_ok(), "{check:?} stays connected after {start:?}");
        }
    }
}

/// Who sits between, and can change what is said in the clear, must not get the password.
#[tokio::test]
async fn tls_is_neither_stripped_nor_injected_into() {
    let postgres = PostgresCheck::new().with_password("geheim");
    let postgres = postgres.with_tls(Tls::without_verification());
    let galera = GaleraCheck::new("user", "geheim").expect("a user");
    let galera = galera.with_tls(Tls::without_verification());
    let without_tls = b"\x49\0\0\0\x0a10.11\0\x01\0\0\0abcdefgh\0\xff\xf7\x21\x02\0\xff\x81\x15\
                        \0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0mysql_native_password\0";
    let mut with_tls = without_tls.to_vec();
    with_tls[25] |= 0x08;
    let injected = [&with_tls[..], b"\x01\0\0\x02\0"].concat();
    let cases: [(&dyn HealthCheck, &[u8], &str); 5] = [
        (&postgres, b"N", "does not offer TLS"),
        (&postgres, b"SR\0\0\0\x08\0\0\0\0", "sent data in the clear where TLS was to begin"),
        (&postgres, b"R", "its answer to a wish for TLS is not PostgreSQL"),
        (&galera, without_tls, "does not offer TLS"),
        (&galera, &injected, "sent data in the clear where TLS was to begin"),
    ];
    for (check, said, expected) in cases {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (said, keep) = (said.to_vec(), Arc::clone(&heard));
        let server = Server::start(move |mut stream| {
            let (said, keep) = (said.clone(), Arc::clone(&keep));
            async move {
                stream.write_all(&said).await.expect("sent");
                let mut bytes = Vec::new();
                let _rest = stream.read_to_end(&mut bytes).await;
                keep.lock().expect("no panic").extend(bytes);
            }
        })
        .await;
        let target = server.address.into();
        let ended = tokio::time::timeout(PATIENCE, check.check(&target)).await;
        let failed = ended.expect("it ends").expect_err(expected);
        assert_eq!(failed.reason(), expected);
        let heard = heard.lock().expect("no panic");
        assert!(!heard.windows(6).any(|part| part == b"geheim"));
    }
}

/// HTTP/2 needs tasks; a server that takes no more of a body must not keep them alive.
#[tokio::test]
async fn a_check_by_http_2_that_is_given_up_leaves_no_task() {
    let begun = Arc::new(Notify::new());
    let told = Arc::clone(&begun);
    let server = Server::start(move |mut stream| {
        let told = Arc::clone(&told);
        async move {
            // The largest windows of a stream and the connection: the client may send it all.
            let windows = b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff\
                            \0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0";
            stream.write_all(windows).await.expect("settings are sent");
            stream.read_exact(&mut vec![0; 1 << 20]).await.expect("a part of the body");
            told.notify_one();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let check = HttpCheck::new("/").expect("a path").with_version(HttpVersion::Http2);
    let check = check.with_method("POST").expect("a method").with_body(vec![0; 32 << 20]);
    let target = server.address.into();
    {
        let running = check.check(&target);
        tokio::select! {
            result = running => assert!(result.is_err(), "it waits for the answer"),
            () = begun.notified() => {}
        }
    }
    // The server's two tasks stay.
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let alone = async {
        while tasks() > 2 {
            tokio::task::yield_now().await;
        }
    };
    let alone = tokio::time::timeout(Duration::from_secs(10), alone).await;
    assert!(alone.is_ok(), "{} tasks are left", tasks());
}
