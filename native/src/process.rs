//! Processes that may or may not be our children: one agent starts Envoy, the next one adopts it. pidfd_open(2), proc(5).
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use napi::Result;
use napi_derive::napi;

use crate::errors::{failure, last};

#[napi(object)]
pub struct ProcessEnd {
    /// Of a process that ended by itself and was our child.
    pub code: Option<i32>,
    /// That ended it, where it was our child.
    pub signal: Option<i32>,
}

struct Stat {
    ended: bool,
    start_time: f64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything; behind it come the state (field 3) and, as field 22, the start time.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    Some(Stat { ended, start_time: fields.nth(18)?.parse().ok()? })
}

fn checked(pid: u32) -> Result<libc::pid_t> {
    // 0 and negative numbers mean groups to the kernel.
    match libc::pid_t::try_from(pid) {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(failure(libc::EINVAL, "not a process id", "")),
    }
}

/// Clock ticks between the machine's start and the process's: with the number it names a process until the next boot.
/// Absent when there is none.
#[napi(catch_unwind)]
pub fn process_start_time(pid: u32) -> Option<f64> {
    stat(pid).map(|stat| stat.start_time)
}

/// Absent while it runs. Takes the end of a child, so that it does not stay as a zombie; never waits.
#[napi(catch_unwind)]
pub fn wait_pid(pid: u32, start_time: Option<f64>) -> Result<Option<ProcessEnd>> {
    let mut status = 0;
    // SAFETY: writes a local.
    let got = unsafe { libc::waitpid(checked(pid)?, &mut status, libc::WNOHANG) };
    if got == 0 {
        return Ok(None);
    }
    if got > 0 {
        let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
        return Ok(Some(ProcessEnd { code, signal }));
    }
    let error = std::io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::ECHILD) {
        return Err(last("wait for a process"));
    }
    let runs = stat(pid).is_some_and(|stat| !stat.ended && start_time.is_none_or(|wanted| wanted == stat.start_time));
    Ok(if runs { None } else { Some(ProcessEnd { code: None, signal: None }) })
}

/// Signals the process that started then, and no other that has its number now. False when it has ended.
#[napi(catch_unwind)]
pub fn signal_process(pid: u32, start_time: f64, signal: i32) -> Result<bool> {
    // SAFETY: plain system call; a non-negative result is a descriptor that nobody else owns.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, checked(pid)?, 0) } as i32;
    if fd < 0 {
        let gone = std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
        return if gone { Ok(false) } else { Err(last("open a process")) };
    }
    // SAFETY: see above.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // Looked at after it was opened: the descriptor does not move to a successor.
    if stat(pid).is_none_or(|stat| stat.ended || stat.start_time != start_time) {
        return Ok(false);
    }
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: an open descriptor and no further information.
    if unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, none, 0) } == 0 {
        return Ok(true);
    }
    let gone = std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    if gone { Ok(false) } else { Err(last("signal a process")) }
}
