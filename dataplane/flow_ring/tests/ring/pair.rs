//! Both halves in one process, where every step can be chosen.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::fixture::{Record, config, pair, record, seat};
use flow_ring::{ConsumerFault, Counters, Producer, Wake};

#[test]
fn records_arrive_in_order_with_their_positions() {
    let (mut producer, mut consumer) = pair(64);
    for number in 0..40 {
        assert!(producer.offer(&record(number)));
    }
    let mut out = Vec::new();

    let first = consumer.take(&mut out, 100).unwrap();
    assert_eq!((first.first_position, first.count), (0, 32), "eight are not published yet");
    producer.publish();
    let second = consumer.take(&mut out, 5).unwrap();
    assert_eq!((second.first_position, second.count, second.waiting), (32, 5, 3));
    let third = consumer.take(&mut out, 5).unwrap();
    assert_eq!((third.first_position, third.count), (37, 3));

    assert_eq!(out, (0..40).map(record).collect::<Vec<_>>());
    assert_eq!(consumer.take(&mut out, 5).unwrap().count, 0);
    let expected = Counters { produced: 40, delivered: 40, ..Counters::default() };
    assert_eq!(producer.counters(), expected);
}

#[test]
fn records_survive_many_turns_around_the_ring() {
    let (mut producer, mut consumer) = pair(64);
    let mut out = Vec::new();
    for number in 0..10_000 {
        assert!(producer.offer(&record(number)));
        if number % 50 == 49 {
            producer.publish();
            while consumer.take(&mut out, 7).unwrap().count > 0 {}
        }
    }
    assert_eq!(out, (0..10_000).map(record).collect::<Vec<_>>());
}

#[test]
fn a_full_ring_drops_and_counts_and_tells_the_consumer() {
    let (mut producer, mut consumer) = pair(64);
    let accepted = (0..200).filter(|&number| producer.offer(&record(number))).count();
    assert_eq!(accepted, 64);
    producer.count_sampled_out(11);
    producer.publish();
    let expected = Counters { produced: 211, delivered: 0, waiting: 64, sampled_out: 11, lost: 136 };
    assert_eq!(producer.counters(), expected);

    let mut out = Vec::new();
    let batch = consumer.take(&mut out, 10).unwrap();
    assert_eq!((batch.count, batch.waiting), (10, 54));
    assert_eq!((batch.lost_since_last, batch.sampled_out_since_last), (136, 11));
    let batch = consumer.take(&mut out, 10).unwrap();
    assert_eq!((batch.lost_since_last, batch.sampled_out_since_last), (0, 0));
    let published = consumer.published();
    assert_eq!((published.produced, published.accepted, published.lost()), (211, 64, 136));
}

#[test]
fn what_was_taken_but_not_released_comes_again_to_the_next_consumer() {
    let (mut producer, mut consumer) = pair(64);
    (0..64).for_each(|number| assert!(producer.offer(&record(number))));
    let mut out = Vec::new();
    consumer.take(&mut out, 10).unwrap();
    consumer.take(&mut out, 10).unwrap();
    drop(consumer);
    assert!(!producer.consumer_alive());
    assert_eq!(producer.counters().delivered, 10);

    let mut successor = seat(&mut producer);
    let mut again = Vec::new();
    let batch = successor.take(&mut again, 100).unwrap();
    assert_eq!((batch.first_position, batch.count), (10, 54));
    assert_eq!(again, (10..64).map(record).collect::<Vec<_>>());
    successor.release();
    assert_eq!(producer.counters().delivered, 64);
    assert_eq!((successor.generation(), producer.consumer().unwrap().generation), (2, 2));
}

#[test]
fn losses_between_two_consumers_are_told_once_to_the_second() {
    let (mut producer, mut consumer) = pair(64);
    (0..70).for_each(|number| _ = producer.offer(&record(number)));
    producer.publish();
    let mut out = Vec::new();
    assert_eq!(consumer.take(&mut out, 1).unwrap().lost_since_last, 6);
    consumer.release();
    drop(consumer);
    assert!(!producer.consumer_alive());
    (0..11).for_each(|number| _ = producer.offer(&record(number)));
    let mut successor = seat(&mut producer);
    let batch = successor.take(&mut out, 1).unwrap();
    assert_eq!((batch.first_position, batch.lost_since_last), (1, 10));
}

