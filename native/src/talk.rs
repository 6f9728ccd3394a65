//! Requests to the kernel over a netlink socket, and the answers. netlink(7).
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST,
};

pub const HEADER: usize = 16;
const BUFFER: usize = 1 << 16;
/// The kernel answers at once; only a lost answer takes longer.
const PATIENCE: libc::timeval = libc::timeval { tv_sec: 5, tv_usec: 0 };

pub type Io<T> = std::io::Result<T>;

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at.saturating_add(2)).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at.saturating_add(4)).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

pub fn socket(protocol: i32, groups: u32) -> Io<OwnedFd> {
    // SAFETY: plain system call; a non-negative result is a descriptor that nobody else owns.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: see above.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeroes is a valid sockaddr_nl.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = groups;
    let size = std::mem::size_of::<libc::sockaddr_nl>() as u32;
    // SAFETY: a local of the size named.
    if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(fd)
}

fn set<T>(fd: &OwnedFd, level: i32, name: i32, value: &T) -> Io<()> {
    let size = std::mem::size_of::<T>() as u32;
    // SAFETY: a live value and its size.
    if unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// A change, whose success the kernel confirms.
pub fn change<I>(payload: I, flags: u16) -> NetlinkMessage<I> {
    request(payload, NLM_F_ACK | flags)
}

/// A question that is answered with a list.
pub fn listing<I>(payload: I) -> NetlinkMessage<I> {
    request(payload, NLM_F_DUMP)
}

/// Without an answer of its own.
pub fn request<I>(payload: I, flags: u16) -> NetlinkMessage<I> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    NetlinkMessage::new(header, NetlinkPayload::InnerMessage(payload))
}

/// Sends the messages as one datagram and waits for the confirmation or list of each that has one. The first error ends it.
pub fn exchange<I: NetlinkSerializable + NetlinkDeserializable>(protocol: i32, messages: Vec<NetlinkMessage<I>>) -> Io<Vec<I>> {
    let fd = socket(protocol, 0)?;
    set(&fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &PATIENCE)?;
    // Lists are filtered by the kernel where it knows how; where it does not, callers filter again.
    let _ = set(&fd, libc::SOL_NETLINK, libc::NETLINK_GET_STRICT_CHK, &1i32);
    let (mut bytes, mut open) = (Vec::new(), 0usize);
    for (index, mut message) in messages.into_iter().enumerate() {
        message.header.sequence_number = index as u32;
        message.finalize();
        let mut encoded = vec![0u8; message.buffer_len()];
        message.serialize(&mut encoded);
        bytes.append(&mut encoded);
        if message.header.flags & (NLM_F_ACK | NLM_F_DUMP) != 0 {
            open = open.saturating_add(1);
        }
    }
    // SAFETY: a live buffer and its length.
    if unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let mut answers = Vec::new();
    let mut buffer = vec![0u8; BUFFER];
    while open > 0 {
        // SAFETY: a live buffer and its length.
        let got = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if got < 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() == std::io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        let received = buffer.get(..got as usize).unwrap_or_default();
        open = open.saturating_sub(take(received, &mut answers)?);
    }
    Ok(answers)
}

/// Returns how many requests are answered. What cannot be decoded is something that we did not make: it is left out.
fn take<I: NetlinkDeserializable>(mut rest: &[u8], answers: &mut Vec<I>) -> Io<usize> {
    let mut ended = 0usize;
    while rest.len() >= HEADER {
        let length = u32_at(rest, 0) as usize;
        let Some(body) = rest.get(HEADER..length) else { break };
        let kind = u16_at(rest, 4);
        match i32::from(kind) {
            libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                let errno = (u32_at(body, 0) as i32).saturating_neg();
                if errno != 0 {
                    return Err(std::io::Error::from_raw_os_error(errno));
                }
                ended = ended.saturating_add(1);
            }
            libc::NLMSG_NOOP => {}
            _ => {
                let mut header = NetlinkHeader::default();
                header.message_type = kind;
                if let Ok(answer) = I::deserialize(&header, body) {
                    answers.push(answer);
                }
            }
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(ended)
}
