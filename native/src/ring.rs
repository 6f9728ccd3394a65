//! The ring buffer: a thread copies records into buffers that JavaScript owns, and waits when none is free. What the
//! kernel then cannot store it counts itself, so that the loss is known exactly.
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use libbpf_sys as sys;
use napi::bindgen_prelude::{BigInt, FnArgs, Function, Uint8Array};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Result, Status};
use napi_derive::napi;

use crate::errors::{failure, last};
use crate::map::BpfMap;
use crate::wake::{wait, Wake};

/// Between two drains while there is work: the kernel wakes a reader only when it had caught up, so under load there
/// is one wake-up per pause, not one per record.
const PAUSE: Duration = Duration::from_millis(5);

/// Memory of the JavaScript buffers, lent to the reader thread.
#[derive(Clone, Copy)]
struct Slot {
    start: *mut u8,
    length: usize,
}
// SAFETY: a slot is written only by the reader thread while it is free, and read by JavaScript only between the
// callback and the credit; BpfRing holds the buffers until the thread has ended.
unsafe impl Send for Slot {}

struct Shared {
    free: Mutex<Vec<usize>>,
    stop: AtomicBool,
    delivered: AtomicU64,
    wake: Wake,
}

#[napi]
pub struct BpfRing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    count: usize,
    /// Keeps the memory behind the slots alive.
    _buffers: Vec<Uint8Array>,
}

/// Where the callback of libbpf puts records.
struct Target {
    slot: Slot,
    record: usize,
    filled: usize,
}

unsafe extern "C" fn take(context: *mut c_void, data: *mut c_void, size: sys::size_t) -> c_int {
    // SAFETY: libbpf hands back the pointer it was given, which lives on the reader's stack.
    let target = unsafe { &mut *context.cast::<Target>() };
    let at = target.filled.saturating_mul(target.record);
    if (size as usize) >= target.record && at.saturating_add(target.record) <= target.slot.length {
        // SAFETY: the range was checked, the slot is ours until it is handed over, and `data` has `size` bytes.
        unsafe { std::ptr::copy_nonoverlapping(data.cast::<u8>(), target.slot.start.add(at), target.record) };
        target.filled = target.filled.saturating_add(1);
    }
    0
}

#[napi]
impl BpfRing {
    #[napi(factory, catch_unwind)]
    pub fn open(map: &BpfMap, record_size: u32, buffers: Vec<Uint8Array>, callback: Function<'_, FnArgs<(u32, u32)>, ()>) -> Result<Self> {
        let record = (record_size as usize).max(1);
        if buffers.is_empty() || buffers.iter().any(|b| b.len() < record) {
            return Err(failure(libc::EINVAL, "ring buffers smaller than one record", ""));
        }
        let slots: Vec<Slot> = buffers.iter().map(|b| Slot { start: b.as_ptr().cast_mut(), length: b.len() }).collect();
        let shared = Arc::new(Shared {
            free: Mutex::new((0..slots.len()).rev().collect()),
            stop: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            wake: Wake::new()?,
        });
        let deliver = callback.build_threadsafe_function::<FnArgs<(u32, u32)>>().callee_handled::<false>().build()?;
        // SAFETY: the map's descriptor is open for the length of this call.
        let fd = unsafe { BorrowedFd::borrow_raw(map.raw()) }
            .try_clone_to_owned()
            .map_err(|e| failure(e.raw_os_error().unwrap_or(0), "duplicate the ring", ""))?;
        let count = slots.len();
        let reader = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("sidestep-ring".into())
            .spawn(move || {
                let mut target = Target { slot: Slot { start: std::ptr::null_mut(), length: 0 }, record, filled: 0 };
                // SAFETY: the callback and its context outlive the ring, which is freed below on this thread.
                let ring = unsafe { sys::ring_buffer__new(fd.as_raw_fd(), Some(take), (&raw mut target).cast(), std::ptr::null()) };
                if ring.is_null() {
                    return;
                }
                // SAFETY: a live ring.
                let readable = unsafe { sys::ring_buffer__epoll_fd(ring) };
                let mut pause = false;
                while !reader.stop.load(Ordering::Acquire) {
                    let slot = reader.free.lock().ok().and_then(|mut free| free.pop());
                    let Some(index) = slot else {
                        wait(&[reader.wake.raw()], -1);
                        reader.wake.clear();
                        continue;
                    };
                    let Some(place) = slots.get(index).copied() else { break };
                    if pause {
                        std::thread::sleep(PAUSE);
                    }
                    target.slot = place;
                    target.filled = 0;
                    let room = place.length / record;
                    // SAFETY: a live ring; the callback writes at most `room` records into the slot.
                    unsafe { sys::ring_buffer__consume_n(ring, room as sys::size_t) };
                    pause = target.filled > 0 && target.filled < room;
                    if target.filled == 0 {
                        if let Ok(mut free) = reader.free.lock() {
                            free.push(index);
                        }
                        wait(&[readable, reader.wake.raw()], -1);
                        reader.wake.clear();
                        continue;
                    }
                    reader.delivered.fetch_add(target.filled as u64, Ordering::Relaxed);
                    let status = deliver.call((index as u32, target.filled as u32).into(), ThreadsafeFunctionCallMode::NonBlocking);
                    if status == Status::Closing {
                        break;
                    }
                }
                // SAFETY: made above, used by no one else.
                unsafe { sys::ring_buffer__free(ring) };
            })
            .map_err(|_| last("start the ring's thread"))?;
        Ok(Self { shared, thread: Some(thread), count, _buffers: buffers })
    }

    /// Gives a buffer back.
    #[napi(catch_unwind)]
    pub fn credit(&self, index: u32) {
        let index = index as usize;
        if let Ok(mut free) = self.shared.free.lock() {
            if index < self.count && !free.contains(&index) {
                free.push(index);
            }
        }
        self.shared.wake.ring();
    }

    #[napi(getter, catch_unwind)]
    pub fn delivered(&self) -> BigInt {
        self.shared.delivered.load(Ordering::Relaxed).into()
    }

    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for BpfRing {
    fn drop(&mut self) {
        self.close();
    }
}
