//! A world of suggestions between groups, made from a seed, with hidden preferences.
//!
//! Groups and services have hidden traits. What is seen of a suggestion are noisy mixtures of them, and values that mean nothing.
//! What an administrator wants is a function of the traits, linear and not, and of who is concerned: some sources are never to be
//! trusted, some pairs belong together. About three of ten suggestions are right. The static score knows a little of that.

use super::world::{Case, World};
use crate::feedback::level::Seen;
use meshgate_policy::generate::Rng;

/// Groups.
const GROUPS: usize = 16;
/// Services.
const SERVICES: usize = 8;
/// Hidden traits of each.
const TRAITS: usize = 3;
/// Suggestions of a day.
const SUGGESTIONS: usize = 60;
/// Days before the first answer.
const DAYS_BEFORE: usize = 14;
/// Suggestions of ten that are right.
const RIGHT_OF_TEN: usize = 3;
/// Values that mean nothing.
const IDLE: usize = 4;
/// Deviation of what is seen of a trait.
const NOISE: f64 = 0.3;
/// How much the static score knows of what is wanted, as a correlation.
const KNOWN: f64 = 0.17;

/// What an administrator wants.
#[derive(Clone, Debug)]
struct Wishes {
    linear: [[f64; TRAITS]; 3],
    crossed: [[f64; TRAITS]; TRAITS],
    sources: Vec<f64>,
    destinations: Vec<f64>,
    services: Vec<f64>,
    pairs: Vec<f64>,
}

impl Wishes {
    fn new(rng: &mut Rng) -> Self {
        let mut normals = |count: usize, deviation: f64| -> Vec<f64> {
            (0..count).map(|_| deviation * normal(rng)).collect()
        };
        let mut linear = [[0.0; TRAITS]; 3];
        linear.iter_mut().for_each(|row| row.copy_from_slice(&normals(TRAITS, 0.5)));
        let mut crossed = [[0.0; TRAITS]; TRAITS];
        crossed.iter_mut().for_each(|row| row.copy_from_slice(&normals(TRAITS, 0.12)));
        Self {
            linear,
            crossed,
            sources: normals(GROUPS, 0.8),
            destinations: normals(GROUPS, 0.4),
            services: normals(SERVICES, 0.6),
            pairs: normals(GROUPS * GROUPS, 0.4),
        }
    }

    fn utility(&self, people: &People, (source, destination, service): (usize, usize, usize)) -> f64 {
        let traits = [people.groups[source], people.groups[destination], people.services[service]];
        let linear: f64 = self.linear.iter().zip(&traits).map(|(w, t)| product(w, t)).sum();
        let crossed: f64 = self.crossed.iter().zip(&traits[0]).map(|(w, t)| t * product(w, &traits[1])).sum();
        let own = self.sources[source] + self.destinations[destination] + self.services[service];
        linear + crossed + own + self.pairs[source * GROUPS + destination]
    }
}

/// Who there is.
#[derive(Clone, Debug)]
struct People {
    groups: Vec<[f64; TRAITS]>,
    services: Vec<[f64; TRAITS]>,
}

/// Returns the world of a seed with so many days with answers. From `changes_on` on, counted in these, wishes are reversed.
pub fn world(seed: u64, days_answered: usize, changes_on: Option<usize>) -> World {
    let mut rng = Rng::new(seed ^ 0x5eed_0f5e);
    let traits = |rng: &mut Rng| {
        let mut traits = [0.0; TRAITS];
        traits.iter_mut().for_each(|value| *value = normal(rng));
        traits
    };
    let people = People {
        groups: (0..GROUPS).map(|_| traits(&mut rng)).collect(),
        services: (0..SERVICES).map(|_| traits(&mut rng)).collect(),
    };
    let wishes = Wishes::new(&mut rng);
    let (mean, deviation, threshold) = spread(&people, &wishes, &mut rng);
    let mut days = Vec::new();
    for day in 0..DAYS_BEFORE + days_answered {
        let has_changed = changes_on.is_some_and(|on| day >= DAYS_BEFORE + on);
        let mut cases = Vec::new();
        for _ in 0..SUGGESTIONS {
            let drawn = draw(&mut rng);
            let utility = (wishes.utility(&people, drawn) - mean) / deviation;
            let static_score = KNOWN * utility + (1.0 - KNOWN * KNOWN).sqrt() * normal(&mut rng);
            // Preferences that turn around: what was wanted most is wanted least.
            let wanted = if has_changed { -utility } else { utility };
            // Utilities are nearly normal: as many lie below the negative threshold as above the threshold.
            let is_right = wanted > threshold;
            let seen = Seen {
                static_score,
                features: features(&people, drawn, &mut rng),
                entities: entities(drawn),
            };
            cases.push(Case { seen, is_right, is_of_situation: rng.chance(50) });
        }
        days.push(cases);
    }
    let before =
        days.drain(..DAYS_BEFORE).map(|day| day.into_iter().map(|case| case.seen).collect()).collect();
    World { name: "synthetic", before, days }
}

