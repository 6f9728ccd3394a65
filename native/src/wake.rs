//! An eventfd: how the JavaScript thread wakes a reader thread.
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use napi::Result;

use crate::errors::last;

pub struct Wake(OwnedFd);

impl Wake {
    pub fn new() -> Result<Self> {
        // SAFETY: plain system call; a non-negative result is a descriptor that nobody else owns.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(last("eventfd"));
        }
        // SAFETY: see above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn raw(&self) -> i32 {
        self.0.as_raw_fd()
    }

    pub fn ring(&self) {
        let one: u64 = 1;
        // SAFETY: writes eight bytes of a local. A full counter means that a wake-up is already due.
        unsafe { libc::write(self.raw(), (&raw const one).cast(), 8) };
    }

    pub fn clear(&self) {
        let mut count: u64 = 0;
        // SAFETY: reads eight bytes into a local.
        unsafe { libc::read(self.raw(), (&raw mut count).cast(), 8) };
    }
}

/// Waits until one of the descriptors is readable. Interruptions count as "look again".
pub fn wait(fds: &[i32], timeout_ms: i32) {
    let mut polls: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 })
        .collect();
    // SAFETY: the vector lives through the call and its length is passed.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, timeout_ms) };
}
