//! Numbers for monitoring, through the `metrics` facade.
//!
//! | name | kind | labels | meaning |
//! |---|---|---|---|
//! | `ha_vrrp_state` | gauge | `router`, `interface`, `vrid`, `state` | 1 for the state that it is in, else 0 |
//! | `ha_vrrp_priority` | gauge | `router`, `interface`, `vrid` | the priority that counts now |
//! | `ha_vrrp_settled` | gauge | same | 1 if the addresses are where the state wants them |
//! | `ha_vrrp_state_seconds` | gauge | same | how long it has been in this state |
//! | `ha_vrrp_became_active_total` | counter | same | how often it became active |
//! | `ha_vrrp_adverts_sent_total` | counter | same | adverts sent |
//! | `ha_vrrp_adverts_received_total` | counter | same | adverts taken in |
//! | `ha_vrrp_kin_received_total` | counter | same | beats and offers of kin taken in |
//! | `ha_vrrp_rejected_total` | counter | same, and `reason` | packets dropped |
//! | `ha_vrrp_unsent_total` | counter | none | messages that the kernel did not take |

use metrics::{Label, counter, gauge};

use super::effects::StateName;
use super::snapshot::{RouterSnapshot, Snapshot};

const STATES: [StateName; 5] = [
    StateName::Active,
    StateName::Backup,
    StateName::Fault,
    StateName::Initialize,
    StateName::Leaving,
];

impl Snapshot {
    /// Tells everything to the recorder that the program has installed: before each scrape, or
    /// every second and at each change of state. See [`metrics`](super::metrics) for the names.
    pub fn record(&self) {
        for router in &self.routers {
            router.record();
        }
        counter!("ha_vrrp_unsent_total").absolute(self.unsent);
    }
}

impl RouterSnapshot {
    fn record(&self) {
        let labels = || {
            vec![
                Label::new("router", self.name.clone()),
                Label::new("interface", self.interface.clone()),
                Label::new("vrid", self.vrid.to_string()),
            ]
        };
        let with = |name: &'static str, value: &str| {
            let mut labels = labels();
            labels.push(Label::new(name, value.to_owned()));
            labels
        };
        for state in STATES {
            let here = f64::from(u8::from(state == self.state));
            gauge!("ha_vrrp_state", with("state", state.as_str())).set(here);
        }
        gauge!("ha_vrrp_priority", labels()).set(f64::from(self.priority.get()));
        gauge!("ha_vrrp_settled", labels()).set(f64::from(u8::from(self.settled)));
        gauge!("ha_vrrp_state_seconds", labels()).set(self.lasting.as_secs_f64());
        let counters = &self.counters;
        counter!("ha_vrrp_became_active_total", labels()).absolute(counters.became_active);
        counter!("ha_vrrp_adverts_sent_total", labels()).absolute(counters.sent);
        counter!("ha_vrrp_adverts_received_total", labels()).absolute(counters.received);
        counter!("ha_vrrp_kin_received_total", labels()).absolute(counters.kin_received);
        for (reason, count) in &counters.rejected {
            counter!("ha_vrrp_rejected_total", with("reason", reason)).absolute(*count);
        }
    }
}
