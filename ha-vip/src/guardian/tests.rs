use proptest::prelude::*;

use super::wire::{Message, read};
use super::*;

fn will(addresses: u8, message_len: usize) -> Will {
    let source = "192.0.2.1".parse().expect("an address");
    Will {
        packets: vec![WillPacket {
            interface: 2,
            source,
            destination: "224.0.0.18".parse().expect("an address"),
            message: vec![7; message_len],
        }],
        addresses: (1..=addresses)
            .map(|n| (2, format!("192.0.2.{n}/24").parse().expect("an address")))
            .collect(),
        linger: Duration::from_millis(100),
    }
}

/// All messages of a stream, which must be without errors.
fn all(mut bytes: &[u8]) -> Vec<Message> {
    std::iter::from_fn(|| read(&mut bytes).expect("our own")).collect()
}

#[test]
fn a_will_arrives_as_it_was_written_and_one_that_was_cut_off_does_not_count() {
    let (first, second) = (will(2, 8), will(255, 4_088));
    let mut bytes = encode_will(&first).expect("small");
    bytes.extend(encode_will(&second).expect("small"));
    assert_eq!(all(&bytes), [Message::Will(first.clone()), Message::Will(second)]);
    assert_eq!(all(&bytes[..bytes.len() - 1]), [Message::Will(first)]);
    assert_eq!(all(&encode_goodbye()), [Message::Goodbye]);
}

#[test]
fn what_is_too_large_or_of_another_version_is_refused() {
    encode_will(&will(1, 5_000_000)).expect_err("too large");
    for wrong in [[2, 0, 0, 0, 0, 0], [1, 2, 0, 0, 0, 0], [1, 0, 255, 0, 0, 0]] {
        read(&mut &wrong[..]).expect_err("not ours");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_messages_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut rest = &bytes[..];
        while let Ok(Some(_)) = read(&mut rest) {}
        let mut framed = vec![1, 0, 0, 0, 0, u8::try_from(bytes.len()).expect("short")];
        framed.extend(&bytes);
        let _is_no_panic = read(&mut &framed[..]);
    }
}

#[tokio::test]
async fn a_guardian_that_does_not_read_never_blocks_and_gets_the_latest_will_in_the_end() {
    // A program that waits for a line on another stream before it reads its input.
    let (gate, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let (output, result) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let mut command = Command::new("sh");
    command.args(["-c", "read line <&2; exec cat"]);
    command.stderr(OwnedFd::from(theirs)).stdout(OwnedFd::from(output));
    let guardian = Guardian::spawn(command).expect("it starts");
    for addresses in 1..=200 {
        guardian.set_will(&will(addresses, 4_000)).expect("it never blocks");
    }
    assert!(!guardian.flush().expect("it runs"), "the stream is full");
    let reader = std::thread::spawn(move || {
        io::Write::write_all(&mut &gate, b"go\n").expect("written");
        let (mut result, mut last) = (result, None);
        while let Some(Message::Will(will)) = read(&mut result).expect("our own") {
            let done = will.addresses.len() == 200;
            last = Some(will);
            if done {
                break;
            }
        }
        last
    });
    tokio::select! {
        ended = guardian.ended() => ended.expect("no error"),
        () = async {
            while !reader.is_finished() {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert_eq!(reader.join().expect("no panic"), Some(will(200, 4_000)));
    guardian.goodbye().expect("ended");
}

#[tokio::test]
async fn the_end_of_a_guardian_is_noticed() {
    let guardian = Guardian::spawn(Command::new("true")).expect("it starts");
    guardian.ended().await.expect("it ends");
    guardian.ended().await.expect("it has ended");
    guardian.goodbye().expect("that is no error");
}

#[tokio::test]
async fn the_first_will_is_written_before_anybody_waits() {
    let mut cat = Command::new("cat");
    cat.stdout(Stdio::null());
    let guardian = Guardian::spawn(cat).expect("it starts");
    guardian.set_will(&will(1, 8)).expect("it runs");
    assert_eq!(*guardian.unsent(), Unsent::default());
    guardian.goodbye().expect("ended");
}
