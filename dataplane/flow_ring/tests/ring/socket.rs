//! The hand-over: who gets the ring, who does not, and what is at the path.
#![expect(clippy::unwrap_used, reason = "this is test code, outside of a test function")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use flow_ring::{Accepted, AllowedUids, Consumer, HandOverError, HandedRing, Listener, Producer, connect};

use crate::fixture::{Directory, RECORD_VERSION, Record, config};
use crate::processes::Child;

const TIMEOUT: Duration = Duration::from_secs(20);
/// "nobody", who runs nothing here.
const STRANGER_UID: u32 = 65534;

fn producer() -> Producer<Record> {
    Producer::create(&config(64)).unwrap()
}

/// Connects from another thread, as the answer comes only when the listener is polled.
fn connect_while_polling(
    path: &Path,
    listener: &Listener,
    producer: &mut Producer<Record>,
) -> (Accepted, Result<HandedRing, HandOverError>) {
    let path = path.to_owned();
    let there = std::thread::spawn(move || connect(&path, &AllowedUids::own_and(&[]), TIMEOUT));
    let accepted = poll_until_somebody(listener, producer);
    (accepted, there.join().unwrap())
}

fn poll_until_somebody(listener: &Listener, producer: &mut Producer<Record>) -> Accepted {
    loop {
        match listener.poll(producer).unwrap() {
            Accepted::Nobody => std::thread::yield_now(),
            accepted => return accepted,
        }
    }
}

#[test]
fn one_consumer_gets_the_ring_and_a_second_one_hears_who_has_it() {
    let directory = Directory::new("second");
    let path = directory.socket();
    let listener = Listener::bind(&path, AllowedUids::own_and(&[])).unwrap();
    let mut producer = producer();
    assert_eq!(listener.poll(&mut producer).unwrap(), Accepted::Nobody);

    let (accepted, ring) = connect_while_polling(&path, &listener, &mut producer);
    assert_eq!(accepted, Accepted::Consumer);
    let first = Consumer::<Record>::open(ring.unwrap(), RECORD_VERSION).unwrap();
    assert_eq!(producer.consumer().unwrap().pid, std::process::id());

    let (accepted, ring) = connect_while_polling(&path, &listener, &mut producer);
    assert_eq!(accepted, Accepted::SecondConsumer { pid: std::process::id() });
    let expected = format!("refused: the ring has a living consumer, pid {}", std::process::id());
    assert_eq!(ring.unwrap_err().to_string(), expected);

    drop(first);
    let (accepted, ring) = connect_while_polling(&path, &listener, &mut producer);
    assert_eq!(accepted, Accepted::Consumer);
    assert_eq!(Consumer::<Record>::open(ring.unwrap(), RECORD_VERSION).unwrap().generation(), 2);
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_listener() {
    let directory = Directory::new("mode");
    let path = directory.socket();
    let listener = Listener::bind(&path, AllowedUids::own_and(&[])).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let directory = Directory::new("stale");
    let path = directory.socket();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _listener = Listener::bind(&path, AllowedUids::own_and(&[])).unwrap();
    let refusal = Listener::bind(&path, AllowedUids::own_and(&[])).unwrap_err();
    assert!(matches!(refusal, HandOverError::InUse { .. }), "{refusal}");
    assert!(path.exists());
}

#[test]
fn something_else_at_the_path_is_left_alone() {
    let directory = Directory::new("file");
    let path = directory.socket();
    fs::write(&path, "precious").unwrap();
    let refusal = Listener::bind(&path, AllowedUids::own_and(&[])).unwrap_err();
    assert!(matches!(refusal, HandOverError::NotASocket { .. }), "{refusal}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_producer_that_never_answers_does_not_hold_a_consumer_for_ever() {
    let directory = Directory::new("silent");
    let path = directory.socket();
    let _silent = UnixListener::bind(&path).unwrap();
    let refusal = connect(&path, &AllowedUids::own_and(&[]), Duration::from_millis(10)).unwrap_err();
    assert!(refusal.to_string().starts_with("cannot receive the ring"), "{refusal}");
}

#[test]
fn a_stranger_is_sent_away_and_a_configured_user_is_served() {
    // SAFETY: the call takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: another user's process can be started by root only");
        return;
    }
    let directory = Directory::new("stranger");
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for (configured, accepted, outcome) in [
        (&[][..], Accepted::Stranger { uid: STRANGER_UID }, "refused: the producer does not serve uid 65534"),
        (&[STRANGER_UID][..], Accepted::Consumer, "served"),
    ] {
        let path = directory.socket();
        let listener = Listener::bind(&path, AllowedUids::own_and(configured)).unwrap();
        let owner = fs::metadata(&path).unwrap().uid();
        assert_eq!(owner, configured.first().copied().unwrap_or(0));
        // The stranger gets past the file's mode here, so that the check behind it is what is tested.
        fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        let Some(mut child) = Child::start_as(STRANGER_UID, "socket::child_that_connects", &[&path]) else {
            println!("skipped: uid {STRANGER_UID} cannot run this program here");
            return;
        };
        assert_eq!(poll_until_somebody(&listener, &mut producer()), accepted);
        assert_eq!(child.next_line_after("outcome: "), outcome);
        assert!(child.wait().success());
    }
}

#[test]
fn a_producer_of_a_stranger_is_not_believed() {
    // SAFETY: the call takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: another user's process can be started by root only");
        return;
    }
    let directory = Directory::new("impostor");
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let path = directory.socket();
    let Some(mut child) = Child::start_as(STRANGER_UID, "processes::child_producer", &[&path, &"1"]) else {
        println!("skipped: uid {STRANGER_UID} cannot run this program here");
        return;
    };
    child.next_line_after("listening");
    let refusal = connect(&path, &AllowedUids::own_and(&[]), TIMEOUT).unwrap_err();
    assert_eq!(refusal.to_string(), "peer runs as uid 65534, which is not allowed");
    let ring = connect(&path, &AllowedUids::own_and(&[STRANGER_UID]), TIMEOUT);
    // The producer itself serves its own user only, and root is another one.
    assert_eq!(ring.unwrap_err().to_string(), "refused: the producer does not serve uid 0");
}

#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn child_that_connects() {
    let Some(arguments) = Child::arguments() else { return };
    match connect(Path::new(&arguments[0]), &AllowedUids::own_and(&[0]), TIMEOUT) {
        Ok(ring) => {
            Consumer::<Record>::open(ring, RECORD_VERSION).unwrap();
            println!("outcome: served");
        }
        Err(refusal) => println!("outcome: {refusal}"),
    }
}
