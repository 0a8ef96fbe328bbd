//! Every case of `proto/policy/cases/*.toml` as the first packet that a worker meets: it passes or ends as the case says,
//! at that stage and by that rule.
//!
//! The packet goes from one uplink to another, because the addresses of the cases belong to nobody in particular there.
//! Some packets of the cases cannot be first packets, or not at a worker: it ends them, or lets them pass, before the rules
//! are asked. Those are counted by the name under which the worker ended them.

#![expect(clippy::unwrap_used, reason = "a case that cannot be set up is a failed test")]

use af_xdp::{Umem, UmemConfig};
use meshgate_dataplane::assembly::{Assembly, FlowSettings};
use meshgate_dataplane::binding::{DeviceRole, Role};
use meshgate_dataplane::config::Config;
use meshgate_dataplane::device::memory;
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::Frame;
use meshgate_dataplane::subscriber::Host;
use meshgate_dataplane::verdict::DropReason;
use meshgate_dataplane::worker::{self, Attached, DeviceTraits};
use meshgate_policy::cases::{Case, CaseFile, CasePolicy};
use meshgate_policy::{Action, FlowRecord, Mac, Name, PolicyKey, Protocol, Stage};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

const START: u64 = 1_700_000_000_000_000_000;
/// Cases whose packet does not get to the rules: those of link control, ICMP errors, martian addresses and the like.
const ELSEWHERE_MAX: usize = 60;

/// What became of the packet.
struct End {
    is_allowed: bool,
    dropped: Option<DropReason>,
    records: Vec<FlowRecord>,
    left: usize,
}

