//! Redis and PostgreSQL.

use std::time::Duration;

use ha_lb::health::postgres::{PostgresCheck, PostgresRole};
use ha_lb::health::redis::{RedisCheck, RedisRole};
use ha_lb::health::tls::Tls;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::daemon::{Place, certificates, fails, free, missing, once, passes};

#[tokio::test]
async fn redis_is_checked_in_its_role() {
    if missing("redis_is_checked_in_its_role", &["redis-server"]) {
        return;
    }
    let [first, second, closed] = free().await;
    let place = Place::new();
    let ports = [first, second, closed].map(|address| address.port().to_string());
    let plain = ["--bind", "127.0.0.1", "--save", "", "--lua-time-limit", "50", "--port"];
    let mut master = place.start("redis-server", &[&plain[..], &[&ports[0]]].concat());
    let of = ["--replicaof", "127.0.0.1", &ports[0], "--repl-diskless-sync-delay", "0"];
    let _replica = place.start("redis-server", &[&plain[..], &[&ports[1]], &of].concat());
    let locked = [&ports[2], "--requirepass", "geheim"];
    let _locked = place.start("redis-server", &[&plain[..], &locked].concat());

    let is = |role| RedisCheck::new().expect_role(role);
    assert_eq!(passes(&RedisCheck::new(), first).await, "answers PING");
    assert_eq!(once(&is(RedisRole::Master), first).await, "+is a master");
    assert_eq!(once(&is(RedisRole::Replica), first).await, "-is a master, not a replica");
    let quick = is(RedisRole::Replica).expect_lag(Duration::from_mins(1));
    let heard = passes(&quick, second).await;
    assert!(heard.starts_with("is a replica that heard of its master "), "{heard}");
    assert_eq!(once(&is(RedisRole::Master), second).await, "-is a replica, not a master");

    let locked = fails(&RedisCheck::new(), closed, "wants a password").await;
    assert!(locked.ends_with("to PING"), "{locked}");
    let check = RedisCheck::new().with_password("geheim").expect_role(RedisRole::Master);
    assert_eq!(once(&check, closed).await, "+is a master");
    let check = RedisCheck::new().with_login("default", "geheim");
    assert_eq!(once(&check, closed).await, "+answers PING");
    let wrong = once(&RedisCheck::new().with_password("falsch"), closed).await;
    assert!(wrong.starts_with("-refuses the user or password: "), "{wrong}");

    // A script that never ends makes it busy.
    let mut stuck = TcpStream::connect(closed).await.expect("listens");
    let endless = b"AUTH geheim\r\nEVAL \"while true do end\" 0\r\n";
    stuck.write_all(endless).await.expect("sent");
    fails(&RedisCheck::new().with_password("geheim"), closed, "is busy with a script").await;

    master.kill();
    fails(&quick, second, "is a replica without its master for ").await;
    let gone = once(&RedisCheck::new(), first).await;
    assert!(gone.starts_with("-cannot connect: "), "{gone}");
}

const USERS: &str = "
host replication all 127.0.0.1/32 trust
host all trusted 127.0.0.1/32 trust
host all old 127.0.0.1/32 md5
host all clear 127.0.0.1/32 password
host all banned 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
";

const ROLES: &str = "CREATE ROLE trusted LOGIN
CREATE ROLE banned LOGIN
CREATE ROLE clear LOGIN PASSWORD 'geheim'
CREATE ROLE checker LOGIN PASSWORD 'geheim'
SET password_encryption = 'md5'
CREATE ROLE old LOGIN PASSWORD 'geheim'
";

#[tokio::test]
async fn postgres_is_checked_in_its_role_by_every_login() {
    let needed = ["postgres", "initdb", "pg_basebackup", "openssl"];
    if missing("postgres_is_checked_in_its_role_by_every_login", &needed) {
        return;
    }
    let place = Place::of("postgres");
    certificates(&place);
    let [first, second] = free().await;
    let ports = [first, second].map(|address| address.port().to_string());
    place.run("initdb", &["-D", "one", "-U", "postgres", "--no-sync", "--auth=trust"]);
    place.write("one/pg_hba.conf", USERS);
    place.feed("postgres", &["--single", "-D", "one", "postgres"], ROLES);
    let [cert, key] = ["server.pem", "server.key"].map(|name| place.join(name));
    let (cert, key) = (format!("ssl_cert_file={cert}"), format!("ssl_key_file={key}"));
    let sockets = format!("unix_socket_directories={}", place.path().display());
    let settings = ["-c", "fsync=off", "-c", &sockets, "-c", "ssl=on", "-c", &cert, "-c", &key];
    let start = |folder, port| {
        let own = ["-D", folder, "-h", "127.0.0.1", "-p", port];
        place.start("postgres", &[&own[..], &settings].concat())
    };
    let mut primary = start("one", &ports[0]);

    let user = |name| PostgresCheck::new().with_user(name).expect("a name");
    assert_eq!(passes(&user("trusted"), first).await, "lets trusted in");
    let asks = "+takes connections, asks for a password";
    assert_eq!(once(&user("checker"), first).await, asks);
    let is = |check: PostgresCheck, role| check.expect_role(role);
    let unknown = once(&is(user("checker"), PostgresRole::Primary), first).await;
    assert_eq!(unknown, "-asks for a password, so its role cannot be asked");
    for name in ["trusted", "checker", "old"] {
        let check = is(user(name).with_password("geheim"), PostgresRole::Primary);
        assert_eq!(once(&check, first).await, "+is a primary", "{name}");
    }
    for name in ["checker", "old"] {
        let wrong = once(&user(name).with_password("falsch"), first).await;
        let expected = format!("-password authentication failed for user \"{name}\"");
        assert!(wrong.starts_with(&expected) && wrong.ends_with("28P01)"), "{wrong}");
    }
    let banned = once(&user("banned"), first).await;
    assert!(banned.contains("pg_hba.conf rejects connection"), "{banned}");
    let nowhere = user("trusted").with_database("nowhere").expect("a name");
    let nowhere = once(&nowhere, first).await;
    assert_eq!(nowhere, "-database \"nowhere\" does not exist (error 3D000)");

    // In the clear only over TLS, and TLS only if the certificate is good.
    let clear = user("clear").with_password("geheim");
    let refused = "-wants the password in the clear, without TLS";
    assert_eq!(once(&clear, first).await, refused);
    let root = std::fs::read(place.join("root.pem")).expect("made");
    let tls = Tls::trusting(root).expect("a root");
    assert_eq!(once(&clear.with_tls(tls.clone()), first).await, "+lets clear in");
    let other = include_str!("../../testdata/health/root.pem");
    let strange = user("trusted").with_tls(Tls::trusting(other).expect("a root"));
    let strange = once(&strange, first).await;
    assert!(strange.starts_with("-no TLS: invalid peer certificate: "), "{strange}");

    let copy = ["-h", "127.0.0.1", "-p", &ports[0], "-U", "postgres", "-D", "two", "-R"];
    place.run("pg_basebackup", &[&copy[..], &["-X", "stream", "-c", "fast", "-N"]].concat());
    let _replica = start("two", &ports[1]);
    let replica = is(user("trusted"), PostgresRole::Replica).with_tls(tls);
    assert_eq!(passes(&replica, second).await, "is a replica");
    let write = once(&is(user("trusted"), PostgresRole::Primary), second).await;
    assert_eq!(write, "-is a replica, not a primary");
    assert_eq!(once(&replica, first).await, "-is a primary, not a replica");
    primary.kill();
    fails(&user("trusted"), first, "cannot connect: ").await;
    assert_eq!(once(&replica, second).await, "+is a replica");
}
