//! The threads that compute with what tenants wrote. The runtime's thread stays free for signals, the deadline and the lock.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::oneshot;

/// The number of threads. The namespaces take turns, so one of them cannot delay the others for longer than one
/// ExternalSecret needs.
const THREADS: usize = 2;

type Work = Box<dyn FnOnce() + Send>;

/// A fixed number of threads. They end when this value is dropped, without being waited for.
pub struct Workers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    added: Condvar,
}

/// The waiting work of each namespace, and the order in which the namespaces take turns.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<String, VecDeque<Work>>,
    turns: VecDeque<String>,
    closed: bool,
}

/// The error if the work was not done: it panicked, or the threads ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDone;

impl Workers {
    pub fn start() -> io::Result<Self> {
        let workers = Self(Arc::default());
        for number in 0..THREADS {
            let shared = Arc::clone(&workers.0);
            thread::Builder::new()
                .name(format!("compute-{number}"))
                .spawn(move || {
                    while let Some(work) = shared.next() {
                        // A panic loses the result of this work, and not the thread.
                        drop(catch_unwind(AssertUnwindSafe(work)));
                    }
                })?;
        }
        Ok(workers)
    }

    /// Does this work on one of the threads. If the caller stops waiting, work that was not begun is not done.
    pub async fn compute<T: Send + 'static>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        let (done, result) = oneshot::channel();
        self.0.add(
            namespace,
            Box::new(move || {
                if !done.is_closed() {
                    done.send(work()).ok();
                }
            }),
        );
        result.await.map_err(|_| NotDone)
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closed = true;
        queue.waiting.clear();
        queue.turns.clear();
        self.0.added.notify_all();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, namespace: &str, work: Work) {
        let mut queue = self.queue();
        let waiting = queue.waiting.entry(namespace.to_owned()).or_default();
        waiting.push_back(work);
        if waiting.len() == 1 {
            queue.turns.push_back(namespace.to_owned());
        }
        self.added.notify_one();
    }

    /// Waits for the next work. None if the threads end.
    fn next(&self) -> Option<Work> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(work) = queue.next() {
                return Some(work);
            }
            queue = self
                .added
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    /// Takes the oldest work of the namespace whose turn it is.
    fn next(&mut self) -> Option<Work> {
        let namespace = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&namespace)?;
        let work = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Work that holds a thread until the sender is dropped.
    fn held() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (holder, held) = mpsc::channel::<()>();
        (holder, move || {
            held.recv().ok();
        })
    }

    #[test]
    fn namespaces_take_turns() {
        let shared = Shared::default();
        let order = Arc::new(Mutex::new(String::new()));
        for (namespace, name) in [("a", '1'), ("a", '2'), ("a", '3'), ("b", '4'), ("c", '5')] {
            let order = Arc::clone(&order);
            shared.add(
                namespace,
                Box::new(move || order.lock().unwrap().push(name)),
            );
        }
        let mut queue = shared.queue();
        while let Some(work) = queue.next() {
            work();
        }
        assert_eq!(*order.lock().unwrap(), "14523");
    }

    #[tokio::test]
    async fn runtime_goes_on_while_all_threads_compute() {
        let workers = Workers::start().unwrap();
        let (first, second) = (held(), held());
        let mut busy = [
            Box::pin(workers.compute("a", first.1)),
            Box::pin(workers.compute("b", second.1)),
        ];
        for work in &mut busy {
            assert!(futures::poll!(work.as_mut()).is_pending());
        }
        // The caller stops waiting. Dropping the workers does not wait either.
        drop(busy);
        drop(workers);
        drop((first.0, second.0));
    }

    #[tokio::test]
    async fn panic_loses_only_its_own_result() {
        let workers = Workers::start().unwrap();
        for _ in 0..=THREADS {
            let lost = workers.compute("a", || -> u8 { std::panic::panic_any("lost") });
            assert!(lost.await.is_err());
        }
        assert!(matches!(workers.compute("a", || 7).await, Ok(7)));
    }
}
