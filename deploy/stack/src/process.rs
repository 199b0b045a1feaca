//! Processes that outlive the command that started them. They are recorded by id and start time, so that a
//! reused id is never mistaken for one of ours.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::place::{Place, write_whole};

/// The state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Running with this id.
    Running(u32),
    /// Exited on its own, without `down` or `drain`. Contains its id.
    Died(u32),
    /// Never started, or stopped.
    Stopped,
}

/// A signal to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Finish work and exit.
    Terminate,
    /// Close connections and exit; PostgreSQL's fast shutdown.
    Interrupt,
    /// Exit immediately.
    Kill,
}

impl Signal {
    fn flag(self) -> &'static str {
        match self {
            Self::Terminate => "-TERM",
            Self::Interrupt => "-INT",
            Self::Kill => "-KILL",
        }
    }
}

/// Returns the state of a process.
pub fn state(place: &Place, name: &str) -> State {
    let Some((pid, started)) = recorded(place, name) else {
        return State::Stopped;
    };
    if start_time(pid).is_some_and(|now| now == started) {
        State::Running(pid)
    } else {
        State::Died(pid)
    }
}

fn recorded(place: &Place, name: &str) -> Option<(u32, u64)> {
    let text = std::fs::read_to_string(place.pid(name)).ok()?;
    let (pid, started) = text.trim_end().split_once(' ')?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}

/// Returns the start time of a process in clock ticks since boot. A zombie counts as ended.
fn start_time(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain any characters; the fields after it are numbers.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    // Field 22 in proc(5), without the first two and counted from 0.
    fields.get(19)?.parse().ok()
}

/// Starts a process in the background, with its output in its log.
///
/// # Errors
///
/// If it cannot be started.
pub fn start(place: &Place, name: &str, command: &mut Command) -> anyhow::Result<()> {
    let log = log_file(place, name)?;
    command.stdout(log.try_clone()?);
    start_with_output(place, name, command, log)
}

/// Like [`start`], with output chosen by the caller.
pub(crate) fn start_with_output(
    place: &Place,
    name: &str,
    command: &mut Command,
    log: File,
) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Use a separate process group, so that Ctrl-C in this terminal does not reach it.
    let child = command
        .stdin(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let pid = child.id();
    // If it has already ended, 0 makes it count as died, since no process has that start time.
    let started = start_time(pid).unwrap_or_default();
    write_whole(&place.pid(name), &format!("{pid} {started}\n"))
}

/// Runs a program and returns its output; `None` if it exceeded the timeout and was killed.
pub(crate) fn output_within(command: &mut Command, bound: Duration) -> std::io::Result<Option<Output>> {
    // Two threads, because the program would block once either pipe is full.
    fn drained(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            bytes
        })
    }
    let begun = Instant::now();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (stdout, stderr) = (drained(child.stdout.take()), drained(child.stderr.take()));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begun.elapsed() > bound {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let [stdout, stderr] = [stdout, stderr].map(|pipe| pipe.join().unwrap_or_default());
    Ok(status.map(|status| Output {
        status,
        stdout,
        stderr,
    }))
}

