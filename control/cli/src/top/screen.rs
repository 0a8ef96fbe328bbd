//! The view as lines of text that fit a terminal.

use super::view::View;
use crate::table::printable;
use crate::units::{bytes, count, short};

/// A block of lines: its heading, and its rows, of which as many are shown as there is room for.
struct Section {
    heading: String,
    rows: Vec<String>,
}

/// Returns at most `rows` lines of at most `columns` characters.
pub fn lines(view: &View, columns: usize, rows: usize) -> Vec<String> {
    let sections = [devices(view), workers(view), drops(view), rules(view, columns), flows(view)];
    let sections: Vec<Section> = sections.into_iter().filter(|section| !section.rows.is_empty()).collect();
    // A blank line and a heading each, below the head line.
    let fixed = 1 + 2 * sections.len();
    let shown = shares(&sections, rows.saturating_sub(fixed));
    let mut lines = vec![head(view)];
    for (section, shown) in sections.into_iter().zip(shown) {
        lines.extend([String::new(), section.heading]);
        lines.extend(section.rows.into_iter().take(shown));
    }
    lines.truncate(rows);
    lines.into_iter().map(|line| cut(printable(line), columns)).collect()
}

/// Returns how many rows of each section are shown: all in turn get one more until the room is used up.
fn shares(sections: &[Section], mut room: usize) -> Vec<usize> {
    let mut shown = vec![0; sections.len()];
    loop {
        let mut has_grown = false;
        for (shown, section) in shown.iter_mut().zip(sections) {
            if room > 0 && *shown < section.rows.len() {
                (*shown, room, has_grown) = (*shown + 1, room - 1, true);
            }
        }
        if !has_grown {
            return shown;
        }
    }
}

fn cut(line: String, columns: usize) -> String {
    if line.chars().count() <= columns { line } else { line.chars().take(columns).collect() }
}

fn head(view: &View) -> String {
    let activity = &view.activity;
    format!(
        "{}  version {}  flows {} of {}  allowed {}/s  dropped {}/s",
        activity.host,
        activity.version,
        count(activity.flows_live),
        count(activity.flows_max),
        short(view.allowed_rate),
        short(view.dropped_rate)
    )
}

fn devices(view: &View) -> Section {
    let row = |name: &str, role: &str, cells: [String; 5]| {
        let [a, b, c, d, e] = cells;
        format!("{name:<16}{role:<10}{a:>10}{b:>11}{c:>11}{d:>11}{e:>11}")
    };
    let titles = ["IN pkt/s", "IN bit/s", "OUT pkt/s", "OUT bit/s", "DROP/s"].map(str::to_owned);
    let rows = view.activity.devices.iter().zip(&view.devices).map(|(device, rates)| {
        let cells = [
            rates.received_packets,
            rates.received_bits,
            rates.sent_packets,
            rates.sent_bits,
            rates.dropped_packets,
        ];
        row(&device.name, &device.role, cells.map(short))
    });
    Section { rows: rows.collect(), heading: row("DEVICE", "ROLE", titles) }
}

fn workers(view: &View) -> Section {
    let row = |cells: [String; 7]| {
        let [number, busy, waiting, free, devices, held, total] = cells;
        format!("{number:<8}{busy:>6}{waiting:>9}{free:>14}{devices:>14}{held:>12}{total:>14}")
    };
    let percent =
        |percent: Option<u64>| percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent}%"));
    let rows = view.activity.workers.iter().zip(&view.workers).map(|(worker, shares)| {
        row([
            worker.number.to_string(),
            percent(shares.busy_percent),
            percent(shares.waiting_percent),
            count(worker.frames_free),
            count(worker.frames_at_devices),
            count(worker.frames_held),
            count(worker.frames_total),
        ])
    });
    let titles = ["WORKER", "BUSY", "WAITING", "FRAMES free", "at devices", "held", "of"];
    Section { rows: rows.collect(), heading: row(titles.map(str::to_owned)) }
}

fn drops(view: &View) -> Section {
    let row = |reason: &str, rate: &str, total: &str| format!("{reason:<26}{rate:>10}{total:>16}");
    let rows = view.drops.iter().map(|drop| row(&drop.reason, &short(drop.rate), &count(drop.total)));
    Section { rows: rows.collect(), heading: row("DROPPED", "pkt/s", "since start") }
}

