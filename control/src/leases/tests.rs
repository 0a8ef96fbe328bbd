//! Tests of the lease book: what hosts say, and what that makes of endpoints.

use super::*;
use meshgate_policy::{PolicyVersion, resolve};

const START: u64 = 1_700_000_000 * SECOND_NS;
const POLICY: &str = r#"
[[endpoints]]
name = "a"
mac = "02:00:00:00:00:01"
addresses = ["10.0.0.1"]
home = { host = "h1", device = "tap0" }
flags = { dhcp_client = true }

[[endpoints]]
name = "b"
mac = "02:00:00:00:00:02"
home = { host = "h2", device = "tap0" }
flags = { dhcp_client = true }

[[endpoints]]
name = "c"
mac = "02:00:00:00:00:03"
addresses = ["10.0.0.3"]
home = { host = "h1", device = "tap1" }
"#;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A book beside the policy that its changes lead to.
struct Control {
    book: LeaseBook,
    authored: AuthoredPolicy,
    numbering: Numbering,
    connected: HashSet<Name>,
    version: u64,
    now_ns: u64,
}

impl Control {
    fn new() -> Self {
        let mut authored: AuthoredPolicy = toml::from_str(POLICY).unwrap();
        let mut numbering = Numbering::default();
        numbering.assign(&mut authored).unwrap();
        let connected = HashSet::from([name("h1"), name("h2")]);
        Self { book: LeaseBook::default(), authored, numbering, connected, version: 1, now_ns: START }
    }

    /// Forgets what hosts said, as a restart does.
    fn restart(&mut self) {
        self.book = LeaseBook::default();
    }

    fn report(&mut self, host: &str, leases: &[(&str, &str, u32)]) {
        let of = |(endpoint, address, seconds_left): &(&str, &str, u32)| Lease {
            endpoint: self.numbering.endpoint(&name(endpoint)).unwrap().0,
            address: ip(address),
            seconds_left: *seconds_left,
        };
        let leases: Vec<Lease> = leases.iter().map(of).collect();
        let policy = resolve(&self.authored, &self.numbering, PolicyVersion(self.version)).unwrap();
        self.book.note(&policy, &name(host), &leases, self.now_ns);
    }

    /// Settles and commits; returns how many endpoints changed.
    fn settle(&mut self) -> usize {
        let version = PolicyVersion(self.version);
        let settling = Settling {
            authored: &self.authored,
            numbering: &self.numbering,
            version,
            connected: &self.connected,
        };
        if !self.book.is_due(&settling, self.now_ns) {
            return 0;
        }
        let changes = self.book.settle(&settling, self.now_ns);
        for change in &changes {
            let Change::SetLeased(name, leased) = change else { panic!("{change:?}") };
            let endpoint =
                self.authored.endpoints.iter_mut().find(|endpoint| endpoint.name == *name).unwrap();
            endpoint.leased.clone_from(leased);
        }
        self.version += u64::from(!changes.is_empty());
        resolve(&self.authored, &self.numbering, version).unwrap();
        changes.len()
    }

    fn leased(&self, endpoint: &str) -> Vec<String> {
        let endpoint = self.authored.endpoints.iter().find(|e| e.name.as_str() == endpoint).unwrap();
        endpoint.leased.iter().map(ToString::to_string).collect()
    }

    fn wait(&mut self, seconds: u64) {
        self.now_ns += seconds * SECOND_NS;
    }
}

#[test]
fn a_lease_becomes_an_address_and_its_renewal_changes_nothing() {
    let mut control = Control::new();
    control.report("h1", &[("a", "10.0.0.50", 60), ("a", "fd00::50", 60)]);
    assert_eq!(control.settle(), 1);
    assert_eq!(control.leased("a"), ["10.0.0.50", "fd00::50"]);
    assert_eq!(control.settle(), 0);
    control.wait(30);
    control.report("h1", &[("a", "10.0.0.50", 60), ("a", "fd00::50", 60)]);
    assert!(control.settle() == 0 && control.version == 2, "no version for a renewal");
    control.wait(59);
    assert_eq!(control.settle(), 0, "it was renewed");
}

