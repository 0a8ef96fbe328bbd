//! Two workers with a device and a slice each: packets change workers, and their chunks find home.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use af_xdp::{
    AttachConfig, Attachment, Device, Faults, Frame, FramePool, Socket, SocketConfig, Umem, UmemConfig,
};

use crate::forwarding::transfer;
use crate::ground::forwarder::partial_checksum;
use crate::ground::{Ground, is_root};

/// Chunks of the memory; each worker has half.
const TOTAL: usize = 8192;

/// One worker: what it owns, and where packets and chunks come from and go to.
struct Worker {
    socket: Socket,
    pool: FramePool,
    packets_in: Receiver<Frame>,
    packets_out: SyncSender<Frame>,
    chunks_in: Receiver<Frame>,
    chunks_out: SyncSender<Frame>,
}

impl Worker {
    /// Works until told to stop; then nobody sends any more.
    fn run(&mut self, stop: &AtomicBool) -> usize {
        let (mut burst, mut queued) = (Vec::with_capacity(64), VecDeque::with_capacity(256));
        let mut foreign = 0;
        while !stop.load(Ordering::Relaxed) {
            let received = self.socket.receive(&mut burst);
            for mut frame in burst.drain(..) {
                if let Some((start, offset)) = partial_checksum(self.pool.bytes(&frame)) {
                    frame.request_checksum(start, offset);
                }
                if let Err(full) = self.packets_out.try_send(frame) {
                    self.pool.release(into_frame(full));
                }
            }
            queued.extend(self.packets_in.try_iter().take(256 - queued.len()));
            self.socket.send(&mut queued);
            self.socket.kick().unwrap();
            self.socket.reclaim(&mut self.pool);
            while let Some(frame) = self.pool.take_foreign() {
                assert_ne!(self.pool.home_of(&frame), self.pool.worker());
                self.chunks_out.try_send(frame).unwrap();
                foreign += 1;
            }
            self.chunks_in.try_iter().for_each(|frame| self.pool.release(frame));
            self.socket.refill(&mut self.pool);
            if received == 0 {
                std::thread::yield_now();
            }
        }
        queued.into_iter().for_each(|frame| self.pool.release(frame));
        foreign
    }
}

/// Takes the frame back from a channel that did not take it.
fn into_frame(error: std::sync::mpsc::TrySendError<Frame>) -> Frame {
    match error {
        std::sync::mpsc::TrySendError::Full(frame) | std::sync::mpsc::TrySendError::Disconnected(frame) => {
            frame
        }
    }
}

#[test]
fn packets_change_workers_and_every_chunk_comes_home() {
    if !is_root() {
        return;
    }
    let ground = Ground::new("work");
    ground.pair("left", "v0", "10.0.0.1/24", "");
    ground.pair("right", "v1", "10.0.0.2/24", "");
    let frames_total = u32::try_from(TOTAL).unwrap();
    let (umem, pools) = Umem::new(&UmemConfig { frames_total, workers: 2, ..UmemConfig::default() }).unwrap();
    let (first_packets, second_gets) = sync_channel(256);
    let (second_packets, first_gets) = sync_channel(256);
    let (first_chunks, second_takes) = sync_channel(TOTAL);
    let (second_chunks, first_takes) = sync_channel(TOTAL);
    let mut ends = [
        (first_packets, first_gets, first_chunks, first_takes),
        (second_packets, second_gets, second_chunks, second_takes),
    ]
    .into_iter();
    let mut attachments = Vec::new();
    let mut workers: Vec<_> = pools
        .into_iter()
        .zip(["m-v0", "m-v1"])
        .map(|(mut pool, device)| {
            let device = Device::named(device).unwrap().index;
            let attachment = Attachment::new(device, 1, &AttachConfig::default()).unwrap();
            let mut socket = Socket::bind(&umem, device, 0, &SocketConfig::default()).unwrap();
            socket.refill(&mut pool);
            attachment.register(0, &socket).unwrap();
            attachments.push(attachment);
            let (packets_out, packets_in, chunks_out, chunks_in) = ends.next().unwrap();
            Worker { socket, pool, packets_in, packets_out, chunks_in, chunks_out }
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = workers
        .drain(..)
        .map(|mut worker| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let foreign = worker.run(&stop);
                (worker, foreign)
            })
        })
        .collect();
    transfer(&ground, 10_000_000);
    stop.store(true, Ordering::Relaxed);
    let mut done: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let mut known = 0;
    for (worker, foreign) in &mut done {
        assert!(*foreign > 100, "{foreign} chunks were sent home");
        assert_eq!(worker.socket.faults(), Faults::default());
        let outstanding = worker.socket.outstanding();
        let waiting: usize =
            worker.packets_in.try_iter().chain(worker.chunks_in.try_iter()).map(|f| f.chunks()).sum();
        known += worker.pool.free_frames() + worker.pool.foreign_frames() + waiting;
        known += (outstanding.fill + outstanding.tx) as usize;
    }
    assert_eq!(known, TOTAL);
}
