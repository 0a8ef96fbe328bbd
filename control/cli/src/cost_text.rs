//! Prices and cost advice as people read them.

use crate::cost_answers::{CostAdvice, CostLine, CostPair, CostTable, CostTotals};
use crate::table::{numbers, printable, table, words};
use crate::units::{bytes, count};

/// Millionths of a hundredth of a currency.
const HUNDREDTH: u64 = 10_000;

/// Returns the prices as a table.
pub fn table_text(CostTable { revision, currency, prices }: &CostTable) -> String {
    if prices.is_empty() {
        return "no prices yet; set one with `meshgate costs set FROM TO PRICE`\n".to_owned();
    }
    let columns = [words("FROM"), words("TO"), numbers("PER GIB")];
    let row = |price: &crate::cost_answers::Price| {
        vec![price.from.clone(), price.to.clone(), format!("{} {currency}", price.per_gib)]
    };
    format!("{}revision {revision}\n", table(&columns, prices.iter().map(row).collect()))
}

/// Returns the advice: a table, a sentence for each of its rows, and what all of it adds up to.
pub fn advice_text(advice: &CostAdvice, days: u32) -> String {
    let CostAdvice { lines, left_out, totals, currency, table_revision, records_lost, sums_left_out, .. } =
        advice;
    if totals.bytes == 0 {
        return format!(
            "nothing was carried in {}; look further back with --days, or see with `meshgate flows` whether a \
             learner reports\n",
            in_days(days)
        );
    }
    let columns =
        [numbers("NO"), words("FROM"), words("TO"), numbers("BYTES"), numbers("COST"), words("CARRIED BY")];
    let row = |(number, line): (usize, &CostLine)| {
        let cost = line.cost_millionths.map_or_else(|| "no price".to_owned(), |cost| amount(cost, currency));
        let carrier = line.carrier.trim_end_matches(',').to_owned();
        let (from, to) = (line.from_zone.clone(), line.to_zone.clone());
        vec![number.to_string(), from, to, bytes(line.bytes), cost, carrier]
    };
    let rows = (1..).zip(lines).map(row).collect();
    let shown = if lines.is_empty() { String::new() } else { table(&columns, rows) + "\n" };
    let sentences: String = (1..).zip(lines).map(|(number, line)| sentence(number, line)).collect();
    let more = match left_out {
        0 => String::new(),
        1 => "and 1 more; see it with --top\n".to_owned(),
        count => format!("and {count} more; see them with --top\n"),
    };
    let hint = match table_revision {
        0 => "no price was ever set: `meshgate costs set FROM TO PRICE` or `meshgate costs set FILE`\n",
        _ => "",
    };
    let lost = match records_lost {
        0 => String::new(),
        lost => format!("{} flow records were lost in this span: the sums are too small\n", count(*lost)),
    };
    let unread = match sums_left_out {
        0 => String::new(),
        unread => {
            format!("{} smaller sums were too many to be added up: all is without them\n", count(*unread))
        }
    };
    format!("{shown}{sentences}{more}{}{hint}{lost}{unread}", totals_text(totals, currency, days))
}

fn sentence(number: usize, line: &CostLine) -> String {
    let pairs = match (line.pairs.as_slice(), line.pairs_left_out) {
        ([_], 0) | ([], _) => String::new(),
        (pairs, more) => {
            let one = |pair: &CostPair| {
                let (source, destination) =
                    (set(&pair.source_group_names), set(&pair.destination_group_names));
                format!("{source} -> {destination} {}", bytes(pair.bytes))
            };
            let mut shown: Vec<String> = pairs.iter().map(one).collect();
            if more > 0 {
                shown.push(format!("and {more} smaller"));
            }
            format!("   of that: {}\n", printable(shown.join(", ")))
        }
    };
    format!("{number}. {}\n{pairs}", printable(line.advice.clone()))
}

/// Returns all groups of an address; `+` tells them from a list of addresses.
fn set(names: &[String]) -> String {
    if names.is_empty() { "no group".to_owned() } else { names.join(" + ") }
}