pub(crate) fn log_file(place: &Place, name: &str) -> anyhow::Result<File> {
    let path = place.log(name);
    OpenOptions::new()
        .create(true)
        // The end of the previous run stays readable after a restart.
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Sends a signal to a process if it runs.
///
/// # Errors
///
/// If the signal cannot be sent.
pub fn signal(place: &Place, name: &str, signal: Signal) -> anyhow::Result<()> {
    if let State::Running(pid) = state(place, name) {
        // The standard library only kills, and only its own children.
        let sent = Command::new("kill")
            .args([signal.flag(), &pid.to_string()])
            .stderr(Stdio::null())
            .status()
            .context("cannot run `kill`")?;
        let is_gone = || !matches!(state(place, name), State::Running(_));
        anyhow::ensure!(
            // It may have ended since its state was read.
            sent.success() || is_gone(),
            "{name} (pid {pid}) does not accept signals from this user"
        );
    }
    Ok(())
}

/// Waits until a process has ended and deletes its record. Returns whether it ended in time.
pub async fn ended(place: &Place, name: &str, bound: Duration) -> bool {
    let begun = Instant::now();
    while matches!(state(place, name), State::Running(_)) {
        if begun.elapsed() > bound {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _ = std::fs::remove_file(place.pid(name));
    true
}

/// Returns the names of all recorded processes.
pub fn names(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.folder().join("pids"));
    let mut names: Vec<String> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Returns the last bytes of a log, or nothing if it does not exist.
fn tail(place: &Place, name: &str, length: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(place.log(name))?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(end.saturating_sub(length)))?;
    let mut bytes = Vec::new();
    // The log may grow while it is read.
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How many bytes at the end of a log to search. If nothing is found, the next larger size is tried.
const PIECES: [u64; 3] = [4 << 20, 32 << 20, 256 << 20];

/// Searches the end of a log; `None` if nothing is found.
pub(crate) fn find_in_log<T>(place: &Place, name: &str, find: impl Fn(&str) -> Option<T>) -> Option<T> {
    PIECES.into_iter().find_map(|length| {
        let bytes = tail(place, name, length).ok()?;
        find(&String::from_utf8_lossy(&bytes))
    })
}

/// Returns the last lines of a log, truncated.
pub fn last_lines(place: &Place, name: &str, count: usize) -> String {
    let bytes = tail(place, name, PIECES[0]).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    shown(&lines[lines.len().saturating_sub(count)..])
}

/// Returns the last message of a process that has ended. The crash message of a Go program is followed by a
/// long trace.
pub(crate) fn last_words(place: &Place, name: &str) -> String {
    const SIGNS: [&str; 6] = [
        "fatal error: ",
        "panic: ",
        r#""level":"fatal""#,
        "FATAL: ",
        "PANIC: ",
        "Unable to start",
    ];
    const TRACE: usize = 60;
    let bytes = tail(place, name, PIECES[0]).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    // A crash further up is that of an earlier run.
    lines.drain(..lines.len().saturating_sub(TRACE));
    let is_sign = |line: &&str| SIGNS.iter().any(|sign| line.contains(sign));
    let last = lines.len().saturating_sub(5);
    match lines.iter().rposition(is_sign) {
        Some(at) if at < last => {
            let mut chosen = lines[at..at + 3].to_vec();
            chosen.extend(&lines[lines.len() - 2..]);
            shown(&chosen)
        }
        _ => shown(&lines[last..]),
    }
}

fn shown(lines: &[&str]) -> String {
    const WIDTH: usize = 400;
    let shortened = lines.iter().map(|line| {
        let line: String = line.chars().take(WIDTH).collect();
        format!("  {line}")
    });
    shortened.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_tracked_until_it_exits_and_a_reused_id_is_detected() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::find(Some(folder.path())).expect("a place");
        for sub in ["logs", "pids"] {
            std::fs::create_dir_all(folder.path().join(sub)).expect("a folder");
        }
        assert_eq!(state(&place, "it"), State::Stopped);
        start(&place, "it", Command::new("sleep").arg("600")).expect("started");
        let State::Running(pid) = state(&place, "it") else {
            panic!("it does not run")
        };
        std::fs::write(place.pid("other"), format!("{pid} 1\n")).expect("written");
        assert_eq!(state(&place, "other"), State::Died(pid), "another start time");
        signal(&place, "it", Signal::Kill).expect("sent");
        assert!(ended(&place, "it", Duration::from_mins(1)).await);
        assert_eq!(state(&place, "it"), State::Stopped);
    }

    #[test]
    fn the_reason_for_a_crash_is_shown_and_not_only_its_trace() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::find(Some(folder.path())).expect("a place");
        std::fs::create_dir_all(folder.path().join("logs")).expect("a folder");
        let trace = "\tsomewhere.go:1\n".repeat(40);
        std::fs::write(
            place.log("history-1"),
            format!("started\nfatal error: malformed GOMEMLIMIT\n{trace}exit status 2\n"),
        )
        .expect("written");
        let shown = last_words(&place, "history-1");
        assert!(
            shown.contains("malformed GOMEMLIMIT") && shown.ends_with("  exit status 2"),
            "{shown}"
        );
        assert_eq!(shown.lines().count(), 5, "{shown}");
    }

    #[test]
    fn a_log_is_searched_beyond_its_last_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::find(Some(folder.path())).expect("a place");
        std::fs::create_dir_all(folder.path().join("logs")).expect("a folder");
        let find = |text: &str| text.contains("the reading").then_some(());
        assert_eq!(find_in_log(&place, "history-1", find), None, "there is no log");
        let later = "a line\n".repeat(1 << 20);
        std::fs::write(place.log("history-1"), format!("the reading\n{later}")).expect("written");
        assert_eq!(find_in_log(&place, "history-1", find), Some(()));
        std::fs::write(place.log("history-1"), later).expect("written");
        assert_eq!(find_in_log(&place, "history-1", find), None);
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let output = output_within(Command::new("sleep").arg("600"), Duration::from_millis(50));
        assert!(output.expect("it runs").is_none());
        let output = output_within(Command::new("echo").arg("done"), Duration::from_mins(1));
        assert_eq!(output.expect("it runs").expect("it ended").stdout, b"done\n");
    }

    #[test]
    fn a_missing_program_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::find(Some(folder.path())).expect("a place");
        std::fs::create_dir_all(folder.path().join("logs")).expect("a folder");
        let error = start(&place, "it", &mut Command::new("/nonexistent/server")).expect_err("refused");
        assert!(format!("{error:#}").contains("/nonexistent/server"), "{error:#}");
    }
}
