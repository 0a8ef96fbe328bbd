//! Bytes and packets for benign flows that were recorded without: those of a recorded flow that is drawn anew for each.
//!
//! A donor has the same protocol and, where enough were recorded, the same port of the service. If it is known whether a flow
//! was answered, only flows of which the counts say the same give theirs: a handshake that was seen must not become an
//! attempt without an answer. Flows of one service differ more from each other than those of one pair of hosts would; that
//! is the price of not knowing them.

use super::BlendError;
use super::rows::{self, Row, column};
use crate::conn_state;
use meshgate_policy::Protocol;
use meshgate_policy::generate::Rng;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Donors that a service must have to be drawn from: fewer would give all its flows the same few sizes.
const SERVICE_DONORS_MIN: usize = 10;

/// Counts of one recorded flow, as text: `bytes_out`, `bytes_in`, `pkts_out`, `pkts_in`.
type Counts = [Box<str>; 4];

/// Whom a donor can give to: protocol; the port of the service or none for any; whether it was answered, none for either.
type Kind = (Protocol, Option<u16>, Option<bool>);

/// Flows with counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Donors {
    counts: Vec<Counts>,
    kinds: BTreeMap<Kind, Vec<usize>>,
}

/// How many flows got counts, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Those of a flow of the same protocol and service port.
    pub by_service: usize,
    /// Those of a flow of the same protocol.
    pub by_protocol: usize,
    /// None: no recorded flow has the protocol.
    pub none: usize,
}

impl Donors {
    /// Reads the files. Without files there are no donors.
    pub fn read(paths: &[PathBuf]) -> Result<Self, BlendError> {
        let mut donors = Self::default();
        for path in paths {
            let before = donors.counts.len();
            let mut rows = Vec::new();
            rows::read(path, &mut rows)?;
            rows.iter().for_each(|row| donors.add(row));
            if donors.counts.len() == before {
                return Err(BlendError::NoCounts(path.into()));
            }
        }
        Ok(donors)
    }

    fn add(&mut self, row: &Row) {
        let counts: Counts = std::array::from_fn(|at| row.value(column::COUNTS.start + at).into());
        let Some(protocol) = row.flow.protocol else { return };
        if counts.iter().any(|count| count.is_empty()) {
            return;
        }
        let number = self.counts.len();
        self.counts.push(counts);
        // As it will be understood where the receiver has no state either.
        let answered = conn_state::answered(&row.flow, "", "");
        for port in [Some(row.flow.service_port()), None] {
            self.kinds.entry((protocol, port, None)).or_default().push(number);
            if answered.is_some() {
                self.kinds.entry((protocol, port, answered)).or_default().push(number);
            }
        }
    }

    /// Gives counts to a row that has none.
    pub fn give(&self, row: &mut Row, given: &mut Given, random: &mut Rng) {
        let Some(protocol) = row.flow.protocol else {
            given.none += 1;
            return;
        };
        let answered = row.flow.answered;
        let of = |port| self.kinds.get(&(protocol, port, answered)).map_or(&[][..], Vec::as_slice);
        let same_service = of(Some(row.flow.service_port()));
        let is_enough = same_service.len() >= SERVICE_DONORS_MIN;
        let donors = if is_enough { same_service } else { of(None) };
        let Some(number) = random.pick(donors) else {
            given.none += 1;
            return;
        };
        *if is_enough { &mut given.by_service } else { &mut given.by_protocol } += 1;
        let changes: Vec<(usize, &str)> =
            column::COUNTS.zip(self.counts[*number].iter().map(AsRef::as_ref)).collect();
        row.replace(&changes);
    }
}
