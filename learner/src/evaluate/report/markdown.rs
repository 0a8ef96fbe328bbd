//! A report for people.

use super::{Report, Row, Span, plots};
use crate::evaluate::bootstrap::{Comparison, FIGURES, Gain};
use crate::evaluate::metrics::{CALIBRATION_RATES, HEADS, Metrics, NOMINAL_RATES, OperatingPoint};
use crate::evaluate::reading::FlowFile;
use std::fmt::Write;

/// What stands above the table of methods.
const METHODS_NOTE: &str = "
## Methods

Thresholds for these rates of false positives (FPR) come from the benign test edges; a score above one is an alert. A
method that knows only new and not new has nothing above them when more edges than that are new. p@k is the share of
attacks among the k highest scores, of equal ones the earliest. The seconds of methods that share their training are
those of all.
";

/// What stands above the table of thresholds that the training span sets.
const FIXED_NOTE: &str = "
## Thresholds fixed beforehand

At most the nominal share of the training edges, attacks among them included, lies above the threshold; a method that says
p-values, as the detector does, alerts at a p-value of the nominal rate. The delay is from the first edge of an attack-day to
its first alert.
";

/// What stands above the table of the calibration.
const CALIBRATION_NOTE: &str = "
## Calibration

Share of the benign test edges above thresholds that were fixed beforehand, for each nominal rate.
";

/// Returns the report as Markdown.
pub fn text(report: &Report) -> String {
    let mut text = format!("# Evaluation\n\n```\n{}\n```\n", report.command_line);
    split(&mut text, report);
    if report.methods.iter().any(|row| row.metrics.is_some()) {
        attacks(&mut text, report);
        methods(&mut text, report);
        fixed_thresholds(&mut text, report);
        calibration(&mut text, report);
        comparisons(&mut text, report);
        let _ = write!(
            text,
            "\n![ROC]({})\n\n![Precision and recall]({})\n\n![Calibration]({})\n",
            plots::ROC,
            plots::PRECISION_RECALL,
            plots::CALIBRATION
        );
    } else {
        text.push_str(
            "\nThe test does not hold both attacks and benign edges: nothing can be said about quality.\n",
        );
        alerts(&mut text, report);
    }
    text
}

/// Writes a table. Writing into a text cannot fail.
fn table(text: &mut String, head: &[String], rows: impl IntoIterator<Item = Vec<String>>) {
    let rule: String = head.iter().map(|_| "---|").collect();
    let _ = write!(text, "\n| {} |\n|{rule}\n", head.join(" | "));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

fn split(text: &mut String, report: &Report) {
    text.push_str("\n## Flows\n\nThe unit is an edge: (source, destination, minute). Times are UTC.\n");
    let file = |file: &FlowFile| {
        vec![file.path.display().to_string(), file.bytes.to_string(), format!("`{}`", file.sha256)]
    };
    table(text, &words(["file", "bytes", "SHA-256"]), report.flows.iter().map(file));
    let span = |name: &str, span: &Span| {
        let attacks = format!("{} ({})", span.attack_edges, percent(span.attack_edges, span.edges));
        let (records, edges) = (span.records.to_string(), span.edges.to_string());
        vec![name.to_owned(), span.from.clone(), span.until.clone(), records, edges, attacks]
    };
    table(
        text,
        &words(["span", "from", "until, exclusive", "records", "edges", "attack edges"]),
        [span("training", &report.training), span("test", &report.test)],
    );
    if report.records_after_test > 0 {
        let _ = writeln!(
            text,
            "\n{} records from the end of the test on were not used.",
            report.records_after_test
        );
    }
}

fn attacks(text: &mut String, report: &Report) {
    text.push_str("\n## Attacks of the test\n");
    let attack =
        |attack: &super::Attack| vec![attack.name.clone(), attack.edges.to_string(), attack.days.to_string()];
    table(text, &words(["attack", "edges", "days"]), report.attacks.iter().map(attack));
}

/// Returns the name of a rate, such as `1 %`.
fn rate_text(rate: f64) -> String {
    // Floating point writes a hundred times 0.003 with seventeen digits.
    format!("{} %", (rate * 1e6).round() / 1e4)
}

fn percent(part: usize, all: usize) -> String {
    if all == 0 { "-".into() } else { format!("{:.1} %", part as f64 * 100.0 / all as f64) }
}

/// Writes the table in which all methods stand. Several runs of a method end with their mean.
fn methods(text: &mut String, report: &Report) {
    text.push_str(METHODS_NOTE);
    let days = report.methods.iter().find_map(|row| row.metrics.as_ref()?.at_benign_rate.first());
    let days = days.map_or(0, |point| point.attack_days);
    let mut head = words(["method", "seed", "ROC-AUC", "PR-AUC"]);
    head.extend(NOMINAL_RATES.map(|rate| format!("TPR at {} FPR", rate_text(rate))));
    head.extend(NOMINAL_RATES.map(|rate| format!("attack-days of {days} at {}", rate_text(rate))));
    head.extend(HEADS.map(|head| format!("p@{head}")));
    head.push("s".into());
    let mut rows = Vec::new();
    for runs in report.methods.chunk_by(|one, next| one.method == next.method) {
        let figures: Vec<Vec<f64>> = runs.iter().filter_map(figures).collect();
        for (run, figures) in runs.iter().zip(&figures) {
            let seed = run.seed.map_or_else(|| "-".into(), |seed| seed.to_string());
            rows.push(method(&name(run), &seed, figures, 0));
        }
        if figures.len() > 1 {
            let mean = |column| {
                figures.iter().map(|figures: &Vec<f64>| figures[column]).sum::<f64>() / figures.len() as f64
            };
            let means: Vec<f64> = (0..figures[0].len()).map(mean).collect();
            rows.push(method(&runs[0].method, "mean", &means, 1));
        }
    }
    table(text, &head, rows);
}

fn name(row: &Row) -> String {
    if row.unscored == 0 { row.method.clone() } else { format!("{} ({} unscored)", row.method, row.unscored) }
}

/// Returns the figures of a run in the order of the table; none if there are no metrics.
fn figures(row: &Row) -> Option<Vec<f64>> {
    let metrics: &Metrics = row.metrics.as_ref()?;
    let points = &metrics.at_benign_rate;
    let mut figures = vec![metrics.roc_auc, metrics.pr_auc];
    figures.extend(points.iter().map(|point| point.true_positive_rate));
    figures.extend(points.iter().map(|point| point.attack_days_found as f64));
    figures.extend(&metrics.precision_in_head);
    figures.push(row.seconds);
    Some(figures)
}

/// Writes one line; `day_digits` are the decimals of counts of attack-days.
fn method(name: &str, seed: &str, figures: &[f64], day_digits: usize) -> Vec<String> {
    let rates = NOMINAL_RATES.len();
    let cell = |(column, figure): (usize, &f64)| {
        let digits = match column {
            0 | 1 => 3,
            column if column >= 2 + rates && column < 2 + 2 * rates => day_digits,
            column if column + 1 == figures.len() => 1,
            _ => 2,
        };
        format!("{figure:.digits$}")
    };
    let mut cells = vec![name.to_owned(), seed.to_owned()];
    cells.extend(figures.iter().enumerate().map(cell));
    cells
}

fn fixed_thresholds(text: &mut String, report: &Report) {
    text.push_str(FIXED_NOTE);
    let head = [
        "method",
        "seed",
        "nominal",
        "realised FPR",
        "false alerts",
        "TPR",
        "attack-days",
        "median delay, min",
        "90 %, min",
        "longest delay, min",
    ];
    let mut rows = Vec::new();
    for row in &report.methods {
        let points = row.metrics.iter().flat_map(|metrics| &metrics.at_training_rate);
        rows.extend(points.map(|point| fixed_threshold(row, point)));
    }
    table(text, &words(head), rows);
}

fn fixed_threshold(row: &Row, point: &OperatingPoint) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or_else(|| "-".into(), |number| number.to_string());
    vec![
        row.method.clone(),
        number(row.seed),
        rate_text(point.nominal_rate),
        format!("{:.2} %", point.false_positive_rate * 100.0),
        point.false_alerts.to_string(),
        format!("{:.2}", point.true_positive_rate),
        format!("{} of {}", point.attack_days_found, point.attack_days),
        number(point.median_delay_minutes),
        number(point.p90_delay_minutes),
        number(point.longest_delay_minutes),
    ]
}

