//! Waiting for what the kernel releases in the background.
//!
//! A closed socket frees its queue in a work queue under the RTNL lock, and a descriptor that a dying or forking
//! process still holds keeps queue or program a moment longer. It takes milliseconds, and there is no event for it.

use std::io;
use std::time::{Duration, Instant};

/// Longest wait. On a machine whose processors are all taken and whose devices come and go, more than a second was seen from
/// the end of a killed process to the release of its queues.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

/// Pause between two attempts.
const RELEASE_PAUSE: Duration = Duration::from_millis(2);

/// Tells whether an error says that somebody else has the thing.
pub(crate) fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBUSY)
}

/// Repeats an attempt as long as its error is a busy one, for some seconds at most; returns the last answer.
pub(crate) fn while_busy<T, E>(
    is_busy: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + RELEASE_WAIT;
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && Instant::now() < deadline => pause(),
            result => return result,
        }
    }
}

/// Waits a little.
#[expect(clippy::disallowed_methods, reason = "the kernel releases a queue without an event to wait for")]
fn pause() {
    std::thread::sleep(RELEASE_PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_busy_answer_is_asked_again() {
        let mut answers = [libc::EBUSY, libc::EBUSY, libc::EINVAL].into_iter();
        let result: io::Result<()> =
            while_busy(is_busy, || Err(io::Error::from_raw_os_error(answers.next().unwrap())));
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(answers.next(), None);
    }
}
