//! clsact filters, for kernels without tcx. One handle and priority of ours, so that attaching again replaces.
use libbpf_sys as sys;
use napi::Result;
use napi_derive::napi;

use crate::errors::check;
use crate::object::{collect_log, BpfProgram};

const HANDLE: u32 = 0x5353;
const PRIORITY: u32 = 1;

fn hook(ifindex: u32, ingress: bool) -> sys::bpf_tc_hook {
    collect_log();
    sys::bpf_tc_hook {
        sz: std::mem::size_of::<sys::bpf_tc_hook>() as sys::size_t,
        ifindex: ifindex as i32,
        attach_point: if ingress { sys::BPF_TC_INGRESS } else { sys::BPF_TC_EGRESS },
        ..Default::default()
    }
}

fn options() -> sys::bpf_tc_opts {
    sys::bpf_tc_opts {
        sz: std::mem::size_of::<sys::bpf_tc_opts>() as sys::size_t,
        handle: HANDLE,
        priority: PRIORITY,
        ..Default::default()
    }
}

#[napi(catch_unwind)]
pub fn attach_clsact(program: &BpfProgram, ifindex: u32, ingress: bool) -> Result<()> {
    let mut hook = hook(ifindex, ingress);
    // SAFETY: a filled structure of the size it names.
    let err = unsafe { sys::bpf_tc_hook_create(&mut hook) };
    if err != -libc::EEXIST {
        check(err, "create clsact")?;
    }
    let mut options = options();
    options.prog_fd = program.raw();
    options.flags = sys::BPF_TC_F_REPLACE;
    // SAFETY: as above.
    check(unsafe { sys::bpf_tc_attach(&hook, &mut options) }, "attach filter")?;
    Ok(())
}

/// Id of our filter's program, or 0.
#[napi(catch_unwind)]
pub fn clsact_program(ifindex: u32, ingress: bool) -> Result<u32> {
    let hook = hook(ifindex, ingress);
    let mut options = options();
    // SAFETY: filled structures of the sizes they name.
    let err = unsafe { sys::bpf_tc_query(&hook, &mut options) };
    if err == -libc::ENOENT || err == -libc::EINVAL || err == -libc::ENODEV {
        return Ok(0);
    }
    check(err, "query filter")?;
    Ok(options.prog_id)
}

#[napi(catch_unwind)]
pub fn detach_clsact(ifindex: u32, ingress: bool) -> Result<()> {
    let hook = hook(ifindex, ingress);
    let options = options();
    // SAFETY: filled structures of the sizes they name.
    let err = unsafe { sys::bpf_tc_detach(&hook, &options) };
    if err != -libc::ENOENT && err != -libc::EINVAL {
        check(err, "detach filter")?;
    }
    Ok(())
}
