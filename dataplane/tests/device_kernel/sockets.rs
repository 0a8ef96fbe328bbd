//! Frames through AF_XDP devices, and every chunk accounted for.

use crate::ground::{Ground, is_root, run, wait_until};
use af_xdp::{Error, Frame, FramePool, Umem, UmemConfig};
use meshgate_dataplane::device::Device;
use meshgate_dataplane::device::af_xdp::{AfXdpDevice, XdpConfig};
use std::collections::VecDeque;
use std::net::UdpSocket;

const SLICE_FRAMES: usize = 2048;

/// Where the UDP header of an untagged IPv4 frame begins, and the checksum in it.
const UDP_START: u16 = 34;
const UDP_CHECKSUM: u16 = 6;

fn memory() -> (Umem, FramePool) {
    let frames_total = u32::try_from(SLICE_FRAMES).unwrap();
    let (umem, mut pools) = Umem::new(&UmemConfig { frames_total, ..UmemConfig::default() }).unwrap();
    (umem, pools.remove(0))
}

/// Opens the only queue of a device.
///
/// A command that another test is just starting holds copies of all descriptors for a moment, so that a program that
/// was taken off can still be there.
fn open(name: &str, umem: &Umem, config: &XdpConfig) -> Box<AfXdpDevice> {
    let mut opened = None;
    wait_until("the device is free", || match AfXdpDevice::open_all(name, umem, config) {
        Err(Error::Attach { .. }) => false,
        result => {
            opened = Some(result.unwrap());
            true
        }
    });
    let mut queues = opened.unwrap();
    assert_eq!(queues.len(), 1);
    assert!(queues[0].can_send());
    Box::new(queues.remove(0))
}

/// Moves what is there from one device to the other. The sender's kernel left the UDP checksum partial.
fn forward(from: &mut AfXdpDevice, to: &mut AfXdpDevice, pool: &mut FramePool) -> usize {
    let mut burst = Vec::with_capacity(64);
    from.receive(pool, &mut burst);
    let mut frames: VecDeque<Frame> = burst.into();
    frames.iter_mut().for_each(|frame| frame.request_checksum(UDP_START, UDP_CHECKSUM));
    let sent = to.send(pool, &mut frames);
    frames.drain(..).for_each(|frame| pool.release(frame));
    from.flush(pool);
    to.flush(pool);
    sent
}

/// A machine at each side of two devices, with sockets, which know each other's MAC.
struct Machines {
    left: UdpSocket,
    right: UdpSocket,
}

impl Machines {
    fn new(ground: &Ground) -> Self {
        ground.pair("one", "left", "far1", "10.9.1.1/24");
        ground.pair("two", "right", "far2", "10.9.1.2/24");
        let neighbours =
            [("left", "far1", "10.9.1.2", "right", "far2"), ("right", "far2", "10.9.1.1", "left", "far1")];
        for (place, device, address, there, owner) in neighbours {
            let mac = ground.mac(there, owner);
            ground.on(place, &format!("ip neighbour add {address} lladdr {mac} dev {device} nud permanent"));
        }
        let left = ground.udp("left", "10.9.1.1:5000");
        let right = ground.udp("right", "10.9.1.2:5000");
        left.connect("10.9.1.2:5000").unwrap();
        right.connect("10.9.1.1:5000").unwrap();
        Self { left, right }
    }
}

/// Sends `count` numbered datagrams the one way and expects all of them, in order.
fn send_through(
    (sender, receiver): (&UdpSocket, &UdpSocket),
    (from, to): (&mut AfXdpDevice, &mut AfXdpDevice),
    pool: &mut FramePool,
    count: usize,
) {
    let (mut sent, mut received) = (0usize, 0usize);
    let mut datagram = [0; 64];
    wait_until("all datagrams arrived", || {
        for _ in 0..32.min(count - sent) {
            sender.send(&sent.to_be_bytes()).unwrap();
            sent += 1;
        }
        forward(from, to, pool);
        while let Ok(length) = receiver.recv(&mut datagram) {
            assert_eq!(datagram[..length], received.to_be_bytes());
            received += 1;
        }
        received == count
    });
}

#[test]
fn one_way_traffic_of_ten_slices_drains_neither_device() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("oneway");
    let machines = Machines::new(&ground);
    let (umem, mut pool) = memory();
    let config = XdpConfig::for_slice(SLICE_FRAMES, 2);
    let (mut one, mut two) = (open("one", &umem, &config), open("two", &umem, &config));
    assert_eq!(one.mode(), "af_xdp native copy");
    one.flush(&mut pool);
    two.flush(&mut pool);
    let there = (&machines.left, &machines.right);
    send_through(there, (&mut one, &mut two), &mut pool, 10 * SLICE_FRAMES);
    for device in [&one, &two] {
        assert!(device.outstanding() >= config.fill_frames as usize, "{} left", device.outstanding());
        assert_eq!(device.losses(), Default::default());
    }
    let back = (&machines.right, &machines.left);
    send_through(back, (&mut two, &mut one), &mut pool, 100);
    assert_eq!(pool.free_frames() + one.outstanding() + two.outstanding(), SLICE_FRAMES);
    one.close(&mut pool);
    two.close(&mut pool);
    assert_eq!((pool.free_frames(), umem.stranded_frames()), (SLICE_FRAMES, 0));
}

