#![no_main]

use std::collections::BTreeMap;

use ha_core::time::WallTime;
use ha_crm::cib::Cib;
use ha_crm::model::rule::Facts;
use libfuzzer_sys::fuzz_target;

/// The first and the last second of a calendar with years of four digits.
const ENDS: (i64, i64) = (-62_135_596_800, 253_402_300_799);

fuzz_target!(|input: (i64, &str)| {
    let (seconds, rule) = input;
    let now = WallTime::from_micros(seconds.clamp(ENDS.0, ENDS.1).saturating_mul(1_000_000));
    let text = format!(
        "<cib><configuration><rsc_defaults><meta_attributes id=\"m\">{rule}</meta_attributes>\
         </rsc_defaults></configuration></cib>"
    );
    let Ok((cib, _)) = Cib::parse(&text) else { return };
    let node = BTreeMap::from([("#uname", "n1"), ("load", "1.5"), ("version", "1.2.3")]);
    for element in cib.resource_defaults.iter().flat_map(|set| &set.rules) {
        let (rule, _) = element.rule();
        let facts = Facts::at(now).node(&node);
        let holds = rule.holds(&facts);
        drop(rule.why(&facts));
        let next = rule.next_change(now);
        assert!(next.is_none_or(|next| next > now), "{next:?} is not after {now:?}");
        // Until then nothing changes.
        if let Some(before) = next.map(|next| WallTime::from_micros(next.as_micros() - 1)) {
            assert_eq!(rule.holds(&Facts::at(before).node(&node)), holds, "changes before {next:?}");
        }
    }
});
