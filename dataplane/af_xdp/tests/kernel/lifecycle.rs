//! Sockets and programs that come and go: binding again, devices that vanish, processes that are killed, exact books.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use af_xdp::{
    AttachConfig, AttachMode, Attachment, Device, Error, Frame, FramePool, Mode, Socket, SocketConfig,
    TapOffloads, Umem, UmemConfig, open_tap,
};

use crate::ground::{Ground, Running, is_readable, is_root, run, wait_until};

/// Chunks of the memory in most tests here.
const TOTAL: u32 = 4096;

/// Makes a memory of one slice.
fn memory() -> (Umem, FramePool) {
    let (umem, mut pools) = Umem::new(&UmemConfig { frames_total: TOTAL, ..UmemConfig::default() }).unwrap();
    (umem, pools.remove(0))
}

/// Opens queue 0 of a device.
fn open(umem: &Umem, pool: &mut FramePool, device: &str, config: &SocketConfig) -> (Socket, Attachment) {
    let device = Device::named(device).unwrap();
    let attachment = Attachment::new(device.index, device.rx_queues, &AttachConfig::default()).unwrap();
    let mut socket = Socket::bind(umem, device.index, 0, config).unwrap();
    socket.refill(pool);
    attachment.register(0, &socket).unwrap();
    (socket, attachment)
}

/// Makes a broadcast frame of the experimental ethertype with a number in it.
fn numbered(pool: &mut FramePool, number: u32) -> Frame {
    let mut frame = pool.allocate().unwrap();
    let mut bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5].to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.resize(60, 0);
    pool.write(&mut frame, &bytes).unwrap();
    frame
}

/// Returns the number in a frame made by `numbered`.
fn number_of(pool: &FramePool, frame: &Frame) -> Option<u32> {
    let bytes = pool.bytes(frame);
    (bytes.get(12..14)? == [0x88, 0xb5]).then(|| u32::from_be_bytes(bytes[14..18].try_into().unwrap()))
}

#[test]
fn a_queue_can_be_bound_again_as_soon_as_it_is_closed() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("again");
    ground.pair("left", "v0", "10.0.0.1/24", "");
    let (umem, mut pool) = memory();
    for round in 0..5 {
        let (socket, attachment) = open(&umem, &mut pool, "m-v0", &SocketConfig::default());
        assert_eq!((socket.mode(), attachment.mode()), (Mode::Copy, AttachMode::Native));
        assert_eq!(pool.free_frames(), TOTAL as usize - 1024);
        assert_eq!(socket.close(&mut pool), 1024, "round {round}");
        assert_eq!(pool.free_frames(), TOTAL as usize);
    }
    // Dropped instead of closed the queue is free as well, but the chunks are gone.
    let (socket, attachment) = open(&umem, &mut pool, "m-v0", &SocketConfig::default());
    drop((socket, attachment));
    let (socket, _attachment) = open(&umem, &mut pool, "m-v0", &SocketConfig::default());
    assert_eq!(socket.close(&mut pool), 1024);
    assert_eq!((pool.free_frames(), umem.stranded_frames()), (TOTAL as usize - 1024, 1024));
}

#[test]
fn a_socket_of_which_a_copy_is_open_gives_nothing_back() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("copy");
    ground.pair("left", "v0", "10.0.0.1/24", "");
    let (umem, mut pool) = memory();
    let (socket, _attachment) = open(&umem, &mut pool, "m-v0", &SocketConfig::default());
    // Through the copy the kernel goes on receiving into the chunks of the fill ring.
    let _copy = socket.as_fd().try_clone_to_owned().unwrap();
    assert_eq!(socket.close(&mut pool), 0);
    assert_eq!((pool.free_frames(), umem.stranded_frames()), (TOTAL as usize - 1024, 1024));
}