#[test]
fn a_closed_device_can_be_opened_again_in_the_other_mode() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("again");
    let machines = Machines::new(&ground);
    let (umem, mut pool) = memory();
    for generic_only in [false, true, false] {
        let config = XdpConfig { generic_only, ..XdpConfig::for_slice(SLICE_FRAMES, 2) };
        let (mut one, mut two) = (open("one", &umem, &config), open("two", &umem, &config));
        let mode =
            if generic_only { "af_xdp generic (native: not wanted) copy" } else { "af_xdp native copy" };
        assert_eq!(one.mode(), mode);
        one.flush(&mut pool);
        let there = (&machines.left, &machines.right);
        send_through(there, (&mut one, &mut two), &mut pool, 100);
        one.close(&mut pool);
        two.close(&mut pool);
        assert_eq!(pool.free_frames(), SLICE_FRAMES);
    }
}

#[test]
fn every_queue_of_a_device_is_opened_and_what_cannot_send_says_so() {
    if !is_root() {
        return;
    }
    let _ground = Ground::new("queues");
    run(
        "ip link add name one numrxqueues 4 numtxqueues 2 type veth peer name far1 numrxqueues 2 numtxqueues 4",
    );
    run("ip link set one up");
    run("ip link set far1 up");
    let (umem, mut pool) = memory();
    let config = XdpConfig::for_slice(SLICE_FRAMES, 4);
    let queues = AfXdpDevice::open_all("one", &umem, &config).unwrap();
    let expected = af_xdp::Device::named("one").unwrap();
    assert_eq!(queues.len(), expected.rx_queues as usize);
    for (number, mut queue) in (0..).zip(queues) {
        assert_eq!((queue.queue(), queue.can_send()), (number, number < expected.tx_queues));
        queue.flush(&mut pool);
        Box::new(queue).close(&mut pool);
    }
    assert_eq!(pool.free_frames(), SLICE_FRAMES);
}

#[test]
fn zero_copy_falls_back_to_copies_and_says_so() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("zero");
    ground.pair("one", "left", "far1", "10.9.1.1/24");
    let (umem, mut pool) = memory();
    let config = XdpConfig { zero_copy: true, ..XdpConfig::for_slice(SLICE_FRAMES, 1) };
    let one = open("one", &umem, &config);
    assert_eq!(one.mode(), "af_xdp native copy");
    one.close(&mut pool);
}

#[test]
fn a_frame_of_several_chunks_arrives_whole() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("jumbo");
    let machines = Machines::new(&ground);
    run("ip link set one mtu 9000");
    ground.on("left", "ip link set far1 mtu 9000");
    let (umem, mut pool) = memory();
    let mut one = open("one", &umem, &XdpConfig::for_slice(SLICE_FRAMES, 1));
    one.flush(&mut pool);
    let content: Vec<u8> = (0..8000u32).map(|index| index.to_be_bytes()[3]).collect();
    machines.left.send(&content).unwrap();
    let mut burst = Vec::with_capacity(8);
    wait_until("the frame arrived", || one.receive(&mut pool, &mut burst) > 0);
    assert_eq!((burst.len(), burst[0].len()), (1, 14 + 20 + 8 + 8000));
    assert!(burst[0].chunks() > 1);
    let mut bytes = vec![0; burst[0].len()];
    pool.copy_to(&burst[0], &mut bytes);
    assert_eq!(bytes[42..], content);
    pool.release(burst.remove(0));
    one.close(&mut pool);
    assert_eq!(pool.free_frames(), SLICE_FRAMES);
}

#[test]
fn a_device_that_vanishes_is_finished_and_gives_every_chunk_back() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("gone");
    ground.pair("one", "left", "far1", "10.9.1.1/24");
    let (umem, mut pool) = memory();
    let mut one = open("one", &umem, &XdpConfig::for_slice(SLICE_FRAMES, 1));
    one.flush(&mut pool);
    let mut burst = Vec::with_capacity(8);
    for _ in 0..100 {
        one.receive(&mut pool, &mut burst);
    }
    run("ip link set one down");
    for _ in 0..100 {
        one.receive(&mut pool, &mut burst);
        one.flush(&mut pool);
    }
    assert!(!one.is_finished(), "a device that is down comes back");
    run("ip link del one");
    wait_until("the device is found to be gone", || {
        assert_eq!(one.receive(&mut pool, &mut burst), 0);
        one.flush(&mut pool);
        one.is_finished()
    });
    assert_eq!(pool.free_frames() + one.outstanding(), SLICE_FRAMES);
    one.close(&mut pool);
    assert_eq!((pool.free_frames(), umem.stranded_frames()), (SLICE_FRAMES, 0));
}
