//! Whether a flow was answered, by what a record of it says.
//!
//! *Answered* means as in the live learner: somebody asked, and the far side sent something else than a reset. So the
//! connection states of Zeek (`conn_state`, documentation of `base/protocols/conn/main.zeek`) are read thus:
//!
//! | state | in Zeek's words | answered |
//! |---|---|---|
//! | `SF` | normal establishment and termination | yes |
//! | `S1` | established, not terminated | yes |
//! | `S2` | established, close attempt by the originator, no reply to it | yes |
//! | `S3` | established, close attempt by the responder, no reply to it | yes |
//! | `RSTO` | established, originator aborted | yes: the reset came from the asker, after an answer |
//! | `RSTR` | responder sent a reset, after the connection was established | yes |
//! | `S0` | attempt seen, no reply | no |
//! | `REJ` | attempt rejected | no |
//! | `RSTOS0` | originator sent SYN, then a reset; no SYN-ACK was seen | no |
//! | `SH` | originator sent SYN, then FIN; no SYN-ACK was seen ("half open") | no |
//! | `SHR` | responder sent SYN-ACK, then FIN; no SYN from the originator was seen | no: nobody was seen to ask |
//! | `RSTRH` | responder sent SYN-ACK, then a reset; no SYN from the originator was seen | no: likewise |
//! | `OTH` | neither SYN, only midstream traffic; also all ICMP | if packets went both ways |

use crate::recorded_flow::RecordedFlow;
use meshgate_policy::Protocol;

/// Bytes of a TCP segment without options and payload, such as a reset: IPv4, IPv6.
const BARE_SEGMENT_BYTES: [u64; 2] = [40, 60];

/// Returns whether a flow with this state was answered, as far as that can be told. Takes the state in any case of
/// letters; one that is not in the table is taken as no state at all.
pub fn answered(flow: &RecordedFlow, state: &str, service: &str) -> Option<bool> {
    match state.to_ascii_uppercase().as_str() {
        "SF" | "S1" | "S2" | "S3" | "RSTO" | "RSTR" => Some(true),
        "S0" | "REJ" | "RSTOS0" | "SH" | "SHR" | "RSTRH" => Some(false),
        "OTH" => Some(flow.packets_forward? > 0 && flow.packets_reverse? > 0),
        _ => answered_without_state(flow, service),
    }
}

/// Returns what counts say: of TCP, packets back that are more than bare resets. Where nothing is counted, a service
/// that was recognised in a TCP payload means that a handshake came before it; a datagram may be a question alone.
fn answered_without_state(flow: &RecordedFlow, service: &str) -> Option<bool> {
    let is_tcp = flow.protocol == Some(Protocol::TCP);
    match (flow.packets_reverse, flow.bytes_reverse) {
        (Some(0), _) => Some(false),
        (Some(packets), Some(bytes)) if is_tcp => {
            let bare = BARE_SEGMENT_BYTES[usize::from(flow.source.is_ipv6())];
            Some(bytes > packets.saturating_mul(bare))
        }
        (Some(_), _) if !is_tcp => Some(true),
        (None, _) if is_tcp && !service.is_empty() => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(protocol: Protocol, packets: Option<[u64; 2]>, bytes_reverse: Option<u64>) -> RecordedFlow {
        RecordedFlow {
            protocol: Some(protocol),
            packets_forward: packets.map(|packets| packets[0]),
            packets_reverse: packets.map(|packets| packets[1]),
            bytes_reverse,
            ..RecordedFlow::between(0, [10, 0, 0, 1].into(), [10, 0, 0, 2].into())
        }
    }

    #[test]
    fn every_state_is_read_as_the_table_says() {
        let flow = flow(Protocol::TCP, Some([3, 2]), Some(90));
        for state in ["SF", "S1", "S2", "S3", "RSTO", "RSTR", "OTH", "sf"] {
            assert_eq!(answered(&flow, state, ""), Some(true), "{state}");
        }
        for state in ["S0", "REJ", "RSTOS0", "SH", "SHR", "RSTRH"] {
            assert_eq!(answered(&flow, state, ""), Some(false), "{state}");
        }
    }

    #[test]
    fn midstream_traffic_is_answered_if_packets_went_both_ways() {
        let oth = |packets| answered(&flow(Protocol::ICMP, packets, None), "OTH", "");
        assert_eq!(oth(Some([1, 1])), Some(true));
        assert_eq!((oth(Some([1, 0])), oth(Some([0, 1])), oth(None)), (Some(false), Some(false), None));
    }

    #[test]
    fn without_a_state_bare_resets_are_no_answer() {
        let tcp = |packets, bytes| answered(&flow(Protocol::TCP, packets, bytes), "", "");
        assert_eq!(tcp(Some([2, 2]), Some(80)), Some(false));
        assert_eq!(tcp(Some([2, 2]), Some(84)), Some(true));
        assert_eq!((tcp(Some([2, 2]), None), tcp(None, None)), (None, None));
    }

    #[test]
    fn a_recognised_service_tells_of_tcp_alone() {
        assert_eq!(answered(&flow(Protocol::TCP, None, None), "", "ssl"), Some(true));
        assert_eq!(answered(&flow(Protocol::UDP, None, None), "", "dns"), None);
        assert_eq!(answered(&flow(Protocol::UDP, Some([1, 1]), None), "", ""), Some(true));
    }
}
