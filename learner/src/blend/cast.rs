//! Who stands in for whom while a campaign runs in the benign network, and when it runs.

use super::BlendError;
use super::campaigns::Campaign;
use super::hosts::{Around, Hosts, Role};
use meshgate_policy::generate::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Runs of a hundred in which the attacker sits on a compromised host inside.
const INSIDE_PERCENT: u64 = 33;
/// Addresses that belong to nobody: 198.18.0.0/15 is for benchmarks (RFC 2544) and 2001:db8::/32 for documentation
/// (RFC 3849), so that no third party is called an attacker.
const STRANGERS_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const STRANGERS_V4_BITS: u32 = 17;
const STRANGERS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);

/// Least share of the time that is left which a campaign fills that is too long for it, in percent.
const FILLED_PERCENT_MIN: u64 = 60;

/// Parts of the time that a scale of 1 has: a scale is a whole number of them, so that no rounding depends on the machine.
pub(super) const SCALE_ONE: u64 = 1_000_000;

/// One run of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cast {
    /// Who stands in for each address of the campaign.
    pub stand_ins: BTreeMap<IpAddr, IpAddr>,
    /// Whether the attacker sits on a host of the benign network.
    pub is_inside: bool,
    /// When its first flow begins, in nanoseconds since 1970.
    pub begin_ns: u64,
    /// How long a time of the recording lasts, in parts of [`SCALE_ONE`].
    pub scale: u64,
}

impl Cast {
    /// Returns the time within the run of a time of the recording.
    pub fn scaled(&self, time_ns: u64) -> u64 {
        let scaled = u128::from(time_ns) * u128::from(self.scale) / u128::from(SCALE_ONE);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

/// Where and when campaigns may run.
#[derive(Debug)]
pub(super) struct Stage {
    /// Hosts of the benign recording that can stand in.
    pub hosts: Hosts,
    /// All addresses of the benign recording, and those that strangers of earlier runs had.
    pub seen: BTreeSet<IpAddr>,
    /// The first and the last nanosecond at which an attack flow may begin, since 1970.
    pub span_ns: [u64; 2],
}

impl Stage {
    /// Casts so many runs of a campaign, each with another host in the place of the victim that begins most flows. They are
    /// fewer where the hosts are.
    pub fn cast(
        &mut self,
        campaign: &Campaign,
        runs: u64,
        random: &mut Rng,
    ) -> Result<Vec<Cast>, BlendError> {
        let victims = in_order_of_flows(campaign);
        let mut used = BTreeSet::new();
        let mut casts = Vec::new();
        for _ in 0..runs {
            let cast = self.run(campaign, &victims, &used, random)?;
            let stand_in = victims.first().and_then(|(victim, _)| cast.stand_ins.get(victim));
            if stand_in.is_some_and(|stand_in| used.contains(stand_in)) {
                break;
            }
            used.extend(cast.stand_ins.values());
            casts.push(cast);
        }
        Ok(casts)
    }

    fn run(
        &mut self,
        campaign: &Campaign,
        victims: &[(IpAddr, Role)],
        used: &BTreeSet<IpAddr>,
        random: &mut Rng,
    ) -> Result<Cast, BlendError> {
        let mut taken = BTreeSet::new();
        let mut stand_ins = BTreeMap::new();
        let mut near = None;
        for (victim, role) in victims {
            let around = Around { taken: &taken, used, near };
            let stand_in = self.hosts.draw(*role, *victim, &around, random);
            let stand_in = stand_in.ok_or_else(|| BlendError::Hosts {
                campaign: campaign.name.clone(),
                wanted: victims.len(),
                held: self.hosts.count(),
            })?;
            taken.insert(stand_in);
            near = near.or(Some(stand_in));
            stand_ins.insert(*victim, stand_in);
        }
        let around = Around { taken: &taken, used, near };
        let foothold = campaign.outside.first().filter(|_| random.chance(INSIDE_PERCENT));
        // Without a host that is left over, the attacker stays outside.
        let foothold = foothold.and_then(|like| self.hosts.draw(Role::Asks, *like, &around, random));
        for address in &campaign.outside {
            // An attacker inside has one host, however many servers there were in the recording.
            let stand_in = foothold.unwrap_or_else(|| self.stranger(*address, random));
            stand_ins.insert(*address, stand_in);
        }
        let is_inside = foothold.is_some();
        let (begin_ns, scale) = self.time(campaign.span_ns(), random);
        Ok(Cast { stand_ins, is_inside, begin_ns, scale })
    }

    /// Returns an address that nobody has had.
    fn stranger(&mut self, like: IpAddr, random: &mut Rng) -> IpAddr {
        loop {
            let address: IpAddr = if like.is_ipv4() {
                let host = u32::try_from(random.below(1 << STRANGERS_V4_BITS)).unwrap_or(0);
                Ipv4Addr::from_bits(STRANGERS_V4.to_bits() | host).into()
            } else {
                Ipv6Addr::from_bits(STRANGERS_V6.to_bits() | u128::from(random.next_u64())).into()
            };
            if self.seen.insert(address) {
                return address;
            }
        }
    }

    /// Returns when a run of this length begins, and its scale.
    fn time(&self, length_ns: u64, random: &mut Rng) -> (u64, u64) {
        let [first_ns, last_ns] = self.span_ns;
        let room_ns = last_ns - first_ns;
        let (scale, scaled_ns) = if length_ns <= room_ns {
            (SCALE_ONE, length_ns)
        } else {
            // Not all of the room: runs of a long campaign must not go in step.
            let percent = FILLED_PERCENT_MIN + random.below(101 - FILLED_PERCENT_MIN);
            let filled_ns = u128::from(room_ns) * u128::from(percent) / 100;
            let scale = filled_ns * u128::from(SCALE_ONE) / u128::from(length_ns);
            (u64::try_from(scale).unwrap_or(SCALE_ONE), u64::try_from(filled_ns).unwrap_or(room_ns))
        };
        (first_ns + random.below(room_ns - scaled_ns + 1), scale)
    }
}

/// Returns the victims, first the one that begins most flows of the campaign.
fn in_order_of_flows(campaign: &Campaign) -> Vec<(IpAddr, Role)> {
    let mut victims: Vec<(IpAddr, Role)> =
        campaign.victims.iter().map(|(victim, role)| (*victim, *role)).collect();
    let begun = |victim: IpAddr| campaign.rows.iter().filter(|row| row.flow.source == victim).count();
    victims.sort_by_cached_key(|(victim, _)| std::cmp::Reverse(begun(*victim)));
    victims
}
