//! What one rule by itself is worth, by the same criterion as [`super::choice`]: what it covers of what was seen and of what
//! rehearsals did not know yet, less the price of what it permits and nobody ever used.

use super::bits::Bits;
use super::choice::Prices;
use super::rehearsal::Rehearsal;
use super::seen::{Seen, Service};

/// What rules are held against.
#[derive(Clone, Copy, Debug)]
pub struct Scale<'a> {
    /// What was seen, and over which addresses permitted tuples are counted.
    pub seen: &'a Seen,
    /// Rehearsals on parts of it.
    pub acts: &'a [Rehearsal],
    /// The services of the rule.
    pub services: &'a [Service],
    /// What covering a tuple that was seen is worth.
    pub seen_weight: f64,
    /// What things cost.
    pub prices: Prices,
}

/// Who belongs to both sides of a rule.
#[derive(Clone, Debug)]
pub struct Sides {
    /// Source and destination.
    pub all: (Bits, Bits),
    /// The same as they would have been in each rehearsal.
    pub then: Vec<(Bits, Bits)>,
}

/// What a rule is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worth {
    /// The worth, less the prices.
    pub value: f64,
    /// Tuples seen that it covers.
    pub covered: usize,
    /// Tuples that it permits.
    pub permitted: usize,
}

impl Scale<'_> {
    /// Returns what a rule with these sides is worth.
    pub fn weigh(&self, sides: &Sides) -> Worth {
        let (sources, destinations) = &sides.all;
        let covered = self.covered(self.seen, &sides.all);
        let pairs = self.permitted_pairs(sources, destinations);
        let permitted = pairs.saturating_mul(self.services.len());
        let mut value = self.seen_weight * super::real(covered) - self.prices.rule;
        for (act, then) in self.acts.iter().zip(&sides.then) {
            // Who did not belong yet does not count, nor who has ceased to belong.
            let common = (then.0.common(sources), then.1.common(destinations));
            value += act.weight * super::real(self.covered(&act.future, &common));
        }
        value -= self.prices.permitted * super::real(permitted.saturating_sub(covered));
        Worth { value, covered, permitted }
    }

    fn covered(&self, seen: &Seen, (sources, destinations): &(Bits, Bits)) -> usize {
        let fits = |pair: &&(usize, usize)| sources.contains(pair.0) && destinations.contains(pair.1);
        self.services.iter().map(|service| seen.pairs(*service).iter().filter(fits).count()).sum()
    }

    /// Returns how many pairs of two different addresses that are present the sides permit.
    fn permitted_pairs(&self, sources: &Bits, destinations: &Bits) -> usize {
        let (from, to) = (sources.common(&self.seen.present), destinations.common(&self.seen.present));
        (from.len() * to.len()).saturating_sub(from.common_len(&to))
    }
}

#[cfg(test)]
mod tests {
    use super::super::rehearsal::rehearsals;
    use super::super::seen::{Addresses, Use};
    use super::*;
    use meshgate_policy::Protocol;
    use std::net::IpAddr;
    use std::sync::Arc;

    const WEB: Service = Service { protocol: Protocol::TCP, port: 80 };

    fn address(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    /// Clients 1, 2, ... begin to use server 100, one after the other; others do nothing.
    fn worths(clients: u8, others: u8) -> (Worth, Worth) {
        let uses: Vec<(u64, Use)> = (1..=clients)
            .map(|client| {
                let used = Use { source: address(client), destination: address(100), service: WEB };
                (u64::from(client) * 10, used)
            })
            .collect();
        let everybody = (1..=clients + others).map(address).chain([address(100)]);
        let addresses = Arc::new(Addresses::listed(everybody));
        let mut seen = Seen::new(&addresses, uses.iter().map(|(_, used)| used));
        (0..addresses.len()).for_each(|number| seen.present.insert(number));
        let acts = rehearsals(&addresses, &uses);
        let prices = Prices { permitted: 0.05, rule: 0.4 };
        let scale = Scale { seen: &seen, acts: &acts, services: &[WEB], seen_weight: 0.2, prices };
        let server = addresses.bits(|at| at == address(100));
        let group = addresses.bits(|at| at != address(100));
        let listed = |seen: &Seen| {
            let mut bits = Bits::none(addresses.len());
            seen.pairs(WEB).iter().for_each(|(source, _)| bits.insert(*source));
            bits
        };
        let then = |of: &dyn Fn(&Seen) -> Bits| {
            acts.iter().map(|act| (of(&act.history), server.clone())).collect::<Vec<_>>()
        };
        let list = Sides { all: (listed(&seen), server.clone()), then: then(&listed) };
        let group = Sides { all: (group.clone(), server.clone()), then: then(&|_| group.clone()) };
        (scale.weigh(&list), scale.weigh(&group))
    }

    #[test]
    fn a_group_that_grows_into_its_rule_is_worth_more_than_a_list() {
        let (list, group) = worths(20, 4);
        assert!(group.value > list.value, "{group:?} {list:?}");
        assert_eq!((list.covered, list.permitted, group.permitted), (20, 20, 24));
    }

    #[test]
    fn a_group_that_hardly_anybody_uses_is_worth_less() {
        let (list, group) = worths(2, 90);
        assert!(group.value < list.value, "{group:?} {list:?}");
        assert_eq!((group.covered, group.permitted), (2, 92));
    }
}