#[test]
fn a_ring_without_a_consumer_fills_and_then_drops() {
    let mut producer = Producer::<Record>::create(&config(64)).unwrap();
    (0..100).for_each(|number| _ = producer.offer(&record(number)));
    let expected = Counters { produced: 100, waiting: 64, lost: 36, ..Counters::default() };
    assert_eq!(producer.counters(), expected);
    let mut out = Vec::new();
    assert_eq!(seat(&mut producer).take(&mut out, 100).unwrap().count, 64);
}

#[test]
fn a_dropped_producer_leaves_all_it_accepted_to_be_read() {
    let (mut producer, mut consumer) = pair(64);
    (0..10).for_each(|number| assert!(producer.offer(&record(number))));
    drop(producer);
    let mut out = Vec::new();
    assert_eq!(consumer.wait(None).unwrap(), Wake::Records);
    assert_eq!(consumer.take(&mut out, 100).unwrap().count, 10);
    assert_eq!(consumer.wait(None).unwrap(), Wake::ProducerGone);
    assert!(!consumer.producer_alive());
}

#[test]
fn a_sleeping_consumer_is_woken_by_a_publication_and_not_before() {
    let (mut producer, mut consumer) = pair(64);
    assert_eq!(consumer.wait(Some(Duration::ZERO)).unwrap(), Wake::Nothing);
    assert!(!consumer.fall_asleep().unwrap());
    producer.offer(&record(1));
    assert_eq!(consumer.wait(Some(Duration::ZERO)).unwrap(), Wake::Nothing);
    let sleeper = std::thread::spawn(move || (consumer.wait(None).unwrap(), consumer));
    producer.publish();
    let (wake, mut consumer) = sleeper.join().unwrap();
    assert_eq!(wake, Wake::Records);
    assert_eq!(consumer.take(&mut Vec::new(), 9).unwrap().count, 1);
}

#[test]
fn only_a_consumer_that_sleeps_is_called_and_once() {
    let (mut producer, mut consumer) = pair(64);
    let mut calls = UnixStream::from(consumer.as_fd().try_clone_to_owned().unwrap());
    let mut read = || calls.read(&mut [0; 16]).map_err(|error| error.kind());
    let mut publish = || (producer.offer(&record(0)), producer.publish());

    publish();
    assert_eq!(read(), Err(ErrorKind::WouldBlock), "awake");
    assert!(consumer.fall_asleep().unwrap(), "there is a record, so it does not sleep");
    publish();
    assert_eq!(read(), Err(ErrorKind::WouldBlock), "still awake");
    assert_eq!(consumer.take(&mut Vec::new(), 9).unwrap().count, 2);
    assert!(!consumer.fall_asleep().unwrap());
    publish();
    publish();
    assert_eq!(read(), Ok(1), "called for the first publication only");
    consumer.wake_up();
    publish();
    assert_eq!(read(), Err(ErrorKind::WouldBlock), "awake again");
}

#[test]
fn no_wake_up_is_missed_in_a_thousand_turns_of_ping_pong() {
    let (mut there, mut here) = (pair(64), pair(64));
    let echo = std::thread::spawn(move || {
        let mut out = Vec::new();
        for _ in 0..1000 {
            while there.1.take(&mut out, 1).unwrap().count == 0 {
                there.1.wait(None).unwrap();
            }
            here.0.offer(&out.pop().unwrap());
            here.0.publish();
        }
    });
    let mut out = Vec::new();
    for number in 0..1000 {
        there.0.offer(&record(number));
        there.0.publish();
        while here.1.take(&mut out, 1).unwrap().count == 0 {
            here.1.wait(None).unwrap();
        }
        assert_eq!(out.pop(), Some(record(number)));
    }
    echo.join().unwrap();
}

#[test]
fn an_end_on_purpose_is_seen_though_a_forked_child_holds_the_connection() {
    let (mut producer, consumer) = pair(64);
    let _copy = consumer.as_fd().try_clone_to_owned().unwrap();
    assert!(producer.consumer_alive());
    drop(consumer);
    assert!(!producer.consumer_alive());
}

#[test]
fn a_retired_consumer_cannot_spoil_its_successor() {
    let (mut producer, mut old) = pair(64);
    (0..64).for_each(|number| assert!(producer.offer(&record(number))));
    let mut new = seat(&mut producer);
    let mut out = Vec::new();
    old.take(&mut out, 50).unwrap();
    old.release();
    assert_eq!(producer.counters().delivered, 0, "the old page is not read any more");
    assert!(!old.producer_alive());
    assert_eq!(new.take(&mut out, 100).unwrap().first_position, 0);
    assert_eq!(producer.take_fault(), None::<ConsumerFault>);
}
