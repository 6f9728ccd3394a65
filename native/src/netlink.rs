//! Interfaces and their addresses by rtnetlink, here or in another network namespace. RFC 3549, rtnetlink(7).
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use napi::bindgen_prelude::{BigInt, Buffer, Function};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Result, Status};
use napi_derive::napi;

use crate::errors::{failed, last};
use crate::talk::{socket, u16_at, u32_at, Io, HEADER};
use crate::wake::{wait, Wake};

const IFINFO: usize = 16;
const IFADDR: usize = 8;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Changes come in bursts: a veth pair alone makes half a dozen messages.
const COALESCE: Duration = Duration::from_millis(5);

#[napi(object)]
pub struct InterfaceAddress {
    pub address: Buffer,
    pub prefix_length: u32,
}

#[napi(object)]
pub struct Interface {
    pub ifindex: u32,
    pub name: String,
    pub kind: String,
    pub mac: Buffer,
    pub peer_ifindex: u32,
    pub master_ifindex: u32,
    pub up: bool,
    pub mtu: u32,
    pub addresses: Vec<InterfaceAddress>,
}

/// The same without JavaScript's memory, so that another thread can make it.
#[derive(Default)]
struct Raw {
    ifindex: u32,
    name: String,
    kind: String,
    mac: Vec<u8>,
    peer: u32,
    master: u32,
    up: bool,
    mtu: u32,
    addresses: Vec<(Vec<u8>, u32)>,
}

/// Attributes as (type, payload); a cut one ends the list.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = u16_at(bytes, 0) as usize;
        let Some(payload) = bytes.get(4..length) else { break };
        found.push((u16_at(bytes, 2) & 0x3fff, payload));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Asks for a dump and hands each message's body to `each`.
