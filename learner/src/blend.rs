//! `meshgate-learner blend`: real attacks in a real network that was not attacked by them.
//!
//! **The problem.** Recordings of networks have no labels, and labelled recordings of attacks hold hardly anything else.
//! Neither says how well an attack is told from what a busy network does.
//!
//! **What is made.** Every flow of a benign recording, labelled `-`, and among them the flows of recorded attacks as if they
//! had happened there. A *campaign* (`campaigns`) is what attackers did in one go; it runs a few times, each time with other
//! hosts of the benign network in the places of its victims (`hosts`, `cast`), from a given time on, so that what is
//! before it is clean to learn from. A campaign that is longer than the time that is left is sped up to fit.
//!
//! **What must not give attacks away.** A victim's stand-in was active before, so that it is no news by itself, and what a
//! recording does not say is not said of attacks either: where no benign flow has bytes, durations or states, attack flows
//! lose theirs; with `--bytes-from` benign flows get bytes and packets of other recorded flows instead (`donors`).
//!
//! **What it is not.** Benign flows do not react to attacks; flows within a capture that its attacker did not cause are
//! labelled as attack with the rest; and nobody vouches that the benign recording holds no attack of its own.
//!
//! Equal files, seed and arguments give equal bytes.

mod campaigns;
mod cast;
mod donors;
mod hosts;
mod output;
mod report;
mod rows;
mod runs;

use crate::evaluate::moment::SpanEnd;
use crate::recorded_flow::FlowFileError;
use campaigns::{Campaigns, is_attack_label};
use cast::Stage;
use clap::Args;
use donors::Donors;
pub use donors::Given;
use hosts::Hosts;
use meshgate_policy::generate::Rng;
pub use report::{Blended, Run};
use rows::Row;
use runs::Filled;
use std::path::{Path, PathBuf};

/// Runs of a campaign that may be asked for.
const RUNS_MAX: u64 = 20;

/// Makes a labelled set of flows out of benign ones and attacks.
#[derive(Args, Clone, Debug)]
#[command(after_help = "A DATE is a day (YYYY-MM-DD, UTC) or a minute (YYYY-MM-DDTHH:MM).

Example, ten minutes to learn from and five to score:
  meshgate-learner blend --benign wrccdc2018_first15min.csv.gz --attacks apt29_day1.csv.gz otrf_ad_lab_a.csv.gz \\
    --bytes-from homelab_2024-04-29.csv.gz rita_droplet_2024-04-19.csv.gz --attack-from 2018-03-24T17:25 \\
    --seed 1 --out blend.csv.gz

In the file, label is - for a benign flow; for an attack flow it is what the flow or its capture was said to show, and
label_name is the campaign with the number of its run, such as apt29_day1#2.")]
pub struct BlendArguments {
    /// Flows (CSV, plain or gzip) that are taken to be benign: all of them are written
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub benign: Vec<PathBuf>,
    /// Recorded attacks: labelled flows, or captures whose label_name says what each shows
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub attacks: Vec<PathBuf>,
    /// Flows whose bytes and packets benign flows get that have none; without it, attack flows lose theirs if no benign
    /// flow has any
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub bytes_from: Vec<PathBuf>,
    /// No attack flow is earlier
    #[arg(long, value_name = "DATE")]
    pub attack_from: SpanEnd,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Runs of each campaign, each with other hosts; fewer where there are no others
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=RUNS_MAX))]
    pub runs: u64,
    /// File to write: CSV, gzip if its name ends with .gz
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
pub enum BlendError {
    /// A file of flows cannot be read.
    #[error(transparent)]
    Flows(#[from] FlowFileError),
    /// A file has no rows.
    #[error("{0}: it holds no flow")]
    Empty(PathBuf),
    /// A file is not in order of time.
    #[error("{0}: {1} of its rows are earlier than the row before them")]
    Unordered(PathBuf, u64),
    /// The files of an option hold too much.
    #[error("{0}: more than {1} flows, with those of the files before it")]
    TooManyRows(PathBuf, usize),
    /// A benign file says itself that it is not.
    #[error("--benign {path}: a flow is labelled {label:?}, which is not benign (-, 0 or empty)")]
    AttackAmongBenign {
        /// The file.
        path: PathBuf,
        /// The label.
        label: String,
    },
    /// A file of attacks labels none.
    #[error("--attacks {0}: no flow between two hosts is labelled as attack, by label or by label_name")]
    NoAttack(PathBuf),
    /// A file that is to give bytes has none.
    #[error("--bytes-from {0}: no flow says protocol, bytes and packets both ways")]
    NoCounts(PathBuf),
    /// There is nothing to learn from, or no time for attacks.
    #[error("--attack-from {from}: not between the benign flows, which begin in {first} and end in {last}")]
    Span {
        /// What was asked for.
        from: SpanEnd,
        /// The minute of the first benign flow.
        first: String,
        /// The minute of the last.
        last: String,
    },
    /// The benign network is too small.
    #[error(
        "campaign {campaign} needs {wanted} private hosts that were active before --attack-from, and there are {held}"
    )]
    Hosts {
        /// The campaign.
        campaign: String,
        /// Hosts that it needs.
        wanted: usize,
        /// Active private hosts, of both address families.
        held: usize,
    },
    /// The result would go over what it is made of.
    #[error("--out {0}: it is one of the files to read")]
    OutIsInput(PathBuf),
    /// The result cannot be written.
    #[error("--out {0}: {1}")]
    Out(PathBuf, std::io::Error),
}

