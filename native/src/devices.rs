//! Devices of our own: made, set up, taken away. rtnetlink(7).
use std::ffi::CString;
use std::net::Ipv4Addr;

use napi::Result;
use napi_derive::napi;
use netlink_packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkSerializable, Parseable, NLM_F_CREATE, NLM_F_EXCL,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::AddressFamily;

use crate::errors::{failed, failure, last};
use crate::system::cstring;
use crate::talk::{change, exchange, Io};

/// With the message's type. The crate's own enum would link every other message too.
struct Message<M>(u16, M);

impl<M: Emitable> NetlinkSerializable for Message<M> {
    fn message_type(&self) -> u16 {
        self.0
    }

    fn buffer_len(&self) -> usize {
        self.1.buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        self.1.emit(buffer);
    }
}

impl<M: Parseable<[u8]>> NetlinkDeserializable for Message<M> {
    type Error = DecodeError;
    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> std::result::Result<Self, DecodeError> {
        M::parse(payload).map(|content| Message(header.message_type, content))
    }
}

fn ask<M: Emitable + Parseable<[u8]>>(message: NetlinkMessage<Message<M>>) -> Io<()> {
    exchange(libc::NETLINK_ROUTE, vec![message]).map(|_| ())
}

fn name_error(name: &str) -> String {
    format!("device {name}")
}

/// A device of the kernel's own WireGuard, down. False when one of that name is there, of whatever kind.
#[napi(catch_unwind)]
pub fn create_wireguard(name: String) -> Result<bool> {
    let mut message = LinkMessage::default();
    message.attributes =
        vec![LinkAttribute::IfName(name.clone()), LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)])];
    match ask(change(Message(libc::RTM_NEWLINK, message), NLM_F_CREATE | NLM_F_EXCL)) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(failed(&error, &name_error(&name))),
    }
}

/// As many as the kernel's own WireGuard takes. A TUN device's 500 are fewer than what is let go at once when a proof comes,
/// and what finds no room there is lost without a word.
const TUNNEL_QUEUE: u32 = 1024;

/// `queue`: packets that may wait for who reads the device.
pub fn bring_up(ifindex: u32, mtu: Option<u32>, queue: u32, no_arp: bool) -> Io<()> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    message.header.flags = LinkFlags::Up;
    if no_arp {
        message.header.flags |= LinkFlags::Noarp;
    }
    message.header.change_mask = message.header.flags;
    message.attributes = mtu.into_iter().map(LinkAttribute::Mtu).chain([LinkAttribute::TxQueueLen(queue)]).collect();
    ask(change(Message(libc::RTM_SETLINK, message), 0))
}

/// Up, with this MTU.
#[napi(catch_unwind)]
pub fn set_link_up(ifindex: u32, mtu: u32) -> Result<()> {
    bring_up(ifindex, Some(mtu), TUNNEL_QUEUE, false).map_err(|e| failed(&e, &format!("bring device {ifindex} up")))
}

/// An IPv4 address of the device alone, that nothing takes for a source by itself. False when it is there.
#[napi(catch_unwind)]
pub fn ensure_link_address(ifindex: u32, address: String) -> Result<bool> {
    let ip: Ipv4Addr = address.parse().map_err(|_| failure(libc::EINVAL, &format!("no IPv4 address: {address}"), ""))?;
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 32;
    message.header.scope = AddressScope::Link;
    message.header.index = ifindex;
    message.attributes = vec![AddressAttribute::Local(ip.into()), AddressAttribute::Address(ip.into())];
    match ask(change(Message(libc::RTM_NEWADDR, message), NLM_F_CREATE | NLM_F_EXCL)) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(failed(&error, &format!("address {address} of device {ifindex}"))),
    }
}

/// False when there is none.
#[napi(catch_unwind)]
pub fn delete_link(ifindex: u32) -> Result<bool> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    match ask(change(Message(libc::RTM_DELLINK, message), 0)) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(error) => Err(failed(&error, &format!("delete device {ifindex}"))),
    }
}

pub fn index_of(name: &str) -> Result<u32> {
    let c: CString = cstring(name)?;
    // SAFETY: a terminated string.
    match unsafe { libc::if_nametoindex(c.as_ptr()) } {
        0 => Err(last(&name_error(name))),
        index => Ok(index),
    }
}
