//! A TAP device: frames that a program redirects to it are handed to JavaScript, and go back as they came. linux/if_tun.h.
//! Every frame has a header of its own (linux/virtio_net.h): what the kernel left undone, a checksum to be filled in or a
//! large segment to be cut, is written down there instead of being done, and goes on as it was when the frame is put back.
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

use napi::bindgen_prelude::{Buffer, Function, Uint8Array};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Result, Status};
use napi_derive::napi;

use crate::devices::{bring_up, index_of};
use crate::errors::{failed, failure, last};
use crate::wake::{wait, Wake};

const DEVICE: &str = "/dev/net/tun";
/// struct virtio_net_hdr.
const HEADER: libc::c_int = 10;
/// The most that the device takes: 65535 without the Ethernet header.
const MTU: u32 = 65521;
/// Frames that wait here while JavaScript is busy: as many as may wait for a proof (auth/hold-queue.ts).
const QUEUE: u32 = 4096;
/// Of one read: the largest segment, its headers and the one of virtio.
const LARGEST: usize = 1 << 17;
/// What is handed over at once.
const BATCH_FRAMES: usize = 64;
const BATCH_BYTES: usize = 1 << 18;
/// Batches on their way to JavaScript. While none is free frames wait in the kernel, which counts those it has no room for.
const BATCHES: usize = 4;

struct Shared {
    file: File,
    wake: Wake,
    stop: AtomicBool,
    /// Batches that may still be sent.
    free: AtomicUsize,
}

#[napi]
pub struct Tap {
    shared: Option<Arc<Shared>>,
    thread: Option<JoinHandle<()>>,
    name: String,
    ifindex: u32,
}

/// A kernel without TUN and TAP devices has no such file, or nothing behind it.
fn missing(error: std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => std::io::Error::from_raw_os_error(libc::EOPNOTSUPP),
        _ => error,
    }
}

/// Not taken over by anybody: the device goes with its last descriptor.
fn open_device(name: &str) -> Result<File> {
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(failure(libc::EINVAL, "no name of a device", ""));
    }
    request.ifr_name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from as libc::c_char);
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(DEVICE).map_err(|e| failed(&missing(e), DEVICE))?;
    // SAFETY: a live structure of the kind that this call takes.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } != 0 {
        return Err(last(&format!("TAP device {name}")));
    }
    let size = HEADER;
    // SAFETY: a live number.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) } != 0 {
        return Err(last("the header's size"));
    }
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let offload = |flags: libc::c_uint| {
        // SAFETY: a number only.
        unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) == 0 }
    };
    // Large UDP segments since 6.2; before, the kernel cuts them on their way to the device.
    if !offload(tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6) && !offload(tcp) {
        return Err(last("offloads"));
    }
    Ok(file)
}

/// No frame that the stack made by itself (neighbour discovery, multicast reports) comes up.
fn silence(name: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    match std::fs::write(&path, "1") {
        // A kernel without IPv6.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(|e| failed(&e, &path)),
    }
}

impl Shared {
    /// Frames that are there. None: the device is gone.
    fn batch(&self, buffer: &mut [u8]) -> Option<Vec<Buffer>> {
        let (mut frames, mut bytes) = (Vec::new(), 0usize);
        while frames.len() < BATCH_FRAMES && bytes < BATCH_BYTES {
            match (&self.file).read(buffer) {
                Ok(length) => {
                    bytes = bytes.saturating_add(length);
                    frames.push(Buffer::from(buffer.get(..length).unwrap_or_default().to_vec()));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // What came before the end is still handed over.
                Err(_) if !frames.is_empty() => break,
                Err(_) => return None,
            }
        }
        Some(frames)
    }
}

#[napi]
impl Tap {
    /// Makes the device and brings it up. Every call back is to be answered by one `credit`. A call without frames is the
    /// last one: somebody took the device away.
    #[napi(factory, catch_unwind)]
    pub fn open(name: String, callback: Function<'_, Vec<Buffer>, ()>) -> Result<Self> {
        let file = open_device(&name)?;
        let ifindex = index_of(&name)?;
        silence(&name)?;
        bring_up(ifindex, Some(MTU), QUEUE, true).map_err(|e| failed(&e, &format!("bring {name} up")))?;
        let shared =
            Arc::new(Shared { file, wake: Wake::new()?, stop: AtomicBool::new(false), free: AtomicUsize::new(BATCHES) });
        let deliver = callback.build_threadsafe_function::<Vec<Buffer>>().callee_handled::<false>().build()?;
        let reader = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("sidestep-tap".into())
            .spawn(move || {
                let mut buffer = vec![0u8; LARGEST];
                while !reader.stop.load(Ordering::Acquire) {
                    if reader.free.load(Ordering::Acquire) == 0 {
                        wait(&[reader.wake.raw()], -1);
                        reader.wake.clear();
                        continue;
                    }
                    let Some(frames) = reader.batch(&mut buffer) else {
                        deliver.call(vec![], ThreadsafeFunctionCallMode::NonBlocking);
                        break;
                    };
                    if frames.is_empty() {
                        wait(&[reader.file.as_raw_fd(), reader.wake.raw()], -1);
                        reader.wake.clear();
                        continue;
                    }
                    reader.free.fetch_sub(1, Ordering::AcqRel);
                    if deliver.call(frames, ThreadsafeFunctionCallMode::NonBlocking) == Status::Closing {
                        break;
                    }
                }
            })
            .map_err(|_| last("start the TAP device's thread"))?;
        Ok(Self { shared: Some(shared), thread: Some(thread), name, ifindex })
    }

    #[napi(getter, catch_unwind)]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Bytes before the Ethernet header.
    #[napi(getter, catch_unwind)]
    pub fn header_length(&self) -> u32 {
        HEADER as u32
    }

    /// Frames that the kernel had no room for while they waited to be read.
    #[napi(catch_unwind)]
    pub fn dropped(&self) -> Result<f64> {
        let path = "/proc/self/net/dev";
        let table = std::fs::read_to_string(path).map_err(|e| failed(&e, path))?;
        // Eight numbers of what is received, then bytes, packets, errors and drops of what is sent: here, read by us.
        let row = table.lines().find_map(|line| line.trim_start().strip_prefix(self.name.as_str())?.strip_prefix(':'));
        Ok(row.and_then(|row| row.split_ascii_whitespace().nth(11)?.parse().ok()).unwrap_or(0.0))
    }

    /// Room for one more batch.
    #[napi(catch_unwind)]
    pub fn credit(&self) {
        if let Some(shared) = &self.shared {
            shared.free.fetch_add(1, Ordering::AcqRel);
            shared.wake.ring();
        }
    }

    /// The frame comes in by the device, where a program decides what becomes of it.
    #[napi(catch_unwind)]
    pub fn write(&self, frame: Uint8Array) -> Result<()> {
        let Some(shared) = &self.shared else { return Err(failure(libc::EBADF, "the device is closed", "")) };
        (&shared.file).write_all(&frame).map_err(|e| failed(&e, &format!("write to {}", self.name)))
    }

    /// The device goes away.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.stop.store(true, Ordering::Release);
            shared.wake.ring();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.close();
    }
}
