//! Why a packet would pass or not: stages 5 to 7 of one version for one five-tuple, and why the other rules did not
//! decide. Pure.

use crate::words::{rule_in_words, side_in_words};
use meshgate_policy::{
    Decision, GroupId, L4Key, L4Match, Name, NameError, Policy, PolicyKey, Protocol, Rule, SegmentId, Side,
    Stage,
};
use std::net::IpAddr;

/// Rules of an answer. Which ones: the decider, then those that come nearest to matching.
pub const RULES_EXPLAINED_MAX: usize = 100;

/// What is asked, as people wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Segment, `default` if not given.
    pub segment: Name,
    /// An address or the name of an endpoint.
    pub source: String,
    /// An address or the name of an endpoint.
    pub destination: String,
    /// Protocol, ports, ICMP type and code.
    pub l4: L4Key,
}

/// Why a question cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionFault {
    /// A segment that does not exist.
    #[error("segment: no segment {0}")]
    Segment(Name),
    /// Neither an address nor a name.
    #[error("{0}: {1:?} is neither an IP address nor the name of an endpoint ({2})")]
    Text(&'static str, String, NameError),
    /// A name that no endpoint of the segment has.
    #[error("{0}: no endpoint {1} in segment {2}")]
    Endpoint(&'static str, Name, Name),
    /// An endpoint without addresses.
    #[error("{0}: endpoint {1} has no address")]
    NoAddress(&'static str, Name),
    /// Addresses of two families.
    #[error("destination: {1} and the source {0} are not of one address family")]
    Families(IpAddr, IpAddr),
}

/// One rule of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReason {
    /// The rule's number.
    pub rule: u32,
    /// The rule in words.
    pub summary: String,
    /// Whether it matches the packet.
    pub matches: bool,
    /// Whether it decides.
    pub decides: bool,
    /// Why it does not match or does not decide.
    pub reason: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was judged.
    pub key: PolicyKey,
    /// The verdict.
    pub decision: Decision,
    /// What decided, in one sentence.
    pub reason: String,
    /// The endpoint that owns the source address.
    pub source_endpoint: Option<Name>,
    /// The endpoint that owns the destination address.
    pub destination_endpoint: Option<Name>,
    /// Names of the groups of the source address.
    pub source_groups: Vec<String>,
    /// Names of the groups of the destination address.
    pub destination_groups: Vec<String>,
    /// Rules in order, at most [`RULES_EXPLAINED_MAX`].
    pub rules: Vec<RuleReason>,
    /// Rules that were left out.
    pub rules_left_out: usize,
    /// What the shadow rules would change, in one sentence; empty for nothing.
    pub shadow: String,
}

/// Answers a question by a policy.
pub fn explain(policy: &Policy, question: &Question) -> Result<Explanation, QuestionFault> {
    let key = policy_key(policy, question)?;
    let decision = policy.decide(&key);
    let owner = |address| policy.endpoint_of(key.segment, address).map(|endpoint| endpoint.name.clone());
    let groups = |address| {
        let groups = policy.groups_of(key.segment, address);
        groups.into_iter().map(|group| policy.group_name(group)).collect::<Vec<_>>()
    };
    let (rules, rules_left_out) = rule_reasons(policy, &key, &decision);
    Ok(Explanation {
        reason: decision_in_words(policy, &key, &decision),
        source_endpoint: owner(key.source),
        destination_endpoint: owner(key.destination),
        source_groups: groups(key.source),
        destination_groups: groups(key.destination),
        rules,
        rules_left_out,
        shadow: shadow_in_words(policy, &key),
        key,
        decision,
    })
}

fn policy_key(policy: &Policy, question: &Question) -> Result<PolicyKey, QuestionFault> {
    let Question { segment: name, source, destination, l4 } = question;
    let segment = policy.segments.iter().find(|segment| segment.name == *name);
    let segment = segment.ok_or_else(|| QuestionFault::Segment(name.clone()))?.id;
    let sources = addresses(policy, segment, name, ("source", source))?;
    let destinations = addresses(policy, segment, name, ("destination", destination))?;
    let pairs = sources.iter().flat_map(|s| destinations.iter().map(move |d| (*s, *d)));
    let pair = pairs.clone().find(|(s, d)| s.is_ipv4() == d.is_ipv4());
    let Some((source, destination)) = pair else {
        return Err(QuestionFault::Families(sources[0], destinations[0]));
    };
    Ok(PolicyKey { segment, source, destination, l4: *l4 })
}

/// Returns the addresses that a text stands for, at least one.
fn addresses(
    policy: &Policy,
    segment: SegmentId,
    segment_name: &Name,
    (field, text): (&'static str, &str),
) -> Result<Vec<IpAddr>, QuestionFault> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let shown = text.chars().take(64).collect();
    let name = Name::new(text).map_err(|error| QuestionFault::Text(field, shown, error))?;
    let endpoint = policy.endpoints.iter().find(|e| e.segment == segment && e.name == name);
    match endpoint {
        None => Err(QuestionFault::Endpoint(field, name, segment_name.clone())),
        Some(endpoint) if endpoint.addresses.is_empty() => Err(QuestionFault::NoAddress(field, name)),
        Some(endpoint) => Ok(endpoint.addresses.clone()),
    }
}

fn decision_in_words(policy: &Policy, key: &PolicyKey, decision: &Decision) -> String {
    let Decision { version: _, stage, action, rule, group } = decision;
    match (stage, rule, group) {
        (Stage::Rules, Some(id), _) => {
            let rule = policy.rules.iter().find(|rule| rule.id == *id);
            let words = rule.map(|rule| rule_in_words(policy, rule)).unwrap_or_default();
            format!("rule {id} decides: {words}")
        }
        (Stage::Membership, _, Some(group)) => {
            let name = policy.group_name(*group);
            let may = if action.is_allow() { "may" } else { "may not" };
            let (source, destination) = (key.source, key.destination);
            format!(
                "no rule decides; {source} and {destination} are both in group {name}, whose members {may} talk"
            )
        }
        _ => format!("neither a rule nor a common group decides; the default is {action}"),
    }
}

fn shadow_in_words(policy: &Policy, key: &PolicyKey) -> String {
    policy.decide_shadow(key).map_or_else(String::new, |shadow| {
        format!("with shadow rule {} enforced the action would be {}", shadow.rule, shadow.decision.action)
    })
}

/// Returns the reasons of the rules nearest to matching, in order, and how many rules were left out.
fn rule_reasons(policy: &Policy, key: &PolicyKey, decision: &Decision) -> (Vec<RuleReason>, usize) {
    let decider = policy.rules.iter().position(|rule| Some(rule.id) == decision.rule);
    // Ranked by how much is missing, the decider first; then back in the order of the list.
    let mut ranked: Vec<(usize, usize)> = Vec::new();
    for (place, rule) in policy.rules.iter().enumerate() {
        let misses = mismatches(policy, rule, key).len();
        let comes_late = decider.is_some_and(|decider| place > decider);
        if !comes_late || misses == 0 {
            ranked.push((if Some(place) == decider { 0 } else { misses + 1 }, place));
        }
    }
    ranked.sort_unstable();
    ranked.truncate(RULES_EXPLAINED_MAX);
    let mut places: Vec<usize> = ranked.into_iter().map(|(_, place)| place).collect();
    places.sort_unstable();
    let reasons = places.iter().map(|place| reason(policy, key, (*place, decider))).collect();
    (reasons, policy.rules.len() - places.len())
}

fn reason(policy: &Policy, key: &PolicyKey, (place, decider): (usize, Option<usize>)) -> RuleReason {
    let rule = &policy.rules[place];
    let mismatches = mismatches(policy, rule, key);
    let decides = Some(place) == decider;
    let reason = match decider {
        _ if decides => "it is the first enforced rule that matches".to_owned(),
        _ if !mismatches.is_empty() => mismatches.join("; "),
        _ if rule.shadow => "shadow: reports only".to_owned(),
        Some(decider) => format!("comes after rule {} which decided", policy.rules[decider].id),
        None => "it matches".to_owned(),
    };
    RuleReason {
        rule: rule.id.0,
        summary: rule_in_words(policy, rule),
        matches: mismatches.is_empty(),
        decides,
        reason,
    }
}

/// Returns everything that keeps a rule from matching, one sentence each.
fn mismatches(policy: &Policy, rule: &Rule, key: &PolicyKey) -> Vec<String> {
    let side = |word: &str, side: &Side, address: IpAddr| {
        let fits = match side {
            Side::Group(group) => policy.is_member(*group, key.segment, address),
            Side::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(address)),
        };
        let kind = if matches!(side, Side::Group(id) if *id != GroupId::ANY) { "group " } else { "" };
        (!fits).then(|| format!("{word} {address} is not in {kind}{}", side_in_words(policy, side)))
    };
    let l4 = (!rule.l4.matches(key.l4)).then(|| l4_mismatch(&rule.l4, key.l4));
    let sides =
        [side("source", &rule.source, key.source), side("destination", &rule.destination, key.destination)];
    sides.into_iter().chain([l4]).flatten().collect()
}

