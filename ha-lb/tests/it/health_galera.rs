//! Three nodes of MariaDB with Galera: joined, desynced, locked, killed.

use std::io::Write as _;
use std::net::SocketAddr;

use ha_lb::health::galera::{GaleraCheck, GaleraRules};
use ha_lb::health::mysql::MysqlCheck;
use ha_lb::health::tls::Tls;

use super::daemon::{Daemon, Place, certificates, fails, free, missing, once, passes};

const NAME: &str = "galera_nodes_are_used_only_while_they_may_be";
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

/// Detects a dead node within seconds, and forgets the cluster when all are gone.
const QUICK: &str = "evs.keepalive_period=PT0.3S;evs.inactive_check_period=PT0.3S;\
                     evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;gcache.size=8M;\
                     pc.recovery=FALSE";

struct Node {
    name: &'static str,
    address: SocketAddr,
    group: SocketAddr,
    transfer: [SocketAddr; 2],
}

impl Node {
    async fn new(name: &'static str) -> Self {
        let [address, group, snapshot, incremental] = free().await;
        Self { name, address, group, transfer: [snapshot, incremental] }
    }

    fn start(&self, place: &Place, cluster: &str) -> Daemon {
        let provider = format!(
            "wsrep-provider-options=gmcast.listen_addr=tcp://{};ist.recv_addr={};{QUICK}",
            self.group, self.transfer[1]
        );
        let [cert, key] = ["server.pem", "server.key"].map(|name| place.join(name));
        let settings = [
            format!("datadir={}", place.join(self.name)),
            format!("socket={}", place.join(&format!("{}.socket", self.name))),
            format!("pid-file={}", place.join(&format!("{}.pid", self.name))),
            format!("port={}", self.address.port()),
            format!("ssl-cert={cert}"),
            format!("ssl-key={key}"),
            "bind-address=127.0.0.1".to_owned(),
            "innodb-buffer-pool-size=16M".to_owned(),
            "innodb-log-file-size=8M".to_owned(),
            "innodb-flush-log-at-trx-commit=0".to_owned(),
            "innodb-autoinc-lock-mode=2".to_owned(),
            "binlog-format=ROW".to_owned(),
            "skip-name-resolve".to_owned(),
            "wsrep-on=ON".to_owned(),
            format!("wsrep-provider={PROVIDER}"),
            "wsrep-cluster-name=test".to_owned(),
            format!("wsrep-node-name={}", self.name),
            format!("wsrep-node-address={}", self.group),
            "wsrep-sst-method=rsync".to_owned(),
            format!("wsrep-sst-receive-address={}", self.transfer[0]),
            provider,
            format!("wsrep-cluster-address=gcomm://{cluster}"),
        ];
        let args: Vec<String> = settings.iter().map(|setting| format!("--{setting}")).collect();
        let args: Vec<&str> =
            ["--no-defaults"].into_iter().chain(args.iter().map(String::as_str)).collect();
        place.start("mariadbd", &args)
    }

    /// Says something as the operator, in a session that stays until it is dropped.
    fn operate(&self, place: &Place, sql: &str) -> Daemon {
        let socket = place.join(&format!("{}.socket", self.name));
        let mut session = place.start("mariadb", &["--no-defaults", "-uroot", "-S", &socket]);
        writeln!(session.input(), "{sql};").expect("sent");
        session
    }
}

fn checker() -> GaleraCheck {
    GaleraCheck::new("checker", "geheim").expect("a user")
}

