//! Policy routing: rules on the mark, and the routes of our own tables. rtnetlink(7), fib_rules in the kernel.
use std::net::IpAddr;

use napi::Result;
use napi_derive::napi;
use netlink_packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkSerializable, Parseable, NLM_F_CREATE, NLM_F_EXCL,
    NLM_F_REPLACE,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::AddressFamily;

use crate::errors::{failed, failure};
use crate::talk::{change, exchange, listing, Io};

/// In every network namespace.
const LOOPBACK: u32 = 1;
/// Table numbers that do not fit into the header's byte; the attribute holds them.
const COMPATIBLE: u8 = 252;
/// systemd-networkd takes away rules and routes that it did not make, except "the kernel's own".
const OURS: RouteProtocol = RouteProtocol::Kernel;
/// The least that IPv6 knows.
const FIRST: u32 = 1;
/// Asked when no other route of the table fits.
const LAST: u32 = u32::MAX;

#[napi(object)]
pub struct PolicyRule {
    pub fwmark: u32,
    pub mask: u32,
    pub table: u32,
    pub priority: u32,
}

#[napi(object)]
pub struct TableRoute {
    /// Delivered to this machine.
    pub local: bool,
    /// Refused, with an ICMP error to the sender.
    pub unreachable: bool,
    pub prefix_length: u32,
    pub ifindex: u32,
    pub metric: u32,
}

/// How packets to an address leave.
#[napi(object)]
pub struct Way {
    pub ifindex: u32,
    /// Of the route, or learned of the path; absent: the device's.
    pub mtu: Option<u32>,
}

/// With the message's type. The crate's own enum would link every other message too.
enum Message {
    Rule(u16, RuleMessage),
    Route(u16, RouteMessage),
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        match self {
            Message::Rule(kind, _) | Message::Route(kind, _) => *kind,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Message::Rule(_, rule) => rule.buffer_len(),
            Message::Route(_, route) => route.buffer_len(),
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Message::Rule(_, rule) => rule.emit(buffer),
            Message::Route(_, route) => route.emit(buffer),
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;
    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> std::result::Result<Self, DecodeError> {
        match header.message_type {
            libc::RTM_NEWRULE => RuleMessage::parse(payload).map(|rule| Message::Rule(header.message_type, rule)),
            libc::RTM_NEWROUTE => RouteMessage::parse(payload).map(|route| Message::Route(header.message_type, route)),
            _ => Err(DecodeError::from("neither a rule nor a route")),
        }
    }
}

fn family(number: u32) -> Result<AddressFamily> {
    match number {
        4 => Ok(AddressFamily::Inet),
        6 => Ok(AddressFamily::Inet6),
        _ => Err(failure(libc::EINVAL, "the family is 4 or 6", "")),
    }
}

fn header_table(table: u32) -> u8 {
    u8::try_from(table).unwrap_or(COMPATIBLE)
}

fn ask(message: NetlinkMessage<Message>) -> Io<Vec<Message>> {
    exchange(libc::NETLINK_ROUTE, vec![message])
}

/// Turns the error that means "already so" into false.
fn unless(outcome: Io<Vec<Message>>, already: &[i32], what: &str) -> Result<bool> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error().is_some_and(|errno| already.contains(&errno)) => Ok(false),
        Err(error) => Err(failed(&error, what)),
    }
}

fn rule_message(family: AddressFamily, rule: &PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family;
    message.header.table = header_table(rule.table);
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::FwMark(rule.fwmark),
        RuleAttribute::FwMask(rule.mask),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(OURS),
    ];
    message
}

/// False when the same rule is there.
#[napi(catch_unwind)]
pub fn ensure_rule(family_number: u32, rule: PolicyRule) -> Result<bool> {
    let message = Message::Rule(libc::RTM_NEWRULE, rule_message(family(family_number)?, &rule));
    unless(ask(change(message, NLM_F_CREATE | NLM_F_EXCL)), &[libc::EEXIST], "add a routing rule")
}

