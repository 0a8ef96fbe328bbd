//! Prices, zones and advice, with numbers worked out by hand.

use super::*;
use crate::flow_book::{ZoneKey, ZoneSum};
use crate::policy_book::{Change, PolicyBook};
use meshgate_policy::{EndpointId, GroupId};

const GIB: u64 = 1 << 30;

fn zone(text: &str) -> Zone {
    text.parse().unwrap()
}

pub(crate) fn table(prices: &[(&str, &str, &str)]) -> CostTable {
    let price = |(from, to, price): &(&str, &str, &str)| (zone(from), zone(to), price.parse().unwrap());
    CostTable::new("EUR", prices.iter().map(price).collect()).unwrap()
}

/// Web has members in a (2) and b (1), Db in b (2), Logs in nobody knows where.
pub(crate) fn book() -> PolicyBook {
    let endpoint = |name: &str, group: &str, zone: &str, last: u8| {
        let zone = if zone.is_empty() { String::new() } else { format!(", zone = '{zone}'") };
        format!(
            "[[endpoints]]\nname = '{name}'\nmac = '02:00:00:00:00:{last:02x}'\naddresses = ['10.0.0.{last}']\n\
             labels = {{ role = '{group}'{zone} }}\n"
        )
    };
    let group = |name: &str| format!("[[groups]]\nname = '{name}'\nselector = {{ role = '{name}' }}\n");
    let text = [
        endpoint("w1", "Web", "a", 1),
        endpoint("w2", "Web", "a", 2),
        endpoint("w3", "Web", "b", 3),
        endpoint("d1", "Db", "b", 4),
        endpoint("d2", "Db", "b", 5),
        endpoint("l1", "Logs", "", 6),
        group("Web"),
        group("Db"),
        group("Logs"),
        "[[relationships]]\nsource_group_name = 'Web'\ndestination_group_name = 'Db'\nprotocol = 'TCP'\n\
         port_range = '5432'\naction = 'allow'\n"
            .to_owned(),
        "[[relationships]]\nsource_group_name = 'Web'\ndestination_group_name = 'Logs'\naction = 'allow'\n"
            .to_owned(),
    ]
    .concat();
    let whole = Change::ReplaceAll(Box::new(toml::from_str(&text).unwrap()));
    PolicyBook::default().apply(vec![whole], None).unwrap().book
}

fn group(book: &PolicyBook, name: &str) -> GroupId {
    book.numbering().group(&name.parse().unwrap()).unwrap()
}

fn id(book: &PolicyBook, name: &str) -> EndpointId {
    book.numbering().endpoint(&name.parse().unwrap()).unwrap()
}

fn haul(book: &PolicyBook, ends: [(&str, &str); 2], rule: u32, bytes: [u64; 2]) -> Haul {
    let [(source, source_group), (destination, destination_group)] = ends;
    let groups = |name: &str| match GroupId::built_in(name) {
        Some(group) => vec![group],
        None => vec![group(book, name)],
    };
    let end = |name: &str| if name.is_empty() { EndpointId(0) } else { id(book, name) };
    Haul {
        source_groups: groups(source_group),
        destination_groups: groups(destination_group),
        rule,
        source_endpoint: end(source),
        destination_endpoint: end(destination),
        bytes_forward: bytes[0],
        bytes_reverse: bytes[1],
    }
}

/// Returns the number of the relationship to a group.
fn rule_to(book: &PolicyBook, destination: &str) -> u32 {
    let mut found = book.authored().relationships.iter();
    found.find(|one| one.destination_group_name.as_str() == destination).unwrap().id.unwrap().0
}

fn advise(sums: &[ZoneSum], table: &CostTable, book: &PolicyBook, top: usize) -> Advice {
    let zones = Zones::of(book);
    Advice::of(sums, Question { table, book, zones: &zones, days: 7, top })
}

#[test]
fn prices_are_read_exactly_and_written_as_they_were() {
    for (text, millionths) in
        [("0", 0), ("0.02", 20_000), ("12", 12_000_000), ("0.000001", 1), ("1000000", PRICE_MAX)]
    {
        let price: Price = text.parse().unwrap();
        assert_eq!((price.millionths(), price.to_string().as_str()), (millionths, text));
    }
    for text in [
        "",
        ".5",
        "1.",
        "-1",
        "+1",
        "1e3",
        "0.0000001",
        "1000000.000001",
        "99999999999999999999",
        "1,5",
        "0.2 ",
    ] {
        let refusal = text.parse::<Price>().unwrap_err().to_string();
        assert!(refusal.starts_with(&format!("{text:?} is not a price")), "{refusal}");
    }
}

