//! Objects and programs.
use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use libbpf_rs::{MapCore, ObjectBuilder, PrintLevel};
use libbpf_sys as sys;
use napi::bindgen_prelude::{Buffer, Uint8Array};
use napi::Result;
use napi_derive::napi;

use crate::errors::{check, failure, last};
use crate::map::BpfMap;
use crate::system::cstring;

thread_local! {
    /// What libbpf said during the load on this thread: the verifier's words are in it.
    static LOG: RefCell<String> = const { RefCell::new(String::new()) };
}

fn collect(_level: PrintLevel, message: String) {
    LOG.with(|log| {
        if let Ok(mut log) = log.try_borrow_mut() {
            log.push_str(&message);
        }
    });
}

/// What libbpf says goes into errors, and never to stderr, where nobody would know what it is about.
pub fn collect_log() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        libbpf_rs::set_print(Some((PrintLevel::Info, collect)));
    });
}

fn take_log() -> String {
    LOG.with(|log| log.try_borrow_mut().map(|mut log| std::mem::take(&mut *log)).unwrap_or_default())
}

fn errno_of(error: &libbpf_rs::Error) -> i32 {
    // The kind is less than the errno (EPERM and EACCES are one), which is only in the text: "Permission denied (os error 13)".
    let text = format!("{error:#}");
    let printed = text
        .rsplit_once("(os error ")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok());
    printed.unwrap_or(match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => libc::EPERM,
        libbpf_rs::ErrorKind::NotFound => libc::ENOENT,
        libbpf_rs::ErrorKind::AlreadyExists => libc::EEXIST,
        libbpf_rs::ErrorKind::OutOfMemory => libc::ENOMEM,
        _ => libc::EINVAL,
    })
}

#[napi(object)]
pub struct RodataPatch {
    pub offset: u32,
    pub data: Uint8Array,
}

#[napi(object)]
pub struct MapSize {
    pub name: String,
    pub max_entries: u32,
}

#[napi]
pub struct BpfObject {
    object: libbpf_rs::Object,
}

fn duplicate(fd: impl AsFd) -> Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned().map_err(|e| failure(e.raw_os_error().unwrap_or(0), "duplicate a descriptor", ""))
}

#[napi]
impl BpfObject {
    /// Maps are pinned by name under `pin_directory` and used again when they are there and fit, but not `private_maps`.
    #[napi(factory, catch_unwind)]
    pub fn load(bytes: Uint8Array, pin_directory: Option<String>, rodata: Vec<RodataPatch>, sizes: Vec<MapSize>, private_maps: Vec<String>) -> Result<Self> {
        collect_log();
        take_log();
        let fail = |error: libbpf_rs::Error| {
            let log = take_log();
            failure(errno_of(&error), &error.to_string(), &log)
        };
        let mut builder = ObjectBuilder::default();
        let mut open = builder.open_memory(&bytes).map_err(fail)?;
        for mut map in open.maps_mut() {
            let name = map.name().to_string_lossy().into_owned();
            if name.ends_with(".rodata") {
                if let Some(value) = map.initial_value_mut() {
                    for patch in &rodata {
                        let start = patch.offset as usize;
                        let place = value.get_mut(start..start.saturating_add(patch.data.len()));
                        let place = place.ok_or_else(|| failure(libc::EINVAL, "a rodata patch lies outside the section", ""))?;
                        place.copy_from_slice(&patch.data);
                    }
                }
            }
            if name.contains('.') {
                continue; // libbpf's own sections
            }
            if let Some(size) = sizes.iter().find(|size| size.name == name) {
                map.set_max_entries(size.max_entries).map_err(fail)?;
            }
            if let Some(directory) = pin_directory.as_ref().filter(|_| !private_maps.contains(&name)) {
                map.set_pin_path(Path::new(directory).join(&name)).map_err(fail)?;
            }
        }
        let object = open.load().map_err(fail)?;
        Ok(Self { object })
    }

    #[napi(getter, catch_unwind)]
    pub fn map_names(&self) -> Vec<String> {
        let names = self.object.maps().map(|map| map.name().to_string_lossy().into_owned());
        names.filter(|name| !name.contains('.')).collect()
    }

    #[napi(getter, catch_unwind)]
    pub fn program_names(&self) -> Vec<String> {
        self.object.progs().map(|program| program.name().to_string_lossy().into_owned()).collect()
    }