fn frame(key: &PolicyKey) -> Frame {
    let mac = |last: u8| Mac([2, 0x77, 0, 0, 0, last]);
    let to = match key.destination {
        IpAddr::V4(v4) if v4.is_broadcast() => Mac::BROADCAST,
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            Mac([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(v6) if v6.is_multicast() => {
            let [.., a, b, c, d] = v6.octets();
            Mac([0x33, 0x33, a, b, c, d])
        }
        _ => mac(2),
    };
    let frame = Frame::between(mac(1), to).ip(key.source, key.destination);
    let (source, destination) = (key.l4.source_port, key.l4.destination_port);
    match key.l4.protocol {
        Protocol::TCP => frame.tcp(source, destination, TcpFlags::SYN),
        Protocol::UDP => frame.udp(source, destination).payload(&[1; 8]),
        Protocol::SCTP => frame.sctp(source, destination).sctp_init(0, 1, 7),
        // The builder writes the one of the family; the other one is a number among others.
        Protocol::ICMP | Protocol::ICMPV6 if (key.l4.protocol == Protocol::ICMP) == key.source.is_ipv4() => {
            let byte = |number: u16| u8::try_from(number).unwrap();
            frame.icmp(byte(source), byte(destination), [0, 9, 0, 1]).payload(&[1; 40])
        }
        protocol => frame.protocol(protocol).payload(&[0; 40]),
    }
}

/// Sends the packet of a case as the first one of a new worker.
fn send(policy: &CasePolicy, case: &Case) -> End {
    let names = ["up0", "up1"];
    let role = |name: &str| DeviceRole {
        name: name.to_owned(),
        role: Role::Uplink,
        segment: Some(case.segment.clone()),
        vlans: Vec::new(),
        ethertypes: Vec::new(),
    };
    let host = Host { name: Name::new("h").unwrap(), devices: names.map(role).into(), workers: 1 };
    let memory = UmemConfig { frames_total: 128, ..UmemConfig::default() };
    let (_umem, pools) = Umem::new(&memory).unwrap();
    let ((up0, near), (up1, far)) = (memory::pair(), memory::pair());
    let attached = |(device, number): (memory::MemoryDevice, u16)| Attached {
        device: Box::new(device),
        number,
        traits: DeviceTraits { may_be_partial: false, frame_bytes_max: 1_518 },
    };
    let queues = [(up0, 0), (up1, 1)].map(attached).into();
    let text = "host = \"h\"\nflows_max = 64\n[[device]]\nname = \"up0\"\nrole = \"uplink\"\n";
    let settings = FlowSettings::of(&Config::parse(text, Path::new("cases")).unwrap());
    let first = host.compile(&policy.policy).unwrap();
    let mut assembly = Assembly::with_queues(pools, vec![queues], first, &settings, START).unwrap();
    near.inject(&frame(&policy.key(case).unwrap()).bytes()).unwrap();
    (0..3).for_each(|_| _ = assembly.workers[0].turn(START));
    let left = far.take_all_sent().len();
    worker::stop(&mut assembly.workers);
    let counters = &assembly.counters[0];
    let dropped = DropReason::ALL.iter().copied().find(|reason| counters.dropped(*reason) > 0);
    let records = std::iter::from_fn(|| assembly.queues[0].pop()).collect();
    End { is_allowed: counters.allowed.get() == 1, dropped, records, left }
}

/// Returns the name of what ended the packet before the rules were asked; none if they were, and rightly so.
fn check(policy: &CasePolicy, case: &Case) -> Result<Option<String>, String> {
    let End { is_allowed, dropped, records, left } = send(policy, case);
    if let Some(reason) = dropped.filter(|reason| reason.stage() < Stage::Rules) {
        return Ok(Some(reason.to_string()));
    }
    let is_of_the_link = case.icmp_type.is_some_and(|kind| (130..=143).contains(&kind))
        || policy.key(case).unwrap().l4.protocol == Protocol(2);
    if is_allowed && !case.action.is_allow() && is_of_the_link {
        return Ok(Some("link control".to_owned()));
    }
    let wanted = match (case.action, case.stage) {
        (Action::Allow, _) => None,
        (Action::Reject, _) => Some(DropReason::RuleReject),
        (_, Stage::Rules) => Some(DropReason::RuleDeny),
        (_, Stage::Membership) => Some(DropReason::MembershipDeny),
        _ => Some(DropReason::DefaultDeny),
    };
    if dropped != wanted || is_allowed != wanted.is_none() || left != usize::from(is_allowed) {
        return Err(format!("{:?}: {dropped:?}, expected {wanted:?}; {left} frames left", case.says));
    }
    let decision = policy.policy.decide(&policy.key(case).unwrap());
    let shadow = policy.policy.decide_shadow(&policy.key(case).unwrap());
    for record in records.iter().take(1) {
        let found = (record.stage, record.rule, record.shadow_rule);
        let number = |rule: Option<meshgate_policy::RuleId>| rule.map_or(0, |rule| rule.0);
        let wanted = (case.stage as u8, number(decision.rule), number(shadow.map(|shadow| shadow.rule)));
        if found != wanted {
            return Err(format!("{:?}: the record says {found:?}, expected {wanted:?}", case.says));
        }
    }
    Ok(None)
}

#[test]
fn a_worker_does_to_a_first_packet_what_its_case_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/policy/cases");
    let (mut judged, mut by_name, mut faults) = (0, BTreeMap::<String, Vec<String>>::new(), Vec::new());
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let file: CaseFile = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let policy = file.to_policy().unwrap();
        for case in &file.cases {
            match check(&policy, case) {
                Ok(None) => judged += 1,
                Ok(Some(name)) => by_name.entry(name).or_default().push(case.says.clone()),
                Err(fault) => faults.push(format!("{}: {fault}", path.display())),
            }
        }
    }
    let elsewhere: usize = by_name.values().map(Vec::len).sum();
    println!("{judged} cases by a worker, {elsewhere} ended before the rules");
    by_name.iter().for_each(|(name, says)| println!("{name}: {says:?}"));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(elsewhere <= ELSEWHERE_MAX, "{elsewhere}");
}
