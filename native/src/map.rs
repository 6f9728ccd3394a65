//! Maps: single entries, batches with an entry-by-entry fallback, dumps in pieces.
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_sys as sys;
use napi::bindgen_prelude::{Buffer, Uint8Array};
use napi::Result;
use napi_derive::napi;

use crate::errors::{check, failure};
use crate::system::cstring;

const ENOENT: i32 = libc::ENOENT;
/// The kernel's own "not supported", which libc does not name.
const ENOTSUPP: i32 = 524;
const STEP: u32 = 4096;

fn is_per_cpu(kind: u32) -> bool {
    matches!(
        kind,
        sys::BPF_MAP_TYPE_PERCPU_HASH | sys::BPF_MAP_TYPE_PERCPU_ARRAY | sys::BPF_MAP_TYPE_LRU_PERCPU_HASH
    )
}

fn type_name(kind: u32) -> String {
    // SAFETY: returns a pointer to a static string or null.
    let name = unsafe { sys::libbpf_bpf_map_type_str(kind) };
    if name.is_null() {
        return format!("type-{kind}");
    }
    // SAFETY: not null, static and terminated.
    unsafe { std::ffi::CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

#[napi]
pub struct BpfMap {
    fd: OwnedFd,
    info: MapInfo,
}

#[napi(object)]
#[derive(Clone)]
pub struct MapInfo {
    pub name: String,
    pub kind: String,
    pub key_size: u32,
    /// Per-CPU kinds: all CPUs together.
    pub value_size: u32,
    pub max_entries: u32,
}

#[napi(object)]
pub struct MapChunk {
    pub keys: Buffer,
    pub values: Buffer,
    pub count: u32,
    /// Pass it to the next call; absent after the last piece.
    pub cursor: Option<Buffer>,
}

impl BpfMap {
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let mut info = sys::bpf_map_info::default();
        let mut size = std::mem::size_of::<sys::bpf_map_info>() as u32;
        // SAFETY: `info` is valid for `size` bytes.
        check(unsafe { sys::bpf_map_get_info_by_fd(fd.as_raw_fd(), &mut info, &mut size) }, "map info")?;
        let name: Vec<u8> = info.name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
        let value_size = if is_per_cpu(info.type_) {
            // SAFETY: no arguments.
            let cpus = check(unsafe { sys::libbpf_num_possible_cpus() }, "possible CPUs")? as u32;
            info.value_size.div_ceil(8).saturating_mul(8).saturating_mul(cpus)
        } else {
            info.value_size
        };
        Ok(Self {
            fd,
            info: MapInfo {
                name: String::from_utf8_lossy(&name).into_owned(),
                kind: type_name(info.type_),
                key_size: info.key_size,
                value_size,
                max_entries: info.max_entries,
            },
        })
    }

    pub fn raw(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    fn expect_size(&self, what: &str, got: usize, want: u32, count: u32) -> Result<()> {
        let wanted = (want as usize).saturating_mul(count as usize);
        if got < wanted {
            return Err(failure(libc::EINVAL, &format!("{}: {what} has {got} bytes, {wanted} are needed", self.info.name), ""));
        }
        Ok(())
    }

    fn dump_by_key(&self) -> Result<MapChunk> {
        let (ks, vs) = (self.info.key_size as usize, self.info.value_size as usize);
        let (mut keys, mut values, mut count) = (Vec::new(), Vec::new(), 0u32);
        let mut key = vec![0u8; ks];
        let mut next = vec![0u8; ks];
        let mut value = vec![0u8; vs];
        let mut first = true;
        loop {
            let previous = if first { std::ptr::null() } else { key.as_ptr() };
            // SAFETY: both buffers have the map's key size; null asks for the first key.
            let err = unsafe { sys::bpf_map_get_next_key(self.raw(), previous.cast(), next.as_mut_ptr().cast()) };
            if err == -ENOENT {
                break;
            }
            check(err, "next key")?;
            first = false;
            std::mem::swap(&mut key, &mut next);
            // SAFETY: buffers of the map's own sizes.
            let err = unsafe { sys::bpf_map_lookup_elem(self.raw(), key.as_ptr().cast(), value.as_mut_ptr().cast()) };
            if err == 0 {
                keys.extend_from_slice(&key);
                values.extend_from_slice(&value);
                count = count.saturating_add(1);
            } else if err != -ENOENT {
                check(err, "look up")?;
            }
        }
        Ok(MapChunk { keys: keys.into(), values: values.into(), count, cursor: None })
    }
}

#[napi]
impl BpfMap {
    #[napi(factory, catch_unwind)]
    pub fn open(path: String) -> Result<Self> {
        let c = cstring(&path)?;
        // SAFETY: a terminated string.
        let fd = check(unsafe { sys::bpf_obj_get(c.as_ptr()) }, &path)?;
        // SAFETY: a fresh descriptor that nobody else owns.
        Self::from_fd(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    #[napi(getter, catch_unwind)]
    pub fn info(&self) -> MapInfo {
        self.info.clone()
    }

    #[napi(catch_unwind)]
    pub fn lookup(&self, key: Uint8Array) -> Result<Option<Buffer>> {
        self.expect_size("key", key.len(), self.info.key_size, 1)?;
        let mut value = vec![0u8; self.info.value_size as usize];
        // SAFETY: sizes checked above and taken from the map.
        let err = unsafe { sys::bpf_map_lookup_elem(self.raw(), key.as_ptr().cast(), value.as_mut_ptr().cast()) };
        if err == -ENOENT {
            return Ok(None);
        }
        check(err, &self.info.name)?;
        Ok(Some(value.into()))
    }

    /// flags: 0 any, 1 create, 2 exist
    #[napi(catch_unwind)]
    pub fn update(&self, key: Uint8Array, value: Uint8Array, flags: u32) -> Result<()> {
        self.expect_size("key", key.len(), self.info.key_size, 1)?;
        self.expect_size("value", value.len(), self.info.value_size, 1)?;
        // SAFETY: sizes checked.
        let err = unsafe { sys::bpf_map_update_elem(self.raw(), key.as_ptr().cast(), value.as_ptr().cast(), u64::from(flags)) };
        check(err, &self.info.name)?;
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn delete(&self, key: Uint8Array) -> Result<bool> {
        self.expect_size("key", key.len(), self.info.key_size, 1)?;
        // SAFETY: size checked.
        let err = unsafe { sys::bpf_map_delete_elem(self.raw(), key.as_ptr().cast()) };
        if err == -ENOENT {
            return Ok(false);
        }
        check(err, &self.info.name)?;
        Ok(true)
    }

    /// Returns [written, errno]: a batch first; what it leaves, one by one.
    #[napi(catch_unwind)]
    pub fn update_batch(&self, keys: Uint8Array, values: Uint8Array, count: u32) -> Result<Vec<u32>> {
        self.expect_size("keys", keys.len(), self.info.key_size, count)?;
        self.expect_size("values", values.len(), self.info.value_size, count)?;
        if count == 0 {
            return Ok(vec![0, 0]);
        }
        let mut written = count;
        // SAFETY: `keys` and `values` hold `count` entries, checked above; the kernel sets `written`.
        let err = unsafe {
            sys::bpf_map_update_batch(self.raw(), keys.as_ptr().cast(), values.as_ptr().cast(), &mut written, std::ptr::null())
        };
        if err == 0 {
            return Ok(vec![written, 0]);
        }
        // Kernels without a batch for this kind leave the count as it was.
        let mut done = if written < count { written } else { 0 };
        let (ks, vs) = (self.info.key_size as usize, self.info.value_size as usize);
        let rest = keys.chunks_exact(ks).zip(values.chunks_exact(vs)).take(count as usize).skip(done as usize);
        for (key, value) in rest {
            // SAFETY: chunks of exactly the map's sizes.
            let err = unsafe { sys::bpf_map_update_elem(self.raw(), key.as_ptr().cast(), value.as_ptr().cast(), 0) };
            if err < 0 {
                return Ok(vec![done, err.unsigned_abs()]);
            }
            done = done.saturating_add(1);
        }
        Ok(vec![done, 0])
    }

    #[napi(catch_unwind)]
    pub fn delete_batch(&self, keys: Uint8Array, count: u32) -> Result<u32> {
        self.expect_size("keys", keys.len(), self.info.key_size, count)?;
        let mut removed = 0u32;
        for key in keys.chunks_exact(self.info.key_size as usize).take(count as usize) {
            // SAFETY: a chunk of exactly the key's size.
            let err = unsafe { sys::bpf_map_delete_elem(self.raw(), key.as_ptr().cast()) };
            if err == 0 {
                removed = removed.saturating_add(1);
            } else if err != -ENOENT {
                check(err, &self.info.name)?;
            }
        }
        Ok(removed)
    }

    /// The next piece of the table. Kinds or kernels without batch look-ups answer everything at once.
    #[napi(catch_unwind)]
    pub fn chunk(&self, cursor: Option<Uint8Array>, size: u32) -> Result<MapChunk> {
        let token = (self.info.key_size as usize).max(8);
        let mut step = size.clamp(64, STEP);
        loop {
            let (ks, vs) = (self.info.key_size as usize, self.info.value_size as usize);
            let mut keys = vec![0u8; ks.saturating_mul(step as usize)];
            let mut values = vec![0u8; vs.saturating_mul(step as usize)];
            let mut out = vec![0u8; token];
            let mut input = vec![0u8; token];
            let mut count = step;
            let from = match &cursor {
                Some(c) => {
                    input.iter_mut().zip(c.iter()).for_each(|(to, from)| *to = *from);
                    input.as_mut_ptr().cast()
                }
                None => std::ptr::null_mut(),
            };
            // SAFETY: buffers hold `count` entries; the tokens have room for a key or an index.
            let err = unsafe {
                sys::bpf_map_lookup_batch(
                    self.raw(),
                    from,
                    out.as_mut_ptr().cast(),
                    keys.as_mut_ptr().cast(),
                    values.as_mut_ptr().cast(),
                    &mut count,
                    std::ptr::null(),
                )
            };
            match -err {
                0 | ENOENT => {
                    keys.truncate(ks.saturating_mul(count as usize));
                    values.truncate(vs.saturating_mul(count as usize));
                    let cursor = if err == 0 { Some(out.into()) } else { None };
                    return Ok(MapChunk { keys: keys.into(), values: values.into(), count, cursor });
                }
                // A hash bucket that does not fit into one step.
                libc::ENOSPC if step < 1 << 20 => step = step.saturating_mul(4),
                libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP if cursor.is_none() => return self.dump_by_key(),
                _ => {
                    check(err, &self.info.name)?;
                }
            }
        }
    }
}
