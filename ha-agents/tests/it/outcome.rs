//! The table of meanings, whole.

use ha_agents::{Operation, Outcome, Severity};
use ha_core::role::Role;
use proptest::prelude::*;

const OPERATIONS: [Operation; 10] = [
    Operation::Probe,
    Operation::Monitor(Role::Stopped),
    Operation::Monitor(Role::Started),
    Operation::Monitor(Role::Unpromoted),
    Operation::Monitor(Role::Promoted),
    Operation::Start,
    Operation::Promote,
    Operation::Demote,
    Operation::Stop,
    Operation::Other,
];

/// Role (S stopped, A active, U unpromoted, P promoted, - unknown) and severity (. none, s soft,
/// h hard, f fatal), one column for each of [`OPERATIONS`].
const TABLE: [(i32, &str); 12] = [
    (0, "A. As A. U. As A. P. U. S. -."),
    (1, "-s -s -s -s -s -s -s -s -s -s"),
    (2, "-h -h -h -h -h -h -h -h -h -h"),
    (3, "-h -. -. -. -. -h -h -h -h -h"),
    (4, "-h -h -h -h -h -h -h -h -h -h"),
    (5, "Sh -h -h -h -h -h -h -h -h -h"),
    (6, "-f -f -f -f -f -f -f -f -f -f"),
    (7, "S. S. Ss Ss Ss Ss Ss Ss -s Ss"),
    (8, "P. Ps Ps Ps P. Ps Ps Ps Ps Ps"),
    (9, "Ps Ps Ps Ps Ps Ps Ps Ps Ps Ps"),
    (190, "A. As A. U. As -s -s -s -s -s"),
    (191, "P. Ps Ps Ps P. -s -s -s -s -s"),
];

#[test]
fn every_answer_means_what_the_standard_says_for_every_operation() {
    for (code, row) in TABLE {
        let outcome = Outcome::from_code(code);
        assert_eq!(outcome.code(), code);
        let told: Vec<String> = OPERATIONS
            .into_iter()
            .map(|operation| {
                let meaning = outcome.meaning(operation);
                let role = match meaning.role {
                    None => '-',
                    Some(Role::Stopped) => 'S',
                    Some(Role::Started) => 'A',
                    Some(Role::Unpromoted) => 'U',
                    Some(Role::Promoted) => 'P',
                };
                let severity = match meaning.severity {
                    Severity::None => '.',
                    Severity::Soft => 's',
                    Severity::Hard => 'h',
                    Severity::Fatal => 'f',
                };
                format!("{role}{severity}")
            })
            .collect();
        assert_eq!(told.join(" "), row, "code {code}");
    }
}

proptest! {
    #[test]
    fn every_code_is_an_outcome_and_only_those_of_the_standard_are_kept(code: i32) {
        let outcome = Outcome::from_code(code);
        let known = Outcome::ALL.iter().any(|known| known.code() == code);
        prop_assert_eq!(outcome.code() == code, known);
        prop_assert!(known || outcome == Outcome::GenericError);
    }
}
