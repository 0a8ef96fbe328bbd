//! A storm: programs are killed, devices come and go, configurations and policies change at random, under load. Whatever
//! happens, no endpoint receives what no policy in force could allow, nothing reaches the host, no frame of packet memory
//! goes astray, and no program grows.
//!
//! `MESHGATE_STORM_SECONDS` sets how long it lasts (20 unless set; an hour is 3600), `MESHGATE_STORM_SEED` its course.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]
#![expect(clippy::print_stdout, reason = "what happened is worth a line")]

mod ground;
mod storm;

use ground::listener::HostListener;
use ground::program::{Program, binary};
use ground::{DB, Endpoint, Ground, WEB, allow_tcp, relationship, rest, wait_until};
use meshgate_policy::generate::Rng;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use storm::attempts::{Attempts, BULK, CHANGING, SMALL, Stop};
use storm::capture::{Capture, Found};
use storm::event::Event;
use storm::ledger::Ledger;
use storm::lives::Lives;

/// A machine that takes part beside the two of every ground.
const DEV: Endpoint = Endpoint { name: "dev-1", number: 31, group: "Dev" };
/// All of them; the last one is left out of configurations now and then.
const ENDPOINTS: [Endpoint; 3] = [WEB, DB, DEV];
/// How long it lasts unless the environment says otherwise.
const SECONDS: u64 = 20;
/// Names of the programs.
const PROGRAMS: [&str; 3] = ["dataplane", "control", "learner"];
/// Longest pause between two events.
const PAUSE_MS_MAX: u64 = 600;
/// Bytes of the page that is fetched.
const PAGE_BYTES: usize = 200_000;

/// A host in the storm.
struct Storm<'a> {
    ground: &'a Ground,
    random: Rng,
    began: Instant,
    ledger: Ledger,
    lives: Lives,
    happened: BTreeMap<Event, u32>,
    /// What was dropped and killed is made anew; none only meanwhile.
    dataplane: Option<Program>,
    control: Option<Program>,
    learner: Option<Program>,
    wrong: Vec<String>,
}

