//! Closures on their way into the host's thread, and results on their way back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::HostContext;
use super::park::Wake;
use crate::error::{Error, Result};

/// Something to be done in the host's thread: called there, so that its future need not be `Send`.
pub type Job<S> = Box<dyn FnOnce(HostContext<S>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The sending end.
pub struct Jobs<S> {
    jobs: mpsc::Sender<Job<S>>,
    wake: Arc<Wake>,
    name: String,
}

/// The receiving end.
pub struct Inbox<S> {
    pub jobs: mpsc::Receiver<Job<S>>,
    pub wake: Arc<Wake>,
}

pub fn queue<S>(wake: Wake, name: &str) -> (Jobs<S>, Inbox<S>) {
    let (sender, receiver) = mpsc::channel();
    let wake = Arc::new(wake);
    (Jobs { jobs: sender, wake: wake.clone(), name: name.into() }, Inbox { jobs: receiver, wake })
}

impl<S: 'static> Jobs<S> {
    pub fn begin<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(HostContext<S>) -> T + Send + 'static,
    ) -> Pending<T> {
        let (sender, result) = mpsc::sync_channel(1);
        let job: Job<S> = Box::new(move |context| {
            Box::pin(async move {
                // Whoever asked may have stopped waiting.
                let _ = sender.send(work(context).await);
            })
        });
        // When the thread is gone, so is `sender`: waiting says so.
        let _ = self.jobs.send(job);
        self.wake();
        Pending { result, name: self.name.clone() }
    }
}

impl<S> Jobs<S> {
    pub fn wake(&self) {
        self.wake.wake();
    }
}

/// Something that a [`StackHost`](super::StackHost) is busy with.
pub struct Pending<T> {
    result: mpsc::Receiver<T>,
    name: String,
}

impl<T> Pending<T> {
    /// Waits for the result.
    pub fn wait(&self, timeout: Duration) -> Result<T> {
        self.result.recv_timeout(timeout).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => Error::Timeout {
                waiting_for: format!("the result of host {}", self.name),
                after: timeout,
                seen: "none".into(),
            },
            mpsc::RecvTimeoutError::Disconnected => {
                Error::machine(&self.name, "the host was taken away, or its thread panicked")
            }
        })
    }

    /// The result, if there is one by now.
    pub fn poll(&self) -> Option<T> {
        self.result.try_recv().ok()
    }
}
