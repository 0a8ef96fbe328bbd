//! Simulated administrators.

use super::simulation::{Administrator, Asked};
use meshgate_policy::generate::Rng;

/// How a simulated administrator answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persona {
    /// Right but for one answer in ten.
    Steady,
    /// Likewise, and each answer comes three days later.
    Delayed,
    /// Answers fewer and fewer of a list, and the later in it the worse.
    Tired,
    /// Says no to three of ten that are right.
    Strict,
    /// Says yes to three of ten that are wrong.
    Lax,
    /// Tosses a coin.
    Coin,
}

impl Persona {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Steady, Self::Delayed, Self::Tired, Self::Strict, Self::Lax, Self::Coin];

    /// Returns the name, as reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady (10 % wrong)",
            Self::Delayed => "three days late",
            Self::Tired => "tired",
            Self::Strict => "strict",
            Self::Lax => "lax",
            Self::Coin => "coin flips",
        }
    }

    /// Returns after how many days answers come.
    pub fn delay_days(self) -> usize {
        if self == Self::Delayed { 3 } else { 0 }
    }

    /// Returns the answer to a suggestion at this place of a day's list, from 0; none where there is none.
    pub fn answer(self, is_right: bool, place: usize, day: usize, rng: &mut Rng) -> Option<bool> {
        let flipped = |percent: u64, rng: &mut Rng| if rng.chance(percent) { !is_right } else { is_right };
        match self {
            Self::Steady | Self::Delayed => Some(flipped(10, rng)),
            Self::Tired => {
                let answered = 10_usize.saturating_sub(day / 4).max(4);
                let percent = 5 + 2 * place as u64;
                (place < answered).then(|| flipped(percent, rng))
            }
            Self::Strict => Some(is_right && !rng.chance(30)),
            Self::Lax => Some(is_right || rng.chance(30)),
            Self::Coin => Some(rng.chance(50)),
        }
    }
}

/// A persona with the chances of one run.
#[derive(Clone, Debug)]
pub struct Simulated {
    persona: Persona,
    rng: Rng,
}

impl Simulated {
    /// Returns the persona of this seed.
    pub fn new(persona: Persona, seed: u64) -> Self {
        Self { persona, rng: Rng::new(seed.wrapping_mul(0x9e37_79b9) ^ 0xadd) }
    }
}

impl Administrator for Simulated {
    fn answer(&mut self, asked: &Asked<'_>) -> Option<bool> {
        self.persona.answer(asked.case.is_right, asked.place, asked.day, &mut self.rng)
    }

    fn delay_days(&self) -> usize {
        self.persona.delay_days()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the shares of yes to what is right and to what is wrong, of 10,000 each.
    fn shares(persona: Persona, place: usize) -> [f64; 2] {
        let mut rng = Rng::new(3);
        [true, false].map(|is_right| {
            let yes = (0..10_000).filter(|_| persona.answer(is_right, place, 0, &mut rng) == Some(true));
            yes.count() as f64 / 10_000.0
        })
    }

    #[test]
    fn personas_err_as_often_as_they_say() {
        for (persona, place, right, wrong) in [
            (Persona::Steady, 0, 0.9, 0.1),
            (Persona::Delayed, 9, 0.9, 0.1),
            (Persona::Tired, 0, 0.95, 0.05),
            (Persona::Tired, 9, 0.77, 0.23),
            (Persona::Strict, 0, 0.7, 0.0),
            (Persona::Lax, 0, 1.0, 0.3),
            (Persona::Coin, 0, 0.5, 0.5),
        ] {
            let [yes_right, yes_wrong] = shares(persona, place);
            assert!((yes_right - right).abs() < 0.02, "{persona:?} at {place}: {yes_right}");
            assert!((yes_wrong - wrong).abs() < 0.02, "{persona:?} at {place}: {yes_wrong}");
        }
    }

    #[test]
    fn the_tired_one_leaves_ever_more_of_a_list_unanswered() {
        let answered = |day| {
            let mut rng = Rng::new(3);
            (0..10).filter(|place| Persona::Tired.answer(true, *place, day, &mut rng).is_some()).count()
        };
        assert_eq!([0, 3, 4, 12, 24, 400].map(answered), [10, 10, 9, 7, 4, 4]);
    }

    #[test]
    fn only_the_late_one_is_late() {
        let late: Vec<Persona> = Persona::ALL.into_iter().filter(|one| one.delay_days() > 0).collect();
        assert_eq!(late, [Persona::Delayed]);
    }
}