    #[napi(catch_unwind)]
    pub fn map(&self, name: String) -> Result<BpfMap> {
        let found = self.object.maps().find(|map| map.name().to_string_lossy() == name);
        let map = found.ok_or_else(|| failure(libc::ENOENT, &format!("the object has no map {name}"), ""))?;
        BpfMap::from_fd(duplicate(map.as_fd())?)
    }

    #[napi(catch_unwind)]
    pub fn program(&self, name: String) -> Result<BpfProgram> {
        let found = self.object.progs().find(|program| program.name().to_string_lossy() == name);
        let program = found.ok_or_else(|| failure(libc::ENOENT, &format!("the object has no program {name}"), ""))?;
        BpfProgram::from_fd(duplicate(program.as_fd())?)
    }
}

#[napi]
pub struct BpfProgram {
    fd: OwnedFd,
    id: u32,
    name: String,
}

#[napi(object)]
pub struct TestRun {
    pub return_value: u32,
    pub packet: Buffer,
    pub duration_ns: u32,
}

/// The beginning of struct __sk_buff (linux/bpf.h); the kernel takes a shorter context for zeroes behind it.
#[repr(C)]
#[derive(Default)]
struct SkBuff {
    len: u32,
    pkt_type: u32,
    mark: u32,
    queue_mapping: u32,
    protocol: u32,
    vlan_present: u32,
    vlan_tci: u32,
    vlan_proto: u32,
    priority: u32,
    ingress_ifindex: u32,
    ifindex: u32,
}

impl BpfProgram {
    fn from_fd(fd: OwnedFd) -> Result<Self> {
        let mut info = sys::bpf_prog_info::default();
        let mut size = std::mem::size_of::<sys::bpf_prog_info>() as u32;
        // SAFETY: `info` is valid for `size` bytes.
        check(unsafe { sys::bpf_prog_get_info_by_fd(fd.as_raw_fd(), &mut info, &mut size) }, "program info")?;
        let name: Vec<u8> = info.name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
        Ok(Self { fd, id: info.id, name: String::from_utf8_lossy(&name).into_owned() })
    }

    pub fn raw(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

#[napi]
impl BpfProgram {
    #[napi(factory, catch_unwind)]
    pub fn open(path: String) -> Result<Self> {
        let c = cstring(&path)?;
        // SAFETY: a terminated string.
        let fd = check(unsafe { sys::bpf_obj_get(c.as_ptr()) }, &path)?;
        // SAFETY: a fresh descriptor that nobody else owns.
        Self::from_fd(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    #[napi(getter, catch_unwind)]
    pub fn id(&self) -> u32 {
        self.id
    }

    #[napi(getter, catch_unwind)]
    pub fn name(&self) -> String {
        self.name.clone()
    }

    #[napi(catch_unwind)]
    pub fn pin(&self, path: String) -> Result<()> {
        let c = cstring(&path)?;
        // SAFETY: a terminated string and our own descriptor.
        check(unsafe { sys::bpf_obj_pin(self.raw(), c.as_ptr()) }, &path)?;
        Ok(())
    }

    /// Fields of struct __sk_buff; 0 leaves the kernel's own.
    #[napi(catch_unwind)]
    pub fn test_run(&self, packet: Uint8Array, repeat: u32, ifindex: u32, ingress_ifindex: u32, mark: u32) -> Result<TestRun> {
        let mut context = SkBuff { ifindex, ingress_ifindex, mark, ..Default::default() };
        let room = packet.len().saturating_add(512);
        let mut out = vec![0u8; room];
        let mut opts = sys::bpf_test_run_opts {
            sz: std::mem::size_of::<sys::bpf_test_run_opts>() as sys::size_t,
            data_in: packet.as_ptr().cast(),
            data_size_in: packet.len() as u32,
            data_out: out.as_mut_ptr().cast(),
            data_size_out: room as u32,
            ctx_in: (&raw mut context).cast(),
            ctx_size_in: std::mem::size_of::<SkBuff>() as u32,
            repeat: repeat as i32,
            ..Default::default()
        };
        // SAFETY: every pointer in `opts` outlives the call and its size stands beside it.
        let err = unsafe { sys::bpf_prog_test_run_opts(self.raw(), &mut opts) };
        if err < 0 {
            return check(err, "test run").and(Err(last("test run")));
        }
        out.truncate(opts.data_size_out as usize);
        Ok(TestRun { return_value: opts.retval, packet: out.into(), duration_ns: opts.duration })
    }
}
