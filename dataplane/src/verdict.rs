//! How a packet ends: every way has a name, a counter and a test.

use meshgate_policy::{PolicyVersion, RuleId, Stage};
use std::fmt;

/// The end of one packet at one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet passes.
    Allow(Grounds),
    /// The packet ends here.
    Drop(DropReason, Grounds),
}

/// What a verdict rests on. Implicit verdicts have grounds too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grounds {
    /// Version of the policy by which the worker judged.
    pub version: PolicyVersion,
    /// The stage that ended the packet.
    pub stage: Stage,
    /// The rule, where one decided.
    pub rule: Option<RuleId>,
}

impl Verdict {
    /// Returns what the verdict rests on.
    pub fn grounds(&self) -> Grounds {
        match self {
            Self::Allow(grounds) | Self::Drop(_, grounds) => *grounds,
        }
    }

    /// Returns whether the packet passes.
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal at $stage:ident),+ $(,)?) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $variant),+ }

        impl DropReason {
            /// Every reason, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name under which the reason is counted and shown.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Returns the stage that drops for this reason.
            pub fn stage(self) -> Stage {
                match self { $(Self::$variant => Stage::$stage),+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends before a header does, or a length field says more than there is.
    Truncated = "truncated" at WellFormed,
    /// More than one buffer, or more bytes than a device may carry: a super-frame of an unsegmented offload.
    OversizeFrame = "oversize-frame" at WellFormed,
    /// A header field has a value that no standard allows: version, header length, reserved bits.
    BadHeader = "bad-header" at WellFormed,
    /// The IPv4 header checksum is wrong.
    BadIpChecksum = "bad-ip-checksum" at WellFormed,
    /// The checksum of a TCP SYN, FIN, RST or of an ICMP message is wrong.
    BadL4Checksum = "bad-l4-checksum" at WellFormed,
    /// Loose or strict source route option (RFC 7126 section 4.3), or routing header type 0 (RFC 5095).
    SourceRoute = "source-route" at WellFormed,
    /// More IPv6 extension headers than are followed, or one that ends the chain wrongly.
    ExtensionHeaders = "extension-headers" at WellFormed,
    /// TCP flags that no stack sends: SYN with FIN or RST, none at all, FIN without ACK.
    BadTcpFlags = "bad-tcp-flags" at WellFormed,
    /// An address that cannot be there: loopback, multicast as source, mapped IPv4 in IPv6, land.
    MartianAddress = "martian-address" at WellFormed,
    /// A VLAN tag on a device that has no segment for it.
    UnknownVlan = "unknown-vlan" at WellFormed,
    /// An ethertype that the device does not list.
    Ethertype = "ethertype" at Binding,
    /// The source MAC is not that of an endpoint of the device, or is one of this host's on an uplink.
    SourceMac = "source-mac" at Binding,
    /// The source address is not the sender's, or is one of this host's on an uplink.
    SourceAddress = "source-address" at Binding,
    /// ARP or ND claims an address that is not the sender's.
    NeighbourSpoof = "neighbour-spoof" at Binding,
    /// A DHCP server's message from an endpoint that is none.
    RogueDhcpServer = "rogue-dhcp-server" at Binding,
    /// A router advertisement from an endpoint that may not.
    RouterAdvertisement = "router-advertisement" at Binding,
    /// An ICMP redirect from an endpoint.
    Redirect = "redirect" at Binding,
    /// MAC and IP do not name the endpoint the frame would be delivered to, or only one of them is a group address.
    DestinationBinding = "destination-binding" at Binding,
    /// No device leads to the destination.
    NoDevice = "no-device" at Binding,
    /// The frame would leave by the device it came from.
    Hairpin = "hairpin" at Binding,
    /// A link-local control address that bridges do not forward (IEEE 802.1Q table 8-1).
    LinkControl = "link-control" at Binding,
    /// The first part of a datagram without all that rules and state need, or a later part that lies where a header
    /// does (RFC 1858, RFC 3128, RFC 7112).
    FragmentTiny = "fragment-tiny" at Fragments,
    /// A part of a message that decides more than its own passage, which must come whole: TCP SYN, FIN and RST, SCTP
    /// chunks without data, ICMP other than echo.
    FragmentControl = "fragment-control" at Fragments,
    /// A part that overlaps another of its datagram or contradicts its end, and every part of that datagram after it.
    FragmentOverlap = "fragment-overlap" at Fragments,
    /// A part that has been there before.
    FragmentDuplicate = "fragment-duplicate" at Fragments,
    /// A part of a datagram in more parts than are remembered, and every part of that datagram after it.
    FragmentLimit = "fragment-limit" at Fragments,
    /// A part of a datagram whose first part was refused.
    FragmentRefused = "fragment-refused" at Fragments,
    /// A part that came before its first one and found no room to wait.
    FragmentEarly = "fragment-early" at Fragments,
    /// A part that waited in vain for its first one.
    FragmentTimeout = "fragment-timeout" at Fragments,
    /// A waiting part of a datagram that had to give way to others.
    FragmentTableFull = "fragment-table-full" at Fragments,
    /// A flow that a newer policy cut.
    CutFlow = "cut-flow" at KnownFlow,
    /// A packet outside the state of its flow.
    InvalidState = "invalid-state" at KnownFlow,
    /// A packet in the middle of an unknown connection that may not be picked up.
    NoFlow = "no-flow" at KnownFlow,
    /// An ICMP error that belongs to no flow.
    UnrelatedError = "unrelated-error" at KnownFlow,
    /// The flow table has no room.
    FlowTableFull = "flow-table-full" at KnownFlow,
    /// A rule denies.
    RuleDeny = "rule-deny" at Rules,
    /// A rule rejects.
    RuleReject = "rule-reject" at Rules,
    /// A common group denies.
    MembershipDeny = "membership-deny" at Membership,
    /// The default denies.
    DefaultDeny = "default-deny" at Default,
    /// The frame was allowed and the device it leaves by had no room.
    TransmitFull = "transmit-full" at Default,
    /// The worker that has to judge or send the frame is behind, and its ring is full.
    HandOverFull = "hand-over-full" at Default,
    /// The frame was allowed and no packet memory was left for its copies.
    NoMemory = "no-memory" at Default,
    /// The first fragment of a message that governs the link: neighbour discovery (RFC 6980), MLD, IGMP, DHCP.
    LinkFragment = "link-fragment" at WellFormed,
    /// A DHCP client's message that names another machine, as client or as relay.
    DhcpSpoof = "dhcp-spoof" at Binding,
    /// A query or advertisement of a multicast router from an endpoint that is none.
    MulticastQuery = "multicast-query" at Binding,
    /// A flow that a newer policy cut by a rule that rejects.
    CutReject = "cut-reject" at KnownFlow,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