/// Makes the set, writes it, and returns what was made.
pub fn run(arguments: &BlendArguments) -> Result<Blended, BlendError> {
    let BlendArguments { benign, attacks, bytes_from, attack_from, seed, runs, out } = arguments;
    output::check(out, [benign, attacks, bytes_from])?;
    // What is drawn for one part does not depend on how much is drawn for another.
    let mut seeds = Rng::new(*seed);
    let [mut for_counts, mut for_casts] = [Rng::new(seeds.next_u64()), Rng::new(seeds.next_u64())];

    let mut rows = read_benign(benign)?;
    let (first_ns, last_ns) = (time_ns(rows.first()), time_ns(rows.last()));
    let from_ns = attack_from.second().saturating_mul(1_000_000_000);
    if from_ns <= first_ns || from_ns >= last_ns {
        return Err(report::no_span(*attack_from, first_ns, last_ns));
    }
    let campaigns = Campaigns::read(attacks)?;
    let donors = Donors::read(bytes_from)?;
    let mut blended = Blended::of(&rows, &campaigns, out);
    if !bytes_from.is_empty() {
        for row in rows.iter_mut().filter(|row| !row.has_counts()) {
            donors.give(row, &mut blended.given, &mut for_counts);
        }
    }
    let filled = Filled::by(&rows);
    let hosts = Hosts::active_in(rows.iter().take_while(|row| row.flow.time_ns < from_ns));
    let seen = rows.iter().flat_map(|row| [row.flow.source, row.flow.destination]).collect();
    let mut stage = Stage { hosts, seen, span_ns: [from_ns, last_ns] };
    for campaign in &campaigns.campaigns {
        let casts = stage.cast(campaign, *runs, &mut for_casts)?;
        for (number, cast) in (1..).zip(&casts) {
            let run = runs::rows(campaign, cast, number, filled);
            blended.add(campaign, cast, number, &run);
            rows.extend(run);
        }
    }
    rows.sort_by_key(|row| row.flow.time_ns);
    output::write(out, &rows)?;
    Ok(blended)
}

/// Returns the benign flows in order of time, labelled so.
fn read_benign(paths: &[PathBuf]) -> Result<Vec<Row>, BlendError> {
    let mut all = Vec::new();
    for path in paths {
        let before = all.len();
        rows::read(path, &mut all)?;
        all[before..].iter_mut().try_for_each(|row| mark_benign(path, row))?;
    }
    all.sort_by_key(|row| row.flow.time_ns);
    Ok(all)
}

fn mark_benign(path: &Path, row: &mut Row) -> Result<(), BlendError> {
    match row.flow.label_for_scoring() {
        Some(label) if is_attack_label(label) => {
            Err(BlendError::AttackAmongBenign { path: path.into(), label: label.to_owned() })
        }
        _ => {
            row.replace(&[(rows::column::LABEL, "-"), (rows::column::LABEL_NAME, "")]);
            Ok(())
        }
    }
}

fn time_ns(row: Option<&Row>) -> u64 {
    row.map_or(0, |row| row.flow.time_ns)
}