#[tokio::test]
async fn galera_nodes_are_used_only_while_they_may_be() {
    let needed = ["mariadbd", "mariadb-install-db", "mariadb", "rsync", "openssl", PROVIDER];
    if missing(NAME, &needed) {
        return;
    }
    let place = Place::of("mysql");
    certificates(&place);
    let data = format!("--datadir={}", place.join("one"));
    let quiet = ["--no-defaults", &data, "--auth-root-authentication-method=normal"];
    place.run("mariadb-install-db", &[&quiet[..], &["--skip-test-db"]].concat());
    for folder in ["two", "three"] {
        place.run("mkdir", &[folder]);
    }
    let (one, two, three) =
        (Node::new("one").await, Node::new("two").await, Node::new("three").await);
    let _one = one.start(&place, "");
    passes(&MysqlCheck::new(), one.address).await;
    let users = "CREATE USER checker@'127.0.0.1' IDENTIFIED BY 'geheim'; \
                 CREATE USER open@'127.0.0.1'";
    let _users = one.operate(&place, users);
    let alone = passes(&checker(), one.address).await;
    assert!(alone.starts_with("synced, index 0 of 1 nodes, "), "{alone}");
    logins_are_judged(&place, one.address).await;

    let cluster = one.group.to_string();
    let mut second = two.start(&place, &cluster);
    passes(&checker(), two.address).await;
    let mut third = three.start(&place, &cluster);
    passes(&checker(), three.address).await;
    let full = once(&checker(), one.address).await;
    assert!(full.starts_with("+synced, ") && full.contains(" of 3 nodes, "), "{full}");

    operators_are_obeyed(&place, &two).await;

    // Two of three are killed: the last one is alive, lets users in, and must not be used.
    let judge = checker();
    second.kill();
    third.kill();
    fails(&judge, two.address, "cannot connect: ").await;
    let lost = fails(&judge, one.address, "it is not in the primary component").await;
    assert!(lost.contains("(wsrep_cluster_status is non-Primary)"), "{lost}");
    let shallow = once(&MysqlCheck::new().with_user("open").expect("a user"), one.address).await;
    assert!(shallow.starts_with("+lets open in, "), "{shallow}");
}

async fn logins_are_judged(place: &Place, address: SocketAddr) {
    let user = |name| MysqlCheck::new().with_user(name).expect("a user");
    let open = passes(&user("open"), address).await;
    assert!(open.starts_with("lets open in, ") && open.contains("MariaDB"), "{open}");
    let needs = once(&user("checker"), address).await;
    assert!(needs.starts_with("-refuses checker: error 1045: "), "{needs}");
    let wrong = once(&GaleraCheck::new("checker", "falsch").expect("a user"), address).await;
    assert!(wrong.starts_with("-refuses checker: error 1045: "), "{wrong}");
    let root = std::fs::read(place.join("root.pem")).expect("made");
    let secured = checker().with_tls(Tls::trusting(root).expect("a root"));
    let secured = once(&secured, address).await;
    assert!(secured.starts_with("+synced, "), "{secured}");
    let other = include_str!("../../testdata/health/root.pem");
    let strange = checker().with_tls(Tls::trusting(other).expect("a root"));
    let strange = once(&strange, address).await;
    assert!(strange.starts_with("-no TLS: invalid peer certificate: "), "{strange}");
}

async fn operators_are_obeyed(place: &Place, node: &Node) {
    let judge = checker();
    let donors = checker().with_rules(GaleraRules::new().available_when_donor());
    let writers = checker().with_rules(GaleraRules::writer());

    let _on = node.operate(place, "SET GLOBAL wsrep_desync = ON");
    let desynced = fails(&judge, node.address, "its operator has desynced it").await;
    assert!(
        desynced.starts_with("it is a donor or desynced (wsrep_local_state is 2)"),
        "{desynced}"
    );
    fails(&donors, node.address, "its operator has desynced it (wsrep_desync is ON)").await;
    let _off = node.operate(place, "SET GLOBAL wsrep_desync = OFF");
    passes(&judge, node.address).await;

    // A lock on all tables makes it a donor, as a backup does.
    let lock = node.operate(place, "FLUSH TABLES WITH READ LOCK");
    fails(&judge, node.address, "it is a donor or desynced (wsrep_local_state is 2)").await;
    let donor = passes(&donors, node.address).await;
    assert!(donor.starts_with("donor, "), "{donor}");
    let _on = node.operate(place, "SET GLOBAL wsrep_sst_donor_rejects_queries = ON");
    fails(&donors, node.address, "it is a donor that rejects queries meanwhile").await;
    let _off = node.operate(place, "SET GLOBAL wsrep_sst_donor_rejects_queries = OFF");
    drop(lock);
    passes(&judge, node.address).await;

    let _on = node.operate(place, "SET GLOBAL read_only = ON");
    fails(&writers, node.address, "it is read-only (read_only is ON)").await;
    passes(&judge, node.address).await;
    let _off = node.operate(place, "SET GLOBAL read_only = OFF");
    passes(&writers, node.address).await;

    let _on = node.operate(place, "SET GLOBAL wsrep_reject_queries = ALL");
    fails(&judge, node.address, "its operator lets it reject queries").await;
    let _off = node.operate(place, "SET GLOBAL wsrep_reject_queries = NONE");
    passes(&judge, node.address).await;
}
