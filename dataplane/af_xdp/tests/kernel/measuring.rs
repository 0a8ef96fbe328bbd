//! The generator and the drop counter, which measurements stand on.

use std::collections::HashSet;

use af_xdp::{
    AttachConfig, Attachment, Device, DropCounter, Generator, Socket, SocketConfig, Umem, UmemConfig,
    VariedField,
};

use crate::ground::{Ground, is_root, run, wait_until};

/// Makes a pair of devices in this namespace.
fn pair() -> [Device; 2] {
    run("ip link add here type veth peer name there");
    ["here", "there"].map(|name| {
        run(&format!("ip link set {name} up"));
        Device::named(name).unwrap()
    })
}

/// A packet of an experimental ethertype.
const PACKET: [u8; 60] = {
    let mut packet = [0; 60];
    packet[0] = 0xff;
    packet[6] = 2;
    packet[12] = 0x88;
    packet[13] = 0xb5;
    packet
};

#[test]
fn every_generated_packet_is_counted_where_it_arrives() {
    if !is_root() {
        return;
    }
    let _ground = Ground::new("count");
    let [here, there] = pair();
    let counter = DropCounter::new(there.index).unwrap();
    assert_eq!(counter.packets().unwrap(), 0);
    Generator::new(here.index, None).unwrap().run(&PACKET, 10_000).unwrap();
    // A ring of 256 packets between the ends drops what the other side is too slow for.
    wait_until("packets arrive", || counter.packets().unwrap() >= 256);
    assert!(counter.packets().unwrap() <= 10_000);
}

#[test]
fn a_varied_field_makes_many_flows_and_changes_nothing_else() {
    if !is_root() {
        return;
    }
    let _ground = Ground::new("varied");
    let [here, there] = pair();
    let (umem, mut pools) = Umem::new(&UmemConfig::default()).unwrap();
    let pool = &mut pools[0];
    let attachment = Attachment::new(there.index, 1, &AttachConfig::default()).unwrap();
    let mut socket = Socket::bind(&umem, there.index, 0, &SocketConfig::default()).unwrap();
    socket.refill(pool);
    attachment.register(0, &socket).unwrap();
    let varied = VariedField { offset: 20, mask: 0x01ff };
    let generator = Generator::new(here.index, Some(varied)).unwrap();
    let mut seen = HashSet::new();
    let mut burst = Vec::with_capacity(64);
    wait_until("all values of nine bits", || {
        generator.run(&PACKET, 200).unwrap();
        while socket.receive(&mut burst) > 0 {
            for frame in burst.drain(..) {
                let bytes = pool.bytes(&frame);
                seen.insert(u16::from_be_bytes([bytes[20], bytes[21]]));
                assert_eq!((&bytes[..20], &bytes[22..]), (&PACKET[..20], &PACKET[22..]));
                pool.release(frame);
            }
            socket.refill(pool);
        }
        seen.len() == 512
    });
    assert!(seen.iter().all(|value| value & !varied.mask == 0));
}
