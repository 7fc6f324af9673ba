//! The threads that speak to S3. Owns the one runtime of all S3 stores and how a caller without one
//! waits for a request; knows nothing of requests.

use super::super::{StoreError, StoreFault};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use tokio::runtime::{Builder, Handle, Runtime};

/// The runtime of all S3 stores, made at the first use. It is never dropped: that could block.
fn handle() -> Result<Handle, StoreError> {
    static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*runtime {
        return Ok(runtime.handle().clone());
    }
    let made = Builder::new_multi_thread().worker_threads(2).thread_name("s3").enable_all().build();
    let made = made.map_err(|e| StoreError::io("start the threads that speak to S3", e))?;
    Ok(runtime.insert(made).handle().clone())
}

/// What a task gives back, and the task.
type Task<T> = (Receiver<T>, tokio::task::AbortHandle);

pub(super) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> Result<Task<T>, StoreError> {
    let (send, receive) = sync_channel(1);
    let task = handle()?.spawn(async move {
        // Nobody waits any more: then nobody wants it.
        let _ = send.send(task.await);
    });
    Ok((receive, task.abort_handle()))
}

/// Waits for a request. Every request has its limits, so this ends.
pub(super) fn wait<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> Result<T, StoreError> {
    spawn(task)?.0.recv().map_err(|_| lost())
}

/// The task broke down: rusoto panics over some answers.
pub(super) fn lost() -> StoreError {
    let what = "a request to S3 broke down over the server's answer";
    StoreError::of_bucket(StoreFault::Unavailable, what)
}
