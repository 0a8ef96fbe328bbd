//! The rankings that are held side by side: each sees the same suggestions, the same answers, the same scaling.

mod linear;

use crate::feedback::level::Seen;
use crate::feedback::point::Questions;
use crate::feedback::ranking::{Labelled, Ranking};
use crate::feedback::settings::RankingSettings;
use linear::{Linear, Rule};

/// Share of the static ranking that a soft mix keeps at least.
const STATIC_SHARE_MIN: f64 = 0.1;
/// Share of the weight of the two that a soft mix deals out anew with each answer.
const SHARED: f64 = 0.02;
/// Evidence that is there from the first answer on.
const NO_EVIDENCE: f64 = 1e-9;

/// A way to rank that may learn.
pub trait Method {
    /// Takes in a day that has ended.
    fn observe(&mut self, day: &[Seen]);
    /// A day begins.
    fn begin_day(&mut self);
    /// Returns the order of a day's suggestions, with the confidence in each.
    fn rank(&mut self, day: &[Seen]) -> Vec<(usize, f64)>;
    /// Takes in an answer.
    fn learn(&mut self, seen: &Seen, yes: bool, is_of_situation: bool);
    /// Returns whether what was learned decides the order of this day.
    fn takes_part(&self) -> bool {
        false
    }
}

/// The rankings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the static score; learns nothing.
    Static,
    /// The product's.
    Gated,
    /// The product's, but that what was learned takes part from the first answer on.
    Ungated,
    /// The product's probability and that of the static score, weighted by how well they predicted; no gate.
    SoftMix,
    /// Ridge regression with an upper confidence bound (Li and others 2010).
    LinUcb,
    /// Bayesian logistic regression (Chapelle and Li 2011), by its mean.
    Logistic,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Static, Self::Gated, Self::Ungated, Self::SoftMix, Self::LinUcb, Self::Logistic];

    /// Returns the name, as reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Gated => "ours",
            Self::Ungated => "ours without the gate",
            Self::SoftMix => "ours as a soft mix",
            Self::LinUcb => "LinUCB",
            Self::Logistic => "Bayesian logistic regression",
        }
    }

    /// Returns whether it says how sure it is.
    pub fn is_confident(self) -> bool {
        self != Self::Static
    }

    /// Returns one that knows nothing yet.
    pub fn start(self) -> Box<dyn Method> {
        let open = RankingSettings {
            evidence_needed: NO_EVIDENCE,
            evidence_min: NO_EVIDENCE,
            ..RankingSettings::default()
        };
        match self {
            Self::Static => Box::new(Static),
            Self::Gated => Box::new(Learned::new(RankingSettings::default())),
            Self::Ungated => Box::new(Learned::new(open)),
            Self::SoftMix => {
                Box::new(SoftMix { learned: Learned::new(RankingSettings::default()), static_share: 0.5 })
            }
            Self::LinUcb => Box::new(Linear::new(Rule::Bound)),
            Self::Logistic => Box::new(Linear::new(Rule::Logistic)),
        }
    }
}

/// Returns the places of suggestions in the order of the static score.
pub fn static_order(day: &[Seen]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..day.len()).collect();
    order.sort_by(|a, b| day[*b].static_score.total_cmp(&day[*a].static_score).then(a.cmp(b)));
    order
}

/// Returns suggestions by these scores, ties by the static score.
fn ordered(day: &[Seen], scores: &[f64]) -> Vec<usize> {
    let mut order = static_order(day);
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order
}

/// The order of the static score.
struct Static;

impl Method for Static {
    fn observe(&mut self, _day: &[Seen]) {}
    fn begin_day(&mut self) {}
    fn rank(&mut self, day: &[Seen]) -> Vec<(usize, f64)> {
        static_order(day).into_iter().map(|index| (index, 0.5)).collect()
    }
    fn learn(&mut self, _seen: &Seen, _yes: bool, _is_of_situation: bool) {}
}

/// The ranking of the product.
pub struct Learned {
    ranking: Ranking,
    next: u64,
}

impl Learned {
    /// Returns it with these settings.
    pub fn new(settings: RankingSettings) -> Self {
        Self { ranking: Ranking::new(settings), next: 1 }
    }
}

impl Method for Learned {
    fn observe(&mut self, day: &[Seen]) {
        self.ranking.observe(day);
    }

