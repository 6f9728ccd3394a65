//! Starts a program that is to outlive us: a session, cgroup and user of its own, and no more capabilities than it is given.
//! capabilities(7), credentials(7).
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use napi::Result;
use napi_derive::napi;

use crate::errors::{failed, failure, last};
use crate::talk::Io;

const CAPABILITIES: u32 = 64;
/// _LINUX_CAPABILITY_VERSION_3: sets of 64 bits in two halves.
const VERSION: u32 = 0x2008_0522;
const FIRST_OTHER_FD: u32 = 3;
/// Without close_range that marks (5.11) descriptors are looked at one by one, up to here.
const MOST_FDS: u64 = 1 << 16;
/// Where the program finds the file that it is handed. Within any limit.
const HANDED_OVER: i32 = 200;

#[napi(object)]
pub struct EnvironmentVariable {
    pub name: String,
    pub value: String,
}

#[napi(object)]
pub struct SpawnOptions {
    pub uid: u32,
    pub gid: u32,
    /// Numbers of linux/capability.h; the program gets these and can get no others.
    pub capabilities: Vec<u32>,
    /// Folder of a cgroup that is there.
    pub cgroup: Option<String>,
    /// File that its output and errors are added to.
    pub stdout: String,
    /// File that the program finds open, for reading, as descriptor HANDED_OVER: it may stand where its user cannot go.
    pub file: Option<String>,
    /// All of it: nothing is inherited.
    pub env: Vec<EnvironmentVariable>,
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityHalf {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Everything that the child needs between fork and exec, made before: there nothing may be allocated.
struct Child {
    uid: u32,
    gid: u32,
    capabilities: u64,
    cgroup: Option<File>,
    file: Option<File>,
    descriptors: u32,
}

fn outcome(result: libc::c_long) -> Io<()> {
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

fn prctl(option: i32, first: u64, second: u64) -> Io<()> {
    // SAFETY: options that take numbers.
    outcome(libc::c_long::from(unsafe { libc::prctl(option, first, second, 0u64, 0u64) }))
}

impl Child {
    /// In the child. System calls only, and the plain ones: libc's would ask threads that are not there.
    fn prepare(&self) -> Io<()> {
        // SAFETY: no arguments.
        outcome(libc::c_long::from(unsafe { libc::setsid() }))?;
        if let Some(file) = &self.cgroup {
            // SAFETY: an open file and a terminated constant; 0 stands for the writer.
            outcome(unsafe { libc::write(file.as_raw_fd(), c"0".as_ptr().cast(), 1) } as libc::c_long)?;
        }
        self.mark_descriptors()?;
        match &self.file {
            // SAFETY: numbers only. This descriptor alone is not closed by the program's start.
            Some(file) if file.as_raw_fd() == HANDED_OVER => outcome(unsafe { libc::fcntl(HANDED_OVER, libc::F_SETFD, 0) }.into())?,
            // SAFETY: numbers only. A copy is not closed either; what it replaces is the parent's.
            Some(file) => outcome(unsafe { libc::dup2(file.as_raw_fd(), HANDED_OVER) }.into())?,
            None => {}
        }
        for capability in 0..CAPABILITIES {
            if self.capabilities & (1 << capability) == 0 {
                // Fails above the last one the kernel knows, and where we may not; no_new_privs below bars the way back anyway.
                let _ = prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0);
            }
        }
        prctl(libc::PR_SET_KEEPCAPS, 1, 0)?;
        // SAFETY: numbers, and an empty list.
        unsafe {
            outcome(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()))?;
            outcome(libc::syscall(libc::SYS_setresgid, self.gid, self.gid, self.gid))?;
            outcome(libc::syscall(libc::SYS_setresuid, self.uid, self.uid, self.uid))?;
        }
        self.set_capabilities()?;
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
    }

    /// Nothing of ours stays open in the program, even where somebody forgot to say so.
    fn mark_descriptors(&self) -> Io<()> {
        // SAFETY: numbers only.
        if unsafe { libc::syscall(libc::SYS_close_range, FIRST_OTHER_FD, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } == 0 {
            return Ok(());
        }
        for fd in FIRST_OTHER_FD..self.descriptors {
            // SAFETY: numbers only; one that is not open is an error that means nothing.
            unsafe { libc::fcntl(fd as i32, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        Ok(())
    }

    fn set_capabilities(&self) -> Io<()> {
        let half = |bits: u32| CapabilityHalf { effective: bits, permitted: bits, inheritable: bits };
        let header = CapabilityHeader { version: VERSION, pid: 0 };
        let halves = [half(self.capabilities as u32), half((self.capabilities >> 32) as u32)];
        // SAFETY: both live through the call and have the layout of this version.
        outcome(unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) })?;
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
        for capability in 0..CAPABILITIES {
            if self.capabilities & (1 << capability) != 0 {
                prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(capability))?;
            }
        }
        Ok(())
    }
}

/// One past the highest descriptor there can be.
fn descriptors() -> u32 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes a local.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur.min(MOST_FDS) as u32
}

/// The same file on the first free descriptor from HANDED_OVER on.
fn raise(file: File) -> Result<File> {
    if file.as_raw_fd() == HANDED_OVER {
        return Ok(file);
    }
    // SAFETY: numbers only.
    let fd = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, HANDED_OVER) };
    if fd < 0 {
        return Err(last("duplicate a descriptor"));
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// @returns the process id. Its end is asked for with `wait_pid`.
#[napi(catch_unwind)]
pub fn spawn(program: String, arguments: Vec<String>, options: SpawnOptions) -> Result<u32> {
    let mut capabilities = 0u64;
    for number in options.capabilities {
        let bit = 1u64.checked_shl(number).ok_or_else(|| failure(libc::EINVAL, "no such capability", ""))?;
        capabilities |= bit;
    }
    let open = |path: &Path, open: &OpenOptions| open.open(path).map_err(|e| failed(&e, &path.display().to_string()));
    let reading = |path: &str| open(Path::new(path), OpenOptions::new().read(true));
    // First: where the number is free it is taken now, so that in the child it covers nothing that is still needed.
    let file = options.file.as_deref().map(|path| reading(path).and_then(raise)).transpose()?;
    let output = open(Path::new(&options.stdout), OpenOptions::new().create(true).append(true).mode(0o600))?;
    let errors = output.try_clone().map_err(|e| failed(&e, "duplicate a descriptor"))?;
    let cgroup = match &options.cgroup {
        Some(folder) => Some(open(&Path::new(folder).join("cgroup.procs"), OpenOptions::new().write(true))?),
        None => None,
    };
    let child = Child { uid: options.uid, gid: options.gid, capabilities, cgroup, file, descriptors: descriptors() };
    // Opened by us and started through the descriptor: its user need not be able to walk there, only to run it.
    let binary = reading(&program)?;
    let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
    command.arg0(&program).args(arguments).env_clear().envs(options.env.into_iter().map(|variable| (variable.name, variable.value)));
    command.current_dir("/").stdin(Stdio::null()).stdout(output).stderr(errors);
    // SAFETY: `prepare` makes system calls only.
    unsafe { command.pre_exec(move || child.prepare()) };
    Ok(command.spawn().map_err(|e| failed(&e, &format!("start {program}")))?.id())
}
