//! What the running kernel can do, asked without leaving a trace.
use libbpf_sys as sys;
use napi_derive::napi;

use crate::link::tcx_programs;
use crate::sockets::can_destroy;

#[napi(object)]
pub struct Features {
    pub bpf: bool,
    pub tcx: bool,
    pub clsact: bool,
    pub ring_buffer: bool,
    pub lpm_trie: bool,
    pub lru_hash: bool,
    pub coarse_clock: bool,
    pub sk_lookup: bool,
    pub cgroup_sockopt: bool,
    pub socket_destroy: bool,
    pub wireguard: bool,
}

const LOOPBACK: u32 = 1;

fn program_type(kind: sys::bpf_prog_type) -> bool {
    // SAFETY: the probe takes no options.
    unsafe { sys::libbpf_probe_bpf_prog_type(kind, std::ptr::null()) == 1 }
}

fn map_type(kind: sys::bpf_map_type) -> bool {
    // SAFETY: the probe takes no options.
    unsafe { sys::libbpf_probe_bpf_map_type(kind, std::ptr::null()) == 1 }
}

#[napi(catch_unwind)]
pub fn features() -> Features {
    // SAFETY: the probe takes no options.
    let coarse_clock = unsafe {
        sys::libbpf_probe_bpf_helper(sys::BPF_PROG_TYPE_SCHED_CLS, sys::BPF_FUNC_ktime_get_coarse_ns, std::ptr::null()) == 1
    };
    Features {
        bpf: map_type(sys::BPF_MAP_TYPE_HASH),
        tcx: tcx_programs(LOOPBACK, true).is_ok(),
        clsact: program_type(sys::BPF_PROG_TYPE_SCHED_CLS),
        ring_buffer: map_type(sys::BPF_MAP_TYPE_RINGBUF),
        lpm_trie: map_type(sys::BPF_MAP_TYPE_LPM_TRIE),
        lru_hash: map_type(sys::BPF_MAP_TYPE_LRU_HASH),
        coarse_clock,
        sk_lookup: program_type(sys::BPF_PROG_TYPE_SK_LOOKUP),
        cgroup_sockopt: program_type(sys::BPF_PROG_TYPE_CGROUP_SOCKOPT),
        socket_destroy: can_destroy(),
        wireguard: crate::wireguard::family().is_ok(),
    }
}