fn totals_text(totals: &CostTotals, currency: &str, days: u32) -> String {
    let CostTotals {
        bytes: all,
        bytes_within,
        bytes_between,
        bytes_unknown,
        bytes_unpriced,
        cost_millionths,
    } = totals;
    let unpriced = match bytes_unpriced {
        0 => String::new(),
        unpriced => format!(" ({} of that without a price)", bytes(*unpriced)),
    };
    format!(
        "in {} {}: {} within zones, {} between zones{unpriced}, {} where the zone of an end is unknown; {} in all\n",
        in_days(days),
        bytes(*all),
        bytes(*bytes_within),
        bytes(*bytes_between),
        bytes(*bytes_unknown),
        amount(*cost_millionths, currency),
    )
}

fn in_days(days: u32) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

/// Returns an amount with two places, rounded.
fn amount(millionths: u64, currency: &str) -> String {
    match millionths {
        1..HUNDREDTH => format!("< 0.01 {currency}"),
        _ => {
            let hundredths = millionths.saturating_add(HUNDREDTH / 2) / HUNDREDTH;
            format!("{}.{:02} {currency}", hundredths / 100, hundredths % 100)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost_answers::Price;

    #[test]
    fn prices_are_a_table_and_none_is_told_with_what_to_do() {
        let price = |from: &str, to: &str, per_gib: &str| Price {
            from: from.into(),
            to: to.into(),
            per_gib: per_gib.into(),
        };
        let prices = vec![price("a", "b", "0.02"), price("a", "external", "0.09")];
        let table = CostTable { revision: 3, currency: "EUR".into(), prices };
        let expected = "\
FROM  TO         PER GIB
a     b         0.02 EUR
a     external  0.09 EUR
revision 3
";
        assert_eq!(table_text(&table), expected);
        assert!(table_text(&CostTable::default()).starts_with("no prices yet; set one with"));
    }

    #[test]
    fn advice_is_a_table_with_a_sentence_a_row_and_a_sum() {
        let pair = |source: &[&str], bytes| CostPair {
            source_group_names: source.iter().map(|name| (*name).to_owned()).collect(),
            destination_group_names: vec!["Db".into()],
            bytes,
        };
        let line = CostLine {
            rule: 12,
            carrier: "Web -> Db TCP 5432 (relationship 12)".into(),
            from_zone: "a".into(),
            to_zone: "b".into(),
            bytes: 1_200 << 30,
            cost_millionths: Some(24_000_000),
            pairs: vec![pair(&["Web"], 1_000 << 30), pair(&["Web", "Prod"], 200 << 30)],
            advice: "It cost much.".into(),
            ..CostLine::default()
        };
        let free = CostLine { cost_millionths: None, bytes: 512, pairs: vec![], ..line.clone() };
        let totals = CostTotals {
            bytes: 1_300 << 30,
            bytes_within: 90 << 30,
            bytes_between: 1_200 << 30,
            bytes_unknown: 10 << 30,
            bytes_unpriced: 512,
            cost_millionths: 24_000_000,
        };
        let advice = CostAdvice {
            lines: vec![line, free],
            left_out: 2,
            totals,
            currency: "EUR".into(),
            table_revision: 1,
            records_lost: 7,
            sums_left_out: 1_200,
            ..CostAdvice::default()
        };
        let expected = "\
NO  FROM  TO    BYTES       COST  CARRIED BY
 1  a     b   1.1 TiB  24.00 EUR  Web -> Db TCP 5432 (relationship 12)
 2  a     b     512 B   no price  Web -> Db TCP 5432 (relationship 12)

1. It cost much.
   of that: Web -> Db 1000.0 GiB, Web + Prod -> Db 200.0 GiB
2. It cost much.
and 2 more; see them with --top
in 7 days 1.2 TiB: 90.0 GiB within zones, 1.1 TiB between zones (512 B of that without a price), 10.0 GiB \
where the zone of an end is unknown; 24.00 EUR in all
7 flow records were lost in this span: the sums are too small
1,200 smaller sums were too many to be added up: all is without them
";
        assert_eq!(advice_text(&advice, 7), expected);
        let nothing = advice_text(&CostAdvice::default(), 1);
        assert!(nothing.starts_with("nothing was carried in 1 day; "), "{nothing}");
    }

    #[test]
    fn small_amounts_are_not_nothing() {
        let amounts = [0, 1, 9_999, 10_000, 14_999, 15_000].map(|millionths| amount(millionths, "EUR"));
        let expected = ["0.00 EUR", "< 0.01 EUR", "< 0.01 EUR", "0.01 EUR", "0.01 EUR", "0.02 EUR"];
        assert_eq!(amounts, expected);
    }
}