fn dump(fd: &OwnedFd, kind: u16, body: usize, mut each: impl FnMut(&[u8])) -> Io<()> {
    let mut request = vec![0u8; HEADER.saturating_add(body)];
    let length = request.len() as u32;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let fields = [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), &flags.to_ne_bytes(), &1u32.to_ne_bytes()].concat();
    request.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    // SAFETY: a live buffer and its length.
    if unsafe { libc::send(fd.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        // SAFETY: a live buffer and its length.
        let got = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if got < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let mut rest = buffer.get(..got as usize).unwrap_or_default();
        while rest.len() >= HEADER {
            let length = u32_at(rest, 0) as usize;
            let Some(message) = rest.get(HEADER..length) else { break };
            match i32::from(u16_at(rest, 4)) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => return Err(std::io::Error::from_raw_os_error((u32_at(message, 0) as i32).saturating_neg())),
                _ => each(message),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn parse_link(message: &[u8]) -> Raw {
    let mut link = Raw { ifindex: u32_at(message, 4), up: u32_at(message, 8) & libc::IFF_UP as u32 != 0, ..Raw::default() };
    for (kind, payload) in attributes(message.get(IFINFO..).unwrap_or_default()) {
        match kind {
            IFLA_IFNAME => link.name = text(payload),
            IFLA_ADDRESS => link.mac = payload.to_vec(),
            IFLA_MTU => link.mtu = u32_at(payload, 0),
            IFLA_LINK => link.peer = u32_at(payload, 0),
            IFLA_MASTER => link.master = u32_at(payload, 0),
            IFLA_LINKINFO => {
                let info = attributes(payload);
                link.kind = info.iter().find(|(kind, _)| *kind == IFLA_INFO_KIND).map(|(_, p)| text(p)).unwrap_or_default();
            }
            _ => {}
        }
    }
    link
}

fn list() -> Io<Vec<Raw>> {
    let fd = socket(libc::NETLINK_ROUTE, 0)?;
    let mut links: Vec<Raw> = Vec::new();
    dump(&fd, libc::RTM_GETLINK, IFINFO, |message| links.push(parse_link(message)))?;
    dump(&fd, libc::RTM_GETADDR, IFADDR, |message| {
        let (prefix, index) = (u32::from(message.get(1).copied().unwrap_or(0)), u32_at(message, 4));
        let found = attributes(message.get(IFADDR..).unwrap_or_default());
        // On a point-to-point link IFA_ADDRESS is the other end; IFA_LOCAL is ours.
        let pick = |wanted| found.iter().find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload.to_vec());
        if let (Some(link), Some(address)) = (links.iter_mut().find(|l| l.ifindex == index), pick(IFA_LOCAL).or_else(|| pick(IFA_ADDRESS))) {
            link.addresses.push((address, prefix));
        }
    })?;
    Ok(links)
}

/// On a thread of its own, which enters the namespace and ends there: ours never leaves.
fn list_in(path: String) -> Io<Vec<Raw>> {
    let worker = std::thread::Builder::new().spawn(move || {
        let file = File::open(path)?;
        // SAFETY: an open descriptor; affects this thread only.
        if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        list()
    })?;
    worker.join().unwrap_or_else(|_| Err(std::io::Error::other("the look-up ended unexpectedly")))
}

#[napi(catch_unwind)]
pub fn interfaces(netns: Option<String>) -> Result<Vec<Interface>> {
    let what = netns.clone().unwrap_or_else(|| "own namespace".into());
    let raw = match netns {
        Some(path) => list_in(path),
        None => list(),
    };
    let convert = |l: Raw| Interface {
        ifindex: l.ifindex,
        name: l.name,
        kind: l.kind,
        mac: l.mac.into(),
        peer_ifindex: l.peer,
        master_ifindex: l.master,
        up: l.up,
        mtu: l.mtu,
        addresses: l.addresses.into_iter().map(|(address, prefix_length)| InterfaceAddress { address: address.into(), prefix_length }).collect(),
    };
    Ok(raw.map_err(|e| failed(&e, &what))?.into_iter().map(convert).collect())
}

#[napi(catch_unwind)]
pub fn netns_id(netns: Option<String>) -> Result<BigInt> {
    let path = netns.unwrap_or_else(|| "/proc/self/ns/net".into());
    let metadata = std::fs::metadata(&path).map_err(|e| failed(&e, &path))?;
    Ok(metadata.ino().into())
}

#[napi]
pub struct InterfaceWatch {
    stop: Arc<AtomicBool>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

#[napi]
impl InterfaceWatch {
    /// Calls back after a burst of changes to links or addresses of the own namespace.
    #[napi(factory, catch_unwind)]
    pub fn open(callback: Function<'_, (), ()>) -> Result<Self> {
        let groups = (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
        let fd = socket(libc::NETLINK_ROUTE, groups).map_err(|e| failed(&e, "netlink"))?;
        let (stop, wake) = (Arc::new(AtomicBool::new(false)), Arc::new(Wake::new()?));
        let changed = callback.build_threadsafe_function::<()>().callee_handled::<false>().build()?;
        let (ending, bell) = (Arc::clone(&stop), Arc::clone(&wake));
        let thread = std::thread::Builder::new()
            .name("sidestep-links".into())
            .spawn(move || {
                let mut buffer = vec![0u8; 1 << 16];
                loop {
                    wait(&[fd.as_raw_fd(), bell.raw()], -1);
                    if ending.load(Ordering::Acquire) {
                        return;
                    }
                    std::thread::sleep(COALESCE);
                    let mut any = false;
                    // An overrun (ENOBUFS) is a change too: what it said is looked up anyway.
                    // SAFETY: a live buffer and its length.
                    while unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) } > 0 {
                        any = true;
                    }
                    let overrun = std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS);
                    if (any || overrun) && changed.call((), ThreadsafeFunctionCallMode::NonBlocking) == Status::Closing {
                        return;
                    }
                }
            })
            .map_err(|_| last("start the link watcher"))?;
        Ok(Self { stop, wake, thread: Some(thread) })
    }

    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for InterfaceWatch {
    fn drop(&mut self) {
        self.close();
    }
}