/// Writes what nominal rates came to.
fn calibration(text: &mut String, report: &Report) {
    text.push_str(CALIBRATION_NOTE);
    let mut head = words(["method", "seed"]);
    head.extend(CALIBRATION_RATES.map(rate_text));
    let row = |row: &Row| {
        let points = &row.metrics.as_ref()?.calibration;
        let seed = row.seed.map_or_else(|| "-".into(), |seed| seed.to_string());
        let mut cells = vec![row.method.clone(), seed];
        cells.extend(points.iter().map(|point| format!("{:.3} %", point.realised_rate * 100.0)));
        Some(cells)
    };
    table(text, &head, report.methods.iter().filter_map(row));
}

/// Writes what methods gain over others.
fn comparisons(text: &mut String, report: &Report) {
    let Some(first) = report.comparisons.first() else { return };
    let _ = write!(
        text,
        "\n## Gains\n\nWhat the first method gains over the second on the same test, and the interval that holds 95 % of the \
         gains over draws of its {}s (paired bootstrap). An interval that holds zero does not tell them apart.\n",
        first.drawn
    );
    let mut head = words(["method", "over", "seed"]);
    head.extend(FIGURES.map(str::to_owned));
    let row = |comparison: &Comparison| {
        let seed = comparison.seed.map_or_else(|| "-".into(), |seed| seed.to_string());
        let mut cells = vec![comparison.method.clone(), comparison.other.clone(), seed];
        cells.extend(
            comparison
                .gains
                .iter()
                .map(|Gain { gain, low, high }| format!("{gain:+.4} ({low:+.4} to {high:+.4})")),
        );
        cells
    };
    table(text, &head, report.comparisons.iter().map(row));
}

fn alerts(text: &mut String, report: &Report) {
    text.push_str("\n## Alerts at thresholds fixed on the training\n");
    let mut rows = Vec::new();
    for row in &report.methods {
        let seed = row.seed.map_or_else(|| "-".into(), |seed| seed.to_string());
        rows.extend(row.alerts.iter().map(|alerts| {
            let share = format!("{:.2} %", alerts.share * 100.0);
            vec![name(row), seed.clone(), rate_text(alerts.nominal_rate), alerts.edges.to_string(), share]
        }));
    }
    table(text, &words(["method", "seed", "nominal", "alerts", "share of the test"]), rows);
}