#[test]
fn what_bytes_cost_is_exact_to_the_millionth() {
    let price: Price = "0.02".parse().unwrap();
    assert_eq!((price.of(GIB), price.of(1_200 * GIB), price.of(0)), (20_000, 24_000_000, 0));
    // A third of a millionth is none, two thirds are one.
    assert_eq!(([GIB / 3, 2 * GIB / 3]).map(|bytes| Price(1).of(bytes)), [0, 1]);
    assert_eq!(Price(PRICE_MAX).of(u64::MAX), u64::MAX, "beyond what can be counted");
}

#[test]
fn a_table_is_refused_by_what_is_wrong_with_it() {
    let price = |from: &str, to: &str| (zone(from), zone(to), Price(1));
    let refusal = |currency: &str, prices| CostTable::new(currency, prices).unwrap_err();
    assert_eq!(refusal("", vec![]), CostFault::Currency(String::new()));
    assert_eq!(refusal("doubloons", vec![]), CostFault::Currency("doubloons".into()));
    assert_eq!(refusal("EUR", vec![price("a", "unknown")]), CostFault::Unknown);
    let twice = refusal("EUR", vec![price("a", "b"), price("b", "a"), price("a", "b")]);
    assert_eq!(twice.to_string(), "prices: a -> b occurs twice");
    let many = (0..=PRICES_MAX).map(|at| price("a", &format!("z{at}"))).collect();
    assert_eq!(refusal("EUR", many), CostFault::TooMany(PRICES_MAX + 1));
}

#[test]
fn a_label_names_a_zone_unless_it_is_no_name_or_one_of_the_two_words() {
    assert_eq!(Zone::of_label("eu-1a"), zone("eu-1a"));
    for label in ["", "two words", "unknown", "external"] {
        assert_eq!(Zone::of_label(label), Zone::Unknown, "{label}");
    }
}

#[test]
fn bytes_of_endpoints_become_bytes_of_zones() {
    let book = book();
    let sums = Zones::of(&book).sums(&[
        haul(&book, [("w1", "Web"), ("d1", "Db")], 1, [10, 1]),
        haul(&book, [("w2", "Web"), ("d2", "Db")], 1, [20, 2]),
        haul(&book, [("w3", "Web"), ("d2", "Db")], 1, [5, 0]),
        haul(&book, [("", "Web"), ("d2", "Db")], 1, [7, 0]),
        haul(&book, [("w1", "Web"), ("", "external")], 0, [3, 9]),
        haul(&book, [("w1", "Web"), ("l1", "Logs")], 2, [4, 0]),
    ]);
    let mut seen: Vec<_> = sums
        .iter()
        .map(|sum| {
            let ZoneKey { rule, source_zone, destination_zone, .. } = &sum.key;
            (
                *rule,
                source_zone.to_string(),
                destination_zone.to_string(),
                sum.bytes_forward,
                sum.bytes_reverse,
            )
        })
        .collect();
    seen.sort();
    let expected = [
        (0, "a", "external", 3, 9),
        (1, "a", "b", 30, 3),
        (1, "b", "b", 5, 0),
        (1, "unknown", "b", 7, 0),
        (2, "a", "unknown", 4, 0),
    ];
    let expected =
        expected.map(|(rule, from, to, forward, back)| (rule, from.to_owned(), to.to_owned(), forward, back));
    assert_eq!(seen, expected);
}

