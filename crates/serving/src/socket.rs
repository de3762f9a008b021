//! A non-blocking stream socket that tells when the bytes of a read arrived.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect,
    getpeername, recv, send, socket_with, sockopt as rustix_sockopt,
};

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// IPv4 or IPv6.
    Ip(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Room for the control message of one receive stamp.
#[derive(Debug)]
pub struct StampBuffer(Vec<u8>);

impl Default for StampBuffer {
    fn default() -> Self {
        // Twice what one stamp needs: other options of the system may add a message.
        Self(vec![0; 2 * nix::cmsg_space!(nix::sys::time::TimeSpec).capacity()])
    }
}

/// A connected or connecting stream socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    stamps: bool,
}

/// Whether a connect is through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connect {
    /// Connected.
    Done,
    /// Wait until the socket is writable.
    Pending,
}

impl Socket {
    /// Starts to connect. The stamp option is set before the connect, so that no byte comes
    /// without one.
    ///
    /// # Errors
    /// What the system says: no more descriptors, no local port, refused at once.
    pub fn connect(address: &Address) -> io::Result<(Self, Connect)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (family, stamps) = match address {
            Address::Ip(SocketAddr::V4(_)) => (AddressFamily::INET, true),
            Address::Ip(SocketAddr::V6(_)) => (AddressFamily::INET6, true),
            Address::Unix(_) => (AddressFamily::UNIX, false),
        };
        let fd = socket_with(family, SocketType::STREAM, flags, None)?;
        if stamps {
            rustix_sockopt::set_tcp_nodelay(&fd, true)?;
            setsockopt(&fd, sockopt::ReceiveTimestampns, &true)?;
        }
        let result = match address {
            Address::Ip(address) => connect(&fd, address),
            Address::Unix(path) => connect(&fd, &unix_address(path)?),
        };
        let state = match result {
            Ok(()) => Connect::Done,
            // On loopback the handshake is over when the call returns, whatever it says.
            Err(rustix::io::Errno::INPROGRESS) if getpeername(&fd).is_ok() => Connect::Done,
            Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => Connect::Pending,
            Err(error) => return Err(error.into()),
        };
        Ok((Self { fd, stamps }, state))
    }

    /// The result of a pending connect, once the socket is writable.
    ///
    /// # Errors
    /// Why it failed.
    pub fn connect_result(&self) -> io::Result<()> {
        Ok(rustix_sockopt::socket_error(&self.fd)??)
    }

    /// Whether reads come with a kernel receive stamp.
    pub fn has_stamps(&self) -> bool {
        self.stamps
    }

    /// Reads once. Returns the number of bytes (0: the peer closed) and the kernel's stamp of the
    /// last byte, ns since the Unix epoch.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; else what the system says.
    pub fn read(
        &self,
        buffer: &mut [u8],
        stamp: &mut StampBuffer,
    ) -> io::Result<(usize, Option<u64>)> {
        if !self.stamps {
            return Ok((recv(&self.fd, buffer, RecvFlags::empty())?.0, None));
        }
        let mut parts = [IoSliceMut::new(buffer)];
        let message =
            recvmsg::<()>(self.fd.as_raw_fd(), &mut parts, Some(&mut stamp.0), MsgFlags::empty())?;
        let stamp = message.cmsgs().ok().into_iter().flatten().find_map(|part| match part {
            ControlMessageOwned::ScmTimestampns(time) => {
                Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
            }
            _ => None,
        });
        Ok((message.bytes, stamp))
    }

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; else what the system says.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&self.fd, bytes, SendFlags::NOSIGNAL)?)
    }

    /// What an idle connection holds, without taking it.
    pub fn peek(&self) -> Peek {
        let mut byte = [0_u8; 1];
        match recv(&self.fd, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::AGAIN) => Peek::Quiet,
            Ok((_, count)) if count > 0 => Peek::Bytes,
            Ok(_) | Err(_) => Peek::Closed,
        }
    }
}

/// State of an idle connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peek {
    /// Open, and nothing has come.
    Quiet,
    /// Bytes have come that nobody has read.
    Bytes,
    /// The peer closed it, or it is broken.
    Closed,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn unix_address(path: &Path) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(path)?)
}