/// False when there is none.
#[napi(catch_unwind)]
pub fn remove_rule(family_number: u32, rule: PolicyRule) -> Result<bool> {
    let message = Message::Rule(libc::RTM_DELRULE, rule_message(family(family_number)?, &rule));
    unless(ask(change(message, 0)), &[libc::ENOENT], "remove a routing rule")
}

/// Those that lead to a table, in the order they are asked.
#[napi(catch_unwind)]
pub fn rules(family_number: u32) -> Result<Vec<PolicyRule>> {
    let mut message = RuleMessage::default();
    message.header.family = family(family_number)?;
    let answers = ask(listing(Message::Rule(libc::RTM_GETRULE, message))).map_err(|e| failed(&e, "list routing rules"))?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            Message::Rule(_, rule) if rule.header.action == RuleAction::ToTable => Some(read_rule(&rule)),
            _ => None,
        })
        .collect())
}

fn read_rule(message: &RuleMessage) -> PolicyRule {
    let mut rule = PolicyRule { fwmark: 0, mask: 0, table: u32::from(message.header.table), priority: 0 };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::FwMark(mark) => rule.fwmark = *mark,
            RuleAttribute::FwMask(mask) => rule.mask = *mask,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            _ => {}
        }
    }
    rule
}

fn local_route(family: AddressFamily, table: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = header_table(table);
    message.header.protocol = OURS;
    message.header.scope = RouteScope::Host;
    message.header.kind = RouteType::Local;
    message.attributes = vec![RouteAttribute::Table(table), RouteAttribute::Oif(LOOPBACK)];
    message
}

/// `local default dev lo table N`: whatever is looked up in this table is this machine's. False when it is there.
#[napi(catch_unwind)]
pub fn ensure_local_route(family_number: u32, table: u32) -> Result<bool> {
    let message = Message::Route(libc::RTM_NEWROUTE, local_route(family(family_number)?, table));
    let what = "add the local route";
    if unless(ask(change(message, NLM_F_CREATE | NLM_F_EXCL)), &[libc::EEXIST], what)? {
        return Ok(true);
    }
    // A default route is there. Is it this one?
    if routes(family_number, table)?.iter().any(|route| route.local && route.prefix_length == 0 && route.ifindex == LOOPBACK) {
        return Ok(false);
    }
    Err(failure(libc::EEXIST, &format!("{what}: table {table} has another default route"), ""))
}

/// False when there is none.
#[napi(catch_unwind)]
pub fn remove_local_route(family_number: u32, table: u32) -> Result<bool> {
    let message = Message::Route(libc::RTM_DELROUTE, local_route(family(family_number)?, table));
    // Without the route, without the table.
    unless(ask(change(message, 0)), &[libc::ESRCH, libc::ENOENT], "remove the local route")
}

#[napi(catch_unwind)]
pub fn routes(family_number: u32, table: u32) -> Result<Vec<TableRoute>> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(family_number)?;
    message.header.table = header_table(table);
    message.attributes = vec![RouteAttribute::Table(table)];
    let answers = match ask(listing(Message::Route(libc::RTM_GETROUTE, message))) {
        // IPv4 knows the table only once it has been used.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Vec::new(),
        other => other.map_err(|e| failed(&e, "list routes"))?,
    };
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            Message::Route(_, route) => read_route(&route, table),
            _ => None,
        })
        .collect())
}

fn read_route(message: &RouteMessage, wanted: u32) -> Option<TableRoute> {
    let (mut table, mut ifindex, mut metric) = (u32::from(message.header.table), 0, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => ifindex = *index,
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    (table == wanted).then(|| TableRoute {
        local: message.header.kind == RouteType::Local,
        unreachable: message.header.kind == RouteType::Unreachable,
        prefix_length: u32::from(message.header.destination_prefix_length),
        ifindex,
        metric,
    })
}

fn device_route(family: AddressFamily, table: u32, ifindex: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = header_table(table);
    message.header.protocol = OURS;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Table(table), RouteAttribute::Oif(ifindex), RouteAttribute::Priority(FIRST)];
    message
}

