//! What the algorithms are chosen for.

use super::*;

fn run(simulation: &Simulation, algorithm: &str) -> Report {
    simulation.run(&algorithm.parse().expect("an algorithm"))
}

#[test]
fn two_choices_shorten_queues_as_the_theory_says() {
    // The supermarket model at 90 %: ln n / ln ln n against ln ln n.
    let server = Server::new(Service::Exponential { mean_ms: 10.0 });
    let simulation = Simulation::new(3).servers(vec![server; 100]).load(0.9);
    let (one, two) = (run(&simulation, "random,draws=1"), run(&simulation, "random"));
    let least = run(&simulation, "least-connections");
    assert!(two.max_load * 2 < one.max_load, "{one}\n{two}");
    assert!(least.max_load <= two.max_load && least.p99 < two.p99, "{two}\n{least}");
    // M/M/1 at 90 % takes ten service times on average.
    let mean = one.mean.as_secs_f64() * 1e3;
    assert!((70.0..140.0).contains(&mean), "{mean}");
}

#[test]
fn algorithms_that_see_load_leave_a_slow_server_alone() {
    let fast = Server::new(Service::LogNormal { median_ms: 5.0, sigma: 1.0 }).workers(4);
    let mut servers = vec![fast; 9];
    servers.push(fast.slowed(20.0));
    let simulation = Simulation::new(11).servers(servers).clients(4).load(0.5);
    let blind = run(&simulation, "round-robin");
    for algorithm in ["least-connections", "random", "peak-ewma", "least-time", "prequal"] {
        let report = run(&simulation, algorithm);
        let (slow, all) = (report.served[9], report.requests);
        assert!(slow * 20 < all, "{algorithm} sends {slow} of {all} to the slow one");
        assert!(report.p99 * 3 < blind.p99, "{report}\n{blind}");
    }
}

#[test]
fn latency_aware_algorithms_see_what_connections_do_not_show() {
    // Seldom more than one request at a time: connections tell little.
    let fast = Server::new(Service::Constant { ms: 2.0 }).workers(64);
    let servers = vec![fast, fast, fast, fast.slowed(3.0)];
    let simulation = Simulation::new(5).servers(servers).load(0.002).requests(40_000);
    let (least, ewma) = (run(&simulation, "least-connections"), run(&simulation, "peak-ewma"));
    assert!(ewma.served[3] * 3 < least.served[3], "{:?} {:?}", ewma.served, least.served);
}

#[test]
fn prequal_keeps_the_tail_short_among_slow_servers_and_many_clients() {
    // A fifth of the servers are three times slower; twenty clients share them.
    let fast = Server::new(Service::LogNormal { median_ms: 10.0, sigma: 0.8 }).workers(4);
    let servers = (0..40).map(|number| if number % 5 == 0 { fast.slowed(3.0) } else { fast });
    let servers: Vec<_> = servers.collect();
    for seed in 1..=5 {
        let simulation = Simulation::new(seed).servers(servers.clone()).clients(20).load(0.75);
        let simulation = simulation.requests(25_000);
        let (round_robin, random) = (run(&simulation, "round-robin"), run(&simulation, "random"));
        let own = run(&simulation, "prequal");
        let probed = simulation.run_probed(&PrequalConfig::default());
        assert!(own.p99 * 2 < round_robin.p99, "{own}\n{round_robin}");
        assert!(probed.p99 * 2 < round_robin.p99, "{probed}\n{round_robin}");
        assert!(probed.p99 < random.p99 && own.p99 < random.p99, "{probed}\n{own}\n{random}");
    }
}

#[test]
fn prequal_does_not_run_after_the_fastest_when_all_are_busy() {
    let server = Server::new(Service::LogNormal { median_ms: 10.0, sigma: 1.0 }).workers(4);
    for seed in 1..=3 {
        let simulation = Simulation::new(seed).servers(vec![server; 10]).clients(4).load(0.95);
        let simulation = simulation.requests(25_000);
        let round_robin = run(&simulation, "round-robin");
        let own = run(&simulation, "prequal");
        let probed = simulation.run_probed(&PrequalConfig::default());
        assert!(own.p99 < round_robin.p99 && probed.p99 < round_robin.p99, "{own}\n{probed}");
    }
}

#[test]
fn weights_fit_servers_of_different_sizes() {
    let server = Server::new(Service::Exponential { mean_ms: 10.0 });
    let servers = vec![server, server.workers(4).weight(4), server.workers(5).weight(5)];
    let simulation = Simulation::new(9).servers(servers).load(0.7);
    for algorithm in ["round-robin", "least-connections", "random,draws=1"] {
        let report = run(&simulation, algorithm);
        let share = |server: usize| report.served[server] * 100 / report.requests;
        assert!((6..=12).contains(&share(0)) && (45..=55).contains(&share(2)), "{report:?}");
    }
}

#[test]
fn a_server_that_fails_fast_draws_work_until_it_is_ejected() {
    let good = Server::new(Service::Exponential { mean_ms: 10.0 }).workers(8);
    let mut servers = vec![good; 9];
    servers.push(good.failing(0.9));
    // About 40 s, and two clients.
    let simulation = Simulation::new(13).servers(servers).clients(2).load(0.3).requests(80_000);
    for algorithm in ["round-robin", "least-connections", "random"] {
        let without = run(&simulation, algorithm);
        let with = run(&simulation.clone().outliers(outlier::Config::default()), algorithm);
        assert!(without.error_rate > 0.08, "{without}");
        assert!(with.error_rate * 20.0 < without.error_rate, "{without}\n{with}");
        assert_eq!(with.requests, without.requests);
    }
}

#[test]
fn a_server_that_fails_now_and_then_is_found_by_its_rate() {
    let good = Server::new(Service::Exponential { mean_ms: 10.0 }).workers(8).failing(0.01);
    let mut servers = vec![good; 9];
    // Five in a row are rare: once in 8,000 of its requests.
    servers.push(good.failing(0.15));
    let simulation = Simulation::new(17).servers(servers).load(0.3).requests(120_000);
    let (without, with) = (
        run(&simulation, "round-robin"),
        run(&simulation.clone().outliers(outlier::Config::default()), "round-robin"),
    );
    assert!(with.error_rate < without.error_rate * 0.7, "{without}\n{with}");
    assert!(with.served[9] * 3 < without.served[9], "{:?}", with.served);
    // Nobody else was out for any time.
    assert!(with.served[..9].iter().all(|served| *served > 10_000), "{:?}", with.served);
}

#[test]
fn nothing_is_lost_and_nothing_breaks_at_the_edges() {
    let nothing = Simulation::new(1).servers(Vec::new()).requests(1_000);
    assert!(run(&nothing, "random").served.is_empty());
    assert!(run(&nothing, "random").error_rate > 0.99);
    let server = Server::new(Service::Constant { ms: f64::NAN }).failing(1.0).workers(0);
    let odd = Simulation::new(1).servers(vec![server.slowed(f64::INFINITY)]).requests(1_000);
    let report = run(&odd.load(f64::NAN), "round-robin");
    assert!(report.requests == 900 && report.error_rate > 0.99);
    let out_of_range = Simulation::new(1).servers(vec![server.weight(257)]);
    assert_eq!(run(&out_of_range, "random"), Report::default());
}
