//! The two halves in two processes, one of which is stopped or killed in the middle, again and again.
#![expect(clippy::unwrap_used, reason = "this is test code, outside of a test function")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use flow_ring::{
    Accepted, AllowedUids, Consumer, Counters, Listener, PUBLISH_EVERY_OFFERS, Producer, RingConfig, Wake,
    connect,
};

use crate::fixture::{Chance, Directory, RECORD_VERSION, Record, config, record};

const TIMEOUT: Duration = Duration::from_secs(20);
/// Small, so that the ring is full, empty and wrapping around all the time.
const SLOTS: u64 = 1024;
/// Set in a child; its arguments, separated by newlines.
const ARGUMENTS: &str = "FLOW_RING_CHILD";
/// Kills of each kind, unless this variable says another number.
const KILLS: &str = "FLOW_RING_KILLS";

/// One test of this program in a process of its own; killed when dropped.
pub struct Child {
    process: std::process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    /// Starts the ignored test called `name`.
    fn start(name: &str, arguments: &[&dyn AsRef<OsStr>]) -> Self {
        Self::spawn(&mut Self::command(name, arguments)).unwrap()
    }

    /// Starts it as another user; returns nothing if that user cannot reach this program.
    pub fn start_as(uid: u32, name: &str, arguments: &[&dyn AsRef<OsStr>]) -> Option<Self> {
        match Self::spawn(Self::command(name, arguments).uid(uid)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            child => Some(child.unwrap()),
        }
    }

    fn command(name: &str, arguments: &[&dyn AsRef<OsStr>]) -> Command {
        let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(ARGUMENTS, arguments.join(OsStr::new("\n"))).stdout(Stdio::piped());
        command.current_dir("/");
        command
    }

    fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut process = command.spawn()?;
        let lines = BufReader::new(process.stdout.take().unwrap());
        Ok(Self { process, lines })
    }

    /// Returns, in the child, the arguments it was started with.
    pub fn arguments() -> Option<Vec<String>> {
        Some(std::env::var(ARGUMENTS).ok()?.lines().map(str::to_owned).collect())
    }

    /// Returns the rest of the child's next line that holds `mark`; what the test harness prints is skipped.
    pub fn next_line_after(&mut self, mark: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the child ended without {mark:?}");
            if let Some((_, rest)) = line.trim_end().split_once(mark) {
                return rest.to_owned();
            }
        }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a child that was not waited for, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(libc::pid_t::try_from(self.process.id()).unwrap(), signal) }, 0);
    }

    /// Returns how the child ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// Kills the child as hard as possible, and returns when nothing of it is left.
    fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        let status = self.wait();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "it had ended before: {status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn kills() -> u64 {
    std::env::var(KILLS).map_or(30, |kills| kills.parse().unwrap())
}

/// A producer in this process that keeps books of its own by counting what `offer` answers.
struct Books {
    producer: Producer<Record>,
    listener: Listener,
    accepted: u64,
    refused: u64,
    sampled_out: u64,
}

impl Books {
    fn new(directory: &Directory) -> Self {
        let producer = Producer::create(&config(SLOTS)).unwrap();
        let listener = Listener::bind(&directory.socket(), AllowedUids::own_and(&[])).unwrap();
        Self { producer, listener, accepted: 0, refused: 0, sampled_out: 0 }
    }

    /// Offers some records, each numbered by its position, and compares the books.
    fn turn(&mut self, chance: &mut Chance) -> Counters {
        for _ in 0..chance.below(300) {
            if self.producer.offer(&record(self.accepted)) {
                self.accepted += 1;
            } else {
                self.refused += 1;
            }
        }
        let sampled_out = chance.below(5);
        self.producer.count_sampled_out(sampled_out);
        self.sampled_out += sampled_out;
        self.producer.publish();
        let counters = self.producer.counters();
        assert!(counters.balance(), "{counters:?}");
        assert_eq!(counters.produced, self.accepted + self.refused + self.sampled_out);
        assert_eq!(counters.delivered + counters.waiting, self.accepted);
        assert_eq!((counters.lost, counters.sampled_out), (self.refused, self.sampled_out));
        counters
    }

    /// Turns until a consumer has the ring.
    fn turn_until_taken(&mut self, chance: &mut Chance) {
        while self.listener.poll(&mut self.producer).unwrap() != Accepted::Consumer {
            self.turn(chance);
        }
    }
}

