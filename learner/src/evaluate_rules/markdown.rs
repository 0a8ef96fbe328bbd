//! A report about rules as Markdown.

use super::curve::Point;
use super::intended::Recovery;
use super::report::{Amount, Recorded, Report};
use std::fmt::Write;

/// Returns the text of a report.
pub fn text(report: &Report) -> String {
    let mut text = format!("# Rules\n\n`{}`\n", report.command_line);
    if let Some(recorded) = &report.recorded {
        recording(&mut text, recorded);
    }
    if !report.intended.is_empty() {
        intended(&mut text, &report.intended);
    }
    text
}

// Writing into a text cannot fail.
fn recording(text: &mut String, recorded: &Recorded) {
    _ = writeln!(text, "\n## Rules mined from a recording\n");
    for file in &recorded.files {
        _ = writeln!(text, "- {} ({} bytes, SHA-256 `{}`)", file.path.display(), file.bytes, file.sha256);
    }
    let amount = |Amount { flows, tuples, addresses }: Amount| {
        format!("{flows} flows, {tuples} distinct tuples, {addresses} addresses")
    };
    let left_out = recorded.left_out;
    _ = writeln!(
        text,
        "\nLearned from {}; measured by {}. Not taken: {} unanswered, {} of unknown protocol, {} after the test; for \
         multicast or broadcast, and so without a rule: {}.",
        amount(recorded.training),
        amount(recorded.later),
        left_out.unanswered,
        left_out.unknown_protocol,
        left_out.after_test,
        left_out.group_addressed
    );
    _ = writeln!(
        text,
        "\nA tuple is (source, destination, protocol, service port). Permitted tuples are counted over the addresses \
         seen in training; over-permissiveness is the share of them never seen in training, in hindsight never seen at \
         all. Coverage is of the later distinct tuples and flows, those of addresses that training never saw included. \
         Rules are chosen on the training alone.\n"
    );
    for (title, points) in [
        ("Curve", &recorded.curve),
        ("Hindsight: the same choice, shown the later tuples", &recorded.hindsight),
        ("Without a choice", &recorded.baselines),
    ] {
        _ = writeln!(text, "### {title}\n");
        table(text, points);
    }
    for told in &recorded.told {
        _ = writeln!(
            text,
            "### The {} rules at over-permissiveness {:.2} at most: {:.3} of later tuples, {:.3} of later flows\n\n\
             | source | destination | service | sources | destinations | permitted | seen |\n|---|---|---|---|---|---|---|",
            told.point.rules,
            told.over_permissiveness_max,
            told.point.tuples_covered,
            told.point.flows_covered
        );
        for rule in &told.rules {
            _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} |",
                rule.source,
                rule.destination,
                rule.service,
                rule.sources,
                rule.destinations,
                rule.permitted,
                rule.seen
            );
        }
        text.push('\n');
    }
}

fn table(text: &mut String, points: &[Point]) {
    text.push_str(
        "| method | price | rules | permitted tuples | over-permissiveness | in hindsight | tuples of the training | \
         later tuples | later flows |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for point in points {
        let price = point.price.map_or_else(|| "-".to_owned(), |price| format!("{price:.5}"));
        _ = writeln!(
            text,
            "| {} | {price} | {} | {} | {:.4} | {:.4} | {:.4} | {:.4} | {:.4} |",
            point.method,
            point.rules,
            point.permitted,
            point.over_permissiveness,
            point.over_permissiveness_in_hindsight,
            point.training_tuples_covered,
            point.tuples_covered,
            point.flows_covered
        );
    }
    text.push('\n');
}

fn intended(text: &mut String, graphs: &[Recovery]) {
    _ = writeln!(
        text,
        "\n## Intended graphs\n\nTraffic is made from each graph, with noise, and the adviser drafts allow rules from it. \
         A draft is right when groups, protocol and ports are those of an edge.\n\n\
         | graph | edges | runs | flows a run | noise flows | drafts | right | precision | recall | worst precision | \
         worst recall |\n|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for graph in graphs {
        _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {:.4} | {:.4} | {:.4} | {:.4} |",
            graph.name,
            graph.edges,
            graph.runs,
            graph.flows,
            graph.noise_flows,
            graph.drafts,
            graph.right,
            graph.precision,
            graph.recall,
            graph.worst_precision,
            graph.worst_recall
        );
    }
    for graph in graphs {
        for line in &graph.wrong {
            _ = writeln!(text, "- {}: {line}", graph.name);
        }
    }
}
