//! Captures through the devices of a replay: dealt out by sender, in the order of the capture, all frames accounted.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use af_xdp::{FramePool, Umem, UmemConfig};
use meshgate_dataplane::device::Device;
use meshgate_dataplane::device::pcap::{
    CaptureEnd, CaptureError, CaptureReader, PcapDevice, PcapTopology, PcapWriter, ReplayError, ReplayHandle,
};
use meshgate_policy::Mac;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// A directory of this test only, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meshgate-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pool(frames_total: u32) -> FramePool {
    Umem::new(&UmemConfig { frames_total, ..UmemConfig::default() }).unwrap().1.remove(0)
}

fn frame(source: Mac, number: u8) -> Vec<u8> {
    [&Mac::BROADCAST.0[..], &source.0, &[0x08, 0x00, number], &[0; 45]].concat()
}

/// Writes a capture with one frame a microsecond and returns its path.
fn capture(folder: &Folder, frames: &[Vec<u8>]) -> PathBuf {
    let path = folder.0.join("in.pcap");
    let writer = PcapWriter::create(&path).unwrap();
    for (number, frame) in (0u64..).zip(frames) {
        writer.write(1_000_000_000 + number * 1000, frame);
    }
    writer.flush().unwrap();
    path
}

fn open(path: &Path, topology: PcapTopology) -> (Vec<PcapDevice>, ReplayHandle) {
    topology.open(CaptureReader::open(path).unwrap())
}

/// Goes round the devices until the capture is at its end; returns (device, byte 14, time) of each frame.
fn replay(devices: &mut [PcapDevice], pool: &mut FramePool, burst_frames: usize) -> Vec<(usize, u8, u64)> {
    let mut seen = Vec::new();
    let mut burst = Vec::with_capacity(burst_frames);
    while !devices[0].is_finished() {
        for (number, device) in devices.iter_mut().enumerate() {
            device.receive(pool, &mut burst);
            for frame in burst.drain(..) {
                seen.push((number, pool.bytes(&frame)[14], device.burst_time_ns().unwrap()));
                pool.release(frame);
            }
        }
    }
    seen
}