#[test]
fn a_queue_that_is_taken_is_named() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("taken");
    ground.pair("left", "v0", "10.0.0.1/24", "");
    let (umem, _pool) = memory();
    let (other, _other_pool) = memory();
    let device = Device::named("m-v0").unwrap().index;
    let config = SocketConfig::default();
    let first = Socket::bind(&umem, device, 0, &config).unwrap();
    for umem in [&umem, &other] {
        let error = Socket::bind(umem, device, 0, &config).unwrap_err();
        assert!(matches!(&error, Error::QueueTaken { device, queue: 0 } if device == "m-v0"), "{error}");
    }
    let error = Socket::bind(&umem, device, 7, &config).unwrap_err();
    assert_eq!(error.to_string(), "device m-v0 queue 7: bind: Invalid argument (os error 22)");
    let attachment = Attachment::new(device, 1, &AttachConfig::default()).unwrap();
    let error = attachment.register(1, &first).unwrap_err();
    assert!(
        error.to_string().starts_with("device m-v0 queue 1: register a socket that is bound elsewhere"),
        "{error}"
    );
    drop(attachment);
    let error = Attachment::new(device, 1, &AttachConfig::default())
        .and_then(|_first| Attachment::new(device, 1, &AttachConfig::default()))
        .unwrap_err();
    assert!(error.to_string().contains("another program is attached already"), "{error}");
}

#[test]
fn one_way_traffic_keeps_the_books_exact() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("oneway");
    // Both ends of the pair in this namespace: what one socket sends the other receives.
    run("ip link add here type veth peer name there");
    for device in ["here", "there"] {
        run(&format!("ip link set {device} up"));
    }
    let (umem, mut pool) = memory();
    let (mut sender, _program) = open(&umem, &mut pool, "here", &SocketConfig::default());
    let (mut receiver, _other_program) = open(&umem, &mut pool, "there", &SocketConfig::default());
    let mut queued = VecDeque::with_capacity(64);
    let mut burst = Vec::with_capacity(64);
    let (mut sent, mut received) = (0u32, 0u32);
    const PACKETS: u32 = 100_000;
    wait_until("all packets arrived", || {
        for _ in 0..100 {
            while queued.len() < 32 && sent + u32::try_from(queued.len()).unwrap() < PACKETS {
                let number = sent + u32::try_from(queued.len()).unwrap();
                queued.push_back(numbered(&mut pool, number));
            }
            sent += u32::try_from(sender.send(&mut queued)).unwrap();
            sender.kick().unwrap();
            sender.reclaim(&mut pool);
            receiver.receive(&mut burst);
            for frame in burst.drain(..) {
                if let Some(number) = number_of(&pool, &frame) {
                    assert_eq!(number, received, "packets arrive in order and once");
                    received += 1;
                }
                pool.release(frame);
            }
            receiver.refill(&mut pool);
            let lent = [&sender, &receiver]
                .map(Socket::outstanding)
                .iter()
                .map(|sum| sum.fill + sum.tx)
                .sum::<u32>();
            assert_eq!(pool.free_frames() + queued.len() + lent as usize, TOTAL as usize);
        }
        received == PACKETS
    });
    assert_eq!(receiver.statistics().unwrap().rx_ring_full, 0);
    let returned = sender.close(&mut pool) + receiver.close(&mut pool);
    assert_eq!((returned, pool.free_frames()), (2048, TOTAL as usize));
    drop(ground);
}

#[test]
fn a_device_that_vanishes_gives_its_chunks_back_and_its_successor_is_bound() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("vanish");
    ground.pair("left", "v0", "10.0.0.1/24", "");
    ground.pair("right", "v1", "10.0.0.2/24", "");
    let (umem, mut pool) = memory();
    // The first socket registers the memory; it is the one whose device goes.
    let (mut first, gone) = open(&umem, &mut pool, "m-v0", &SocketConfig::default());
    let (second, kept) = open(&umem, &mut pool, "m-v1", &SocketConfig::default());
    run("ip link del m-v0");
    let mut queued: VecDeque<_> = [numbered(&mut pool, 1)].into();
    assert_eq!(first.send(&mut queued), 1);
    assert!(first.kick().is_err(), "sending to a device that is gone is an error");
    ground.pair("left", "v0", "10.0.0.1/24", "");
    let (third, _new) = open(&umem, &mut pool, "m-v0", &SocketConfig::default());
    assert_eq!(first.close(&mut pool), 1025);
    drop(gone);
    assert_eq!((third.close(&mut pool), second.close(&mut pool)), (1024, 1024));
    assert_eq!(pool.free_frames(), TOTAL as usize);
    drop(kept);
    // With no member left the memory is registered anew.
    let (fourth, _again) = open(&umem, &mut pool, "m-v1", &SocketConfig::default());
    assert_eq!(fourth.close(&mut pool), 1024);
}