#[test]
fn a_lease_ends_when_its_host_says_so_or_its_time_is_over() {
    let mut control = Control::new();
    control.report("h1", &[("a", "10.0.0.50", 60), ("a", "10.0.0.51", 90)]);
    control.settle();
    control.report("h1", &[("a", "10.0.0.50", 0), ("a", "10.0.0.51", 90)]);
    assert_eq!(control.settle(), 1);
    assert_eq!(control.leased("a"), ["10.0.0.51"]);
    control.report("h1", &[("a", "10.0.0.50", 0)]);
    assert_eq!(control.settle(), 0);
    control.wait(90);
    assert_eq!(control.settle(), 1);
    assert_eq!(control.leased("a"), Vec::<String>::new());
}

#[test]
fn a_host_speaks_for_its_own_clients_only() {
    let mut control = Control::new();
    control.report("h2", &[("a", "10.0.0.50", 60)]);
    control.report("h1", &[("c", "10.0.0.51", 60), ("b", "10.0.0.52", 60)]);
    control.report("h3", &[("b", "10.0.0.53", 60)]);
    assert_eq!(control.settle(), 0);
}

#[test]
fn a_written_address_stays_with_whom_it_was_written_for() {
    let mut control = Control::new();
    control.report("h2", &[("b", "10.0.0.3", 60), ("b", "10.0.0.50", 60)]);
    assert_eq!(control.settle(), 1);
    assert_eq!(control.leased("b"), ["10.0.0.50"]);
    control.report("h1", &[("a", "10.0.0.1", 60)]);
    assert_eq!(control.settle(), 0, "it has it already");
}

#[test]
fn of_two_leases_of_one_address_the_newer_counts() {
    let mut control = Control::new();
    control.report("h1", &[("a", "10.0.0.50", 600)]);
    control.settle();
    control.wait(1);
    control.report("h2", &[("b", "10.0.0.50", 600)]);
    assert_eq!(control.settle(), 2);
    assert_eq!((control.leased("a"), control.leased("b")), (vec![], vec!["10.0.0.50".to_owned()]));
    control.wait(1);
    control.report("h1", &[("a", "10.0.0.50", 598)]);
    assert_eq!(control.settle(), 0, "what was heard before is no newer lease");
}

#[test]
fn a_restart_of_control_or_of_a_host_ends_no_lease() {
    let mut control = Control::new();
    control.report("h1", &[("a", "10.0.0.50", 600)]);
    control.settle();
    control.restart();
    assert_eq!(control.settle(), 0, "nobody has reported yet");
    control.report("h1", &[]);
    assert_eq!(control.settle(), 0, "the host was restarted too");
    control.wait(UNKNOWN_KEPT_NS / SECOND_NS);
    assert_eq!(control.settle(), 1, "nobody heard of it for a day");
    assert_eq!(control.leased("a"), Vec::<String>::new());
    control.report("h1", &[("a", "10.0.0.50", 600)]);
    control.settle();
    control.restart();
    control.report("h1", &[("a", "10.0.0.50", 300)]);
    control.wait(300);
    assert_eq!(control.settle(), 1, "the host knew how long it lasts");
}

#[test]
fn what_an_endpoint_leased_before_a_restart_ends_when_it_is_given_up() {
    let mut control = Control::new();
    control.report("h1", &[("a", "10.0.0.50", 600)]);
    control.settle();
    control.restart();
    control.report("h1", &[("a", "10.0.0.50", 0)]);
    assert_eq!(control.settle(), 1);
    assert_eq!(control.leased("a"), Vec::<String>::new());
}

#[test]
fn a_host_that_is_away_loses_no_lease_until_it_is_back() {
    let mut control = Control::new();
    control.report("h1", &[("a", "10.0.0.50", 60)]);
    control.settle();
    control.connected.remove(&name("h1"));
    control.wait(600);
    assert_eq!(control.settle(), 0);
    control.connected.insert(name("h1"));
    control.report("h1", &[("a", "10.0.0.50", 0)]);
    assert_eq!(control.settle(), 1);
}

#[test]
fn leases_of_one_endpoint_are_bounded_and_bad_addresses_are_left_out() {
    let mut control = Control::new();
    let many: Vec<String> = (0..100).map(|n| format!("fd00::1:{n}")).collect();
    let lines: Vec<(&str, &str, u32)> = many.iter().map(|address| ("a", address.as_str(), 60)).collect();
    control.report("h1", &lines);
    control.settle();
    assert_eq!(control.leased("a").len(), LEASES_PER_ENDPOINT_MAX);
    let bad = ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "fe80::1", "::1", "::ffff:1.2.3.4"];
    control.report("h2", &bad.map(|address| ("b", address, 60)));
    assert_eq!(control.settle(), 0);
}