#[test]
fn frames_enter_by_the_device_of_their_sender_in_the_order_of_the_capture() {
    let folder = Folder::new("order");
    let senders = [A, B, B, ROUTER, A, ROUTER, B, A, A, A];
    let frames: Vec<_> = (0u8..).zip(senders).map(|(number, mac)| frame(mac, number)).collect();
    let mut topology = PcapTopology::new();
    topology.uplink("cap0").unwrap();
    topology.endpoint_device("cap1", &[A]).unwrap();
    topology.endpoint_device("cap2", &[B]).unwrap();
    let (mut devices, handle) = open(&capture(&folder, &frames), topology);
    let mut pool = pool(16);
    let seen = replay(&mut devices, &mut pool, 8);
    let expected = [1, 2, 2, 0, 1, 0, 2, 1, 1, 1];
    assert_eq!(seen.iter().map(|&(device, ..)| device).collect::<Vec<_>>(), expected);
    assert_eq!(seen.iter().map(|&(_, number, _)| number).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert!(seen.is_sorted_by_key(|&(.., time_ns)| time_ns));
    assert_eq!(seen[0].2, 1_000_000_000);
    assert_eq!((handle.counts().capture.frames, handle.counts().skipped_frames), (10, 0));
    assert_eq!(pool.free_frames(), 16);
}

#[test]
fn frames_without_a_device_are_passed_over_and_counted() {
    let folder = Folder::new("skipped");
    let frames: Vec<_> = (0..5000u32).map(|_| frame(ROUTER, 9)).chain([frame(A, 1), vec![1, 2, 3]]).collect();
    let mut topology = PcapTopology::new();
    topology.endpoint_device("cap1", &[A]).unwrap();
    let (mut devices, handle) = open(&capture(&folder, &frames), topology);
    assert_eq!(replay(&mut devices, &mut pool(16), 8).len(), 1);
    assert_eq!(handle.counts().skipped_frames, 5001);
    assert_eq!(handle.counts().capture.end, Some(CaptureEnd::Complete));
}

#[test]
fn a_closed_device_does_not_hold_up_the_others() {
    let folder = Folder::new("closed");
    let frames = [frame(A, 1), frame(B, 2), frame(A, 3), frame(B, 4)];
    let mut topology = PcapTopology::new();
    topology.uplink("cap0").unwrap();
    topology.endpoint_device("cap1", &[A]).unwrap();
    let (mut devices, handle) = open(&capture(&folder, &frames), topology);
    let mut pool = pool(16);
    let mut burst = Vec::with_capacity(8);
    assert_eq!(devices[0].receive(&mut pool, &mut burst), 0);
    Box::new(devices.remove(1)).close(&mut pool);
    let seen = replay(&mut devices, &mut pool, 8);
    assert_eq!(seen.iter().map(|&(_, number, _)| number).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(handle.counts().skipped_frames, 2);
}

#[test]
fn an_endpoint_that_a_new_policy_brings_moves_to_its_device() {
    let folder = Folder::new("assigned");
    let frames: Vec<_> = (0..20).map(|number| frame(B, number)).collect();
    let mut topology = PcapTopology::new();
    topology.uplink("cap0").unwrap();
    topology.endpoint_device("cap1", &[A]).unwrap();
    let (mut devices, handle) = open(&capture(&folder, &frames), topology);
    let mut pool = pool(64);
    let mut burst = Vec::with_capacity(8);
    let before = devices[0].receive(&mut pool, &mut burst);
    burst.drain(..).for_each(|frame| pool.release(frame));
    handle.assign(B, "cap1").unwrap();
    let seen = replay(&mut devices, &mut pool, 8);
    assert_eq!(seen.iter().filter(|&&(device, ..)| device == 1).count(), 20 - before);
    assert_eq!(handle.assign(B, "cap9"), Err(ReplayError::UnknownDevice("cap9".into())));
}

#[test]
fn a_topology_that_is_not_plain_is_refused() {
    let mut topology = PcapTopology::new();
    topology.uplink("cap0").unwrap();
    topology.endpoint_device("cap1", &[A]).unwrap();
    let two = topology.uplink("cap9").unwrap_err().to_string();
    assert_eq!(two, "both cap0 and cap9 are uplinks; a capture has one");
    let twice = topology.endpoint_device("cap2", &[A]).unwrap_err().to_string();
    assert_eq!(twice, "MAC 02:00:00:00:00:0a belongs to device cap1 and device cap2");
    assert_eq!(topology.endpoint_device("cap1", &[]), Err(ReplayError::Repeated("cap1".into())));
    let group = topology.endpoint_device("cap3", &[Mac::BROADCAST]);
    assert_eq!(group, Err(ReplayError::GroupMac { mac: Mac::BROADCAST, device: "cap3".into() }));
}

#[test]
fn what_would_have_been_sent_is_written_with_the_time_of_the_replay() {
    let folder = Folder::new("written");
    let out = folder.0.join("out.pcap");
    let mut topology = PcapTopology::new();
    topology.uplink("cap0").unwrap();
    topology.endpoint_device("cap1", &[A]).unwrap();
    topology.write_sent("cap0", PcapWriter::create(&out).unwrap()).unwrap();
    let (mut devices, _) = open(&capture(&folder, &[frame(A, 1), frame(A, 2)]), topology);
    let mut pool = pool(16);
    let mut burst = Vec::with_capacity(8);
    assert_eq!(devices[1].receive(&mut pool, &mut burst), 2);
    assert_eq!(devices[0].send(&mut pool, &mut VecDeque::from(burst)), 2);
    assert_eq!((devices[0].outstanding(), pool.free_frames()), (2, 14));
    devices[0].flush(&mut pool);
    assert_eq!((devices[0].outstanding(), pool.free_frames()), (0, 16));
    assert_eq!(Box::new(devices.remove(0)).close(&mut pool), 0);
    let mut reader = CaptureReader::open(&out).unwrap();
    let mut bytes = Vec::new();
    assert_eq!(reader.next_frame(&mut bytes).unwrap().time_ns, 1_000_000_000);
    assert_eq!(bytes, frame(A, 1));
    assert!(reader.next_frame(&mut bytes).is_some() && reader.next_frame(&mut bytes).is_none());
}

#[test]
fn a_long_gap_in_the_capture_is_never_within_one_burst() {
    let folder = Folder::new("gap");
    let path = folder.0.join("gap.pcap");
    let writer = PcapWriter::create(&path).unwrap();
    for (second, number) in [(5, 1), (5, 2), (600, 3), (599, 4)] {
        writer.write(second * 1_000_000_000, &frame(A, number));
    }
    writer.flush().unwrap();
    let mut topology = PcapTopology::new();
    topology.uplink("cap0").unwrap();
    let (mut devices, _) = open(&path, topology);
    let seen = replay(&mut devices, &mut pool(16), 64);
    let seconds: Vec<_> = seen.iter().map(|&(.., time_ns)| time_ns / 1_000_000_000).collect();
    assert_eq!(seconds, [5, 5, 600, 600]);
}

/// Collects the files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn every_real_capture_is_replayed_or_refused_without_a_loss() {
    let folder = std::env::var_os("MESHGATE_DATA").map(|data| PathBuf::from(data).join("pcap"));
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else {
        println!("skipped: no data");
        return;
    };
    let mut paths = Vec::new();
    files(&folder, &mut paths);
    let captures = paths.iter().filter(|path| {
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        matches!(suffix, Some("pcap" | "pcapng" | "cap"))
    });
    let mut pool = pool(1024);
    let (mut replayed, mut refused, mut unknown, mut frames, mut cut, mut damaged) = (0, 0, 0, 0, 0, 0);
    for path in captures {
        let mut topology = PcapTopology::new();
        topology.uplink("cap0").unwrap();
        match CaptureReader::open(path) {
            Ok(reader) => {
                let (mut devices, handle) = topology.open(reader);
                let received = drain(&mut devices[0], &mut pool);
                let counts = handle.counts();
                assert_eq!(
                    received + devices[0].losses().invalid,
                    counts.capture.frames,
                    "{}",
                    path.display()
                );
                replayed += 1;
                frames += counts.capture.frames;
                cut += u32::from(counts.capture.end == Some(CaptureEnd::Truncated));
                if counts.capture.end == Some(CaptureEnd::Damaged) {
                    damaged += 1;
                    println!("damaged: {} after {} frames", path.display(), counts.capture.frames);
                }
            }
            Err(CaptureError::LinkType { .. }) => refused += 1,
            Err(CaptureError::Format { .. }) => {
                unknown += 1;
                println!("no capture: {}", path.display());
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(pool.free_frames(), 1024, "{}", path.display());
    }
    println!(
        "{replayed} captures with {frames} frames replayed ({cut} cut, {damaged} damaged), \
         {refused} of other link types, {unknown} of no format"
    );
    assert!(replayed > 0);
}

/// Receives everything; returns how many frames.
fn drain(device: &mut PcapDevice, pool: &mut FramePool) -> u64 {
    let mut received = 0;
    let mut burst = Vec::with_capacity(64);
    while !device.is_finished() {
        device.receive(pool, &mut burst);
        for frame in burst.drain(..) {
            received += 1;
            pool.release(frame);
        }
    }
    received
}
