//! What flows say: their frames.

use super::flows::Flow;
use super::sizes::CHECK_SEQUENCE_BYTES;
use af_xdp::{ChangingPort, Template};
use meshgate_dataplane::packet::TcpFlags;
use meshgate_dataplane::packet::build::{FRAME_BYTES_MIN, Frame};
use meshgate_policy::Mac;

/// Returns the template of a flow's frame: so long on a wire, or as long as its headers need; with so many bytes of head. A
/// TCP flow that begins sends a SYN, one that stays a segment that acknowledges; the payload is zeros.
pub fn template(
    [source_mac, destination_mac]: [Mac; 2],
    flow: Flow,
    (wire_bytes, head_bytes): (u16, u16),
    changing: Option<ChangingPort>,
) -> Template {
    let frame_bytes = (wire_bytes - CHECK_SEQUENCE_BYTES).max(flow.head_bytes());
    let payload = vec![0; usize::from(frame_bytes - flow.head_bytes())];
    let frame = Frame::between(source_mac, destination_mac).ip(flow.source, flow.destination);
    let flags = if changing.is_some() { TcpFlags::SYN } else { TcpFlags::ACK };
    let frame = match flow.is_tcp {
        true => frame.tcp(flow.source_port, flow.destination_port, flags),
        false => frame.udp(flow.source_port, flow.destination_port),
    };
    let mut head = frame.payload(&payload).bytes();
    head.resize(usize::from(head_bytes).max(FRAME_BYTES_MIN), 0);
    Template { head, frame_bytes, changing }
}