/// Returns mean and deviation of the utility, and the standardised threshold above which suggestions are right.
fn spread(people: &People, wishes: &Wishes, rng: &mut Rng) -> (f64, f64, f64) {
    let mut utilities: Vec<f64> = (0..4_000).map(|_| wishes.utility(people, draw(rng))).collect();
    let count = utilities.len() as f64;
    let mean = utilities.iter().sum::<f64>() / count;
    let deviation = (utilities.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    utilities.sort_unstable_by(f64::total_cmp);
    let threshold = utilities[utilities.len() * (10 - RIGHT_OF_TEN) / 10];
    (mean, deviation, (threshold - mean) / deviation)
}

/// Returns source, destination and service: few sources have much to say, most little.
fn draw(rng: &mut Rng) -> (usize, usize, usize) {
    let skewed = |rng: &mut Rng, count: usize| {
        let uniform = u128::from(rng.below(1 << 30));
        usize::try_from((uniform * uniform * count as u128) >> 60).unwrap_or(0)
    };
    (skewed(rng, GROUPS), skewed(rng, GROUPS), skewed(rng, SERVICES))
}

fn features(
    people: &People,
    (source, destination, service): (usize, usize, usize),
    rng: &mut Rng,
) -> Vec<f64> {
    let traits =
        people.groups[source].iter().chain(&people.groups[destination]).chain(&people.services[service]);
    let mut values: Vec<f64> = traits.copied().collect();
    values.iter_mut().for_each(|value| *value += NOISE * normal(rng));
    values.extend((0..IDLE).map(|_| normal(rng)));
    values
}

fn entities((source, destination, service): (usize, usize, usize)) -> [u64; 4] {
    let number = |kind: u64, value: usize| (kind << 32) + value as u64 + 1;
    [number(1, source), number(2, destination), number(3, source * GROUPS + destination), number(4, service)]
}

fn product(a: &[f64; TRAITS], b: &[f64; TRAITS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Returns a normal number (Box and Muller 1958).
pub fn normal(rng: &mut Rng) -> f64 {
    let uniform = |rng: &mut Rng| (rng.below(1 << 53) as f64 + 0.5) / (1_u64 << 53) as f64;
    let (a, b) = (uniform(rng), uniform(rng));
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_world_and_another_seed_another() {
        assert_eq!(world(3, 5, None), world(3, 5, None));
        assert_ne!(world(3, 5, None), world(4, 5, None));
    }

    #[test]
    fn about_three_of_ten_are_right_and_the_static_score_knows_a_little_of_it() {
        let mut cases = Vec::new();
        (0..5).for_each(|seed| cases.extend(world(seed, 20, None).days.into_iter().flatten()));
        let mean = |is_right: bool| {
            let of: Vec<f64> = cases
                .iter()
                .filter(|case| case.is_right == is_right)
                .map(|case| case.seen.static_score)
                .collect();
            (of.len() as f64 / cases.len() as f64, of.iter().sum::<f64>() / of.len() as f64)
        };
        let ((right, strong), (_, weak)) = (mean(true), mean(false));
        assert!((0.25..0.35).contains(&right), "{right}");
        assert!((0.1..0.6).contains(&(strong - weak)), "{strong} {weak}");
    }

    #[test]
    fn everybody_is_drawn_and_nobody_else() {
        let mut rng = Rng::new(1);
        let drawn: Vec<(usize, usize, usize)> = (0..20_000).map(|_| draw(&mut rng)).collect();
        let largest = |of: fn(&(usize, usize, usize)) -> usize| drawn.iter().map(of).max();
        assert_eq!((largest(|one| one.0), largest(|one| one.2)), (Some(GROUPS - 1), Some(SERVICES - 1)));
    }
}
