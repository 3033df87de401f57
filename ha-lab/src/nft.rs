//! Faults between hosts: rules of nftables on the switch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::LabError;
use crate::kernel::Kernel;
use crate::skip::find_program;

/// Loss in hundred-thousandths, so that a thousandth of a percent can be said.
pub(crate) const WHOLE: u32 = 100_000;

/// Which frames the switch drops. Names are those of ports and bridges in the switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FaultPlan {
    /// Frames from the first port to the second.
    pub(crate) paths: BTreeSet<(String, String)>,
    /// Of the frames from or to a port, so many of [`WHOLE`].
    pub(crate) port_loss: BTreeMap<String, u32>,
    /// Of the frames through a bridge, so many of [`WHOLE`].
    pub(crate) bridge_loss: BTreeMap<String, u32>,
}

impl FaultPlan {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts the plan in place of the one before, at once.
    pub(crate) fn apply(&self, switch: &Kernel) -> Result<(), LabError> {
        let Some(program) = find_program("nft") else {
            let what = "drop packets between hosts";
            return Err(LabError::NoProgram { what, program: "nft", package: "nftables" });
        };
        let mut command = Command::new(program);
        command.args(["-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let rules = ruleset(self);
        let output = switch.run(|| {
            let mut child = command.spawn()?;
            if let Some(mut input) = child.stdin.take() {
                // A program that has ended early says why on its standard error.
                drop(input.write_all(rules.as_bytes()));
            }
            child.wait_with_output()
        });
        let output = output.flatten().map_err(|error| LabError::kernel("run nft", error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).chars().take(400).collect();
        Err(LabError::Rules { said })
    }
}

/// The rules for `nft -f -`: one transaction that replaces the table.
pub(crate) fn ruleset(plan: &FaultPlan) -> String {
    // Adding it first makes the deletion succeed where there was none.
    let mut text = "add table bridge ha_lab\ndelete table bridge ha_lab\n".to_owned();
    if plan.is_empty() {
        return text;
    }
    text.push_str("table bridge ha_lab {\n  chain forward {\n");
    text.push_str("    type filter hook forward priority 0; policy accept;\n");
    let mut rule = |matches: &str| {
        // Writing to a string cannot fail.
        writeln!(text, "    {matches} drop").ok();
    };
    for (from, to) in &plan.paths {
        rule(&format!("iifname {from:?} oifname {to:?}"));
    }
    for (port, loss) in &plan.port_loss {
        rule(&format!("iifname {port:?}{}", chance(*loss)));
        rule(&format!("oifname {port:?}{}", chance(*loss)));
    }
    for (bridge, loss) in &plan.bridge_loss {
        // Not `meta ibrname`, which many kernels lack: a bridge's name begins those of its ports.
        rule(&format!("iifname \"{bridge}.*\"{}", chance(*loss)));
    }
    text.push_str("  }\n}\n");
    text
}

fn chance(loss: u32) -> String {
    // A comparison that is always true is refused.
    if loss >= WHOLE {
        return String::new();
    }
    format!(" numgen random mod {WHOLE} < {loss}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_faults_are_no_table() {
        assert_eq!(
            ruleset(&FaultPlan::default()),
            "add table bridge ha_lab\ndelete table bridge ha_lab\n"
        );
    }

    #[test]
    fn each_fault_is_a_rule() {
        let mut plan = FaultPlan::default();
        plan.paths.insert(("n0.0.0".to_owned(), "n0.1.0".to_owned()));
        plan.port_loss.insert("n0.2.0".to_owned(), 25_000);
        plan.bridge_loss.insert("n0".to_owned(), 10);
        plan.bridge_loss.insert("n1".to_owned(), WHOLE);
        let text = ruleset(&plan);
        let rules: Vec<&str> = text.lines().filter(|line| line.ends_with(" drop")).collect();
        assert_eq!(
            rules,
            [
                r#"    iifname "n0.0.0" oifname "n0.1.0" drop"#,
                r#"    iifname "n0.2.0" numgen random mod 100000 < 25000 drop"#,
                r#"    oifname "n0.2.0" numgen random mod 100000 < 25000 drop"#,
                r#"    iifname "n0.*" numgen random mod 100000 < 10 drop"#,
                r#"    iifname "n1.*" drop"#,
            ]
        );
        assert!(text.starts_with("add table bridge ha_lab\ndelete table bridge ha_lab\ntable "));
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
