//! Random faults on real processes; a witness in a shared file says whether a service ever ran
//! twice.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use ha_core::time::{BootClock, Clock};
use ha_crm::manager::{Request, Status};
use ha_crm::model::NodeStatus;
use ha_lab::ProcessSignal;

use crate::rig::{NAMES, Rig, active, all_runs, eventually};

/// Appends its token to a file all the time: two at once would be seen in it.
const WITNESS: &str = r#"open(F, ">>", $ARGV[0]) or die;
for (;;) { syswrite(F, "$ENV{HA_FENCING_TOKEN}\n"); select(undef, undef, undef, 0.004); }"#;

fn resources(folder: &Path) -> String {
    let script = folder.join("witness.pl");
    fs::write(&script, WITNESS).expect("a script");
    let log = folder.join("witness");
    format!(
        "[resources.before]\nagent = \"native:dummy\"\n\
         [resources.witness]\nagent = \"native:process\"\nwith = \"before\"\nafter = \"before\"\n\
         parameters = {{ program = \"perl\", args = \"{} {}\" }}\n",
        script.display(),
        log.display()
    )
}

/// The tokens in the order of their first line; fails if one comes back after another began.
fn tokens(folder: &Path) -> Vec<u64> {
    let text = fs::read_to_string(folder.join("witness")).unwrap_or_default();
    let mut tokens: Vec<u64> = Vec::new();
    for line in text.lines() {
        let Ok(token) = line.parse() else { continue };
        match tokens.last() {
            Some(last) if *last == token => {}
            Some(last) => {
                assert!(*last < token, "token {token} was used after {last}: active twice");
                tokens.push(token);
            }
            None => tokens.push(token),
        }
    }
    tokens
}

fn healthy(status: &Status) -> bool {
    all_runs(status)
        && status.nodes.values().all(|node| node.status == NodeStatus::Online && node.present)
}

/// A small generator (xorshift64*), so that a run can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap_or_default() % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Waits until the switch has given a node power again, after it was fenced.
fn await_fencing(rig: &Rig, node: &str, lives: usize) {
    eventually(&format!("{node} is fenced"), || rig.count_lives(node) > lives);
}

/// Does something to the cluster that it must survive; what it was.
fn strike(rig: &Rig, folder: &Path, dice: &mut Dice) -> String {
    let status = rig.wait("healthy", healthy);
    let here = active(&status, "witness").remove(0);
    let any = (*dice.pick(&NAMES)).to_owned();
    let node = if dice.below(2) == 0 { here.clone() } else { any };
    rig.switch.delay(Duration::from_millis([0, 0, 300, 1500][dice.below(4)]));
    let (lives, starts) = (rig.count_lives(&node), tokens(folder).len());
    match dice.below(8) {
        0 => {
            rig.host(&node).power_off().expect("off");
            await_fencing(rig, &node, lives);
            format!("{node} loses power")
        }
        1 => {
            rig.host(&node).freeze().expect("frozen");
            await_fencing(rig, &node, lives);
            format!("{node} freezes")
        }
        2 => {
            rig.host(&node).cut().expect("cut");
            thread::park_timeout(Duration::from_millis(1500));
            rig.host(&node).uncut().expect("mended");
            format!("{node} is cut off")
        }
        3 => {
            rig.last_life(&node).kill().expect("killed");
            await_fencing(rig, &node, lives);
            format!("the manager of {node} is killed")
        }
        4 => {
            let pattern = folder.join("witness.pl");
            let kill = Command::new("pkill").args(["-9", "-f"]).arg(pattern).status();
            assert!(kill.expect("pkill is part of procps").success());
            eventually("it is started again", || tokens(folder).len() > starts);
            "the service is killed".to_owned()
        }
        5 => {
            let to = *dice.pick(&NAMES);
            let request = Request::Move {
                resource: "witness".parse().expect("a name"),
                node: to.parse().expect("a name"),
            };
            rig.order(&request);
            rig.wait("moved", |status| active(status, "witness") == [to]);
            rig.order(&Request::Clear { resource: "witness".parse().expect("a name") });
            format!("the service is moved to {to}")
        }
        6 => {
            let name = node.parse().expect("a name");
            rig.order(&Request::Standby { node: name });
            rig.wait("left", |status| {
                !active(status, "witness").contains(&node) && all_runs(status)
            });
            rig.order(&Request::Online { node: node.parse().expect("a name") });
            format!("{node} is in standby for a while")
        }
        _ => {
            let process = rig.last_life(&node);
            process.signal(ProcessSignal::Terminate).expect("told");
            process.wait(crate::rig::PATIENCE).expect("it leaves");
            rig.boot(&node);
            format!("{node} leaves in order and returns")
        }
    }
}

#[test]
fn random_faults_never_make_two_of_a_service() {
    ha_lab::run_test(|| {
        let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let count = variable("HA_FAULTS").unwrap_or(20);
        let seed =
            variable("HA_FAULT_SEED").unwrap_or_else(|| BootClock::new().now().as_nanos() | 1);
        eprintln!("repeat with HA_FAULT_SEED={seed}");
        let folder = tempfile::tempdir().expect("a folder");
        let rig = Rig::new(&resources(folder.path()));
        eventually("the witness writes", || !tokens(folder.path()).is_empty());
        let mut dice = Dice(seed);
        for number in 0..count {
            let what = strike(&rig, folder.path(), &mut dice);
            let status = rig.wait("healthy again", healthy);
            let starts = tokens(folder.path()).len();
            let on = active(&status, "witness");
            eprintln!("{number}: {what}; runs on {on:?}, {starts} starts so far");
        }
        eprintln!("{count} faults, {} starts, never two", tokens(folder.path()).len());
    });
}
