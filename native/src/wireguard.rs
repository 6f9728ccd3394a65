//! The kernel's own WireGuard, by generic netlink. linux/wireguard.h.
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use napi::bindgen_prelude::{Buffer, Uint8Array};
use napi::Result;
use napi_derive::napi;
use netlink_packet_core::{Emitable, NetlinkMessage, ParseableParametrized};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAllowedIpFlags, WireguardAttribute, WireguardCmd,
    WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};

use crate::errors::{failed, failure};
use crate::talk::{change, exchange, listing, Io};

type Key = [u8; 32];
/// An attribute holds 64 KB, and one prefix takes up to 44 bytes of it.
const PREFIXES_PER_MESSAGE: usize = 1024;

#[napi(object)]
pub struct WireGuardSettings {
    pub private_key: Uint8Array,
    pub port: u32,
    pub fwmark: u32,
}

#[napi(object)]
pub struct WireGuardPrefix {
    /// 4 or 16 bytes.
    pub address: Buffer,
    pub bits: u32,
}

#[napi(object)]
pub struct WireGuardPeerChange {
    pub public_key: Uint8Array,
    pub preshared_key: Uint8Array,
    pub address: String,
    pub port: u32,
    /// Seconds; 0: none.
    pub keepalive: u32,
    /// All that it is to have.
    pub allowed: Vec<WireGuardPrefix>,
    /// What it has and is to lose.
    pub lost: Vec<WireGuardPrefix>,
}

#[napi(object)]
pub struct WireGuardPeerState {
    pub public_key: Buffer,
    pub preshared_key: Buffer,
    /// `address:port` or `[address]:port`.
    pub endpoint: Option<String>,
    pub keepalive: u32,
    pub allowed: Vec<WireGuardPrefix>,
    /// Milliseconds since the epoch; 0: never.
    pub last_handshake: f64,
    pub received: f64,
    pub sent: f64,
}

#[napi(object)]
pub struct WireGuardState {
    pub public_key: Option<Buffer>,
    pub port: u32,
    pub fwmark: u32,
    pub peers: Vec<WireGuardPeerState>,
}

fn talk<F>(messages: Vec<NetlinkMessage<GenlMessage<F>>>) -> Io<Vec<GenlMessage<F>>>
where
    F: GenlFamily + Emitable + Debug + ParseableParametrized<[u8], GenlHeader>,
{
    exchange(libc::NETLINK_GENERIC, messages)
}

/// The number that the kernel gave the family; asking loads the module where there is one. ENOENT: no WireGuard here.
pub fn family() -> Io<u16> {
    let question = GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![GenlCtrlAttrs::FamilyName(WireguardMessage::family_name().into())] };
    let answers = talk(vec![change(GenlMessage::from_payload(question), 0)])?;
    let ids = answers.iter().flat_map(|answer| &answer.payload.nlas);
    ids.into_iter()
        .find_map(|attribute| if let GenlCtrlAttrs::FamilyId(id) = attribute { Some(*id) } else { None })
        .ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENOENT))
}

fn message(cmd: WireguardCmd, name: &str, rest: Vec<WireguardAttribute>) -> Io<GenlMessage<WireguardMessage>> {
    let attributes = std::iter::once(WireguardAttribute::IfName(name.into())).chain(rest).collect();
    let mut message = GenlMessage::from_payload(WireguardMessage { cmd, attributes });
    message.set_resolved_family_id(family().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => std::io::Error::from_raw_os_error(libc::EOPNOTSUPP),
        _ => error,
    })?);
    Ok(message)
}

fn set(name: &str, attributes: Vec<WireguardAttribute>) -> Io<()> {
    talk(vec![change(message(WireguardCmd::SetDevice, name, attributes)?, 0)]).map(|_| ())
}

fn set_peer(name: &str, attributes: Vec<WireguardPeerAttribute>) -> Io<()> {
    set(name, vec![WireguardAttribute::Peers(vec![WireguardPeer(attributes)])])
}

fn invalid(what: &str) -> napi::Error {
    failure(libc::EINVAL, what, "")
}

fn key(bytes: &[u8]) -> Result<Key> {
    bytes.try_into().map_err(|_| invalid("a key has 32 bytes"))
}

fn port(number: u32) -> Result<u16> {
    u16::try_from(number).map_err(|_| invalid("not a port"))
}

