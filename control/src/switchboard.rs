//! Puts questions to hosts and leads their answers to whoever asked. Knows neither messages nor what is asked.
//!
//! An attached host holds a queue of questions. An inquiry is a question on its way: it has a number, by which the
//! host's answer finds it, and a short queue for the parts of the answer. A part waits until the asker has taken the
//! one before, so that a slow asker slows its own answer and nothing else; an asker that is gone ends the answer.

use meshgate_policy::Name;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Inquiries at once: some people with a capture and a live view each.
pub const INQUIRIES_MAX: usize = 64;
/// Questions that wait for one host. It takes them at once; more means that it hangs.
const QUESTIONS_MAX: usize = 16;
/// Parts of an answer that wait for the asker.
const PARTS_MAX: usize = 4;

/// Why a host is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskFault {
    /// It is not attached.
    #[error(
        "host {0} cannot be asked: it is not connected, or its dataplane is older than this control; see `meshgate status`"
    )]
    NotAttached(Name),
    /// It does not take its questions.
    #[error("host {0} does not take questions: {QUESTIONS_MAX} are waiting")]
    Busy(Name),
    /// Too much is asked at once.
    #[error("{INQUIRIES_MAX} questions to hosts are open, more are not possible")]
    Full,
}

/// Why a host is not attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachFault {
    /// A newer process of the same name is attached.
    #[error("epoch: host {0} is attached with the newer epoch {1}")]
    Older(Name, u64),
    /// As many hosts as possible are attached.
    #[error("{} hosts are attached, more are not possible", crate::distributor::HOSTS_MAX)]
    Full,
}

/// The hosts that can be asked and the inquiries under way. `Q` is a question, `A` a part of an answer.
#[derive(Debug)]
pub struct Switchboard<Q, A> {
    inner: Mutex<Inner<Q, A>>,
}

#[derive(Debug)]
struct Inner<Q, A> {
    hosts: BTreeMap<Name, Attached<Q>>,
    inquiries: HashMap<u64, Pending<A>>,
    /// The last number given, to inquiries and attachments alike.
    number: u64,
}

#[derive(Debug)]
struct Attached<Q> {
    number: u64,
    epoch: u64,
    questions: mpsc::Sender<(u64, Q)>,
}

#[derive(Debug)]
struct Pending<A> {
    host: Name,
    /// The process that was asked.
    attachment: u64,
    /// None once the answer has begun.
    parts: Option<mpsc::Sender<A>>,
}

/// A host's end: questions come out, each with the number of its inquiry. Detaches when dropped.
#[derive(Debug)]
pub struct Attachment<Q, A> {
    board: Arc<Switchboard<Q, A>>,
    host: Name,
    number: u64,
    questions: mpsc::Receiver<(u64, Q)>,
}

/// An asker's end: parts of the answer come out. Ends the inquiry when dropped.
#[derive(Debug)]
pub struct Inquiry<Q, A> {
    board: Arc<Switchboard<Q, A>>,
    number: u64,
    parts: mpsc::Receiver<A>,
}

impl<Q, A> Default for Switchboard<Q, A> {
    fn default() -> Self {
        let inner = Inner { hosts: BTreeMap::new(), inquiries: HashMap::new(), number: 0 };
        Self { inner: Mutex::new(inner) }
    }
}

impl<Q, A> Switchboard<Q, A> {
    /// Attaches a host; an older process of the same name is detached, whose questions end.
    pub fn attach(self: &Arc<Self>, host: Name, epoch: u64) -> Result<Attachment<Q, A>, AttachFault> {
        let mut inner = self.lock();
        match inner.hosts.get(&host) {
            Some(attached) if attached.epoch > epoch => {
                return Err(AttachFault::Older(host, attached.epoch));
            }
            None if inner.hosts.len() >= crate::distributor::HOSTS_MAX => return Err(AttachFault::Full),
            _ => {}
        }
        let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
        let number = inner.next_number();
        inner.hosts.insert(host.clone(), Attached { number, epoch, questions: sender });
        Ok(Attachment { board: Arc::clone(self), host, number, questions })
    }

