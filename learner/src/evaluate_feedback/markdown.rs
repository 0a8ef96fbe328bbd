//! A report of learning from answers as Markdown.

use super::change::{AfterChange, SPANS};
use super::figures::{Row, Spread, mean};
use super::malice::Planted;
use super::plots::{calibration_name, regret_name};
use super::report::Report;
use super::simulation::PLACES;
use super::trials::{Place, Trial};
use std::fmt::Write;

/// Returns the text of a report.
pub fn text(report: &Report) -> String {
    let mut text = format!("# Learning from answers\n\n`{}`\n", report.command_line);
    // Writing into a text cannot fail, here and below.
    _ = writeln!(
        text,
        "\nSimulated administrators answer the first {PLACES} suggestions of each day; their answers reach the ranking on \
         the next one. Seeds 0 to {} of worlds and personas; in each run all rankings see the same suggestions. Where two \
         figures stand, the first is the mean of the runs and the second the worst. Regret: right ones that were missed, \
         for each 100 shown. Difference: against the static ranking in the same run, thirds of the run apart.",
        report.seeds.saturating_sub(1)
    );
    if let Some(recorded) = &report.recording {
        _ = writeln!(
            text,
            "\nRecorded flows up to {} teach the detector, those up to {} are answered; seeds 0 to {} of the detector take \
             turns.\n",
            recorded.train_until,
            recorded.test_until,
            recorded.detector_seeds.saturating_sub(1)
        );
        for file in &recorded.files {
            _ = writeln!(text, "- {} ({} bytes, SHA-256 `{}`)", file.path.display(), file.bytes, file.sha256);
        }
    }
    report.places.iter().for_each(|place| write_place(&mut text, place));
    let speed = report.speed;
    _ = writeln!(
        text,
        "\n## Time\n\nAn answer taken in, refit and {} suggestions ranked anew with {} answers known, one thread: median \
         {:.1} ms, longest {:.1} ms of {}.",
        speed.suggestions, speed.answers, speed.median_ms, speed.longest_ms, speed.times
    );
    text
}

fn write_place(text: &mut String, place: &Place) {
    let ceiling = place.trials.first().and_then(|trial| trial.rows.first()).map_or(0.0, |row| row.ceiling);
    _ = writeln!(
        text,
        "\n## The {} world\n\n{} days with answers, {:.1} suggestions a day, {:.1} of them right (first world). Precision of \
         somebody who knows what is right: {ceiling:.3}.",
        place.world, place.days, place.suggestions_per_day, place.right_per_day
    );
    for trial in &place.trials {
        write_trial(text, place, trial);
    }
    if !place.changes.is_empty() {
        write_changes(text, &place.changes);
    }
    if !place.planted.is_empty() {
        write_planted(text, &place.planted);
    }
    _ = writeln!(
        text,
        "\n![Regret of the first persona]({})\n\n![Confidence and acceptance]({})",
        regret_name(place.world),
        calibration_name(place.world)
    );
}

fn write_trial(text: &mut String, place: &Place, trial: &Trial) {
    _ = writeln!(
        text,
        "\n### {}\n\n| ranking | precision | last 10 days | difference | first third | second | last | regret | of static | \
         day 0 static | gate or first use |\n|---|---|---|---|---|---|---|---|---|---|---|",
        trial.persona
    );
    for row in &trial.rows {
        let Row { ranking, precision, last_days, gain, thirds_gain, regret, .. } = row;
        let [first, second, last] = thirds_gain.map(|third| low(third, true));
        let share = row.regret_share.map_or_else(|| "-".to_owned(), |share| format!("{share:.3}"));
        let opened = match row.opened_after {
            Some(after) => format!("{} runs, after {after:.0} answers", row.opened),
            None => "never".to_owned(),
        };
        _ = writeln!(
            text,
            "| {ranking} | {} | {} | {} | {first} | {second} | {last} | {} | {share} | {} | {opened} |",
            low(*precision, false),
            low(*last_days, false),
            low(*gain, true),
            high(*regret, 1),
            if row.is_static_at_first { "yes" } else { "NO" }
        );
    }
    let confident: Vec<&Row> = trial.rows.iter().filter(|row| row.calibration_error.is_some()).collect();
    if confident.is_empty() {
        return;
    }
    _ = writeln!(
        text,
        "\nConfidence after {} answers: calibration error with 5 bins of equal mass, what a perfect predictor gets on as many \
         answers, Brier score.\n\n| ranking | error | floor | Brier |\n|---|---|---|---|",
        place.trusted_after
    );
    for row in confident {
        let (Some(error), Some(floor), Some(brier)) =
            (row.calibration_error, row.calibration_floor, row.brier)
        else {
            continue;
        };
        _ = writeln!(text, "| {} | {} | {floor:.3} | {} |", row.ranking, high(error, 3), high(brier, 3));
    }
}

fn write_changes(text: &mut String, changes: &[AfterChange]) {
    _ = writeln!(
        text,
        "\n### A change of mind\n\nHalf way through all wishes are reversed; the persona is the steady one. Precision after it, \
         beside a ranking that begins on that day. Mean of {} runs; the ratio is that of the means.\n\n\
         | answers after it | ours | newcomer | static | ours of newcomer |\n|---|---|---|---|---|",
        changes.len()
    );
    for (at, (first, end)) in SPANS.into_iter().enumerate() {
        let over =
            |figure: &dyn Fn(&AfterChange) -> f64| mean(&changes.iter().map(figure).collect::<Vec<_>>());
        let (ours, newcomer) = (over(&|one| one.ours[at]), over(&|one| one.newcomer[at]));
        _ = writeln!(
            text,
            "| {}-{end} | {ours:.3} | {newcomer:.3} | {:.3} | {:.3} |",
            first + 1,
            over(&|one| one.by_static[at]),
            if newcomer > 0.0 { ours / newcomer } else { 1.0 }
        );
    }
}

fn write_planted(text: &mut String, planted: &[Planted]) {
    let shown = |place: &dyn Fn(&Planted) -> usize| planted.iter().filter(|one| place(one) <= PLACES).count();
    _ = writeln!(
        text,
        "\n### Somebody hides a lateral movement\n\nHe says no to what is like it (source, destination, service, features) and \
         yes to the rest; then it stands at the second place of a day by the static score. Among the first {PLACES}: by the \
         static ranking in {} of {} runs, by ours in {}, by ours without the gate in {}.\n\n\
         | seed | answers | of these no | place by static | by ours | gate | by ours without the gate |\n\
         |---|---|---|---|---|---|---|",
        shown(&|one| one.place_static),
        planted.len(),
        shown(&|one| one.place),
        shown(&|one| one.place_ungated)
    );
    for one in planted {
        let Planted { seed, answers, rejections, place_static, place, place_ungated, is_gate_open } = one;
        let gate = if *is_gate_open { "open" } else { "closed" };
        _ = writeln!(
            text,
            "| {seed} | {answers} | {rejections} | {place_static} | {place} | {gate} | {place_ungated} |"
        );
    }
}

/// Writes mean and least, which is the worst of what should be large.
fn low(spread: Spread, is_signed: bool) -> String {
    let Spread { mean, least, .. } = spread;
    if is_signed { format!("{mean:+.3} / {least:+.3}") } else { format!("{mean:.3} / {least:.3}") }
}

/// Writes mean and most, which is the worst of what should be small.
fn high(spread: Spread, digits: usize) -> String {
    let Spread { mean, most, .. } = spread;
    format!("{mean:.digits$} / {most:.digits$}")
}
