//! The embedded server in a child process, seen from the parent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use loadline_child::{Said, how_it_ended};

use crate::worker::WorkerError;

/// How often a starting server is asked.
const LOOK: Duration = Duration::from_millis(20);
/// How long it may take to say whether it is ready.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that ends when this is dropped.
pub struct ServerProcess {
    child: Child,
    /// The child ends when this closes, however its parent ended.
    _alive: ChildStdin,
    url: String,
    said: Said,
}

impl ServerProcess {
    /// Starts the child and waits until it has said where it answers (one line with a URL) and its
    /// model is loaded.
    ///
    /// # Errors
    /// The child cannot be started, or it ended before it was ready.
    pub fn start(mut command: Command) -> Result<Self, WorkerError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().display().to_string();
        let mut child = command.spawn().map_err(|source| WorkerError::Start { program, source })?;
        let alive = child.stdin.take().expect("invariant: stdin was piped");
        let stdout = child.stdout.take().expect("invariant: stdout was piped");
        let mut said = Said::listen(child.stderr.take().expect("invariant: stderr was piped"));
        let mut url = String::new();
        let read = BufReader::new(stdout).read_line(&mut url);
        let url = url.trim().to_owned();
        if read.is_err() || !url.starts_with("http") {
            drop(alive);
            let _ = child.kill();
            let how = child.wait().map_or_else(|error| error.to_string(), how_it_ended);
            return Err(WorkerError::ProcessEnded { how, said: said.text() });
        }
        let mut server = Self { child, _alive: alive, url, said };
        while !server.is_healthy() {
            if let Ok(Some(status)) = server.child.try_wait() {
                let how = how_it_ended(status);
                return Err(WorkerError::ProcessEnded { how, said: server.said.text() });
            }
            std::thread::sleep(LOOK);
        }
        Ok(server)
    }

    /// Whether `GET /health` is answered by 200: it listens before its model is loaded.
    fn is_healthy(&self) -> bool {
        let address = self.url.trim_start_matches("http://");
        let Ok(mut stream) = TcpStream::connect(address) else { return false };
        let asked = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let mut head = [0_u8; 12];
        stream.set_read_timeout(Some(PATIENCE)).is_ok()
            && stream.write_all(asked.as_bytes()).is_ok()
            && stream.read_exact(&mut head).is_ok()
            && head.ends_with(b" 200")
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_it_names_its_url_and_gone_when_dropped() {
        let mut command = Command::new("sh");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        command.args(["-c", &format!("echo {url}; exec sleep 60")]);
        let (tell, told) = std::sync::mpsc::sync_channel(16);
        // Ready at the second question; one that is not waited for is asked again.
        std::thread::spawn(move || {
            let statuses =
                std::iter::once("503 Service Unavailable").chain(std::iter::repeat("200 OK"));
            for (stream, status) in listener.incoming().zip(statuses) {
                let Ok(mut stream) = stream else { continue };
                let mut asked = [0_u8; 1024];
                let _ = stream.read(&mut asked);
                let _ = tell.try_send(status);
                let _ = write!(stream, "HTTP/1.1 {status}\r\n\r\n");
            }
        });
        let server = ServerProcess::start(command).expect("ready");
        let told: Vec<&str> = told.try_iter().collect();
        assert!(told.len() >= 2 && told[1] == "200 OK", "{told:?}");
        assert_eq!(server.url(), url);
        let pid = rustix::process::Pid::from_raw(server.child.id() as i32).expect("a process");
        drop(server);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    #[test]
    fn one_that_ends_early_is_an_error_with_its_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'no such model' >&2; exit 3"]);
        let error = ServerProcess::start(command).err().expect("ended").to_string();
        assert!(error.contains("ended with code 3") || error.contains("no such model"), "{error}");
    }
}