/// `default dev <ifindex> metric 1 table N`, in place of another of this metric. False when it is there.
#[napi(catch_unwind)]
pub fn ensure_device_route(family_number: u32, table: u32, ifindex: u32) -> Result<bool> {
    let there = routes(family_number, table)?;
    let ours = |route: &TableRoute| route.prefix_length == 0 && route.metric == FIRST && route.ifindex == ifindex;
    if there.iter().any(|route| ours(route) && !route.local && !route.unreachable) {
        return Ok(false);
    }
    let message = Message::Route(libc::RTM_NEWROUTE, device_route(family(family_number)?, table, ifindex));
    unless(ask(change(message, NLM_F_CREATE | NLM_F_REPLACE)), &[], &format!("add the route by device {ifindex}"))
}

/// False when there is none.
#[napi(catch_unwind)]
pub fn remove_device_route(family_number: u32, table: u32, ifindex: u32) -> Result<bool> {
    let message = Message::Route(libc::RTM_DELROUTE, device_route(family(family_number)?, table, ifindex));
    unless(ask(change(message, 0)), &[libc::ESRCH, libc::ENOENT, libc::ENODEV], "remove the route by a device")
}

fn unreachable_route(family: AddressFamily, table: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = header_table(table);
    message.header.protocol = OURS;
    message.header.kind = RouteType::Unreachable;
    message.attributes = vec![RouteAttribute::Table(table), RouteAttribute::Priority(LAST)];
    message
}

/// `unreachable default metric 4294967295 table N`: what no other route of the table takes goes nowhere. False when it is there.
#[napi(catch_unwind)]
pub fn ensure_unreachable_route(family_number: u32, table: u32) -> Result<bool> {
    let ours = |route: &TableRoute| route.unreachable && route.prefix_length == 0 && route.metric == LAST;
    if routes(family_number, table)?.iter().any(ours) {
        return Ok(false);
    }
    let message = Message::Route(libc::RTM_NEWROUTE, unreachable_route(family(family_number)?, table));
    unless(ask(change(message, NLM_F_CREATE | NLM_F_EXCL)), &[], "add the unreachable route")
}

/// False when there is none.
#[napi(catch_unwind)]
pub fn remove_unreachable_route(family_number: u32, table: u32) -> Result<bool> {
    let message = Message::Route(libc::RTM_DELROUTE, unreachable_route(family(family_number)?, table));
    unless(ask(change(message, 0)), &[libc::ESRCH, libc::ENOENT], "remove the unreachable route")
}

/// Where a packet of ours to this address, under this mark, would go. Absent: nowhere.
#[napi(catch_unwind)]
pub fn way_to(address: String, mark: u32) -> Result<Option<Way>> {
    let address: IpAddr = address.parse().map_err(|_| failure(libc::EINVAL, &format!("no address: {address}"), ""))?;
    let mut message = RouteMessage::default();
    (message.header.address_family, message.header.destination_prefix_length) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::from(address)), RouteAttribute::Mark(mark)];
    let nowhere = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL];
    let answers = match ask(change(Message::Route(libc::RTM_GETROUTE, message), 0)) {
        Err(error) if error.raw_os_error().is_some_and(|errno| nowhere.contains(&errno)) => return Ok(None),
        other => other.map_err(|e| failed(&e, &format!("look the route to {address} up")))?,
    };
    Ok(answers.iter().find_map(|answer| match answer {
        Message::Route(_, route) => read_way(route),
        Message::Rule(..) => None,
    }))
}

fn read_way(message: &RouteMessage) -> Option<Way> {
    let (mut ifindex, mut mtu) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| if let RouteMetric::Mtu(bytes) = metric { Some(*bytes) } else { None });
            }
            _ => {}
        }
    }
    ifindex.map(|ifindex| Way { ifindex, mtu })
}