/// Returns the ranges of positions that a child reported to have taken.
fn reports(path: &Path) -> Vec<(u64, u64)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let number = |word: Option<&str>| word.unwrap().parse::<u64>().unwrap();
    let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    complete
        .map(|line| line.trim_end().split(' '))
        .map(|mut words| (number(words.next()), number(words.next())))
        .collect()
}

#[test]
fn every_record_reaches_some_consumer_however_many_are_killed() {
    let seed = 0x5eed_0005;
    println!("seed {seed:#x}");
    let mut chance = Chance::new(seed);
    let directory = Directory::new("consumers");
    let stop = directory.path().join("stop");
    let mut books = Books::new(&directory);
    let mut tail = 0;
    let mut redelivered = 0;
    for life in 0..kills() {
        let report = directory.path().join(format!("report-{life}"));
        // Every third one is killed for certain with a batch in its hands, the others wherever they are.
        let holds = life % 3 == 0;
        let manner = if holds { "hold the first batch" } else { "go on" };
        let mut child =
            Child::start("processes::child_consumer", &[&directory.socket(), &report, &stop, &manner]);
        books.turn_until_taken(&mut chance);
        let enough = if holds { tail } else { tail + chance.below(20_000) };
        for _ in 0..=chance.below(2000) {
            let counters = books.turn(&mut chance);
            if counters.delivered >= enough && counters.waiting > 0 {
                break;
            }
        }
        if holds {
            while books.turn(&mut chance).waiting == 0 {}
            child.next_line_after("holding");
        }
        child.kill();
        assert!(!books.producer.consumer_alive());
        let delivered = books.turn(&mut chance).delivered;

        // What the child said before it died, against where the ring says it was.
        let taken = reports(&report);
        let mut expected = tail;
        for &(first, count) in &taken {
            assert_eq!(first, expected, "seed {seed:#x}, life {life}");
            expected += count;
        }
        let last_count = taken.last().map_or(0, |&(_, count)| count);
        assert!(
            delivered == expected || delivered == expected - last_count,
            "seed {seed:#x}, life {life}: delivered {delivered}, reported up to {expected}, last {last_count}"
        );
        assert!(!holds || (last_count > 0 && delivered == tail), "seed {seed:#x}, life {life}");
        redelivered += expected - delivered;
        tail = delivered;
    }

    let report = directory.path().join("report-last");
    let mut child =
        Child::start("processes::child_consumer", &[&directory.socket(), &report, &stop, &"go on"]);
    books.turn_until_taken(&mut chance);
    File::create_new(&stop).unwrap();
    assert!(child.wait().success());
    assert_eq!(reports(&report).first().map(|&(first, _)| first), Some(tail));
    let counters = books.producer.counters();
    assert_eq!((counters.waiting, counters.delivered), (0, books.accepted));
    println!("{counters:?}, {redelivered} records given again, {} lives", kills() + 1);
}

#[test]
fn the_books_are_exact_while_the_consumer_is_stopped() {
    let mut chance = Chance::new(0x5eed_0006);
    let directory = Directory::new("stopped");
    let (report, stop) = (directory.path().join("report"), directory.path().join("stop"));
    let mut books = Books::new(&directory);
    let mut child =
        Child::start("processes::child_consumer", &[&directory.socket(), &report, &stop, &"go on"]);
    // Stopped before it could get the ring, so that it is stopped for certain.
    child.signal(libc::SIGSTOP);
    for _ in 0..100 {
        books.turn(&mut chance);
    }
    let counters = books.producer.counters();
    assert_eq!((counters.delivered, counters.waiting), (0, SLOTS));
    child.signal(libc::SIGCONT);
    books.turn_until_taken(&mut chance);
    while books.turn(&mut chance).delivered == 0 {}
    child.signal(libc::SIGSTOP);
    while books.turn(&mut chance).waiting < SLOTS {}
    child.signal(libc::SIGCONT);
    File::create_new(&stop).unwrap();
    assert!(child.wait().success());
    let counters = books.producer.counters();
    assert_eq!((counters.waiting, counters.delivered), (0, books.accepted));
    assert!(!books.producer.consumer_alive());
}

