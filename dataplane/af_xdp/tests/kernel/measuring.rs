//! The generator and the drop counter, which measurements stand on.

use std::num::NonZero;
use std::time::Instant;

use af_xdp::{
    AttachConfig, Attachment, ChangingPort, Device, DropCounter, Generator, Socket, SocketConfig, Template,
    Umem, UmemConfig,
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

/// Returns the packet with another number of bytes and this one at its end.
fn template(frame_bytes: u16, mark: u8) -> Template {
    let mut head = PACKET.to_vec();
    head.resize(frame_bytes.into(), mark);
    Template { head, frame_bytes, changing: None }
}

#[test]
fn every_generated_packet_is_counted_where_it_arrives() {
    if !is_root() {
        return;
    }
    let _ground = Ground::new("count");
    let [here, there] = pair();
    let counter = DropCounter::new(there.index).unwrap();
    assert_eq!(counter.packets().unwrap(), 0);
    let generator = Generator::new(here.index, &[template(60, 0)], None).unwrap();
    generator.stop_after(9_000).unwrap();
    generator.run(10_000).unwrap();
    let generated = generator.generated().unwrap();
    assert_eq!((generated.frames, generated.bytes, generated.changed), (9_000, 9_000 * 60, 0));
    // A ring of 256 packets between the ends drops what the other side is too slow for.
    wait_until("packets arrive", || counter.packets().unwrap() >= 256);
    assert!(counter.packets().unwrap() <= 9_000);
}

#[test]
fn a_rate_is_kept() {
    if !is_root() {
        return;
    }
    let _ground = Ground::new("rate");
    let [here, there] = pair();
    let counter = DropCounter::new(there.index).unwrap();
    let generator = Generator::new(here.index, &[template(60, 0)], NonZero::new(100_000)).unwrap();
    let began = Instant::now();
    generator.run(2_000_000).unwrap();
    let (seconds, frames) = (began.elapsed().as_secs_f64(), generator.generated().unwrap().frames);
    assert!(frames > 0 && frames as f64 <= 100_000.0 * seconds + 1.0, "{frames} in {seconds} s");
    wait_until("packets arrive", || counter.packets().unwrap() == frames);
}

/// Returns the frames that arrive of so many generated ones.
fn received(templates: &[Template], frames: u32) -> Vec<Vec<u8>> {
    let [here, there] = pair();
    let (umem, mut pools) = Umem::new(&UmemConfig::default()).unwrap();
    let pool = &mut pools[0];
    let attachment = Attachment::new(there.index, 1, &AttachConfig::default()).unwrap();
    let mut socket = Socket::bind(&umem, there.index, 0, &SocketConfig::default()).unwrap();
    socket.refill(pool);
    attachment.register(0, &socket).unwrap();
    let generator = Generator::new(here.index, templates, None).unwrap();
    let mut seen = Vec::new();
    let mut burst = Vec::with_capacity(64);
    while seen.len() < frames as usize {
        // Few enough for the ring of 256 between the ends.
        generator.run(64.min(frames - u32::try_from(seen.len()).unwrap())).unwrap();
        let generated = usize::try_from(generator.generated().unwrap().frames).unwrap();
        wait_until("what was generated arrives", || {
            while socket.receive(&mut burst) > 0 {
                for frame in burst.drain(..) {
                    seen.push(pool.bytes(&frame).to_vec());
                    pool.release(frame);
                }
                socket.refill(pool);
            }
            seen.len() == generated
        });
    }
    seen
}

#[test]
fn frames_arrive_in_their_order_with_their_lengths_and_bytes() {
    if !is_root() {
        return;
    }
    let _ground = Ground::new("order");
    let templates = [template(60, 1), template(1514, 2), template(61, 3), template(14, 4), template(600, 5)];
    let seen = received(&templates, 1_000);
    for (at, frame) in seen.iter().enumerate() {
        assert!(*frame == templates[at % templates.len()].head, "frame {at}: {} bytes", frame.len());
    }
}

/// Returns the sum of the 16-bit words of RFC 1071, folded.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

#[test]
fn a_changing_port_takes_each_value_once_and_keeps_the_checksum() {
    if !is_root() {
        return;
    }
    let _ground = Ground::new("changing");
    let mut changing = template(60, 0);
    changing.head[20] = 0x80;
    let checksum = !sum(&changing.head[20..60]);
    changing.head[22..24].copy_from_slice(&checksum.to_be_bytes());
    changing.changing = Some(ChangingPort { offset: 20, checksum_offset: 22, step: 1 });
    let head = changing.head.clone();
    let seen = received(&[changing, template(60, 9)], 2_000);
    for (at, frame) in seen.iter().step_by(2).enumerate() {
        assert_eq!(usize::from(u16::from_be_bytes([frame[20], frame[21]])), 0x8000 + at);
        assert_eq!(sum(&frame[20..60]), 0xffff, "frame {at}");
        assert_eq!((&frame[..20], &frame[24..]), (&head[..20], &head[24..]));
    }
}
