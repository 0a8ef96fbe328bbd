//! Simulated administrators.

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
