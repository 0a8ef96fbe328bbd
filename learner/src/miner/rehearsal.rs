//! Rehearsals: what rules would have been worth, had they been made earlier.
//!
//! What was seen is cut in two at several times. Widths are read against the part before a cut, and what they permit of
//! the part behind it is counted. One cut would listen to what happened to come next; the mean of several does so less.

use super::seen::{Addresses, Seen, Use};
use std::sync::Arc;

/// Where what was seen is cut, in tenths of its span.
const CUTS: [u64; 6] = [3, 4, 5, 6, 7, 8];
/// How much of what follows a cut is looked at, in tenths of the span: about as much as rules are to hold for.
const HORIZON: u64 = 4;

/// A rehearsal.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// What was seen up to a time.
    pub history: Seen,
    /// What came then.
    pub future: Seen,
    /// What covering one tuple of the future is worth.
    pub weight: f64,
}

/// Returns the rehearsals on uses with their times (in any unit), which are in order of time.
pub fn rehearsals(addresses: &Arc<Addresses>, uses: &[(u64, Use)]) -> Vec<Rehearsal> {
    let (Some((first, _)), Some((last, _))) = (uses.first(), uses.last()) else { return Vec::new() };
    let tenth = (last - first) / 10;
    let up_to = |tenths: u64| {
        let end = first.saturating_add(tenth.saturating_mul(tenths));
        if tenths >= 10 { uses.len() } else { uses.partition_point(|(time, _)| *time < end) }
    };
    let seen = |part: &[(u64, Use)]| Seen::new(addresses, part.iter().map(|(_, used)| used));
    let weight = 1.0 / super::real(CUTS.len());
    let rehearsal = |cut: u64| Rehearsal {
        history: seen(&uses[..up_to(cut)]),
        future: seen(&uses[up_to(cut)..up_to(cut + HORIZON)]),
        weight,
    };
    CUTS.into_iter().map(rehearsal).collect()
}

#[cfg(test)]
mod tests {
    use super::super::seen::Service;
    use super::*;
    use meshgate_policy::Protocol;

    #[test]
    fn a_rehearsal_knows_nothing_of_its_future() {
        let used = |port| Use {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            service: Service { protocol: Protocol::TCP, port },
        };
        // One use at each time: port and time are the same.
        let uses: Vec<(u64, Use)> = (0..=100).map(|time| (u64::from(time), used(time))).collect();
        let addresses = Arc::new(Addresses::of(uses.iter().map(|(_, used)| used)));
        let rehearsals = rehearsals(&addresses, &uses);
        for (rehearsal, cut) in rehearsals.iter().zip(CUTS) {
            let cut = u16::try_from(cut * 10).unwrap();
            let ports = |seen: &Seen| seen.services.keys().map(|service| service.port).collect::<Vec<_>>();
            assert_eq!(ports(&rehearsal.history), (0..cut).collect::<Vec<_>>());
            let end = if cut + 40 >= 100 { 101 } else { cut + 40 };
            assert_eq!(ports(&rehearsal.future), (cut..end).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nothing_seen_gives_no_rehearsal() {
        assert!(rehearsals(&Arc::new(Addresses::default()), &[]).is_empty());
    }
}