fn explain(name: &str) -> impl Fn(std::io::Error) -> napi::Error + '_ {
    move |error| failed(&error, &format!("WireGuard device {name}"))
}

/// EADDRINUSE when the port is taken and the device is up.
#[napi(catch_unwind)]
pub fn set_wireguard(name: String, settings: WireGuardSettings) -> Result<()> {
    let attributes = vec![
        WireguardAttribute::PrivateKey(key(&settings.private_key)?),
        WireguardAttribute::ListenPort(port(settings.port)?),
        WireguardAttribute::Fwmark(settings.fwmark),
    ];
    set(&name, attributes).map_err(explain(&name))
}

fn prefix(of: &WireGuardPrefix, removal: bool) -> Result<WireguardAllowedIp> {
    let address = match of.address.len() {
        4 => <[u8; 4]>::try_from(of.address.as_ref()).map(IpAddr::from),
        _ => <[u8; 16]>::try_from(of.address.as_ref()).map(IpAddr::from),
    };
    let address = address.map_err(|_| invalid("an address has 4 or 16 bytes"))?;
    let (family, most) = match address {
        IpAddr::V4(_) => (WireguardAddressFamily::Ipv4, 32),
        IpAddr::V6(_) => (WireguardAddressFamily::Ipv6, 128),
    };
    let bits = u8::try_from(of.bits).ok().filter(|bits| *bits <= most).ok_or_else(|| invalid("a prefix longer than its address"))?;
    let mut attributes =
        vec![WireguardAllowedIpAttr::Family(family), WireguardAllowedIpAttr::IpAddr(address), WireguardAllowedIpAttr::Cidr(bits)];
    if removal {
        attributes.push(WireguardAllowedIpAttr::Flags(WireguardAllowedIpFlags::RemoveMe));
    }
    Ok(WireguardAllowedIp(attributes))
}

fn prefixes(list: &[WireGuardPrefix], removal: bool) -> Result<Vec<WireguardAllowedIp>> {
    list.iter().map(|each| prefix(each, removal)).collect()
}

fn peer_with(public: Key, flags: WireguardPeerFlags, allowed: &[WireguardAllowedIp]) -> Vec<WireguardPeerAttribute> {
    vec![
        WireguardPeerAttribute::PublicKey(public),
        WireguardPeerAttribute::Flags(flags),
        WireguardPeerAttribute::AllowedIps(allowed.to_vec()),
    ]
}

/// What it keeps it never loses: prefixes are added first, and taken away one by one where the kernel can (6.16).
fn change_peer(name: &str, public: Key, first: Vec<WireguardPeerAttribute>, allowed: &[WireguardAllowedIp], lost: &[WireguardAllowedIp]) -> Io<()> {
    set_peer(name, first)?;
    for part in allowed.chunks(PREFIXES_PER_MESSAGE) {
        set_peer(name, peer_with(public, WireguardPeerFlags::UpdateOnly, part))?;
    }
    for part in lost.chunks(PREFIXES_PER_MESSAGE) {
        match set_peer(name, peer_with(public, WireguardPeerFlags::UpdateOnly, part)) {
            // Before 6.16 the attribute is not known: all are replaced, which takes an instant.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return replace(name, public, allowed),
            outcome => outcome?,
        }
    }
    Ok(())
}

fn replace(name: &str, public: Key, allowed: &[WireguardAllowedIp]) -> Io<()> {
    let (first, rest) = allowed.split_at(allowed.len().min(PREFIXES_PER_MESSAGE));
    set_peer(name, peer_with(public, WireguardPeerFlags::UpdateOnly | WireguardPeerFlags::ReplaceAllowedIps, first))?;
    rest.chunks(PREFIXES_PER_MESSAGE).try_for_each(|part| set_peer(name, peer_with(public, WireguardPeerFlags::UpdateOnly, part)))
}

