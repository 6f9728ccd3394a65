//! What the running kernel can do, asked without leaving a trace.
use libbpf_sys as sys;
use napi_derive::napi;

use crate::link::tcx_programs;

#[napi(object)]
pub struct Features {
    pub bpf: bool,
    pub tcx: bool,
    pub clsact: bool,
    pub ring_buffer: bool,
    pub lpm_trie: bool,
    pub lru_hash: bool,
    pub coarse_clock: bool,
}

const LOOPBACK: u32 = 1;

fn map_type(kind: sys::bpf_map_type) -> bool {
    // SAFETY: the probe takes no options.
    unsafe { sys::libbpf_probe_bpf_map_type(kind, std::ptr::null()) == 1 }
}

#[napi(catch_unwind)]
pub fn features() -> Features {
    // SAFETY: the probes take no options.
    let (sched_cls, coarse_clock) = unsafe {
        (
            sys::libbpf_probe_bpf_prog_type(sys::BPF_PROG_TYPE_SCHED_CLS, std::ptr::null()) == 1,
            sys::libbpf_probe_bpf_helper(sys::BPF_PROG_TYPE_SCHED_CLS, sys::BPF_FUNC_ktime_get_coarse_ns, std::ptr::null()) == 1,
        )
    };
    Features {
        bpf: map_type(sys::BPF_MAP_TYPE_HASH),
        tcx: tcx_programs(LOOPBACK, true).is_ok(),
        clsact: sched_cls,
        ring_buffer: map_type(sys::BPF_MAP_TYPE_RINGBUF),
        lpm_trie: map_type(sys::BPF_MAP_TYPE_LPM_TRIE),
        lru_hash: map_type(sys::BPF_MAP_TYPE_LRU_HASH),
        coarse_clock,
    }
}
