//! Links: a program on an interface, a cgroup or a network namespace, which outlives us when pinned.
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libbpf_sys as sys;
use napi::bindgen_prelude::BigInt;
use napi::Result;
use napi_derive::napi;

use crate::errors::{check, failed, failure};
use crate::object::BpfProgram;
use crate::system::cstring;

fn attach_type(ingress: bool) -> sys::bpf_attach_type {
    if ingress { sys::BPF_TCX_INGRESS } else { sys::BPF_TCX_EGRESS }
}

fn cgroup_hook(name: &str) -> Result<sys::bpf_attach_type> {
    match name {
        "sock_ops" => Ok(sys::BPF_CGROUP_SOCK_OPS),
        "getsockopt" => Ok(sys::BPF_CGROUP_GETSOCKOPT),
        "setsockopt" => Ok(sys::BPF_CGROUP_SETSOCKOPT),
        "connect4" => Ok(sys::BPF_CGROUP_INET4_CONNECT),
        "connect6" => Ok(sys::BPF_CGROUP_INET6_CONNECT),
        _ => Err(failure(libc::EINVAL, &format!("no cgroup hook {name}"), "")),
    }
}

/// A program on what a path stands for.
fn attach(program: &BpfProgram, path: &str, kind: sys::bpf_attach_type) -> Result<BpfLink> {
    let target = File::open(path).map_err(|e| failed(&e, path))?;
    // SAFETY: our own descriptors; no options.
    let fd = unsafe { sys::bpf_link_create(program.raw(), target.as_raw_fd(), kind, std::ptr::null()) };
    let fd = check(fd, &format!("attach to {path}"))?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(BpfLink { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
}

#[napi]
pub struct BpfLink {
    fd: OwnedFd,
}

#[napi(object)]
pub struct LinkInfo {
    pub id: u32,
    pub program_id: u32,
    /// 0 once the device is gone or the link was detached.
    pub ifindex: u32,
    /// What it hangs on: ifindex, id of the cgroup or inode of the network namespace; 0 once that is gone.
    pub target: BigInt,
}

#[napi]
impl BpfLink {
    #[napi(factory, catch_unwind)]
    pub fn open(path: String) -> Result<Self> {
        let c = cstring(&path)?;
        // SAFETY: a terminated string.
        let fd = check(unsafe { sys::bpf_obj_get(c.as_ptr()) }, &path)?;
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// EINVAL before kernel 6.6.
    #[napi(factory, catch_unwind)]
    pub fn attach_tcx(program: &BpfProgram, ifindex: u32, ingress: bool) -> Result<Self> {
        // SAFETY: our own descriptor; no options.
        let fd = unsafe { sys::bpf_link_create(program.raw(), ifindex as i32, attach_type(ingress), std::ptr::null()) };
        let fd = check(fd, &format!("attach to interface {ifindex}"))?;
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// On a cgroup v2 folder, beside what others have there.
    #[napi(factory, catch_unwind)]
    pub fn attach_cgroup(program: &BpfProgram, path: String, hook: String) -> Result<Self> {
        attach(program, &path, cgroup_hook(&hook)?)
    }

    /// On a network namespace, ours where none is named.
    #[napi(factory, catch_unwind)]
    pub fn attach_sk_lookup(program: &BpfProgram, netns: Option<String>) -> Result<Self> {
        attach(program, netns.as_deref().unwrap_or("/proc/self/ns/net"), sys::BPF_SK_LOOKUP)
    }

    #[napi(catch_unwind)]
    pub fn info(&self) -> Result<LinkInfo> {
        let mut info = sys::bpf_link_info::default();
        let mut size = std::mem::size_of::<sys::bpf_link_info>() as u32;
        // SAFETY: `info` is valid for `size` bytes.
        check(unsafe { sys::bpf_link_get_info_by_fd(self.fd.as_raw_fd(), &mut info, &mut size) }, "link info")?;
        // SAFETY: the kernel filled the member that belongs to this type.
        let (ifindex, target) = unsafe {
            match info.type_ {
                sys::BPF_LINK_TYPE_TCX => (info.__bindgen_anon_1.tcx.ifindex, u64::from(info.__bindgen_anon_1.tcx.ifindex)),
                sys::BPF_LINK_TYPE_CGROUP => (0, info.__bindgen_anon_1.cgroup.cgroup_id),
                sys::BPF_LINK_TYPE_NETNS => (0, u64::from(info.__bindgen_anon_1.netns.netns_ino)),
                _ => (0, 0),
            }
        };
        Ok(LinkInfo { id: info.id, program_id: info.prog_id, ifindex, target: target.into() })
    }

    #[napi(catch_unwind)]
    pub fn pin(&self, path: String) -> Result<()> {
        let c = cstring(&path)?;
        // SAFETY: a terminated string and our own descriptor.
        check(unsafe { sys::bpf_obj_pin(self.fd.as_raw_fd(), c.as_ptr()) }, &path)?;
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn update(&self, program: &BpfProgram) -> Result<()> {
        // SAFETY: our own descriptors; no options.
        check(unsafe { sys::bpf_link_update(self.fd.as_raw_fd(), program.raw(), std::ptr::null()) }, "link update")?;
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn detach(&self) -> Result<()> {
        // SAFETY: our own descriptor.
        check(unsafe { sys::bpf_link_detach(self.fd.as_raw_fd()) }, "link detach")?;
        Ok(())
    }
}

/// Ids of the programs on a tcx hook, in the order they run. EINVAL before kernel 6.6.
#[napi(catch_unwind)]
pub fn tcx_programs(ifindex: u32, ingress: bool) -> Result<Vec<u32>> {
    let mut ids = vec![0u32; 64];
    let mut opts = sys::bpf_prog_query_opts {
        sz: std::mem::size_of::<sys::bpf_prog_query_opts>() as sys::size_t,
        prog_ids: ids.as_mut_ptr(),
        ..Default::default()
    };
    opts.__bindgen_anon_1.count = ids.len() as u32;
    // SAFETY: `opts` points to `ids`, whose length it holds.
    check(unsafe { sys::bpf_prog_query_opts(ifindex as i32, attach_type(ingress), &mut opts) }, "query tcx")?;
    // SAFETY: the kernel wrote the count.
    ids.truncate(unsafe { opts.__bindgen_anon_1.count } as usize);
    Ok(ids)
}