    /// Asks a host.
    pub fn ask(self: &Arc<Self>, host: &Name, question: Q) -> Result<Inquiry<Q, A>, AskFault> {
        let mut inner = self.lock();
        if inner.inquiries.len() >= INQUIRIES_MAX {
            return Err(AskFault::Full);
        }
        let number = inner.next_number();
        let attached = inner.hosts.get(host).ok_or_else(|| AskFault::NotAttached(host.clone()))?;
        let attachment = attached.number;
        attached.questions.try_send((number, question)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AskFault::Busy(host.clone()),
            mpsc::error::TrySendError::Closed(_) => AskFault::NotAttached(host.clone()),
        })?;
        let (sender, parts) = mpsc::channel(PARTS_MAX);
        inner.inquiries.insert(number, Pending { host: host.clone(), attachment, parts: Some(sender) });
        Ok(Inquiry { board: Arc::clone(self), number, parts })
    }

    /// Returns where the parts of an answer go; none if nobody asked this host so, or no longer.
    pub fn answer(&self, host: &Name, inquiry: u64) -> Option<mpsc::Sender<A>> {
        let mut inner = self.lock();
        let pending = inner.inquiries.get_mut(&inquiry).filter(|pending| pending.host == *host)?;
        pending.parts.take()
    }

    /// Returns the hosts that can be asked, by name.
    pub fn hosts(&self) -> Vec<Name> {
        self.lock().hosts.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<Q, A>> {
        // Nothing panics while it holds the lock; if something did, the tables are still the best there is.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q, A> Inner<Q, A> {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl<Q, A> Attachment<Q, A> {
    /// Returns the next question; none when a newer process of the host has attached.
    pub async fn next(&mut self) -> Option<(u64, Q)> {
        self.questions.recv().await
    }
}

impl<Q, A> Inquiry<Q, A> {
    /// Returns the next part of the answer; none at its end.
    pub async fn next(&mut self) -> Option<A> {
        self.parts.recv().await
    }
}

impl<Q, A> Drop for Attachment<Q, A> {
    fn drop(&mut self) {
        let mut inner = self.board.lock();
        if inner.hosts.get(&self.host).is_some_and(|attached| attached.number == self.number) {
            inner.hosts.remove(&self.host);
        }
        // Nobody will answer what this process was asked and has not begun to answer.
        inner.inquiries.retain(|_, pending| pending.attachment != self.number || pending.parts.is_none());
    }
}

impl<Q, A> Drop for Inquiry<Q, A> {
    fn drop(&mut self) {
        self.board.lock().inquiries.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Board = Arc<Switchboard<&'static str, u32>>;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[tokio::test]
    async fn a_question_reaches_its_host_and_the_parts_of_the_answer_its_asker() {
        let board = Board::default();
        let mut host = board.attach(name("h1"), 1).unwrap();
        let mut inquiry = board.ask(&name("h1"), "why").unwrap();
        let (number, question) = host.next().await.unwrap();
        assert_eq!(question, "why");
        let parts = board.answer(&name("h1"), number).unwrap();
        parts.send(1).await.unwrap();
        parts.send(2).await.unwrap();
        drop(parts);
        assert_eq!(
            (inquiry.next().await, inquiry.next().await, inquiry.next().await),
            (Some(1), Some(2), None)
        );
    }

    #[tokio::test]
    async fn an_answer_by_another_host_or_a_second_one_finds_nobody() {
        let board = Board::default();
        let mut host = board.attach(name("h1"), 1).unwrap();
        let _inquiry = board.ask(&name("h1"), "why").unwrap();
        let (number, _) = host.next().await.unwrap();
        assert!(board.answer(&name("h2"), number).is_none());
        assert!(board.answer(&name("h1"), number + 1).is_none());
        assert!(board.answer(&name("h1"), number).is_some());
        assert!(board.answer(&name("h1"), number).is_none());
    }

    #[tokio::test]
    async fn an_asker_that_is_gone_ends_the_answer() {
        let board = Board::default();
        let mut host = board.attach(name("h1"), 1).unwrap();
        let inquiry = board.ask(&name("h1"), "why").unwrap();
        let (number, _) = host.next().await.unwrap();
        let parts = board.answer(&name("h1"), number).unwrap();
        drop(inquiry);
        assert!(parts.send(1).await.is_err());
    }

    #[tokio::test]
    async fn a_host_that_leaves_ends_what_it_was_asked() {
        let board = Board::default();
        let host = board.attach(name("h1"), 1).unwrap();
        let mut inquiry = board.ask(&name("h1"), "why").unwrap();
        drop(host);
        assert_eq!(inquiry.next().await, None);
        assert_eq!(board.ask(&name("h1"), "why").unwrap_err(), AskFault::NotAttached(name("h1")));
    }

    #[tokio::test]
    async fn a_newer_process_takes_the_place_of_an_older_one_and_not_the_other_way() {
        let board = Board::default();
        let mut older = board.attach(name("h1"), 1).unwrap();
        let mut newer = board.attach(name("h1"), 2).unwrap();
        assert!(older.next().await.is_none());
        let _inquiry = board.ask(&name("h1"), "why").unwrap();
        drop(older);
        assert_eq!(board.attach(name("h1"), 1).unwrap_err(), AttachFault::Older(name("h1"), 2));
        let (number, _) = newer.next().await.unwrap();
        assert!(board.answer(&name("h1"), number).is_some(), "the end of the older one took nothing along");
    }

    #[test]
    fn questions_and_inquiries_are_bounded() {
        let board = Board::default();
        let _host = board.attach(name("h1"), 1).unwrap();
        let open: Vec<_> = (0..QUESTIONS_MAX).map(|_| board.ask(&name("h1"), "why").unwrap()).collect();
        assert_eq!(board.ask(&name("h1"), "why").unwrap_err(), AskFault::Busy(name("h1")));
        drop(open);
        let hosts: Vec<_> = (2..7).map(|n| board.attach(name(&format!("h{n}")), 1).unwrap()).collect();
        let ask = |n: usize| board.ask(&name(&format!("h{}", n % 5 + 2)), "why");
        let open: Vec<_> = (0..INQUIRIES_MAX).map(|n| ask(n).unwrap()).collect();
        assert_eq!(ask(0).unwrap_err(), AskFault::Full);
        drop((open, hosts));
    }
}
