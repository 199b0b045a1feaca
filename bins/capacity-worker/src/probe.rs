//! `--probe`: checks whether a running worker is ready, for container images without a shell or `curl`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use process_edge::{flush_errors, write_error, write_output};

/// Timeout for the worker's response, which includes its check of the Temporal service (at most 5 s).
const BOUND: Duration = Duration::from_secs(9);
/// Timeout for writing the error, which may never be read.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Maximum length of the response in bytes, well above the length of a real one.
const MOST_BYTES: u64 = 64 * 1024;

/// Prints the response of the worker at this address. Returns failure unless the worker is ready.
pub(crate) fn probe(listen: SocketAddr) -> ExitCode {
    let address = reachable(listen);
    match ask(address) {
        Ok(answer) => {
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            // A health check uses the exit code and may ignore the output.
            let _ = write_output(body);
            ExitCode::from(u8::from(!is_ok(&answer)))
        }
        Err(error) => {
            write_error(format!(
                "error: cannot reach a worker at {address}: {error}. Start it, or pass its --listen address\n"
            ));
            flush_errors(LAST_LINES);
            ExitCode::from(1)
        }
    }
}

fn is_ok(answer: &str) -> bool {
    answer.split(' ').nth(1) == Some("200")
}

/// Replaces an unspecified address, such as 0.0.0.0, with the loopback address.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        if listen.is_ipv4() {
            listen.set_ip(Ipv4Addr::LOCALHOST.into());
        } else {
            listen.set_ip(Ipv6Addr::LOCALHOST.into());
        }
    }
    listen
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, BOUND)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.set_write_timeout(Some(BOUND))?;
    // HTTP/1.0, so that the server closes the connection after the body, which is not chunked.
    write!(stream, "GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MOST_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_probed_on_loopback() {
        let asked = |listen: &str| reachable(listen.parse().expect("an address")).to_string();
        assert_eq!(asked("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(asked("[::]:9464"), "[::1]:9464");
        assert_eq!(asked("10.1.2.3:80"), "10.1.2.3:80");
    }

    #[test]
    fn only_status_200_is_ready() {
        assert!(is_ok("HTTP/1.0 200 OK\r\n\r\n{}"));
        assert!(!is_ok(
            "HTTP/1.0 503 Service Unavailable\r\n\r\n{\"problem\":\"200 \"}"
        ));
        assert!(!is_ok(""));
    }
}
