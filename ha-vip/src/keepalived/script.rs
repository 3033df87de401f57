//! Commands: what runs, and as whom.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::accounts::Accounts;
use super::block::Statement;
use super::global::Globals;
use super::lexer::{self, Word};
use super::report::Report;
use crate::child::PATH;
use crate::vrrp::notify::{NotifyState, Script, Scripts};

/// What the commands of a file need to know.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    pub(super) accounts: &'a mut Accounts,
    pub(super) globals: &'a Globals,
}

/// A command and its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) argv: Vec<String>,
    pub(super) user: Option<(u32, u32)>,
}

impl Command {
    fn to_script(&self) -> Script {
        let (program, args) = self.argv.split_first().map_or(("", &[][..]), |(p, a)| (p, a));
        let script = Script::new(program).args(args.iter().cloned());
        match self.user {
            Some((user, group)) => script.run_as(user, group),
            None => script,
        }
    }
}

impl Runner<'_> {
    /// The command of a notification: one word, perhaps quoted, then perhaps user and group.
    fn notice(&mut self, statement: &Statement, report: &mut Report) -> Option<Command> {
        let argv = statement.arg(0).and_then(lexer::command);
        let Some(argv) = argv else {
            report.wrong(&statement.at, statement.text(), "a command, in quotes");
            return None;
        };
        let given = statement.args().get(1..).unwrap_or_default();
        let user = match given {
            [] => self.globals.script_user,
            given => Some(user(statement, given, self.accounts, report)?),
        };
        let command = Command { argv, user };
        self.check_security(statement, &command, report);
        Some(command)
    }

    /// Takes a `notify…` statement; `false` if it is none.
    pub(super) fn take_notify(
        &mut self,
        statement: &Statement,
        scripts: &mut Scripts,
        report: &mut Report,
    ) -> bool {
        let state = match statement.keyword() {
            "notify_master" => Some(NotifyState::Master),
            "notify_backup" => Some(NotifyState::Backup),
            "notify_fault" => Some(NotifyState::Fault),
            "notify_stop" => Some(NotifyState::Stop),
            "notify" => None,
            _ => return false,
        };
        if let Some(command) = self.notice(statement, report) {
            let (script, before) = (command.to_script(), std::mem::take(scripts));
            *scripts = match state {
                Some(state) => before.on(state, script),
                None => before.always(script),
            };
        }
        true
    }

    /// With `enable_script_security`: what root runs only root may change.
    pub(super) fn check_security(
        &self,
        statement: &Statement,
        command: &Command,
        report: &mut Report,
    ) {
        let by_root = match command.user {
            Some((user, _)) => user == 0,
            None => rustix::process::geteuid().is_root(),
        };
        if !self.globals.script_security || !by_root {
            return;
        }
        let program = command.argv.first().map_or("", String::as_str);
        let Some(path) = find(program) else {
            report.warn(&statement.at, format!("{program} is not there"));
            return;
        };
        if let Some(open) = path.ancestors().find(|path| is_open(path)) {
            let open = open.display();
            let allowed =
                format!("a script that only root can change (`enable_script_security`): {open}");
            report.wrong(&statement.at, program, allowed);
        }
    }
}

/// The command of a `vrrp_script`, quoted as one: keepalived runs the first word without the others.
pub(super) fn check(statement: &Statement, report: &mut Report) -> Option<Vec<String>> {
    let argv = statement.arg(0).and_then(lexer::command);
    let argv = argv.filter(|argv| argv.first().is_some_and(|program| !program.is_empty()));
    if argv.is_none() {
        report.wrong(&statement.at, statement.text(), "a command, in quotes");
    }
    if let Some(rest) = statement.args().get(1) {
        let why = "keepalived runs the first word alone: put the whole command in quotes";
        report.refuse(&statement.at, format!("`{}` after a command", rest.text), why);
    }
    argv
}

/// Where a program is; links are followed, as what they lead to is what runs.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return std::fs::canonicalize(program).ok();
    }
    PATH.split(':').find_map(|folder| std::fs::canonicalize(Path::new(folder).join(program)).ok())
}

/// Whether others than root may change it.
fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| {
        let by_group = meta.mode() & 0o020 != 0 && meta.gid() != 0;
        meta.uid() != 0 || by_group || meta.mode() & 0o002 != 0
    })
}

/// A user and perhaps a group.
pub(super) fn user(
    statement: &Statement,
    words: &[Word],
    accounts: &mut Accounts,
    report: &mut Report,
) -> Option<(u32, u32)> {
    let (name, group) = match words {
        [user] => (user, None),
        [user, group] => (user, Some(group)),
        _ => {
            report.wrong(&statement.at, statement.text(), "a user and perhaps a group");
            return None;
        }
    };
    let found = accounts.user(&name.text).and_then(|(user, own)| match group {
        Some(group) => Some((user, accounts.group(&group.text)?)),
        None => Some((user, own)),
    });
    if found.is_none() {
        let allowed = "a user of /etc/passwd, and perhaps a group of /etc/group";
        report.wrong(&statement.at, statement.text(), allowed);
    }
    found
}