impl Storm<'_> {
    fn dataplane(&self) -> &Program {
        self.dataplane.as_ref().expect("it runs between events")
    }

    /// Returns what is set of the dataplane.
    fn keys(&self) -> String {
        format!("workers = 2\nflow_ring = {{ socket = \"{}/flows.sock\" }}", self.ground.dir.display())
    }

    /// Returns a policy in which some ports are open, and always those of transfers.
    fn rules(&mut self) -> String {
        let always = [("Web", SMALL), ("Dev", SMALL), ("Web", BULK)];
        let mut rules = always.map(|(source, port)| allow_tcp(source, "Db", port)).concat();
        for (source, destination) in
            [("Web", "Db"), ("Db", "Web"), ("Web", "Dev"), ("Dev", "Db"), ("Dev", "Web")]
        {
            for port in CHANGING {
                let action = self.random.one_of(["allow", "allow", "deny", "reject"]);
                let protocol = self.random.one_of(["TCP", "UDP"]);
                let l4 = format!("protocol = \"{protocol}\"\nport_range = \"{port}\"");
                rules += &relationship(source, destination, &l4, action);
            }
        }
        rules
    }

    /// Has the ledger know a new policy and returns where it is written.
    fn begin_policy(&mut self) -> String {
        let rules = self.rules();
        let policy = self.ground.policy(&rules);
        self.ledger.begin(&policy);
        self.ground.write("policy.toml", &policy).display().to_string()
    }

    fn new_policy(&mut self) {
        let file = self.begin_policy();
        self.ground.ask(&["apply", "-f", &file, "--wait", "--timeout", "30s"]);
        self.ledger.confirm();
    }

    /// Waits until the host enforces what control has, and what is always allowed works from everywhere.
    fn expect_order(&mut self) {
        let ground = self.ground;
        wait_until("the host is in step", || {
            let status = ground.ask(&["status"]);
            let host = &status["hosts"][0];
            host["connected"] == true && host["version"] == status["version"]
        });
        self.ledger.confirm();
        for from in [WEB, DEV] {
            let what = format!("{} reaches the server", from.name);
            wait_until(&what, || ground.can_connect(from.name, &DB.v4(), SMALL));
        }
    }

    fn start_dataplane(&mut self) {
        self.dataplane = Some(self.ground.start_dataplane(&self.keys()));
    }

    fn kill_dataplane(&mut self) {
        self.look();
        self.dataplane.take().expect("it runs").kill();
    }

    fn stop_dataplane(&mut self) {
        self.look();
        let (status, log) = self.dataplane.take().expect("it runs").terminate();
        assert!(status.success(), "{log}");
        let account = log.lines().find(|line| line.contains("workers stopped total="));
        if !account.is_some_and(|line| line.contains("missing=0")) {
            self.wrong.push(format!("packet memory: {account:?}\n{log}"));
        }
    }

    fn kill_control(&mut self) {
        self.look();
        self.control.take().expect("it runs").kill();
    }

    fn start_control(&mut self) {
        self.control = Some(self.ground.start_control());
    }

    /// Starts a learner, if one lies beside the other programs, which are always there.
    fn start_learner(&mut self) {
        let program = binary("meshgate-dataplane").with_file_name("meshgate-learner");
        if !program.exists() {
            return;
        }
        let dir = self.ground.dir.display();
        let config = format!(
            "collector = \"l\"\ncontrol = \"unix:{dir}/control.sock\"\nflow_ring = \"{dir}/flows.sock\"\n\
             checkpoint = \"{dir}/learner.checkpoint\"\ncheckpoint_every_s = 1\nwindow_s = 1\nreplay_chunks = 64\n"
        );
        let config = self.ground.write("learner.toml", &config);
        let line = format!("{} --config {}", program.display(), config.display());
        self.learner = Some(self.ground.start("host", "learner", &line));
    }

    /// Makes devices that came later ready, as whoever starts machines does.
    fn prepare(&self) {
        let (program, config) = (binary("meshgate-dataplane"), self.ground.dir.join("dataplane.toml"));
        self.ground
            .on("host", &format!("{} --config {} --prepare-devices", program.display(), config.display()));
    }

    fn plug_in(&self, endpoint: Endpoint) {
        self.ground.plug_in(endpoint, 1);
        self.prepare();
        if endpoint.name == WEB.name {
            HostListener::lead_there(self.ground, WEB);
        }
    }

    /// Has a device go and return, and waits until the dataplane has taken it again.
    fn flap(&mut self, endpoint: Endpoint, is_hasty: bool) {
        let said = |log: &str, what: &str| {
            log.lines().filter(|line| line.contains(what) && line.contains(endpoint.name)).count()
        };
        let before = self.dataplane().log();
        let (vanished, taken) = (said(&before, "device vanished"), said(&before, "device taken"));
        self.ground.unplug(endpoint);
        if !is_hasty {
            self.dataplane().await_log("it is missed", |log| said(log, "device vanished") > vanished);
        }
        self.plug_in(endpoint);
        self.dataplane().await_log("it is taken again", |log| said(log, "device taken") > taken);
    }

    /// Writes a configuration and has it read; returns when the dataplane says the words.
    fn read_again(&self, config: &str, words: &str) {
        let before = self.dataplane().log().matches(words).count();
        self.ground.write("dataplane.toml", config);
        self.dataplane().hang_up();
        self.dataplane().await_log(words, |log| log.matches(words).count() > before);
    }

    /// Returns the configuration without the last device.
    fn shorter_config(&self) -> String {
        let config = self.ground.config(&self.keys());
        config[..config.rfind("[[device]]").expect("there are devices")].to_owned()
    }

    fn reload(&self) {
        self.read_again(&self.shorter_config(), "configuration read again");
        self.read_again(&self.ground.config(&self.keys()), "configuration read again");
    }

    fn happen(&mut self, event: Event) {
        *self.happened.entry(event).or_default() += 1;
        let endpoint = self.random.one_of(ENDPOINTS);
        println!("{} ms: {event:?}, {}", self.began.elapsed().as_millis(), endpoint.name);
        match event {
            Event::NewPolicy => self.new_policy(),
            Event::Flap => self.flap(endpoint, false),
            Event::HastyFlap => self.flap(endpoint, true),
            Event::Reload => self.reload(),
            Event::WrongReload => {
                self.read_again(&self.ground.config("surprise = 1"), "configuration not taken");
                self.ground.write("dataplane.toml", &self.ground.config(&self.keys()));
            }
            Event::KillDataplane => {
                self.kill_dataplane();
                self.start_dataplane();
            }
            Event::StopDataplane => {
                self.stop_dataplane();
                self.start_dataplane();
            }
            Event::KillControl => {
                self.kill_control();
                self.start_control();
            }
            Event::KillLearner => {
                self.look();
                if let Some(learner) = self.learner.take() {
                    learner.kill();
                    self.start_learner();
                }
            }
            Event::KillInNewPolicy => self.kill_in_new_policy(),
            Event::KillInFlap => {
                self.ground.unplug(endpoint);
                self.kill_dataplane();
                self.plug_in(endpoint);
                self.start_dataplane();
            }
            Event::KillInReload => {
                self.ground.write("dataplane.toml", &self.shorter_config());
                self.dataplane().hang_up();
                self.kill_dataplane();
                self.start_dataplane();
            }
        }
        self.expect_order();
    }

    fn kill_in_new_policy(&mut self) {
        let file = self.begin_policy();
        let server = format!("unix:{}/control.sock", self.ground.dir.display());
        let mut apply = std::process::Command::new(binary("meshgate"))
            .env("MESHGATE_SERVER", server)
            .args(["apply", "-f", &file])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        rest(Duration::from_millis(self.random.below(120)));
        if self.random.chance(50) {
            self.kill_dataplane();
            self.start_dataplane();
        } else {
            self.kill_control();
            self.start_control();
        }
        // It may have been cut off.
        let _ = apply.wait();
        self.new_policy();
    }

    /// Looks at what the programs take.
    fn look(&mut self) {
        let programs =
            [("dataplane", &self.dataplane), ("control", &self.control), ("learner", &self.learner)];
        for (name, program) in programs {
            if let Some(program) = program {
                self.lives.look(name, program);
            }
        }
    }

    /// Lets events happen until the time is over.
    fn rage(&mut self, seconds: u64) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            let event = Event::draw(&mut self.random);
            self.happen(event);
            rest(Duration::from_millis(self.random.below(PAUSE_MS_MAX)));
            self.look();
        }
        self.stop_dataplane();
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_happens_no_verdict_is_wrong_and_nothing_grows() {
    let tools = ["tcpdump", "curl", "busybox", "iperf3"];
    let Some(mut ground) = Ground::with_endpoints("storm", &tools) else { return };
    ground.add_endpoint(DEV);
    let ground = ground;
    std::fs::write(ground.dir.join("page"), vec![b'.'; PAGE_BYTES]).unwrap();
    let listener = HostListener::new(&ground);
    listener.expect_heard_locally(&ground);
    let (seconds, seed) = (setting("MESHGATE_STORM_SECONDS", SECONDS), setting("MESHGATE_STORM_SEED", 1));
    println!("storm of {seconds} s, seed {seed}");
    let mut storm = Storm {
        ground: &ground,
        random: Rng::new(seed),
        began: Instant::now(),
        ledger: Ledger::default(),
        lives: Lives::default(),
        happened: BTreeMap::new(),
        dataplane: None,
        control: None,
        learner: None,
        wrong: Vec::new(),
    };
    let captures = ENDPOINTS.map(|endpoint| Capture::start(&ground, endpoint, BULK));
    HostListener::lead_there(&ground, WEB);
    storm.start_control();
    storm.start_dataplane();
    storm.start_learner();
    storm.new_policy();
    let attempts = Attempts::default();
    std::thread::scope(|scope| {
        let _stop = Stop(&attempts);
        let (attempts, ground) = (&attempts, &ground);
        for (endpoint, number) in ENDPOINTS.into_iter().zip(1..) {
            scope.spawn(move || attempts.serve(ground, endpoint));
            scope.spawn(move || attempts.probe(ground, endpoint, &ENDPOINTS, seed ^ (number << 32)));
        }
        scope.spawn(move || attempts.fetch(ground));
        scope.spawn(move || attempts.carry(ground));
        storm.rage(seconds);
    });
    let mut found = Found::default();
    captures.into_iter().for_each(|capture| capture.judge(&storm.ledger, &mut found));
    report(&storm, &attempts, &found);
    let (growing, _) = storm.lives.growing();
    assert!(found.wrong.is_empty(), "wrong verdicts: {}\n{}", found.wrong.len(), found.wrong.join("\n"));
    assert_eq!(attempts.forbidden.load(Ordering::Relaxed), 0, "a forbidden port answered");
    assert!(listener.is_silent(), "something of an endpoint reached the host");
    assert!(storm.wrong.is_empty(), "{}", storm.wrong.join("\n"));
    assert!(growing.is_empty(), "{}", growing.join("\n"));
    assert_eq!(storm.lives.still_growing("learner"), None, "KiB more than learners took before");
    assert!(found.first > 0 && attempts.fetched.load(Ordering::Relaxed) > 0);
}

/// Says what happened.
fn report(storm: &Storm<'_>, attempts: &Attempts, found: &Found) {
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    println!("{:?}; {} policies", storm.happened, storm.ledger.len());
    println!(
        "{} packets held against policies, {} of them first; {} tries, {} opened; {} pages, {} bulk transfers",
        found.judged,
        found.first,
        of(&attempts.tried),
        of(&attempts.opened),
        of(&attempts.fetched),
        of(&attempts.carried),
    );
    for name in PROGRAMS {
        let (memory_kib, descriptors) = storm.lives.worst(name);
        println!("{name}: at most {memory_kib} KiB and {descriptors} descriptors more than when warm");
    }
    println!("{} processes compared", storm.lives.growing().1);
}