/// Makes the peer where there is none.
#[napi(catch_unwind)]
pub fn set_wireguard_peer(name: String, peer: WireGuardPeerChange) -> Result<()> {
    let address: IpAddr = peer.address.parse().map_err(|_| invalid("the endpoint's address is none"))?;
    let public = key(&peer.public_key)?;
    let first = vec![
        WireguardPeerAttribute::PublicKey(public),
        WireguardPeerAttribute::PresharedKey(key(&peer.preshared_key)?),
        WireguardPeerAttribute::Endpoint(SocketAddr::new(address, port(peer.port)?)),
        WireguardPeerAttribute::PersistentKeepalive(u16::try_from(peer.keepalive).map_err(|_| invalid("too long a keepalive"))?),
    ];
    let (allowed, lost) = (prefixes(&peer.allowed, false)?, prefixes(&peer.lost, true)?);
    change_peer(&name, public, first, &allowed, &lost).map_err(explain(&name))
}

/// Without effect when there is none.
#[napi(catch_unwind)]
pub fn remove_wireguard_peer(name: String, public_key: Uint8Array) -> Result<()> {
    let flags = WireguardPeerFlags::RemoveMe | WireguardPeerFlags::UpdateOnly;
    set_peer(&name, vec![WireguardPeerAttribute::PublicKey(key(&public_key)?), WireguardPeerAttribute::Flags(flags)]).map_err(explain(&name))
}

fn read_prefix(WireguardAllowedIp(attributes): &WireguardAllowedIp) -> Option<WireGuardPrefix> {
    let address = attributes.iter().find_map(|each| match each {
        WireguardAllowedIpAttr::IpAddr(IpAddr::V4(address)) => Some(address.octets().to_vec()),
        WireguardAllowedIpAttr::IpAddr(IpAddr::V6(address)) => Some(address.octets().to_vec()),
        _ => None,
    })?;
    let bits = attributes.iter().find_map(|each| if let WireguardAllowedIpAttr::Cidr(bits) = each { Some(*bits) } else { None })?;
    Some(WireGuardPrefix { address: address.into(), bits: u32::from(bits) })
}

fn read_peer(WireguardPeer(attributes): &WireguardPeer) -> WireGuardPeerState {
    let mut state = WireGuardPeerState {
        public_key: Buffer::from(vec![]),
        preshared_key: Buffer::from(vec![]),
        endpoint: None,
        keepalive: 0,
        allowed: vec![],
        last_handshake: 0.0,
        received: 0.0,
        sent: 0.0,
    };
    for attribute in attributes {
        match attribute {
            WireguardPeerAttribute::PublicKey(key) => state.public_key = key.to_vec().into(),
            WireguardPeerAttribute::PresharedKey(key) => state.preshared_key = key.to_vec().into(),
            WireguardPeerAttribute::Endpoint(address) => state.endpoint = Some(address.to_string()),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => state.keepalive = u32::from(*seconds),
            WireguardPeerAttribute::LastHandshake(time) => {
                state.last_handshake = time.seconds as f64 * 1e3 + (time.nano_seconds as f64 / 1e6).floor();
            }
            WireguardPeerAttribute::RxBytes(bytes) => state.received = *bytes as f64,
            WireguardPeerAttribute::TxBytes(bytes) => state.sent = *bytes as f64,
            WireguardPeerAttribute::AllowedIps(list) => state.allowed = list.iter().filter_map(read_prefix).collect(),
            _ => {}
        }
    }
    state
}

/// A peer with many prefixes comes in several parts, the later ones with its key and prefixes only.
fn add(peers: &mut Vec<WireGuardPeerState>, part: WireGuardPeerState) {
    match peers.last_mut() {
        Some(peer) if peer.public_key.as_ref() == part.public_key.as_ref() => peer.allowed.extend(part.allowed),
        _ => peers.push(part),
    }
}

#[napi(catch_unwind)]
pub fn wireguard(name: String) -> Result<WireGuardState> {
    let question = message(WireguardCmd::GetDevice, &name, vec![]).map_err(explain(&name))?;
    let answers = talk(vec![listing(question)]).map_err(explain(&name))?;
    let mut state = WireGuardState { public_key: None, port: 0, fwmark: 0, peers: vec![] };
    for attribute in answers.into_iter().flat_map(|answer| answer.payload.attributes) {
        match attribute {
            WireguardAttribute::PublicKey(key) => state.public_key = Some(key.to_vec().into()),
            WireguardAttribute::ListenPort(number) => state.port = u32::from(number),
            WireguardAttribute::Fwmark(mark) => state.fwmark = mark,
            WireguardAttribute::Peers(parts) => parts.iter().map(read_peer).for_each(|part| add(&mut state.peers, part)),
            _ => {}
        }
    }
    Ok(state)
}