    fn begin_day(&mut self) {
        self.ranking.begin_day(self.next);
    }

    fn rank(&mut self, day: &[Seen]) -> Vec<(usize, f64)> {
        self.ranking.rank(day).into_iter().map(|placed| (placed.index, placed.confidence)).collect()
    }

    fn learn(&mut self, seen: &Seen, yes: bool, is_of_situation: bool) {
        let says = match (yes, is_of_situation) {
            (true, _) => vec![(Questions::BOTH, 1.0)],
            (false, true) => vec![(Questions::SITUATION, 0.0)],
            (false, false) => vec![(Questions::RULE, 0.0)],
        };
        let height = self.ranking.height(seen);
        self.ranking.learn(Labelled {
            suggestion: self.next,
            seen: seen.clone(),
            height,
            reward: f64::from(u8::from(yes)),
            says,
            person: 1,
            time_ns: self.next,
        });
        self.next += 1;
    }

    fn takes_part(&self) -> bool {
        // Asked on the morning of a day, when all that was answered is in force.
        self.ranking.is_in_force()
    }
}

/// The product's probabilities without its gate, beside those of the static score.
struct SoftMix {
    learned: Learned,
    static_share: f64,
}

impl Method for SoftMix {
    fn observe(&mut self, day: &[Seen]) {
        self.learned.observe(day);
    }

    fn begin_day(&mut self) {
        self.learned.begin_day();
    }

    fn rank(&mut self, day: &[Seen]) -> Vec<(usize, f64)> {
        let chances = self.learned.ranking.chances(day);
        let share = self.static_share;
        let mixed: Vec<f64> =
            chances.iter().map(|(null, learned)| share * null + (1.0 - share) * learned).collect();
        ordered(day, &mixed).into_iter().map(|index| (index, mixed[index])).collect()
    }

    fn learn(&mut self, seen: &Seen, yes: bool, is_of_situation: bool) {
        let (null, learned) = self.learned.ranking.chances(std::slice::from_ref(seen))[0];
        let [null, learned] = [null, learned].map(|chance| if yes { chance } else { 1.0 - chance });
        let (kept, rest) = (self.static_share * null, (1.0 - self.static_share) * learned);
        let share = (1.0 - SHARED) * kept / (kept + rest) + SHARED / 2.0;
        self.static_share = share.max(STATIC_SHARE_MIN);
        self.learned.learn(seen, yes, is_of_situation);
    }

    fn takes_part(&self) -> bool {
        self.learned.next > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshgate_policy::generate::Rng;

    /// Returns a day in which the static score says nothing, and what is right shows in one feature and in the source.
    fn day(rng: &mut Rng) -> Vec<(Seen, bool)> {
        let value = |rng: &mut Rng| rng.below(1_000) as f64 / 1_000.0;
        let one = |_| {
            let is_right = rng.chance(30);
            let features = vec![value(rng) + if is_right { 1.0 } else { 0.0 }, value(rng)];
            let source = if is_right { 1 } else { 2 + rng.below(5) };
            let seen = Seen { static_score: value(rng), features, entities: [source, 20, 30 + source, 40] };
            (seen, is_right)
        };
        (0..60).map(one).collect()
    }

    #[test]
    fn every_ranking_that_learns_learns_a_trivial_world() {
        for way in Way::ALL {
            let (mut rng, mut method) = (Rng::new(5), way.start());
            let mut hits = Vec::new();
            for _ in 0..25 {
                let cases = day(&mut rng);
                let seen: Vec<Seen> = cases.iter().map(|(seen, _)| seen.clone()).collect();
                method.begin_day();
                let shown: Vec<usize> = method.rank(&seen).into_iter().take(10).map(|(at, _)| at).collect();
                hits.push(shown.iter().filter(|at| cases[**at].1).count());
                shown.iter().for_each(|at| method.learn(&cases[*at].0, cases[*at].1, true));
                method.observe(&seen);
            }
            let last: usize = hits[20..].iter().sum();
            let learns = way != Way::Static;
            // Ours keeps two of ten places for the most unusual.
            assert_eq!(last >= 40, learns, "{}: {hits:?}", way.name());
            assert_eq!(method.takes_part(), learns, "{}", way.name());
        }
    }
}
