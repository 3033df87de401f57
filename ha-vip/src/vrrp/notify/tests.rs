use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ha_core::driver::Alarm;
use ha_core::time::{BootClock, Clock};
use tokio::sync::{mpsc, watch};

use super::*;

/// Tells a channel, and fails as often as it was told to.
fn told(failures: u32) -> (NotifyFn<impl FnMut(Notice) -> Answer + Send>, Said) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut left = failures;
    let told = notify_fn(move |notice: Notice| -> Answer {
        let fails = left > 0;
        left = left.saturating_sub(1);
        let sent = sender.send(notice.state);
        Box::pin(async move {
            sent.map_err(|error| error.to_string())?;
            if fails { Err("not now".to_owned()) } else { Ok(()) }
        })
    });
    (told, receiver)
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Said = mpsc::UnboundedReceiver<NotifyState>;

async fn next(said: &mut Said) -> NotifyState {
    let alarm = Alarm::new().expect("a timer");
    let late = BootClock::new().now() + Duration::from_secs(20);
    tokio::select! {
        state = said.recv() => state.expect("the notifier runs"),
        late = alarm.until(Some(late)) => panic!("nothing was told: {late:?}"),
    }
}

#[tokio::test]
async fn the_state_at_the_start_is_told_and_each_change_until_the_end() {
    let (router, state) = watch::channel(StateName::Initialize);
    let (notify, mut said) = told(0);
    let task = Notifier::instance("V", state, notify).spawn();
    for (state, expected) in [
        (StateName::Backup, NotifyState::Backup),
        (StateName::Active, NotifyState::Master),
        (StateName::Fault, NotifyState::Fault),
        (StateName::Active, NotifyState::Master),
    ] {
        router.send_replace(state);
        assert_eq!(next(&mut said).await, expected);
    }
    // A router that leaves serves on, so there is nothing to tell until it has stopped.
    router.send_replace(StateName::Leaving);
    tokio::task::yield_now().await;
    router.send_replace(StateName::Initialize);
    assert_eq!(next(&mut said).await, NotifyState::Stop);
    drop(router);
    assert_eq!(said.recv().await, None, "it ends by itself");
    drop(task);
}

#[tokio::test]
async fn a_router_that_never_ran_has_not_stopped() {
    let (router, state) = watch::channel(StateName::Initialize);
    let (notify, mut said) = told(0);
    drop(router);
    Notifier::instance("V", state, notify).run().await;
    assert_eq!(said.recv().await, None);
}

#[tokio::test]
async fn while_something_is_told_only_the_latest_state_is_kept() {
    let (router, state) = watch::channel(StateName::Backup);
    let (gate, entered) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(Mutex::new(vec![])));
    let (sender, mut began) = mpsc::unbounded_channel();
    let notify = notify_fn({
        let (gate, entered) = (Arc::clone(&gate), Arc::clone(&entered));
        move |notice: Notice| {
            entered.lock().expect("no panic").push(notice.state);
            let (gate, sent) = (Arc::clone(&gate), sender.send(()));
            async move {
                sent.map_err(|error| error.to_string())?;
                gate.acquire().await.map_err(|error| error.to_string())?.forget();
                Ok(())
            }
        }
    });
    let task = Notifier::instance("V", state, notify).spawn();
    began.recv().await.expect("it is told");
    for state in [StateName::Active, StateName::Fault, StateName::Backup, StateName::Active] {
        router.send_replace(state);
        tokio::task::yield_now().await;
    }
    gate.add_permits(2);
    began.recv().await.expect("it is told");
    assert_eq!(*entered.lock().expect("no panic"), [NotifyState::Backup, NotifyState::Master]);
    drop(task);
}

