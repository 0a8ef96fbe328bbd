//! Something that listens on the host, where no endpoint may get through to, and the way to it from an endpoint.

use super::{Endpoint, Ground, wait_until};
use std::net::{TcpListener, UdpSocket};

/// An address of the host, on no device of an endpoint.
pub const HOST_ADDRESS: &str = "10.79.0.1";
/// Where something listens on the host.
pub const HOST_PORT: u16 = 6000;

/// Something that listens on the host.
pub struct HostListener {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl HostListener {
    /// Listens on an address of the host.
    pub fn new(ground: &Ground) -> Self {
        ground.on("host", &format!("ip address add {HOST_ADDRESS}/32 dev lo"));
        ground.inside("host", || {
            let tcp = TcpListener::bind(("0.0.0.0", HOST_PORT)).unwrap();
            let udp = UdpSocket::bind(("0.0.0.0", HOST_PORT)).unwrap();
            tcp.set_nonblocking(true).unwrap();
            udp.set_nonblocking(true).unwrap();
            Self { tcp, udp }
        })
    }

    /// Has an endpoint send what is for the host's address to the MAC of its own device on the host.
    pub fn lead_there(ground: &Ground, endpoint: Endpoint) {
        let Endpoint { name, .. } = endpoint;
        let shown = ground.on("host", &format!("ip -oneline link show dev {name}"));
        let mac =
            shown.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
        ground.on(name, &format!("ip route replace {HOST_ADDRESS}/32 dev eth0"));
        ground.on(name, &format!("ip neighbour replace {HOST_ADDRESS} lladdr {mac} dev eth0 nud permanent"));
    }

    /// Returns whether nothing was heard since this was asked last.
    pub fn is_silent(&self) -> bool {
        self.udp.recv(&mut [0; 32]).is_err() && self.tcp.accept().is_err()
    }

    /// Expects that the listener itself is not deaf.
    pub fn expect_heard_locally(&self, ground: &Ground) {
        assert!(ground.can_connect("host", HOST_ADDRESS, HOST_PORT));
        wait_until("the host's own connection was heard", || self.tcp.accept().is_ok());
    }
}
