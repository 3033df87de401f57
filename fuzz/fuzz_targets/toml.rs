#![no_main]

use ha_crm::check::check;
use ha_crm::cib::Cib;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for read in [Cib::from_toml(text), Cib::from_json(text)] {
        let Ok((cib, notes)) = read else { continue };
        drop(check(&cib, &notes));
        let json = cib.to_json().expect("JSON");
        if let Ok((again, _)) = Cib::from_json(&json) {
            assert_eq!(again.to_json().expect("JSON"), json);
        }
        drop(cib.to_toml());
    }
});
