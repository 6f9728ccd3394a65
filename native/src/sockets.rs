//! Ends TCP connections by their local address. sock_diag(7), SOCK_DESTROY.
use std::net::{IpAddr, Ipv6Addr};

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
/// INET_DIAG_BC_S_COND: compare the local address.
const LOCAL_ADDRESS: u8 = 7;
const ANY_PORT: i32 = -1;

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

/// struct inet_diag_bc_op, then struct inet_diag_hostcond with the address behind it.
fn filter(address: IpAddr) -> DefaultNla {
    let (family, octets) = match address {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    };
    let length = octets.len().saturating_add(12);
    let bits = octets.len().saturating_mul(8) as u8;
    // Yes: on to the end, which accepts. No: past the end, which refuses.
    let mut code = vec![LOCAL_ADDRESS, length as u8];
    code.extend_from_slice(&(length.saturating_add(4) as u16).to_ne_bytes());
    code.extend_from_slice(&[family, bits, 0, 0]);
    code.extend_from_slice(&ANY_PORT.to_ne_bytes());
    code.extend_from_slice(&octets);
    DefaultNla::new(FILTER, code)
}

fn find(family: u8, address: IpAddr) -> Io<Vec<InetRequest>> {
    let question = Message::List(request(family, any_socket(family)), filter(address));
    let answers = exchange(libc::NETLINK_SOCK_DIAG, vec![listing(question)])?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            Message::Found(found) => Some(request(found.header.family, found.header.socket_id)),
            _ => None,
        })
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

fn destroy_all(address: IpAddr) -> Io<u32> {
    // An IPv6 socket may carry an IPv4 address.
    let mut sockets = find(AF_INET6, address)?;
    if address.is_ipv4() {
        sockets.extend(find(AF_INET, address)?);
    }
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

/// Resets every TCP connection of this network namespace whose local end is `address` (16 bytes, IPv4 mapped). EOPNOTSUPP
/// where the kernel was built without it.
#[napi(catch_unwind)]
pub fn destroy_sockets(address: Uint8Array) -> Result<u32> {
    let bytes: [u8; 16] = address.as_ref().try_into().map_err(|_| failure(libc::EINVAL, "an address has 16 bytes", ""))?;
    let address = Ipv6Addr::from(bytes).to_canonical();
    if !can_destroy() {
        return Err(failure(libc::EOPNOTSUPP, "the kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY)", ""));
    }
    destroy_all(address).map_err(|e| failed(&e, &format!("end the sockets of {address}")))
}
