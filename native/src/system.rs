//! Small things of the operating system.
use std::ffi::CString;

use libbpf_sys as sys;
use napi::Result;
use napi_derive::napi;

use crate::errors::{check, failure, last};

pub fn cstring(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| failure(libc::EINVAL, "a path with a zero byte", ""))
}

#[napi(catch_unwind)]
pub fn possible_cpus() -> Result<u32> {
    // SAFETY: no arguments.
    Ok(check(unsafe { sys::libbpf_num_possible_cpus() }, "possible CPUs")? as u32)
}

/// CLOCK_MONOTONIC in nanoseconds: what bpf_ktime_get_ns reads.
#[napi(catch_unwind)]
pub fn monotonic_ns() -> Result<napi::bindgen_prelude::BigInt> {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a local.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) } != 0 {
        return Err(last("clock_gettime"));
    }
    let ns = (t.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec as u64);
    Ok(ns.into())
}

const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

#[napi(catch_unwind)]
pub fn is_bpffs(path: String) -> Result<bool> {
    let c = cstring(&path)?;
    // SAFETY: all zeroes is a valid statfs.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a terminated string and a local.
    if unsafe { libc::statfs(c.as_ptr(), &mut stat) } != 0 {
        return Ok(false);
    }
    Ok(stat.f_type as i64 == BPF_FS_MAGIC)
}

#[napi(catch_unwind)]
pub fn mount_bpffs(path: String) -> Result<()> {
    let target = cstring(&path)?;
    let kind = cstring("bpf")?;
    // SAFETY: terminated strings that live through the call; bpf takes no data.
    if unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) } != 0 {
        return Err(last(&path));
    }
    Ok(())
}

#[napi(catch_unwind)]
pub fn unmount(path: String) -> Result<()> {
    let target = cstring(&path)?;
    // SAFETY: a terminated string.
    if unsafe { libc::umount2(target.as_ptr(), 0) } != 0 {
        return Err(last(&path));
    }
    Ok(())
}