#[test]
fn zero_copy_falls_back_to_copy_and_modes_may_differ_between_sockets() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("modes");
    ground.pair("left", "v0", "10.0.0.1/24", "");
    ground.pair("right", "v1", "10.0.0.2/24", "");
    let (umem, mut pool) = memory();
    let plain = SocketConfig { zero_copy: true, ..SocketConfig::default() };
    let (first, _first) = open(&umem, &mut pool, "m-v0", &plain);
    assert_eq!((first.mode(), first.multi_buffer()), (Mode::Copy, false));
    let long = SocketConfig { multi_buffer: true, ..SocketConfig::default() };
    let (second, _second) = open(&umem, &mut pool, "m-v1", &long);
    assert_eq!((second.mode(), second.multi_buffer()), (Mode::Copy, true));
}

#[test]
fn a_tap_is_received_from_and_sent_to() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("tap");
    let tap = open_tap("tap0", TapOffloads::Nothing).unwrap();
    run("ip link set tap0 up");
    let (umem, mut pool) = memory();
    let (mut socket, attachment) = open(&umem, &mut pool, "tap0", &SocketConfig::default());
    assert_eq!(attachment.mode(), AttachMode::Native);
    assert_eq!(Device::named("tap0").unwrap().rx_queues, 1);
    let mut out = VecDeque::new();
    let mut burst = Vec::with_capacity(8);
    for number in 0..100 {
        out.push_back(numbered(&mut pool, number));
        let expected = pool.bytes(&out[0]).to_vec();
        assert_eq!(socket.send(&mut out), 1);
        let mut buffer = [0; 2048];
        let mut length = 0;
        wait_until("the tap hands the frame over", || {
            socket.kick().unwrap();
            length = std::io::Read::read(&mut &tap, &mut buffer).unwrap_or(0);
            length > 0
        });
        assert_eq!(buffer[..length], expected);
        std::io::Write::write_all(&mut &tap, &buffer[..length]).unwrap();
        assert!(is_readable(socket.as_fd()), "poll(2) reports the frame");
        assert_eq!(socket.receive(&mut burst), 1);
        assert_eq!(number_of(&pool, &burst[0]), Some(number));
        burst.drain(..).for_each(|frame| pool.release(frame));
        socket.reclaim(&mut pool);
        socket.refill(&mut pool);
    }
    let faults = socket.faults();
    assert_eq!(faults, af_xdp::Faults::default());
    socket.close(&mut pool);
    assert_eq!(pool.free_frames(), TOTAL as usize);
    drop(ground);
}

#[test]
fn a_super_frame_of_a_tap_with_offloads_is_one_packet_of_several_chunks() {
    if !is_root() {
        return;
    }
    let _ground = Ground::new("super");
    let tap = open_tap("tap0", TapOffloads::Checksums).unwrap();
    run("ip link set tap0 up");
    let (umem, mut pools) =
        Umem::new(&UmemConfig { frames_total: TOTAL, frame_bytes: 4096, ..UmemConfig::default() }).unwrap();
    let pool = &mut pools[0];
    let device = Device::named("tap0").unwrap().index;
    let attach = AttachConfig { multi_buffer: true, ..AttachConfig::default() };
    let attachment = Attachment::new(device, 1, &attach).unwrap();
    let config = SocketConfig { multi_buffer: true, ..SocketConfig::default() };
    let mut socket = Socket::bind(&umem, device, 0, &config).unwrap();
    socket.refill(pool);
    attachment.register(0, &socket).unwrap();
    let mut burst = Vec::with_capacity(8);
    for payload in [1400, 8000, 40_000, 64_000] {
        let written = super_frame(payload);
        assert_eq!(std::io::Write::write(&mut &tap, &written).unwrap(), written.len());
        assert!(is_readable(socket.as_fd()));
        assert_eq!(socket.receive(&mut burst), 1, "{payload}");
        let frame = burst.pop().unwrap();
        let bytes = pool.chunks(&frame).collect::<Vec<_>>().concat();
        assert!(bytes == written[VNET_BYTES..], "{payload} arrived changed");
        assert_eq!(frame.chunks(), bytes.len().div_ceil(4096 - 320));
        pool.release(frame);
        socket.refill(pool);
    }
}

