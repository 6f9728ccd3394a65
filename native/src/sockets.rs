//! Ends the TCP connections of a control group by an address at one of their ends. sock_diag(7), SOCK_DESTROY.
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;

use napi::bindgen_prelude::Uint8Array;
use napi::Result;
use napi_derive::napi;
use netlink_packet_core::{DecodeError, DefaultNla, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, Parseable};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, SOCK_DESTROY, SOCK_DIAG_BY_FAMILY};

use crate::errors::{failed, failure};
use crate::talk::{change, exchange, listing, Io};

/// INET_DIAG_REQ_BYTECODE: a filter that the kernel runs over its sockets.
const FILTER: u16 = 1;
/// INET_DIAG_BC_CGROUP_COND: compare the id of the control group whose process made the socket.
const CONTROL_GROUP: u8 = 13;

enum Message {
    List(InetRequest, DefaultNla),
    Destroy(InetRequest),
    Found(Box<InetResponse>),
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        match self {
            Message::Destroy(_) => SOCK_DESTROY,
            _ => SOCK_DIAG_BY_FAMILY,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Message::List(request, filter) => request.buffer_len().saturating_add(filter.buffer_len()),
            Message::Destroy(request) => request.buffer_len(),
            Message::Found(response) => response.buffer_len(),
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Message::List(request, filter) => {
                if let Some((head, tail)) = buffer.split_at_mut_checked(request.buffer_len()) {
                    request.emit(head);
                    filter.emit(tail);
                }
            }
            Message::Destroy(request) => request.emit(buffer),
            Message::Found(response) => response.emit(buffer),
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;
    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> std::result::Result<Self, DecodeError> {
        InetResponse::parse(payload).map(|found| Message::Found(Box::new(found)))
    }
}

fn request(family: u8, socket_id: SocketId) -> InetRequest {
    // Not LISTEN: nobody is connected. Not TIME_WAIT: nothing can be sent any more.
    let states = StateFlags::ESTABLISHED
        | StateFlags::SYN_SENT
        | StateFlags::SYN_RECV
        | StateFlags::FIN_WAIT1
        | StateFlags::FIN_WAIT2
        | StateFlags::CLOSE_WAIT
        | StateFlags::LAST_ACK
        | StateFlags::CLOSING;
    InetRequest { family, protocol: libc::IPPROTO_TCP as u8, extensions: ExtensionFlags::empty(), states, socket_id }
}

fn any_socket(family: u8) -> SocketId {
    if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() }
}

/// One struct inet_diag_bc_op and the group's id behind it.
fn filter(cgroup: u64) -> DefaultNla {
    const LENGTH: u8 = 12;
    let mut code = vec![CONTROL_GROUP, LENGTH];
    // Yes: on to the end, which accepts. No: past the end, which refuses.
    code.extend_from_slice(&(u16::from(LENGTH) + 4).to_ne_bytes());
    code.extend_from_slice(&cgroup.to_ne_bytes());
    DefaultNla::new(FILTER, code)
}

fn find(family: u8, cgroup: u64, addresses: &HashSet<IpAddr>) -> Io<Vec<InetRequest>> {
    let question = Message::List(request(family, any_socket(family)), filter(cgroup));
    let answers = exchange(libc::NETLINK_SOCK_DIAG, vec![listing(question)])?;
    // An IPv6 socket may carry an IPv4 address.
    let is_one = |address: IpAddr| addresses.contains(&address.to_canonical());
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            Message::Found(found) => Some((found.header.family, found.header.socket_id)),
            _ => None,
        })
        .filter(|(_, socket)| is_one(socket.source_address) || is_one(socket.destination_address))
        .map(|(family, socket)| request(family, socket))
        .collect())
}

fn destroy(socket: InetRequest) -> Io<()> {
    exchange(libc::NETLINK_SOCK_DIAG, vec![change(Message::Destroy(socket), 0)]).map(|_| ())
}

/// Asks for the end of a socket that cannot exist: it has the wrong cookie.
pub fn can_destroy() -> bool {
    let nobody = SocketId { source_port: 1, destination_port: 1, cookie: [1; 8], ..SocketId::new_v4() };
    match destroy(request(AF_INET, nobody)) {
        Ok(()) => true,
        Err(error) => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)),
    }
}

fn destroy_all(addresses: &HashSet<IpAddr>, cgroup: u64) -> Io<u32> {
    let mut sockets = find(AF_INET, cgroup, addresses)?;
    sockets.extend(find(AF_INET6, cgroup, addresses)?);
    let mut ended = 0u32;
    for socket in sockets {
        match destroy(socket) {
            Ok(()) => ended = ended.saturating_add(1),
            // It ended by itself, or has nothing left to send (kernels before 6.5 refuse those).
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE | libc::EOPNOTSUPP)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ended)
}

/// Resets every TCP connection in this network namespace that a process of the control group `cgroup`, a folder, holds with
/// one of `addresses` (16 bytes each, IPv4 mapped) at either end. EOPNOTSUPP where the kernel was built without it.
#[napi(catch_unwind)]
pub fn destroy_sockets(addresses: Vec<Uint8Array>, cgroup: String) -> Result<u32> {
    let address_of = |bytes: &Uint8Array| -> Result<IpAddr> {
        let bytes: [u8; 16] = bytes.as_ref().try_into().map_err(|_| failure(libc::EINVAL, "an address has 16 bytes", ""))?;
        Ok(Ipv6Addr::from(bytes).to_canonical())
    };
    let addresses = addresses.iter().map(address_of).collect::<Result<HashSet<IpAddr>>>()?;
    // A group's id is the inode of its folder.
    let cgroup = std::fs::metadata(&cgroup).map_err(|e| failed(&e, &cgroup))?.ino();
    if !can_destroy() {
        return Err(failure(libc::EOPNOTSUPP, "the kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY)", ""));
    }
    destroy_all(&addresses, cgroup).map_err(|e| failed(&e, "end sockets"))
}