#[test]
fn the_dearest_relationship_comes_first_with_a_sentence_and_every_byte_counts_once() {
    let book = book();
    let (to_db, to_logs) = (rule_to(&book, "Db"), rule_to(&book, "Logs"));
    let sums = Zones::of(&book).sums(&[
        haul(&book, [("w1", "Web"), ("d1", "Db")], to_db, [1_200 * GIB, 10 * GIB]),
        haul(&book, [("w3", "Web"), ("d1", "Db")], to_db, [3 * GIB, 0]),
        haul(&book, [("w1", "Web"), ("", "external")], 0, [100 * GIB, GIB]),
        haul(&book, [("w1", "Web"), ("l1", "Logs")], to_logs, [8 * GIB, 0]),
    ]);
    let table = table(&[("a", "b", "0.02"), ("a", "external", "0.09")]);
    let advice = advise(&sums, &table, &book, 10);
    let seen: Vec<_> = advice
        .lines
        .iter()
        .map(|line| {
            (line.rule, line.from.to_string(), line.to.to_string(), line.bytes / GIB, line.cost_millionths)
        })
        .collect();
    let line = |rule, from: &str, to: &str, gib, cost| (rule, from.to_owned(), to.to_owned(), gib, cost);
    assert_eq!(
        seen,
        [
            line(to_db, "a", "b", 1_200, Some(24_000_000)),
            line(0, "a", "external", 100, Some(9_000_000)),
            line(to_db, "b", "a", 10, None),
            line(0, "external", "a", 1, None),
        ]
    );
    let expected = Totals {
        bytes: 1_322 * GIB,
        bytes_within: 3 * GIB,
        bytes_between: 1_311 * GIB,
        bytes_unknown: 8 * GIB,
        bytes_unpriced: 11 * GIB,
        cost_millionths: 33_000_000,
    };
    assert_eq!(advice.totals, expected);
    assert_eq!(
        advice.lines[0].advice,
        format!(
            "Web -> Db TCP 5432 (relationship {to_db}) carried 1.1 TiB from zone a to zone b in 7 days: 24.00 EUR; \
             both sides have members in zone b (1 and 2), which could exchange it there; in the same time it carried \
             3.0 GiB within zones."
        )
    );
    assert_eq!(
        advice.lines[1].advice,
        "Web -> external (no rule) carried 100.0 GiB from zone a to zone external in 7 days: 9.00 EUR; one end is \
         outside, so only the zone of the other end can be chosen."
    );
    assert!(
        advice.lines[2].advice.contains(": the table has no price for b -> a; "),
        "{}",
        advice.lines[2].advice
    );
    let cut = advise(&sums, &table, &book, 1);
    assert_eq!((cut.lines.len(), cut.left_out, cut.totals), (1, 3, expected));
}

#[test]
fn overlapping_groups_do_not_multiply_bytes() {
    let book = book();
    let (web, db, logs) = (group(&book, "Web"), group(&book, "Db"), group(&book, "Logs"));
    let sum = |source_groups: Vec<GroupId>, bytes_forward| ZoneSum {
        key: ZoneKey {
            source_groups,
            destination_groups: vec![db],
            rule: rule_to(&book, "Db"),
            source_zone: zone("a"),
            destination_zone: zone("b"),
        },
        bytes_forward,
        bytes_reverse: 0,
    };
    let mut both = vec![web, logs];
    both.sort_unstable();
    let advice =
        advise(&[sum(vec![web], 3 * GIB), sum(both, 2 * GIB)], &table(&[("a", "b", "1")]), &book, 10);
    assert_eq!((advice.lines.len(), advice.lines[0].bytes, advice.totals.bytes), (1, 5 * GIB, 5 * GIB));
    let pairs: Vec<_> =
        advice.lines[0].pairs.iter().map(|pair| (pair.source.len(), pair.bytes / GIB)).collect();
    assert_eq!(pairs, [(1, 3), (2, 2)]);
}

#[test]
fn what_is_not_known_is_said_so() {
    let book = book();
    let gone = Zones::of(&book).sums(&[haul(&book, [("w1", "Web"), ("d1", "Db")], 99, [GIB, 0])]);
    let said = &advise(&gone, &CostTable::default(), &book, 10).lines[0];
    assert!(
        said.advice.starts_with("rule 99, which is not in force any more, carried 1.0 GiB "),
        "{}",
        said.advice
    );
    assert!(
        said.advice.ends_with("the rule is gone, so nobody knows which groups it was for."),
        "{}",
        said.advice
    );
    // The member of Logs has a zone by the time of asking no more.
    let to_logs = rule_to(&book, "Logs");
    let mut sums = Zones::of(&book).sums(&[haul(&book, [("w1", "Web"), ("l1", "Logs")], to_logs, [GIB, 0])]);
    sums[0].key.destination_zone = zone("c");
    let said = &advise(&sums, &CostTable::default(), &book, 10).lines[0].advice;
    assert!(said.contains("no member of one side has a label zone"), "{said}");
}

#[test]
fn amounts_and_bytes_are_written_as_people_read_them() {
    let bytes = [0, 1_023, 1_536, GIB, 5 << 40, u64::MAX].map(sentence::bytes_in_words);
    assert_eq!(bytes, ["0 B", "1023 B", "1.5 KiB", "1.0 GiB", "5.0 TiB", "15.9 EiB"]);
}
