//! Answers taken back, both ways.

use crate::fault::{At, Problem, WireFault};
use crate::wire;
use meshgate_policy::{PolicyVersion, Withdrawal};

impl TryFrom<wire::Withdrawal> for Withdrawal {
    type Error = WireFault;
    fn try_from(message: wire::Withdrawal) -> Result<Self, WireFault> {
        let wire::Withdrawal { sequence, suggestion_id, decision, comment, actor, time_ns, version } =
            message;
        if decision >= sequence {
            return Err(Problem::Order).at("decision");
        }
        let version = Some(PolicyVersion(version)).filter(|version| version.0 > 0);
        Ok(Self { sequence, suggestion: suggestion_id, decision, comment, actor, time_ns, version })
    }
}

impl From<Withdrawal> for wire::Withdrawal {
    fn from(withdrawal: Withdrawal) -> Self {
        let Withdrawal { sequence, suggestion, decision, comment, actor, time_ns, version } = withdrawal;
        let version = version.map_or(0, |version| version.0);
        Self { sequence, suggestion_id: suggestion, decision, comment, actor, time_ns, version }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawal_survives_the_wire_and_comes_after_what_it_takes_back() {
        let withdrawal = Withdrawal {
            sequence: 9,
            suggestion: 3,
            decision: 4,
            comment: "by mistake".into(),
            actor: "alice".into(),
            time_ns: 7,
            version: Some(PolicyVersion(5)),
        };
        let message = wire::Withdrawal::from(withdrawal.clone());
        assert_eq!(Withdrawal::try_from(message.clone()).unwrap(), withdrawal);
        let early = Withdrawal::try_from(wire::Withdrawal { decision: 9, ..message }).unwrap_err();
        assert_eq!(early.to_string(), "decision: stands out of order or twice");
    }
}
