//! Signals that stop a program: the first one requests a stop, the second one ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::errors::flush_errors;

/// Time within which signals count as one request, because `timeout` and some init systems send a signal twice within
/// microseconds.
const ONE_REQUEST: Duration = Duration::from_millis(100);

/// Maximum time to write pending lines when the process has to end at once.
const FLUSH_BOUND: Duration = Duration::from_millis(200);

/// A signal that asks a program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// SIGHUP: the terminal was closed.
    Hangup,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: a service manager or `kill`.
    Terminate,
}

impl Signal {
    /// Returns the exit code that shells use for the signal: 128 plus its number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    /// Returns the name of the signal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// Listens for signals for the lifetime of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Signals {
    first: watch::Receiver<Option<Signal>>,
    /// Whether there is no work left that a signal would have to wait for.
    is_done: Arc<AtomicBool>,
}

impl Signals {
    /// Starts to listen on a separate thread, so that a second signal ends the process even if everything
    /// else is blocked.
    ///
    /// # Errors
    ///
    /// If the handlers cannot be installed, or no thread can be started.
    pub fn listen() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut source = {
            // Tokio registers signal handlers with the current runtime. Before the thread starts, so that no
            // signal that arrives in the meantime ends the process.
            let _inside = runtime.enter();
            Source::install()?
        };
        let (sender, first) = watch::channel(None);
        let is_done = Arc::new(AtomicBool::new(false));
        let seen_done = Arc::clone(&is_done);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let mut asked: Option<tokio::time::Instant> = None;
                    loop {
                        let signal = source.next().await;
                        let again = asked.is_some_and(|asked| asked.elapsed() > ONE_REQUEST);
                        if again || seen_done.load(Ordering::Relaxed) {
                            flush_errors(FLUSH_BOUND);
                            std::process::exit(i32::from(signal.exit_code()));
                        }
                        if asked.is_none() {
                            asked = Some(tokio::time::Instant::now());
                            sender.send_replace(Some(signal));
                        }
                    }
                });
            })?;
        Ok(Self { first, is_done })
    }

    /// Makes the first signal end the process at once from now on, because only output is left to be written.
    pub fn work_is_done(&self) {
        self.is_done.store(true, Ordering::Relaxed);
    }

    /// Returns the first signal, if one was received.
    pub fn received(&self) -> Option<Signal> {
        *self.first.borrow()
    }

    /// Waits for the first signal; returns immediately if it was already received.
    pub async fn first(&self) -> Signal {
        let mut first = self.first.clone();
        let signal = match first.wait_for(Option::is_some).await {
            Ok(signal) => *signal,
            Err(_) => None,
        };
        match signal {
            Some(signal) => signal,
            // The listener lives as long as the process.
            None => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
struct Source {
    hangup: Option<tokio::signal::unix::Signal>,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn install() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        // Installing a handler would undo `nohup`.
        let hangup = if is_hangup_ignored() {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self {
            hangup,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hangup => Signal::Hangup,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

/// Returns whether this process was started with SIGHUP ignored, as by `nohup`, so that it should keep running when
/// the terminal closes. Only known on Linux.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

/// Reads the mask of ignored signals. SIGHUP is number 1, the lowest bit.
#[cfg(unix)]
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn install() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::ignores_hangup;

    #[test]
    fn nohup_is_seen_in_the_mask_of_ignored_signals() {
        assert!(ignores_hangup(
            "Name:\tapply\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"
        ));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup("Name:\tapply\n"));
    }
}