fn rules(view: &View, columns: usize) -> Section {
    let row = |cells: [String; 4], summary: &str| {
        let [rule, packets, bits, flows] = cells;
        format!("{rule:>6}{packets:>10}{bits:>10}{flows:>12}  {summary}")
    };
    let rows = view.rules.iter().map(|rates| {
        let rule = &rates.rule;
        let summary = if rule.summary.is_empty() { "(not in the newest version)" } else { &rule.summary };
        let cells = [rule.rule.to_string(), short(rates.packets), short(rates.bits), count(rule.flows)];
        cut(row(cells, summary), columns)
    });
    let titles = ["RULE", "pkt/s", "bit/s", "flows"].map(str::to_owned);
    Section { rows: rows.collect(), heading: row(titles, "WHAT") }
}

fn flows(view: &View) -> Section {
    let row = |what: &str, rate: &str, size: &str, rule: &str| {
        // Two IPv6 addresses do not fit in one line of 80 columns; their ends, which differ most, are kept.
        let what: String = match what.chars().count() {
            fits if fits <= 50 => what.to_owned(),
            long => "..".chars().chain(what.chars().skip(long - 48)).collect(),
        };
        format!("{what:<50}{rate:>9}{size:>12}{rule:>9}")
    };
    let rows = view.flows().iter().map(|flow| {
        let ended = if flow.ended { " ended" } else { "" };
        let what = format!("{} {} -> {}{ended}", flow.protocol, flow.source, flow.destination);
        let rule = if flow.rule == 0 { "-".to_owned() } else { flow.rule.to_string() };
        row(&what, &short(flow.rate_bps), &bytes(flow.bytes), &rule)
    });
    let age = format!("FLOW (up to {} s old{})", view.activity.active_report_s, sampled(view));
    Section { rows: rows.collect(), heading: row(&age, "bit/s", "bytes", "RULE") }
}

fn sampled(view: &View) -> String {
    match view.activity.sampling_rate {
        0 | 1 => String::new(),
        rate => format!(", 1 of {rate}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::look;
    use super::*;

    #[test]
    fn the_screen_reads_well_at_80_columns() {
        let shown = lines(&View::between(&look(10), look(12)), 80, 40).join("\n");
        let expected = "\
h1  version 7  flows 1,234 of 131,072  allowed 1,000/s  dropped 3/s

DEVICE          ROLE        IN pkt/s   IN bit/s  OUT pkt/s  OUT bit/s     DROP/s
tap0            endpoint       1,500      12.0M          2      1,600          3
enp3s0f0np0     uplink            12      96.0k          2      1,600          3

WORKER    BUSY  WAITING   FRAMES free    at devices        held            of
0          25%       2%        12,000         4,096         288        16,384

DROPPED                        pkt/s     since start
rule-deny                          2              24
default-deny                       1              12

  RULE     pkt/s     bit/s       flows  WHAT
    22        40     32.0k           1  allow Web -> Db TCP 22
  5432        10     8,000           1  allow Web -> Db TCP 5432

FLOW (up to 60 s old)                                 bit/s       bytes     RULE
TCP 10.0.0.1:40000 -> 10.0.0.3:5432                   12.3M     1.4 MiB        3";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_small_terminal_shows_a_little_of_everything() {
        let mut after = look(12);
        after.rules = vec![after.rules[0].clone(); 30];
        let shown = lines(&View::between(&look(10), after), 80, 24);
        assert_eq!(shown.len(), 24);
        for heading in ["DEVICE", "WORKER", "DROPPED", "  RULE", "FLOW"] {
            let at = shown.iter().position(|line| line.starts_with(heading)).unwrap();
            assert!(!shown[at + 1].is_empty(), "{shown:#?}");
        }
        for (columns, rows) in [(10, 5), (0, 0), (200, 1)] {
            let shown = lines(&View::between(&look(10), look(12)), columns, rows);
            assert!(shown.len() <= rows && shown.iter().all(|line| line.chars().count() <= columns));
        }
    }

    #[test]
    fn a_flow_of_long_addresses_keeps_its_ends() {
        let mut after = look(12);
        after.flows[0].source = "[fd00:1111:2222:3333:4444:5555:6666:7777]:40000".into();
        after.flows[0].destination = "[fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1]:5432".into();
        let shown = lines(&View::between(&look(10), after), 80, 40).pop().unwrap();
        assert!(
            shown.starts_with("..") && shown.contains("-> [fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1]:5432 "),
            "{shown}"
        );
    }
}
