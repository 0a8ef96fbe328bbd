//! The whole worker between devices of the kernel: a guest at a tap that leaves everything to others, and jumbo frames.

use crate::ground::{Ground, is_root, wait_until};
use af_xdp::{Umem, UmemConfig};
use meshgate_dataplane::assembly::{Assembly, FlowSettings};
use meshgate_dataplane::binding::{DeviceRole, Role};
use meshgate_dataplane::config::{Config, Polling};
use meshgate_dataplane::counters::WorkerCounters;
use meshgate_dataplane::device::af_xdp::{AfXdpDevice, XdpConfig};
use meshgate_dataplane::device::offload::frame_bytes_max;
use meshgate_dataplane::subscriber::Host;
use meshgate_dataplane::verdict::DropReason;
use meshgate_dataplane::worker::{self, Attached, DeviceTraits};
use meshgate_policy::{AuthoredPolicy, Name, Numbering, PolicyVersion, resolve};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

/// Frames of packet memory: a burst of super-frames of 18 chunks each, and the segments made of some.
const FRAMES: u32 = 8_192;
/// What goes each way over TCP: some hundred super-frames, and more than all buffers on the way hold.
const TRANSFER_BYTES: usize = 30_000_000;
/// Longest frame that a tap hands over, and the header before it.
const TAP_BYTES_MAX: usize = 65_536 + 64;

/// A thread that works until it is dropped.
struct Running {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        Self { stopping, thread: Some(std::thread::spawn(move || work(&stop))) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

/// Copies between the far ends of a guest's device and of the host's, as an emulator does.
fn emulate(guest: File, host: File) -> Running {
    Running::start(move |stopping| {
        let mut buffer = vec![0; TAP_BYTES_MAX];
        while !stopping.load(Ordering::Acquire) {
            if copy(&guest, &host, &mut buffer) + copy(&host, &guest, &mut buffer) == 0 {
                let wanted = |tap| PollFd::new(tap, PollFlags::IN);
                let patience = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                let _ = poll(&mut [wanted(&host), wanted(&guest)], Some(&patience));
            }
        }
    })
}

fn copy(mut from: &File, mut to: &File, buffer: &mut [u8]) -> usize {
    let mut frames = 0;
    while frames < 64 {
        let Ok(bytes) = from.read(buffer) else { break };
        // A device that is full loses the frame, as a cable would.
        let _ = to.write(&buffer[..bytes]);
        frames += 1;
    }
    frames
}

/// Starts a worker between the devices `one` and `two` for the endpoints with these MACs; everything is allowed.
fn start_worker(macs: [String; 2]) -> (Running, Arc<WorkerCounters>) {
    let endpoint = |(number, (mac, device)): (usize, (String, &str))| {
        format!(
            "[[endpoints]]\nname = \"end-{number}\"\nmac = \"{mac}\"\naddresses = [\"10.9.1.{number}\"]\n\
             home = {{ host = \"h\", device = \"{device}\" }}\n"
        )
    };
    let endpoints: String = (1..).zip(macs.into_iter().zip(["one", "two"])).map(endpoint).collect();
    let mut authored: AuthoredPolicy =
        toml::from_str(&format!("default_action = \"allow\"\n{endpoints}")).unwrap();
    let mut numbering = Numbering::default();
    numbering.assign(&mut authored).unwrap();
    let policy = resolve(&authored, &numbering, PolicyVersion(1)).unwrap();
    let role = |name: &str| DeviceRole {
        name: name.to_owned(),
        role: Role::Endpoint,
        segment: Some(Name::default_name()),
        vlans: Vec::new(),
        ethertypes: Vec::new(),
    };
    let host = Host { name: Name::new("h").unwrap(), devices: ["one", "two"].map(role).into(), workers: 1 };
    let memory = UmemConfig { frames_total: FRAMES, frame_bytes: 4_096, ..UmemConfig::default() };
    let (umem, pools) = Umem::new(&memory).unwrap();
    let xdp = XdpConfig::for_slice(FRAMES as usize, 2);
    let queues = [("one", 0), ("two", 1)].map(|(name, number)| {
        let mtu_bytes = af_xdp::Device::named(name).unwrap().mtu_bytes;
        let queue = AfXdpDevice::open_all(name, &umem, &xdp).unwrap().remove(0);
        let frame_bytes_max = frame_bytes_max(mtu_bytes);
        let traits = DeviceTraits { may_be_partial: true, frame_bytes_max };
        Attached { device: Box::new(queue), number, traits }
    });
    let text = "host = \"h\"\n[[device]]\nname = \"one\"\nrole = \"endpoint\"\n";
    let settings = FlowSettings::of(&Config::parse(text, Path::new("kernel")).unwrap());
    let first = host.compile(&policy).unwrap();
    let assembly = Assembly::with_queues(pools, vec![queues.into()], first, &settings, 0).unwrap();
    let (mut workers, counters) = (assembly.workers, Arc::clone(&assembly.counters[0]));
    let running = Running::start(move |stopping| {
        workers[0].run(Polling::Adaptive, 200, stopping);
        worker::stop(&mut workers);
    });
    (running, counters)
}

/// Tells each end the other's MAC, so that no ARP mixes into the counts.
fn introduce(ground: &Ground, ends: [(&str, &str, &str, &str); 2]) {
    for (place, device, address, mac) in ends {
        ground.on(place, &format!("ip neighbour add {address} lladdr {mac} dev {device} nud permanent"));
    }
}

/// Returns bytes without pattern, so that a piece out of place shows.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    content
}

/// Sends the content from one socket to the other and expects it unharmed.
fn transfer(what: &str, mut from: &TcpStream, mut to: &TcpStream, content: &Arc<Vec<u8>>) {
    let began = Instant::now();
    let sent = Arc::clone(content);
    let mut source = from.try_clone().unwrap();
    let sender = std::thread::spawn(move || source.write_all(&sent));
    let mut received = vec![0; content.len()];
    to.read_exact(&mut received).unwrap();
    sender.join().unwrap().unwrap();
    assert!(received == **content, "{what}: the content is another one");
    println!("{what}: {} bytes in {} ms", content.len(), began.elapsed().as_millis());
    // Both ends are quiet before the next direction begins.
    from.flush().unwrap();
    to.flush().unwrap();
}

#[test]
fn a_guest_that_leaves_cutting_to_others_sends_and_receives() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("guest");
    ground.pair("one", "left", "far1", "10.9.1.1/24");
    let guest = ground.tap("right", "eth0", Some("10.9.1.2/24"));
    let tap = ground.tap("here", "two", None);
    let macs = [ground.mac("left", "far1"), ground.mac("right", "eth0")];
    introduce(&ground, [("left", "far1", "10.9.1.2", &macs[1]), ("right", "eth0", "10.9.1.1", &macs[0])]);
    let emulator = emulate(guest, tap);
    let (worker, counters) = start_worker(macs);
    let listener = ground.within("right", || TcpListener::bind("10.9.1.2:80").unwrap());
    let mut connected = None;
    wait_until("a connection", || {
        connected = ground.within("left", || TcpStream::connect("10.9.1.2:80").ok());
        connected.is_some()
    });
    let (near, (far, _)) = (connected.unwrap(), listener.accept().unwrap());
    let content = Arc::new(noise(TRANSFER_BYTES));
    transfer("from the guest", &far, &near, &content);
    transfer("to the guest", &near, &far, &content);
    let (cut, segments) = (counters.super_frames_cut.get(), counters.super_frame_segments.get());
    println!("{cut} super-frames became {segments} segments");
    assert!(cut > 0 && segments > 2 * cut);
    assert_eq!(counters.devices.iter().map(|device| device.oversize_packets.get()).sum::<u64>(), 0);
    assert_eq!(counters.dropped(DropReason::OversizeFrame), 0);
    drop((near, far, listener));
    drop(worker);
    drop(emulator);
    assert_eq!(counters.frames_free.get(), counters.frames_total.get());
}

