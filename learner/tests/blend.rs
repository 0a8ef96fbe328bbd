//! Whole blends: of flows that the test makes up, and of the recorded files where they are.

#![expect(clippy::unwrap_used, reason = "a test that cannot write its files is a failed test")]

use flate2::read::GzDecoder;
use meshgate_learner::blend::{BlendArguments, Blended, run};
use meshgate_learner::recorded_flow::{RecordedFlow, open};
use meshgate_policy::generate::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// 2024-05-01, a day's first second.
const START_S: u64 = 1_714_521_600;
const HEAD: &str =
    "ts,src,dst,proto,sport,dport,bytes_out,bytes_in,pkts_out,pkts_in,dur,state,service,label,label_name\n";
/// Places of columns.
const COUNTS: std::ops::Range<usize> = 6..10;
const LABEL: usize = 13;
const LABEL_NAME: usize = 14;

/// A folder of its own, which goes when the test ends well.
struct Ground(PathBuf);

impl Ground {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meshgate-blend-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, rows: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, format!("{HEAD}{rows}")).unwrap();
        path
    }

    /// Benign flows without bytes, one labelled and one unlabelled file of attacks, ten minutes to learn from.
    fn arguments(&self) -> BlendArguments {
        BlendArguments {
            benign: vec![self.file("benign.csv", &benign())],
            attacks: vec![self.file("apt.csv", APT), self.file("lab.csv", LAB)],
            bytes_from: Vec::new(),
            attack_from: "2024-05-01T00:10".parse().unwrap(),
            seed: 1,
            runs: 3,
            out: self.0.join("out.csv"),
        }
    }

    fn donors(&self) -> PathBuf {
        let mut rows = String::new();
        for at in 0..40 {
            // Answered, unanswered; of another service; and datagrams.
            let _ = writeln!(rows, "{at},10.9.0.1,10.9.0.2,tcp,1,443,{},700,5,4,0.1,SF,ssl,,", 500 + at);
            let _ = writeln!(rows, "{at},10.9.0.1,10.9.0.2,tcp,1,443,40,0,1,0,0.1,S0,,,");
            let _ = writeln!(rows, "{at},10.9.0.1,10.9.0.2,tcp,1,22,{},900,9,8,0.1,SF,ssh,,", 2_000 + at);
            let _ = writeln!(rows, "{at},10.9.0.1,10.9.0.2,udp,1,123,{},76,1,1,0.1,SF,ntp,,", 70 + at);
        }
        self.file("donors.csv", &rows)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Fifteen minutes of workstations in three subnets that ask a server each.
fn benign() -> String {
    let mut random = Rng::new(1);
    let mut rows = String::new();
    for second in 0..900 {
        let (subnet, host) = (random.below(3), 10 + random.below(8));
        let (source, server) = (format!("10.1.{subnet}.{host}"), format!("10.1.{subnet}.1"));
        let at = format!("{}.{:06}", START_S + second, random.below(1_000_000));
        let _ = match random.below(3) {
            0 => writeln!(rows, "{at},{source},{server},tcp,{},443,,,,,,,ssl,,", 40_000 + second),
            1 => writeln!(rows, "{at},{source},{server},tcp,{},995,,,,,,,\"ssl,pop3\",,", 40_000 + second),
            _ => writeln!(rows, "{at},{source},{server},udp,{},53,,,,,,,dns,,", 40_000 + second),
        };
    }
    rows
}

/// An hour: a workstation that calls out and goes on to another, and what else its network did.
const APT: &str = "1000.5,10.0.1.4,10.0.0.4,udp,5000,53,67,83,1,1,0.001,SF,dns,0,
1001,10.0.1.4,10.0.0.4,tcp,5001,445,900,800,9,8,0.2,SF,smb,0,
1002,10.0.1.6,10.0.0.4,tcp,5001,445,900,800,9,8,0.2,SF,smb,0,
1010.25,10.0.1.4,192.168.0.4,tcp,5002,8443,1000,9000,9,9,60,RSTO,ssl,1,c2
2000,10.0.1.4,10.0.1.6,tcp,5003,445,4000,3000,20,20,3,SF,\"smb,krb\",1,lateral
2001,10.0.1.4,10.0.1.255,udp,138,138,200,0,1,0,0,S0,,1,lateral
2500,10.0.1.6,192.168.0.5,tcp,5004,443,100,200,3,3,1,S0,,1,c2
4600,10.0.1.4,10.0.0.4,tcp,5005,88,4000,3000,20,20,3,SF,krb,1,lateral
";

/// Two captures of a lab.
const LAB: &str = "100,172.18.39.5,10.10.10.5,tcp,6000,80,500,9000,5,7,8,,,,theft/one
110,172.18.39.5,172.18.38.5,tcp,6001,135,500,600,5,7,8,,,,theft/one
900,172.18.39.6,172.18.38.5,tcp,6002,445,500,0,5,0,8,,,,spread/two
901,172.18.39.6,224.0.0.5,udp,6002,445,500,0,5,0,8,,,,spread/two
";

fn rows(path: &Path) -> Vec<Vec<String>> {
    let bytes = fs::read(path).unwrap();
    let mut text = String::new();
    if path.extension().is_some_and(|end| end == "gz") {
        GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    let mut lines = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(lines.headers().unwrap().iter().collect::<Vec<_>>().join(",") + "\n", HEAD);
    lines.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

fn flows(path: &Path) -> Vec<RecordedFlow> {
    open(path).unwrap().collect::<Result<_, _>>().unwrap()
}

fn is_attack(flow: &RecordedFlow) -> bool {
    flow.label_for_scoring() != Some("-")
}

/// Returns the attack flows of each run, by `label_name`.
fn runs(path: &Path) -> BTreeMap<String, Vec<RecordedFlow>> {
    let mut runs: BTreeMap<String, Vec<RecordedFlow>> = BTreeMap::new();
    for flow in flows(path).into_iter().filter(is_attack) {
        runs.entry(flow.label_name_for_scoring().unwrap().to_owned()).or_default().push(flow);
    }
    runs
}

/// Checks what holds of every blend, whatever it was made of.
fn check(arguments: &BlendArguments, blended: &Blended) {
    let flows = flows(&arguments.out);
    assert!(flows.is_sorted_by_key(|flow| flow.time_ns));
    let (attack, benign): (Vec<_>, Vec<_>) = flows.iter().partition(|flow| is_attack(flow));
    assert_eq!((attack.len(), benign.len()), (blended.attack, blended.benign));
    assert_eq!(blended.runs.iter().map(|run| run.flows).sum::<usize>(), attack.len());
    let from_ns = arguments.attack_from.second() * 1_000_000_000;
    let last_ns = benign.last().unwrap().time_ns;
    assert!(attack.iter().all(|flow| (from_ns..=last_ns).contains(&flow.time_ns)));
    // Every victim and every attacker inside was active while there was no attack.
    let before = benign.iter().filter(|flow| flow.time_ns < from_ns);
    let active: BTreeSet<IpAddr> = before.flat_map(|flow| [flow.source, flow.destination]).collect();
    let seen: BTreeSet<IpAddr> = benign.iter().flat_map(|flow| [flow.source, flow.destination]).collect();
    let mut strangers = BTreeMap::new();
    for flow in attack {
        assert_ne!(flow.source, flow.destination);
        for address in [flow.source, flow.destination] {
            let is_stranger = address.to_string().starts_with("198.1");
            assert_eq!(active.contains(&address), !is_stranger, "{address}");
            assert!(!is_stranger || !seen.contains(&address), "{address}");
            let name = flow.label_name_for_scoring().unwrap();
            assert!(!is_stranger || *strangers.entry(address).or_insert(name) == name, "{address}");
        }
    }
}

/// Checks that the benign rows are those of the inputs, but for labels and for counts that were absent.
fn check_benign(arguments: &BlendArguments) {
    let mut before: Vec<Vec<String>> = arguments.benign.iter().flat_map(|path| rows(path)).collect();
    before.sort_by_key(|row| row[0].split('.').map(|part| part.parse().unwrap()).collect::<Vec<u64>>());
    let after: Vec<_> = rows(&arguments.out).into_iter().filter(|row| row[LABEL] == "-").collect();
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after[LABEL_NAME], "");
        let lacks_counts = before[COUNTS].iter().all(String::is_empty);
        for column in (0..LABEL).filter(|column| !(lacks_counts && COUNTS.contains(column))) {
            assert_eq!(before[column], after[column], "{before:?}");
        }
    }
}

#[test]
fn equal_seeds_give_equal_bytes_and_another_seed_other_attacks() {
    let ground = Ground::new("seeds");
    let mut arguments = BlendArguments { bytes_from: vec![ground.donors()], ..ground.arguments() };
    let mut made = |seed, name| {
        (arguments.seed, arguments.out) = (seed, ground.0.join(name));
        run(&arguments).unwrap();
        fs::read(&arguments.out).unwrap()
    };
    assert_eq!(made(7, "first.csv.gz"), made(7, "second.csv.gz"));
    assert_ne!(made(7, "first.csv.gz"), made(8, "third.csv.gz"));
    assert_eq!(made(7, "plain.csv").len(), rows_text(&ground.0.join("first.csv.gz")).len());
}

fn rows_text(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn attacks_are_labelled_by_what_they_show_and_by_their_run() {
    let ground = Ground::new("labels");
    let arguments = ground.arguments();
    let blended = run(&arguments).unwrap();
    check(&arguments, &blended);
    check_benign(&arguments);
    let mut labels: BTreeMap<(String, String), usize> = BTreeMap::new();
    for row in rows(&arguments.out).into_iter().filter(|row| row[LABEL] != "-") {
        *labels.entry((row[LABEL_NAME].clone(), row[LABEL].clone())).or_default() += 1;
    }
    let mut expected = BTreeMap::new();
    for run in 1..=3 {
        // The broadcast and the multicast have no host, and what is labelled 0 is no attack.
        for (campaign, label, flows) in [
            ("apt", "c2", 2),
            ("apt", "lateral", 2),
            ("theft/one", "theft/one", 2),
            ("spread/two", "spread/two", 1),
        ] {
            expected.insert((format!("{campaign}#{run}"), label.to_owned()), flows);
        }
    }
    assert_eq!(labels, expected);
    assert_eq!((blended.left_unmarked, blended.left_without_host), (3, 2));
    let text = blended.to_string();
    for part in [
        "benign: 900 flows",
        "attack: 21 flows (2.28 %), 3 campaigns in 9 runs",
        "apt#1: 4 flows from 2024-05-01 00:1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_victim_keeps_its_host_and_another_run_has_another() {
    let ground = Ground::new("victims");
    let mut first_victims: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut insiders = 0;
    for seed in 0..20 {
        let arguments = BlendArguments { seed, ..ground.arguments() };
        let blended = run(&arguments).unwrap();
        check(&arguments, &blended);
        first_victims.clear();
        for (name, flows) in runs(&arguments.out) {
            let campaign = name.split('#').next().unwrap().to_owned();
            assert!(first_victims.entry(campaign.clone()).or_default().insert(flows[0].source), "{name}");
            if campaign != "apt" {
                continue;
            }
            // In order of the recording: out, to a second workstation, out from there, to the domain controller.
            let [out, lateral, second_out, ticket] = &flows[..] else { panic!("{name}: {flows:?}") };
            assert_eq!(out.source, lateral.source);
            assert_eq!(out.source, ticket.source);
            assert_eq!(lateral.destination, second_out.source);
            let is_inside = !out.destination.to_string().starts_with("198.1");
            assert_eq!(is_inside, out.destination == second_out.destination);
            let mut parties = BTreeSet::from([out.source, lateral.destination, ticket.destination]);
            parties.extend([out.destination, second_out.destination]);
            assert_eq!(parties.len(), if is_inside { 4 } else { 5 }, "{name}");
            let last_byte =
                |address: IpAddr| address.to_string().rsplit('.').next().unwrap().parse::<u8>().unwrap();
            // Servers of the benign network end in 1, and stand in the subnet of those that ask them.
            assert_eq!(last_byte(ticket.destination), 1);
            assert!(last_byte(out.source) >= 10 && last_byte(lateral.destination) >= 10);
            let subnet = |address: IpAddr| address.to_string().rsplit_once('.').unwrap().0.to_owned();
            assert_eq!(subnet(out.source), subnet(lateral.destination));
            assert_eq!(subnet(out.source), subnet(ticket.destination));
            insiders += u32::from(is_inside);
        }
    }
    assert!((8..=32).contains(&insiders), "{insiders} of 60 runs by an attacker inside");
}

#[test]
fn a_campaign_that_is_too_long_is_sped_up_and_keeps_its_rhythm() {
    let ground = Ground::new("time");
    let arguments = ground.arguments();
    let blended = run(&arguments).unwrap();
    let last_ns = flows(&arguments.benign[0]).last().unwrap().time_ns;
    let room_ns = last_ns - arguments.attack_from.second() * 1_000_000_000;
    let mut begins = BTreeSet::new();
    for (name, flows) in runs(&arguments.out) {
        let times: Vec<u64> = flows.iter().map(|flow| flow.time_ns - flows[0].time_ns).collect();
        if name.starts_with("apt") {
            let share = |ns: u64| ns as f64 / times[3] as f64;
            let expected = [0.0, 989.75 / 3_589.75, 1_489.75 / 3_589.75, 1.0];
            assert!(times.iter().zip(expected).all(|(ns, expected)| (share(*ns) - expected).abs() < 1e-4));
            assert!((0.6..=1.0).contains(&(times[3] as f64 / room_ns as f64)), "{times:?}");
            assert!(begins.insert(flows[0].time_ns), "runs go in step");
        } else if name.starts_with("theft") {
            // Whole microseconds are cut from both ends.
            assert!(times[1].abs_diff(10_000_000_000) <= 1_000, "{times:?}");
        }
    }
    for run in &blended.runs {
        assert_eq!(run.speed > 1.0, run.campaign == "apt", "{run}");
    }
}

#[test]
fn where_no_benign_flow_has_bytes_no_attack_flow_has() {
    let ground = Ground::new("lost");
    let arguments = ground.arguments();
    run(&arguments).unwrap();
    for row in rows(&arguments.out) {
        assert!(row[COUNTS].iter().all(String::is_empty) && row[10].is_empty(), "{row:?}");
    }
    // Whether it was answered is not lost with the bytes.
    let answers = |name: &str| -> Vec<Option<bool>> {
        runs(&arguments.out)[name].iter().map(|flow| flow.answered).collect()
    };
    assert_eq!(answers("apt#1"), [Some(true), Some(true), Some(false), Some(true)]);
    assert_eq!(answers("spread/two#1"), [Some(false)]);
    assert_eq!(answers("theft/one#1"), [Some(true); 2]);
}

#[test]
fn with_bytes_from_every_flow_has_those_of_a_recorded_one() {
    let ground = Ground::new("bytes");
    let arguments = BlendArguments { bytes_from: vec![ground.donors()], ..ground.arguments() };
    let blended = run(&arguments).unwrap();
    check(&arguments, &blended);
    check_benign(&arguments);
    let before = flows(&arguments.benign[0]);
    let after: Vec<_> = flows(&arguments.out).into_iter().filter(|flow| !is_attack(flow)).collect();
    let mut sizes: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
    for (before, after) in before.iter().zip(&after) {
        assert!(before.answered.is_none() || before.answered == after.answered, "{before:?} {after:?}");
        sizes.entry(after.service_port()).or_default().insert(after.bytes_forward.unwrap());
    }
    // By service; by protocol, answered ones only; and datagrams.
    assert!(sizes[&443].iter().all(|bytes| (500..540).contains(bytes)) && sizes[&443].len() > 20);
    assert!(sizes[&995].iter().all(|bytes| (500..540).contains(bytes) || (2_000..2_040).contains(bytes)));
    assert!(sizes[&995].len() > 40);
    assert!(sizes[&53].iter().all(|bytes| (70..110).contains(bytes)));
    let given = blended.given;
    assert_eq!(given.by_service + given.by_protocol, 900);
    assert_eq!(
        (given.by_service, given.none),
        (before.iter().filter(|flow| flow.service_port() == 443).count(), 0)
    );
    let apt = &runs(&arguments.out)["apt#1"];
    let bytes: Vec<_> = apt.iter().map(|flow| (flow.bytes_forward, flow.bytes_reverse)).collect();
    let recorded = [(1_000, 9_000), (4_000, 3_000), (100, 200), (4_000, 3_000)];
    assert_eq!(bytes, recorded.map(|(forward, reverse)| (Some(forward), Some(reverse))));
    assert_eq!(apt[2].answered, Some(false), "the state says so, and no column but the bytes is left");
}

#[test]
fn benign_bytes_stay_and_attacks_keep_theirs_and_their_states() {
    let ground = Ground::new("keep");
    let mut text = String::new();
    for second in 0..900 {
        let host = 10 + second % 7;
        let _ = writeln!(
            text,
            "{},10.1.0.{host},10.1.0.1,tcp,1,443,{second},9,1,1,0.5,SF,ssl,,",
            START_S + second
        );
    }
    let benign = vec![ground.file("bytes.csv", &text)];
    let arguments =
        BlendArguments { benign, bytes_from: vec![ground.donors()], runs: 2, ..ground.arguments() };
    let blended = run(&arguments).unwrap();
    check(&arguments, &blended);
    check_benign(&arguments);
    assert_eq!(blended.given, meshgate_learner::blend::Given::default());
    let attacks: Vec<_> = rows(&arguments.out).into_iter().filter(|row| row[LABEL_NAME] == "apt#1").collect();
    assert_eq!(attacks[0][COUNTS], ["1000", "9000", "9", "9"].map(str::to_owned));
    assert_eq!(attacks.iter().map(|row| row[11].as_str()).collect::<Vec<_>>(), ["RSTO", "SF", "S0", "SF"]);
    let duration_s: f64 = attacks[0][10].parse().unwrap();
    assert!((2.9..5.1).contains(&duration_s), "a minute, twelve to twenty times as fast: {duration_s}");
}

#[test]
fn runs_are_as_many_as_hosts_allow() {
    let ground = Ground::new("few");
    let mut text = String::new();
    for second in 0..900 {
        let host = 10 + second % 3;
        let _ = writeln!(text, "{},10.1.0.{host},10.1.0.1,tcp,1,443,,,,,,,ssl,,", START_S + second);
    }
    let benign = vec![ground.file("few.csv", &text)];
    let attacks = vec![ground.file("spread.csv", "1,10.0.0.1,10.0.0.2,tcp,1,445,,,,,,,,1,\n")];
    let arguments = BlendArguments { benign, attacks, runs: 9, ..ground.arguments() };
    let blended = run(&arguments).unwrap();
    check(&arguments, &blended);
    assert_eq!(blended.runs.len(), 3);
    assert!(rows(&arguments.out).iter().any(|row| row[LABEL] == "1" && row[LABEL_NAME] == "spread#1"));
}

#[test]
fn what_is_wrong_is_named() {
    let ground = Ground::new("errors");
    let good = ground.arguments();
    let benign = |rows: &str| vec![ground.file(&format!("wrong-{}.csv", rows.len()), rows)];
    let wrong: Vec<(BlendArguments, &str)> = vec![
        (
            BlendArguments { benign: vec![ground.0.join("none.csv")], ..good.clone() },
            "none.csv: No such file",
        ),
        (BlendArguments { benign: benign(""), ..good.clone() }, "wrong-0.csv: it holds no flow"),
        (
            BlendArguments { benign: benign("1,10.0.0.1,nobody,,,,,,,,,,,,\n"), ..good.clone() },
            ".csv line 2: dst \"nobody\" is not an address",
        ),
    ];
    refused(&wrong);
    let unordered = "2,10.0.0.1,10.0.0.2,,,,,,,,,,,,\n1,10.0.0.1,10.0.0.2,,,,,,,,,,,,\n";
    let labelled = "2,10.0.0.1,10.0.0.2,,,,,,,,,,,neptune,\n";
    refused(&[(
        BlendArguments { benign: benign(unordered), ..good.clone() },
        ".csv: 1 of its rows are earlier",
    )]);
    refused(&[(
        BlendArguments { benign: benign(labelled), ..good.clone() },
        ".csv: a flow is labelled \"neptune\", which is not benign",
    )]);
    let few =
        format!("{START_S},10.1.0.1,10.1.0.2,,,,,,,,,,,,\n{},10.1.0.1,10.1.0.2,,,,,,,,,,,,\n", START_S + 900);
    refused(&[(
        BlendArguments { benign: benign(&few), ..good.clone() },
        "needs 3 private hosts that were active",
    )]);
    let nothing = good.benign.clone();
    refused(&[
        (BlendArguments { attacks: nothing.clone(), ..good.clone() }, "--attacks "),
        (
            BlendArguments { attacks: nothing.clone(), ..good.clone() },
            "benign.csv: no flow between two hosts is labelled",
        ),
        (BlendArguments { bytes_from: nothing, ..good.clone() }, "benign.csv: no flow says protocol, bytes"),
        (
            BlendArguments { out: good.attacks[0].clone(), ..good.clone() },
            "apt.csv: it is one of the files to read",
        ),
        (BlendArguments { out: ground.0.join("no/such.csv"), ..good.clone() }, "no/such.csv: No such file"),
    ]);
    for date in ["2024-05-01", "2024-05-01T00:15", "2023-01-01"] {
        let arguments = BlendArguments { attack_from: date.parse().unwrap(), ..good.clone() };
        let expected =
            format!("--attack-from {date}: not between the benign flows, which begin in 2024-05-01 00:00");
        refused(&[(arguments, &expected)]);
    }
    assert!(!good.out.exists());
}

fn refused(wrong: &[(BlendArguments, &str)]) {
    for (arguments, expected) in wrong {
        let error = run(arguments).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn recorded_attacks_go_into_recorded_networks() {
    let Some(data) = std::env::var_os("MESHGATE_DATA") else {
        println!("skipped: no data");
        return;
    };
    let file = |name: &str| PathBuf::from(&data).join("flows").join(name);
    let ground = Ground::new("recorded");
    let homelab = file("homelab_2024-04-29.csv.gz");
    let wrccdc = BlendArguments {
        benign: vec![file("wrccdc2018_first15min.csv.gz")],
        attacks: vec![file("apt29_day1.csv.gz"), file("otrf_ad_lab_a.csv.gz")],
        bytes_from: vec![homelab.clone(), file("rita_droplet_2024-04-19.csv.gz")],
        attack_from: "2018-03-24T17:25".parse().unwrap(),
        seed: 1,
        runs: 3,
        out: ground.0.join("out.csv.gz"),
    };
    let home = BlendArguments {
        benign: vec![homelab],
        bytes_from: Vec::new(),
        attack_from: "2024-04-29T20:30".parse().unwrap(),
        ..wrccdc.clone()
    };
    for arguments in [&wrccdc, &BlendArguments { bytes_from: Vec::new(), ..wrccdc.clone() }, &home] {
        let blended = run(arguments).unwrap();
        check(arguments, &blended);
        check_benign(arguments);
        println!("{blended}");
        let has_bytes = |flow: &RecordedFlow| flow.bytes_forward.is_some();
        let flows = flows(&arguments.out);
        let share = |is: bool| {
            let of: Vec<_> = flows.iter().filter(|flow| is_attack(flow) == is).collect();
            of.iter().filter(|flow| has_bytes(flow)).count() as f64 / of.len() as f64
        };
        assert!((share(true) - share(false)).abs() < 0.01, "{} {}", share(true), share(false));
    }
}
