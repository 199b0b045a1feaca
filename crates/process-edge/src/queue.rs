//! A bounded queue of lines for a stream that may be slow, closed or full. A separate thread writes them.
//!
//! Callers never wait for the stream. Lines that do not fit are dropped and counted.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use human_text::counted;

/// Maximum size of the queue: enough for every line of an evaluation of 10,000 namespaces.
pub(crate) const CAPACITY_BYTES: usize = 8 * 1024 * 1024;

/// Time to wait before writing again to a stream that another process has set to non-blocking.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Number of lines that did not fit since the last successful write.
    lost: u64,
    /// Whether the thread is currently writing a line.
    writing: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.lost == 0 && !self.writing
    }
}

/// A bounded queue of lines.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// Signaled when a line is added or written.
    changed: Condvar,
}

impl Queue {
    /// Creates a queue whose lines are written to a stream. If no thread can be started, lines are lost.
    pub(crate) fn to(stream: impl Write + Send + 'static) -> Arc<Self> {
        let queue = Arc::new(Self::default());
        let source = Arc::clone(&queue);
        // If no thread can be started, lines are lost as with a closed stream.
        let _ = std::thread::Builder::new()
            .name("standard error".to_owned())
            .spawn(move || source.write_all_to(stream));
        queue
    }

    /// Adds a line, or counts it as lost.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes + line.len() > CAPACITY_BYTES {
            waiting.lost += 1;
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_vec());
        drop(waiting);
        self.changed.notify_all();
    }

    /// Waits until everything is written, for at most `bound`. Returns whether it is.
    pub(crate) fn flush(&self, bound: Duration) -> bool {
        let begun = Instant::now();
        let mut waiting = self.lock();
        while !waiting.is_empty() {
            let left = bound.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            waiting = self
                .changed
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn write_all_to(&self, mut stream: impl Write) {
        loop {
            // The lock is not held while writing: a blocked stream must not block those who add lines.
            let line = self.next();
            write(&mut stream, &line);
            // Only now, so that `flush` also waits for the line that left the queue but is not written yet.
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for the next line. The number of lost lines is reported after the lines that came before them.
    fn next(&self) -> Vec<u8> {
        let mut waiting = self.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.writing = true;
                return line;
            }
            // After the lines, so that the message appears where they are missing.
            if waiting.lost > 0 {
                waiting.writing = true;
                let lost = std::mem::take(&mut waiting.lost);
                let lines = counted(lost, "log line");
                return format!("lost {lines}: standard error was not read\n").into_bytes();
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a line, or as much of it as the stream accepts.
fn write(stream: &mut impl Write, mut line: &[u8]) {
    while !line.is_empty() {
        match stream.write(line) {
            Ok(0) => return,
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(WOULD_BLOCK_PAUSE),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    const BOUND: Duration = Duration::from_secs(10);

    /// Forwards what is written, once it is allowed to.
    struct Gated {
        allowed: Receiver<()>,
        written: SyncSender<Vec<u8>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.allowed.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from(ErrorKind::StorageFull))
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_stream_loses_lines_and_is_not_waited_for() {
        let queue = Queue::to(Broken);
        for _ in 0..100 {
            queue.push(b"line\n");
        }
        assert!(queue.flush(BOUND), "nothing is left to wait for");
    }

    #[test]
    fn an_unread_stream_never_blocks_and_what_was_lost_is_reported() {
        let (allow, allowed) = sync_channel(0);
        let (written, read) = sync_channel(1_000_000);
        let queue = Queue::to(Gated { allowed, written });
        let line = vec![b'x'; 1024 * 1024];
        let begun = Instant::now();
        for _ in 0..20 {
            queue.push(&line);
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!(
            !queue.flush(Duration::from_millis(10)),
            "it waits no longer than asked"
        );
        // Dropping the gate opens it.
        drop(allow);
        assert!(queue.flush(BOUND));
        drop(queue);
        let lines: Vec<Vec<u8>> = read.try_iter().collect();
        let (last, kept) = lines.split_last().expect("lines");
        assert!(kept.len() == 8 || kept.len() == 9, "{} MiB are kept", kept.len());
        assert_eq!(
            String::from_utf8_lossy(last),
            format!(
                "lost {} log lines: standard error was not read\n",
                20 - kept.len()
            )
        );
    }
}
