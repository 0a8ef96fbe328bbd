//! Two devices with something of the kernel between them: a bridge or a router, whose rules nftables holds.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use crate::ground::{Ground, run};
use std::io::Write;
use std::process::Stdio;

/// MACs of the two machines.
pub const MACS: [[u8; 6]; 2] = [[2, 0xaa, 0, 0, 0, 1], [2, 0xaa, 0, 0, 0, 2]];
/// MACs of the router, at the device of each.
pub const ROUTER_MACS: [[u8; 6]; 2] = [[2, 0xbb, 0, 0, 0, 1], [2, 0xbb, 0, 0, 0, 2]];

/// A frame and the machine that sends it, 0 or 1.
pub type Sent = (usize, Vec<u8>);

/// What joins the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// A bridge: frames come out as they were.
    Bridge,
    /// A router for `10.1.0.0/16` and `fd01::/16` at the first device, `10.2.0.0/16` and `fd02::/16` at the second.
    Router,
}

/// The devices and what joins them.
pub struct Wire<'a> {
    ground: &'a Ground,
    between: Between,
    sentinels: [Vec<u8>; 2],
}

impl<'a> Wire<'a> {
    /// Makes the devices and what joins them. The sentinels must come out whatever the rules are.
    pub fn new(ground: &'a Ground, between: Between, sentinels: [Vec<u8>; 2]) -> Self {
        run(&format!("ip netns add {}", ground.space("ends")));
        run(&format!("ip netns add {}", ground.space("middle")));
        let middle = ground.space("middle");
        for whom in ["all", "default"] {
            ground.on("ends", &format!("sysctl -qw net.ipv6.conf.{whom}.disable_ipv6=1"));
        }
        for (end, mac) in [("end0", ROUTER_MACS[0]), ("end1", ROUTER_MACS[1])] {
            let near = end.replace("end", "mid");
            let peer = format!("type veth peer name {near} address {} netns {middle}", colons(mac));
            ground.on("ends", &format!("ip link add {end} {peer}"));
            ground.on("ends", &format!("ip link set {end} up promisc on"));
        }
        let wire = Self { ground, between, sentinels };
        match between {
            Between::Bridge => wire.bridge(),
            Between::Router => wire.route(),
        }
        wire
    }

    fn middle(&self, lines: &[&str]) {
        lines.iter().for_each(|line| _ = self.ground.on("middle", line));
    }

    fn bridge(&self) {
        self.middle(&[
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
            "sysctl -qw net.ipv6.conf.default.disable_ipv6=1",
            "ip link add br0 type bridge mcast_snooping 0 forward_delay 0",
            "ip link set mid0 up master br0",
            "ip link set mid1 up master br0",
            "ip link set br0 up",
        ]);
    }

    fn route(&self) {
        self.middle(&[
            "sysctl -qw net.ipv4.ip_forward=1",
            "sysctl -qw net.ipv6.conf.all.forwarding=1",
            "sysctl -qw net.ipv6.conf.default.accept_dad=0",
        ]);
        for (at, mac) in MACS.iter().enumerate() {
            let (number, mac) = (at + 1, colons(*mac));
            for line in [
                format!("ip link set mid{at} up"),
                format!("ip address add 10.{number}.0.254/16 dev mid{at}"),
                format!("ip address add fd0{number}::fe/16 dev mid{at} nodad"),
                format!("ip neigh add 10.{number}.0.1 lladdr {mac} dev mid{at} nud permanent"),
                format!("ip neigh add fd0{number}::1 lladdr {mac} dev mid{at} nud permanent"),
            ] {
                self.ground.on("middle", &line);
            }
        }
    }

    /// Puts rules in force.
    pub fn load(&self, rules: &str) {
        let file = self.ground.write("rules.nft", rules);
        self.ground.on("middle", &format!("nft -f {}", file.display()));
    }

    /// Sets a value of the kernel's in the middle.
    pub fn set(&self, name: &str, value: u32) {
        self.ground.on("middle", &format!("sysctl -qw {name}={value}"));
    }

    /// Sends frames, one after the other, and returns of each whether it came out.
    pub fn send(&self, frames: &[Sent]) -> Vec<bool> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nftables/wire.py");
        let mode = if self.between == Between::Router { "routed" } else { "whole" };
        let mut command = self.ground.command("ends", &format!("python3 {script} end0 end1 {mode}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let sentinels = self.sentinels.iter().cloned().enumerate();
        for (side, frame) in sentinels.chain(frames.iter().cloned()) {
            let length = u16::try_from(frame.len()).unwrap();
            input.write_all(&[u8::try_from(side).unwrap()]).unwrap();
            input.write_all(&length.to_be_bytes()).unwrap();
            input.write_all(&frame).unwrap();
        }
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "wire.py ended with {}", output.status);
        assert_eq!(output.stdout.len(), frames.len());
        output.stdout.iter().map(|answer| *answer == 1).collect()
    }
}

fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
