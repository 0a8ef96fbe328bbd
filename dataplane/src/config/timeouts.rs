//! `[timeouts]`: how long a flow may be silent, by its state, in seconds.

use crate::flow_table::Timeouts;
use serde::Deserialize;

const SECOND_NS: u64 = 1_000_000_000;
/// Longest time that can be asked for: a day.
const SECONDS_MAX: u32 = 86_400;

macro_rules! timeouts {
    ($($(#[$doc:meta])* $key:ident => $field:ident from $least:literal),+ $(,)?) => {
        /// How long a flow may be silent, in seconds; what is absent has its default.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct TimeoutConfig { $($(#[$doc])* pub $key: Option<u32>),+ }

        impl TimeoutConfig {
            /// Returns the timeouts by which flows are kept.
            pub fn timeouts(&self) -> Timeouts {
                let otherwise = Timeouts::default();
                let of = |seconds: Option<u32>, default_ns| {
                    seconds.map_or(default_ns, |seconds| u64::from(seconds) * SECOND_NS)
                };
                Timeouts { $($field: of(self.$key, otherwise.$field),)+ ..otherwise }
            }

            /// Returns the first key whose value is out of its range, and why.
            pub(super) fn fault(&self) -> Option<(String, String)> {
                $(if let Some(seconds) = self.$key && !($least..=SECONDS_MAX).contains(&seconds) {
                    let fault = format!("{seconds} is not within {} to {SECONDS_MAX}", $least);
                    return Some((concat!("timeouts.", stringify!($key)).to_owned(), fault));
                })+
                None
            }
        }
    };
}

timeouts! {
    /// TCP after a SYN that was not answered: 60.
    tcp_syn_sent_s => tcp_syn_sent_ns from 1,
    /// TCP after the answer, until it is acknowledged: 60.
    tcp_syn_received_s => tcp_syn_received_ns from 1,
    /// TCP both sides of which have spoken: 7440, which is 2 h 4 min.
    tcp_established_s => tcp_established_ns from 60,
    /// TCP after one FIN: 240.
    tcp_closing_s => tcp_closing_ns from 1,
    /// TCP after both FINs, until they are acknowledged: 60.
    tcp_last_ack_s => tcp_last_ack_ns from 1,
    /// TCP after both FINs were acknowledged: 10.
    tcp_closed_s => tcp_closed_ns from 1,
    /// TCP after a reset: 10.
    tcp_reset_s => tcp_reset_ns from 1,
    /// UDP and others without an answer: 60.
    udp_unanswered_s => udp_unanswered_ns from 1,
    /// UDP and others that were answered: 300.
    udp_answered_s => udp_answered_ns from 1,
    /// ICMP echo: 60.
    icmp_echo_s => icmp_echo_ns from 1,
    /// SCTP until the COOKIE ACK: 30.
    sctp_opening_s => sctp_opening_ns from 1,
    /// SCTP that stands: 600.
    sctp_established_s => sctp_established_ns from 60,
    /// SCTP after a SHUTDOWN: 60.
    sctp_closing_s => sctp_closing_ns from 1,
    /// SCTP after a SHUTDOWN COMPLETE or an ABORT: 10.
    sctp_closed_s => sctp_closed_ns from 1,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_has_its_default_and_the_rest_is_in_seconds() {
        let config: TimeoutConfig = toml::from_str("tcp_closed_s = 30\nudp_answered_s = 120").unwrap();
        let default = Timeouts::default();
        let expected =
            Timeouts { tcp_closed_ns: 30_000_000_000, udp_answered_ns: 120_000_000_000, ..default };
        assert_eq!(config.timeouts(), expected);
        assert_eq!(config.fault(), None);
    }

    #[test]
    fn a_time_out_of_range_is_named() {
        for (line, key) in [
            ("tcp_established_s = 59", "timeouts.tcp_established_s"),
            ("icmp_echo_s = 0", "timeouts.icmp_echo_s"),
            ("sctp_closing_s = 86401", "timeouts.sctp_closing_s"),
        ] {
            let config: TimeoutConfig = toml::from_str(line).unwrap();
            assert_eq!(config.fault().unwrap().0, key);
        }
        assert!(toml::from_str::<TimeoutConfig>("tcp_s = 1").is_err());
    }
}
