//! What may become a rule: every pair of widths that the uses of a service speak for, with what each would have permitted
//! and covered, of what was seen and in rehearsals.

use super::bits::Bits;
use super::rehearsal::Rehearsal;
use super::seen::{Seen, Service};
use super::width::{Members, RuleSide, Width, members};
use hashbrown::HashSet;

/// The widths of one side with who belongs to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub(super) widths: Vec<Width>,
    /// Who belongs to each width, against everything that was seen.
    pub(super) members: Vec<Bits>,
}

/// Tuples that are worth covering, with who belongs to which width where they are counted.
#[derive(Clone, Debug)]
pub(super) struct Worth {
    pub(super) weight: f64,
    pub(super) pairs: Vec<(usize, usize)>,
    pub(super) sources: Vec<Bits>,
    pub(super) destinations: Vec<Bits>,
}

/// All candidates of one service.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    pub(super) service: Service,
    pub(super) sources: Side,
    pub(super) destinations: Side,
    pub(super) worths: Vec<Worth>,
}

impl Candidates {
    /// Returns the candidates of a service. A tuple that was seen is worth `seen_weight`.
    pub(super) fn of(seen: &Seen, service: Service, rehearsals: &[Rehearsal], seen_weight: f64) -> Self {
        let pairs = seen.pairs(service);
        let acts: Vec<&Rehearsal> =
            rehearsals.iter().filter(|act| !act.future.pairs(service).is_empty()).collect();
        let side = |side| {
            let then = acts.iter().map(|act| members(&seen.addresses, act.history.pairs(service), side));
            Side::of(seen, members(&seen.addresses, pairs, side), &then.collect::<Vec<_>>())
        };
        let (sources, past_sources) = side(RuleSide::Source);
        let (destinations, past_destinations) = side(RuleSide::Destination);
        let mut worths = vec![Worth {
            weight: seen_weight,
            pairs: pairs.to_vec(),
            sources: sources.members.clone(),
            destinations: destinations.members.clone(),
        }];
        for ((act, sources), destinations) in acts.iter().zip(past_sources).zip(past_destinations) {
            let pairs = act.future.pairs(service).to_vec();
            worths.push(Worth { weight: act.weight, pairs, sources, destinations });
        }
        Self { service, sources, destinations, worths }
    }
}

impl Side {
    /// Returns the widths, narrow ones first, and who belonged to each in every rehearsal and still does: a width that has
    /// come to mean somebody else says nothing about what it will mean. Of widths with the same members throughout only
    /// the first is left.
    fn of(seen: &Seen, all: Members, then: &[Members]) -> (Self, Vec<Vec<Bits>>) {
        let nobody = Bits::none(seen.addresses.len());
        let mut widths: Vec<(Width, Bits)> = all.into_iter().collect();
        widths.sort_by_cached_key(|(width, bits)| (bits.common_len(&seen.present), *width));
        let mut known = HashSet::new();
        let mut side = Self::default();
        let mut past = vec![Vec::new(); then.len()];
        for (width, bits) in widths {
            let was: Vec<Bits> =
                then.iter().map(|members| members.get(&width).unwrap_or(&nobody).common(&bits)).collect();
            if known.insert((bits.clone(), was.clone())) {
                side.widths.push(width);
                side.members.push(bits);
                past.iter_mut().zip(was).for_each(|(past, was)| past.push(was));
            }
        }
        (side, past)
    }
}