/// Bytes of `virtio_net_hdr` on a tap.
const VNET_BYTES: usize = 10;

/// Makes a TCP packet as a guest with segmentation offload hands it to its tap: any size, checksum partial.
fn super_frame(payload: u16) -> Vec<u8> {
    let mut bytes = vec![1, 1]; // needs a checksum; GSO type TCP over IPv4
    for number in [54u16, 1448, 34, 16] {
        bytes.extend(number.to_ne_bytes()); // header length, segment size, checksum start and offset
    }
    bytes.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]);
    bytes.extend((payload + 40).to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0x1f, 0x90, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend((0..payload).map(|index| index.to_be_bytes()[1]));
    bytes
}

#[test]
fn generic_mode_is_a_stated_fallback() {
    if !is_root() {
        return;
    }
    let _ground = Ground::new("generic");
    run("ip link add br0 type bridge");
    run("ip link set br0 up");
    let device = Device::named("br0").unwrap();
    let attachment = Attachment::new(device.index, 1, &AttachConfig::default()).unwrap();
    assert_eq!(attachment.mode(), AttachMode::Generic);
    assert!(attachment.native_refusal().is_some());
}

/// Environment variable that makes `a_killed_process_leaves_nothing_attached` the process to be killed.
const VICTIM: &str = "AF_XDP_TEST_VICTIM";

#[test]
fn a_killed_process_leaves_nothing_attached() {
    if !is_root() {
        return;
    }
    if let Ok(space) = std::env::var(VICTIM) {
        hold_a_device(&space);
    }
    let ground = Ground::new("killed");
    ground.pair("left", "v0", "10.0.0.1/24", "");
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "lifecycle::a_killed_process_leaves_nothing_attached"]);
    command.env(VICTIM, ground.space("middle")).stdout(std::process::Stdio::null());
    let attached = || run("ip link show m-v0").contains(" xdp ");
    assert!(!attached());
    let victim = Running(command.spawn().unwrap());
    wait_until("the program is attached", attached);
    drop(victim);
    assert!(!attached());
    let (umem, mut pool) = memory();
    let (socket, _attachment) = open(&umem, &mut pool, "m-v0", &SocketConfig::default());
    assert_eq!(socket.close(&mut pool), 1024);
}

/// Opens a device and waits to be killed.
fn hold_a_device(space: &str) -> ! {
    crate::ground::enter_space(space);
    let (umem, mut pool) = memory();
    let _held = open(&umem, &mut pool, "m-v0", &SocketConfig::default());
    loop {
        std::thread::park();
    }
}

/// Environment variable that makes `too_little_locked_memory_is_explained` the process that lacks it.
const POOR: &str = "AF_XDP_TEST_POOR";

#[test]
fn too_little_locked_memory_is_explained() {
    if !is_root() {
        return;
    }
    if let Ok(space) = std::env::var(POOR) {
        bind_without_locked_memory(&space);
    }
    let ground = Ground::new("poor");
    ground.pair("left", "v0", "10.0.0.1/24", "");
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "lifecycle::too_little_locked_memory_is_explained"]);
    let output = command.env(POOR, ground.space("middle")).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    let expected = "device m-v0 queue 0: cannot lock 8388608 bytes of packet memory: CAP_IPC_LOCK is missing or \
                    RLIMIT_MEMLOCK is too small";
    assert!(printed.contains(expected), "{printed}");
}

/// Binds without the capabilities to lock memory and to raise the limit, and panics with the error.
fn bind_without_locked_memory(space: &str) -> ! {
    crate::ground::enter_space(space);
    let device = Device::named("m-v0").unwrap().index;
    let (umem, _pool) = memory();
    crate::ground::give_up_locking(1 << 20);
    let error = Socket::bind(&umem, device, 0, &SocketConfig::default()).unwrap_err();
    panic!("{error}");
}
