//! Traffic between two namespaces through a forwarder in a third: veth pairs, TCP with offloads, jumbo frames, queues.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

use af_xdp::{SocketConfig, UmemConfig};

use crate::ground::forwarder::Forwarder;
use crate::ground::{Ground, PATIENCE, enter_space, is_root};

/// Datagrams of one exchange.
const DATAGRAMS: u8 = 50;

/// Memory for two devices of one queue.
fn memory() -> UmemConfig {
    UmemConfig { frames_total: 8192, ..UmemConfig::default() }
}

/// Makes left and right neighbours in 10.0.0.0/24 with the forwarder's devices between them.
fn neighbours(test: &str, options: &str) -> Ground {
    let ground = Ground::new(test);
    ground.pair("left", "v0", "10.0.0.1/24", options);
    ground.pair("right", "v1", "10.0.0.2/24", options);
    ground
}

/// Sends datagrams of `bytes` from left to right and back, one after the other.
fn exchange_datagrams(ground: &Ground, bytes: usize) {
    let (right, left) = (ground.space("right"), ground.space("left"));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        enter_space(&right);
        // Any port: a command that another test is just starting may still hold a copy of the last one.
        let socket = UdpSocket::bind("10.0.0.2:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        ready.send(socket.local_addr().unwrap()).unwrap();
        let mut buffer = vec![0; 65_536];
        for _ in 0..DATAGRAMS {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to(&buffer[..length], from).unwrap();
        }
    });
    let server_address = is_ready.recv().unwrap();
    let client = std::thread::spawn(move || {
        enter_space(&left);
        let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(server_address).unwrap();
        let mut buffer = vec![0; 65_536];
        for number in 0..DATAGRAMS {
            let sent = vec![number; bytes];
            socket.send(&sent).unwrap();
            let length = socket.recv(&mut buffer).unwrap();
            assert!(buffer[..length] == sent, "datagram {number} came back changed");
        }
    });
    client.join().unwrap();
    server.join().unwrap();
}

/// Sends `bytes` from left to right and back over TCP; asserts that they arrive as they were.
pub fn transfer(ground: &Ground, bytes: usize) {
    let pattern = move |index: usize| u8::try_from((index * 7 + index / 251) % 256).unwrap();
    let (right, left) = (ground.space("right"), ground.space("left"));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        enter_space(&right);
        let listener = TcpListener::bind("10.0.0.2:7007").unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut received = vec![0; bytes];
        stream.read_exact(&mut received).unwrap();
        stream.write_all(&received).unwrap();
        received
    });
    is_ready.recv().unwrap();
    let client = std::thread::spawn(move || {
        enter_space(&left);
        let sent: Vec<u8> = (0..bytes).map(pattern).collect();
        let mut stream = TcpStream::connect("10.0.0.2:7007").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&sent).unwrap();
        let mut echoed = vec![0; bytes];
        stream.read_exact(&mut echoed).unwrap();
        assert!(echoed == sent, "what came back differs");
        sent
    });
    let sent = client.join().unwrap();
    assert!(server.join().unwrap() == sent, "what arrived differs");
}

#[test]
fn datagrams_and_tcp_with_default_offloads_pass_between_two_veth_pairs() {
    if !is_root() {
        return;
    }
    let ground = neighbours("tcp", "");
    let moving = Forwarder::open(&memory(), ["m-v0", "m-v1"], &SocketConfig::default()).start();
    exchange_datagrams(&ground, 20);
    exchange_datagrams(&ground, 1472);
    transfer(&ground, 20_000_000);
    let forwarder = moving.stop();
    assert!(forwarder.partial > 1000, "{} partial checksums were passed on", forwarder.partial);
    assert!(forwarder.packets.iter().all(|packets| *packets > 1000), "{:?}", forwarder.packets);
}

#[test]
fn jumbo_frames_pass_as_packets_of_several_chunks() {
    if !is_root() {
        return;
    }
    let ground = neighbours("jumbo", "mtu 9000");
    let config = SocketConfig { multi_buffer: true, ..SocketConfig::default() };
    let moving = Forwarder::open(&memory(), ["m-v0", "m-v1"], &config).start();
    exchange_datagrams(&ground, 8972);
    transfer(&ground, 20_000_000);
    let forwarder = moving.stop();
    assert_eq!(forwarder.chunks_max, 6, "9014 bytes at 1728 a chunk");
    assert!(forwarder.partial > 100, "{} partial checksums were passed on", forwarder.partial);
}

#[test]
fn a_device_of_four_queues_has_a_socket_for_each() {
    if !is_root() {
        return;
    }
    let ground = neighbours("queues", "numrxqueues 4 numtxqueues 4");
    let forwarder = Forwarder::open(&memory(), ["m-v0", "m-v1"], &SocketConfig::default());
    assert_eq!(forwarder.sides.each_ref().map(|side| side.sockets.len()), [4, 4]);
    let moving = forwarder.start();
    exchange_datagrams(&ground, 20);
    exchange_datagrams(&ground, 1472);
    transfer(&ground, 5_000_000);
    moving.stop();
}
