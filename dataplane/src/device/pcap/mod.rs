//! Replays captures without privileges, and writes what would have been sent.
//!
//! A capture holds the traffic of many hosts on one wire. [`topology::PcapTopology`] deals its frames out to several
//! devices by source MAC, in the order of the capture across all of them.

pub mod device;
pub mod reader;
pub mod topology;
pub mod writer;

pub use device::PcapDevice;
pub use reader::{CaptureCounts, CaptureEnd, CaptureError, CaptureReader};
pub use topology::{PcapTopology, ReplayError, ReplayHandle};
pub use writer::{PcapWriter, WriteError};

/// Number of Ethernet among the link types of captures.
const LINK_ETHERNET: u16 = 1;

/// Returns what tcpdump calls a link type, for the ones that are met most often.
fn link_name(link: u16) -> &'static str {
    match link {
        0 => "loopback (NULL)",
        1 => "Ethernet",
        6 => "Token Ring",
        8 => "SLIP",
        9 => "PPP",
        50 => "PPP in HDLC",
        51 => "PPPoE",
        101 => "raw IP",
        104 => "Cisco HDLC",
        105 => "802.11",
        107 => "Frame Relay",
        108 => "loopback (OpenBSD)",
        113 => "Linux cooked (SLL)",
        127 => "802.11 with radiotap",
        187 | 201 => "Bluetooth HCI",
        189 | 220 => "USB",
        195 | 215 | 230 => "802.15.4",
        228 => "raw IPv4",
        229 => "raw IPv6",
        239 => "NFLOG",
        253 => "netlink",
        276 => "Linux cooked (SLL2)",
        _ => "not one of the usual ones",
    }
}