fn l4_mismatch(l4: &L4Match, key: L4Key) -> String {
    let protocol = |wanted: Protocol| {
        (wanted != key.protocol).then(|| format!("protocol {}, rule wants {wanted}", key.protocol))
    };
    match l4 {
        L4Match::Any => String::new(),
        L4Match::Protocol(wanted) => protocol(*wanted).unwrap_or_default(),
        L4Match::Ports(wanted, ports) => {
            protocol(*wanted).unwrap_or_else(|| format!("port {} not in {ports}", key.destination_port))
        }
        L4Match::Icmp(wanted, kind, code) => protocol(*wanted).unwrap_or_else(|| {
            let code = code.map(|code| format!(" code {code}")).unwrap_or_default();
            format!("type {} code {}, rule wants type {kind}{code}", key.source_port, key.destination_port)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_book::{Change, PolicyBook};

    const POLICY: &str = r#"
        endpoints = [{ name = "web1", mac = "02:00:00:00:00:01", addresses = ["10.0.0.1"] },
                     { name = "db1", mac = "02:00:00:00:00:02", addresses = ["10.0.0.2"] }]
        groups = [{ name = "WebServers", members = ["web1"] }, { name = "Databases", members = ["db1"] }]
        relationships = [
            { sourceGroupName = "WebServers", destinationGroupName = "Databases", protocol = "TCP",
              portRange = "80", action = "allow", priority = 900 },
            { sourceGroupName = "Databases", destinationGroupName = "WebServers", action = "deny", priority = 800 },
            { sourceGroupName = "any", destinationGroupName = "any", action = "deny", priority = 1, mode = "shadow" },
            { sourceGroupName = "any", destinationGroupName = "any", action = "reject", priority = 0 }]
    "#;

    fn policy() -> Policy {
        let authored = toml::from_str(POLICY).unwrap();
        let next = PolicyBook::default().apply(vec![Change::ReplaceAll(Box::new(authored))], None).unwrap();
        Policy::clone(next.book.policy())
    }

    fn ask(source: &str, destination: &str, l4: L4Key) -> Explanation {
        let (source, destination) = (source.to_owned(), destination.to_owned());
        let segment = Name::default_name();
        explain(&policy(), &Question { segment, source, destination, l4 }).unwrap()
    }

    #[test]
    fn endpoint_names_stand_for_their_addresses() {
        let answer = ask("web1", "db1", L4Key::ports(Protocol::TCP, 4000, 80));
        assert_eq!(answer.key.destination.to_string(), "10.0.0.2");
        assert_eq!(answer.rules[0].reason, "it is the first enforced rule that matches");
        assert!(answer.rules[0].decides && answer.reason.starts_with("rule 1 decides: allow WebServers"));
        let late = answer.rules.iter().find(|rule| rule.rule == 4).unwrap();
        assert_eq!(late.reason, "comes after rule 1 which decided");
        assert_eq!(answer.source_groups, ["any", "WebServers"]);
    }

    #[test]
    fn every_rule_before_the_decider_says_what_is_missing() {
        let answer = ask("10.0.0.1", "10.0.0.2", L4Key::ports(Protocol::UDP, 1, 80));
        let reasons: Vec<&str> = answer.rules.iter().map(|rule| rule.reason.as_str()).collect();
        assert_eq!(reasons[0], "protocol UDP, rule wants TCP");
        assert_eq!(
            reasons[1],
            "source 10.0.0.1 is not in group Databases; destination 10.0.0.2 is not in group WebServers"
        );
        assert_eq!(reasons[2], "shadow: reports only");
        assert_eq!(answer.decision.rule.map(|id| id.0), Some(4));
        assert_eq!(answer.shadow, "with shadow rule 3 enforced the action would be deny");
        let other_port = ask("web1", "db1", L4Key::ports(Protocol::TCP, 1, 81));
        assert_eq!(other_port.rules[0].reason, "port 81 not in 80");
    }

    #[test]
    fn questions_that_name_nothing_are_refused_by_field() {
        let l4 = L4Key::bare(Protocol(47));
        let question = |source: &str, destination: &str, segment: &str| Question {
            segment: Name::new(segment).unwrap(),
            source: source.into(),
            destination: destination.into(),
            l4,
        };
        let fault = |q: Question| explain(&policy(), &q).unwrap_err().to_string();
        assert_eq!(fault(question("vm9", "db1", "default")), "source: no endpoint vm9 in segment default");
        assert_eq!(fault(question("web1", "db1", "lab")), "segment: no segment lab");
        assert!(fault(question("web1", "fd00::1", "default")).contains("not of one address family"));
        assert!(fault(question("a b", "db1", "default")).contains("neither an IP address nor"));
    }
}