/// Takes and checks records; reports each batch before asking for more. Ends when the ring is
/// empty and a certain file exists. Arguments: socket, report, that file, manner.
#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn child_consumer() {
    let Some(arguments) = Child::arguments() else { return };
    let ring = connect(Path::new(&arguments[0]), &AllowedUids::own_and(&[]), TIMEOUT).unwrap();
    let mut consumer = Consumer::<Record>::open(ring, RECORD_VERSION).unwrap();
    let mut report = File::options().append(true).create_new(true).open(&arguments[1]).unwrap();
    let mut chance = Chance::new(u64::from(std::process::id()));
    let mut records = Vec::new();
    loop {
        records.clear();
        // Asked before the ring is, so that nothing can be published between the last look and the end.
        let told_to_stop = Path::new(&arguments[2]).exists();
        let records_max = usize::try_from(1 + chance.below(400)).unwrap();
        let batch = consumer.take(&mut records, records_max).unwrap();
        for (position, taken) in (batch.first_position..).zip(&records) {
            assert_eq!(*taken, record(position));
        }
        if batch.count > 0 {
            report.write_all(format!("{} {}\n", batch.first_position, batch.count).as_bytes()).unwrap();
            if arguments[3] == "hold the first batch" {
                println!("holding");
                io::stdout().flush().unwrap();
                loop {
                    std::thread::park();
                }
            }
        } else if told_to_stop {
            return;
        } else {
            consumer.wait(Some(Duration::from_millis(20))).unwrap();
        }
    }
}

/// What a consumer in this process learns of one producer.
#[derive(Default)]
struct Learned {
    records: u64,
    lost: u64,
    sampled_out: u64,
}

impl Learned {
    fn take(&mut self, consumer: &mut Consumer<Record>, records: &mut Vec<Record>) -> usize {
        records.clear();
        let batch = consumer.take(records, 300).unwrap();
        assert_eq!(batch.first_position, self.records);
        for (position, taken) in (batch.first_position..).zip(&*records) {
            assert_eq!(*taken, record(position));
        }
        self.records += batch.count as u64;
        self.lost += batch.lost_since_last;
        self.sampled_out += batch.sampled_out_since_last;
        batch.count
    }
}

#[test]
fn a_killed_producer_leaves_books_that_balance_and_records_that_can_be_read() {
    let seed = 0x5eed_0007;
    println!("seed {seed:#x}");
    let mut chance = Chance::new(seed);
    let directory = Directory::new("producers");
    let path = directory.socket();
    let mut records = Vec::new();
    let (mut read_after_death, mut lost) = (0, 0);
    for epoch in 1..=kills() {
        let mut child = Child::start("processes::child_producer", &[&path, &epoch.to_string()]);
        child.next_line_after("listening");
        let ring = connect(&path, &AllowedUids::own_and(&[]), TIMEOUT).unwrap();
        let mut consumer = Consumer::<Record>::open(ring, RECORD_VERSION).unwrap();
        assert_eq!(consumer.ring().epoch, epoch);
        let mut learned = Learned::default();
        let enough = chance.below(20_000);
        while learned.records < enough {
            if learned.take(&mut consumer, &mut records) == 0 {
                assert_ne!(consumer.wait(Some(TIMEOUT)).unwrap(), Wake::ProducerGone);
            }
        }
        child.kill();
        let before_death = learned.records;
        while learned.take(&mut consumer, &mut records) > 0 {}
        assert_eq!(consumer.wait(None).unwrap(), Wake::ProducerGone);

        let books = consumer.published();
        assert_eq!(
            (learned.records, learned.lost, learned.sampled_out),
            (books.accepted, books.lost(), books.sampled_out)
        );
        let offers = books.accepted + books.dropped;
        assert_eq!(books.produced, offers + books.sampled_out, "seed {seed:#x}, epoch {epoch}");
        // The child counts 3 sampled-out records after every tenth offer.
        let expected = offers / 10 * 3;
        assert!(books.sampled_out == expected || books.sampled_out + 3 == expected, "{books:?}");
        read_after_death += learned.records - before_death;
        lost += learned.lost;
    }
    println!("{read_after_death} records read after a producer's death, {lost} lost");
}

/// Offers records as fast as it can. Arguments: socket, epoch.
#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn child_producer() {
    let Some(arguments) = Child::arguments() else { return };
    let ring = RingConfig { epoch: arguments[1].parse().unwrap(), ..config(SLOTS) };
    let mut producer = Producer::<Record>::create(&ring).unwrap();
    let listener = Listener::bind(Path::new(&arguments[0]), AllowedUids::own_and(&[])).unwrap();
    println!("listening");
    io::stdout().flush().unwrap();
    let mut accepted = 0;
    for offer in 1_u64.. {
        accepted += u64::from(producer.offer(&record(accepted)));
        if offer.is_multiple_of(10) {
            producer.count_sampled_out(3);
        }
        if offer.is_multiple_of(u64::from(PUBLISH_EVERY_OFFERS) * 10 + 7) {
            producer.publish();
            listener.poll(&mut producer).unwrap();
        }
    }
}