#[tokio::test]
async fn what_failed_is_told_again_until_it_is_given_up() {
    let (router, state) = watch::channel(StateName::Active);
    let (notify, mut said) = told(2);
    let task = Notifier::instance("V", state, notify).retry(3, Duration::from_millis(1)).spawn();
    for _ in 0..3 {
        assert_eq!(next(&mut said).await, NotifyState::Master);
    }
    router.send_replace(StateName::Backup);
    assert_eq!(next(&mut said).await, NotifyState::Backup, "three times were enough");
    drop(task);

    let (router, state) = watch::channel(StateName::Active);
    let (notify, mut said) = told(2);
    let task = Notifier::instance("V", state, notify).retry(2, Duration::from_millis(1)).spawn();
    for _ in 0..2 {
        assert_eq!(next(&mut said).await, NotifyState::Master);
    }
    router.send_replace(StateName::Backup);
    assert_eq!(next(&mut said).await, NotifyState::Backup, "given up after two");
    drop(task);
}

#[tokio::test]
async fn a_state_that_comes_back_after_a_failure_is_told_again() {
    let (router, state) = watch::channel(StateName::Backup);
    let (sender, mut said) = mpsc::unbounded_channel();
    let notify = notify_fn(move |notice: Notice| {
        let sent = sender.send(notice.state);
        async move {
            sent.map_err(|error| error.to_string())?;
            if notice.state == NotifyState::Master { Err("half done".to_owned()) } else { Ok(()) }
        }
    });
    let task = Notifier::instance("V", state, notify).retry(9, Duration::from_hours(1)).spawn();
    assert_eq!(next(&mut said).await, NotifyState::Backup);
    router.send_replace(StateName::Active);
    assert_eq!(next(&mut said).await, NotifyState::Master);
    router.send_replace(StateName::Backup);
    assert_eq!(next(&mut said).await, NotifyState::Backup, "without the pause of an hour");
    drop(task);
}

#[tokio::test]
async fn a_group_is_in_fault_with_one_member_and_master_with_all() {
    let (one, first) = watch::channel(StateName::Backup);
    let (two, second) = watch::channel(StateName::Backup);
    let (notify, mut said) = told(0);
    let task = Notifier::group("G", [first, second], notify).spawn();
    assert_eq!(next(&mut said).await, NotifyState::Backup);
    one.send_replace(StateName::Active);
    tokio::task::yield_now().await;
    two.send_replace(StateName::Active);
    assert_eq!(next(&mut said).await, NotifyState::Master);
    one.send_replace(StateName::Fault);
    assert_eq!(next(&mut said).await, NotifyState::Fault);
    drop((task, one, two));
}

fn script(text: &str) -> Script {
    Script::new("sh").args(["-c", text, "sh"])
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ha-vip-notify-{}-{name}", std::process::id()))
}

#[tokio::test]
async fn commands_get_keepaliveds_arguments_and_the_one_for_the_state_comes_first() {
    let path = file("order");
    let log = format!("echo \"$@\" >> {}", path.display());
    let mut scripts = Scripts::new().on(NotifyState::Master, script(&format!("set own; {log}")));
    scripts = scripts.always(script(&log));
    let (router, state) = watch::channel(StateName::Active);
    drop(router);
    Notifier::instance("VI 1", state, scripts).priority(150).run().await;
    let said = std::fs::read_to_string(&path).expect("they ran");
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(said, "own\nINSTANCE VI 1 MASTER 150\nINSTANCE VI 1 STOP 150\n");
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_and_what_ran_before_it_is_not_run_again() {
    let path = file("again");
    let once = script(&format!("echo x >> {}", path.display()));
    let hangs = script("sleep 1000").timeout(Duration::from_millis(50));
    let mut scripts = Scripts::new().on(NotifyState::Backup, once).always(hangs);
    let notice = Notice {
        subject: Subject::Group,
        name: "G".into(),
        state: NotifyState::Backup,
        priority: 0,
    };
    for _ in 0..2 {
        let error = scripts.notify(&notice).await.expect_err("it hangs");
        assert!(matches!(error, NotifyError::NoAnswer { .. }), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("it ran"), "x\n");
    std::fs::remove_file(&path).expect("removed");

    let mut fails = Scripts::new().always(script("echo no such address >&2; exit 3"));
    let error = fails.notify(&notice).await.expect_err("it fails");
    let source = std::error::Error::source(&error).expect("why").to_string();
    assert!(source.contains("no such address") && source.contains('3'), "{source}");
}