#[test]
fn frames_of_nine_thousand_bytes_pass_whole_between_veths() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("wide");
    ground.pair("one", "left", "far1", "10.9.1.1/24");
    ground.pair("two", "right", "far2", "10.9.1.2/24");
    for (place, device) in [("here", "one"), ("left", "far1"), ("here", "two"), ("right", "far2")] {
        ground.on(place, &format!("ip link set {device} mtu 9000"));
    }
    let macs = [ground.mac("left", "far1"), ground.mac("right", "far2")];
    introduce(&ground, [("left", "far1", "10.9.1.2", &macs[1]), ("right", "far2", "10.9.1.1", &macs[0])]);
    let (worker, counters) = start_worker(macs);
    let (left, right) = (ground.udp("left", "10.9.1.1:5000"), ground.udp("right", "10.9.1.2:5000"));
    let content = noise(8_972);
    let mut datagram = vec![0; 9_000];
    for (from, to, address) in [(&left, &right, "10.9.1.2:5000"), (&right, &left, "10.9.1.1:5000")] {
        // The first frames may come before the kernel has chunks to receive into.
        wait_until("the datagram arrived", || {
            from.send_to(&content, address).unwrap();
            (0..1_000).any(|_| to.recv(&mut datagram).is_ok_and(|bytes| datagram[..bytes] == content))
        });
    }
    assert!(counters.allowed.get() >= 2);
    assert_eq!(DropReason::ALL.iter().map(|reason| counters.dropped(*reason)).sum::<u64>(), 0);
    drop(worker);
    assert_eq!(counters.frames_free.get(), counters.frames_total.get());
}
