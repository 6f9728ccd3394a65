//! nftables tables of ours: packets under certain marks, or from certain interfaces, are not tracked and so not translated
//! (before connection tracking: raw, -300), and some are never forwarded. linux/netfilter/nf_tables.h.
use netlink_packet_core::{NetlinkMessage, NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook, HookNumber, InetHookNumber,
    Immediate, ListAttribute, Meta, MetaKey, NfTablesMessage, Operator, Register, RuleAttribute, RuleMessage, TableAttribute,
    TableFlags, TableMessage, Verdict, VerdictAttribute,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use napi::Result;
use napi_derive::napi;

use crate::errors::{failed, failure};
use crate::talk::{change, exchange, listing, request, Io};

const RAW: i32 = -300;
const ACCEPT: u32 = 1;
/// Of the expression "bitwise": and with a mask, then xor.
const BOOLEAN: u32 = 0;
const PREROUTING: &str = "prerouting";
const FORWARD: &str = "forward";
const OUTPUT: &str = "output";
const POSTROUTING: &str = "postrouting";
/// Names are compared whole, zeroes included (IFNAMSIZ).
const NAME_SIZE: usize = 16;
/// NF_DROP
const DROP: Verdict = Verdict::Other(0);

#[napi(object)]
pub struct FwMark {
    pub mark: u32,
    pub mask: u32,
}

#[napi(object)]
pub struct OnlyWay {
    pub mark: u32,
    pub mask: u32,
    /// Name of an interface; it need not be there.
    pub device: String,
}

/// What happens to which packets.
#[napi(object)]
pub struct PacketRules {
    /// Not tracked when they come in.
    pub untracked_in: Vec<FwMark>,
    /// Names of interfaces that untracked packets come in by.
    pub untracked_from: Vec<String>,
    /// Not tracked when this machine sends them.
    pub untracked_out: Vec<FwMark>,
    /// Never forwarded.
    pub not_forwarded: Vec<FwMark>,
    /// Leave by this interface or not at all, wherever they are routed.
    pub only_out_by: Vec<OnlyWay>,
}

type Expression = ListAttribute<ExpressionAttribute>;

fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

fn edge(message: ControlMessage) -> NetlinkMessage<NetfilterMessage> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, libc::NFNL_SUBSYS_NFTABLES as u16);
    request(NetfilterMessage::new(header, message), 0)
}

/// All of them or none.
fn transaction(changes: Vec<NetlinkMessage<NetfilterMessage>>) -> Io<()> {
    let mut batch = vec![edge(ControlMessage::BatchBegin)];
    batch.extend(changes);
    batch.push(edge(ControlMessage::BatchEnd));
    exchange(libc::NETLINK_NETFILTER, batch).map(|_| ())
}

fn list(message: NfTablesMessage) -> Io<Vec<NfTablesMessage>> {
    let answers = exchange(libc::NETLINK_NETFILTER, vec![listing(inet(message))])?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match (answer.header.family, answer.inner) {
            (NetfilterProtoFamily::Inet, NetfilterMessageInner::NfTables(message)) => Some(message),
            _ => None,
        })
        .collect())
}

fn table(name: &str) -> TableMessage {
    TableMessage { attributes: vec![TableAttribute::Name(name.into())] }
}

fn chain(table: &str, name: &str, hook: InetHookNumber) -> ChainMessage {
    ChainMessage {
        attributes: vec![
            ChainAttribute::Table(table.into()),
            ChainAttribute::Name(name.into()),
            ChainAttribute::Hook(vec![Hook::Number(HookNumber::Inet(hook)), Hook::Priority(RAW as u32)]),
            ChainAttribute::Policy(ACCEPT),
            ChainAttribute::Type("filter".into()),
        ],
    }
}

/// `iifname "name"`, `oifname != "name"`
fn interface(key: MetaKey, operator: Operator, name: &str) -> [Expression; 2] {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(NAME_SIZE, 0);
    [
        Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(Register::Reg1)]).into(),
        Expressions::Cmp(vec![Cmp::SourceRegister(Register::Reg1), Cmp::Op(operator), Cmp::Data(DataAttribute::Value(padded))]).into(),
    ]
}

/// `iifname "name" notrack`
fn from_interface(name: &str) -> Vec<Expression> {
    [interface(MetaKey::Iifname, Operator::Equal, name).to_vec(), vec![notrack()]].concat()
}

/// `meta mark & mask == mark oifname != "name" drop`
fn only_by(OnlyWay { mark, mask, device }: &OnlyWay) -> Vec<Expression> {
    let elsewhere = interface(MetaKey::Oifname, Operator::NotEqual, device).to_vec();
    [matching(*mark, *mask), elsewhere, vec![refuse()]].concat()
}

/// `meta mark & mask == mark`, then what is done.
fn marked(FwMark { mark, mask }: &FwMark, action: Expression) -> Vec<Expression> {
    [matching(*mark, *mask), vec![action]].concat()
}

fn matching(mark: u32, mask: u32) -> Vec<Expression> {
    let value = |number: u32| DataAttribute::Value(number.to_ne_bytes().to_vec());
    vec![
        Expressions::Meta(vec![Meta::Key(MetaKey::Mark), Meta::DestinationRegister(Register::Reg1)]).into(),
        Expressions::Bitwise(vec![
            Bitwise::SourceRegister(Register::Reg1),
            Bitwise::DestinationRegister(Register::Reg1),
            Bitwise::Length(4),
            Bitwise::Op(BOOLEAN),
            Bitwise::Mask(value(mask)),
            Bitwise::Xor(value(0)),
        ])
        .into(),
        Expressions::Cmp(vec![Cmp::SourceRegister(Register::Reg1), Cmp::Op(Operator::Equal), Cmp::Data(value(mark))]).into(),
    ]
}

fn notrack() -> Expression {
    ListAttribute::Element(vec![ExpressionAttribute::Name("notrack".into())])
}

fn refuse() -> Expression {
    let verdict = DataAttribute::Verdict(vec![VerdictAttribute::Code(DROP)]);
    Expressions::Immediate(vec![Immediate::DestinationRegister(Register::Verdict), Immediate::Data(verdict)]).into()
}

/// Each with its rules; one that would have none is left out.
fn chains(name: &str, rules: &PacketRules) -> Vec<(ChainMessage, Vec<RuleMessage>)> {
    let all = |marks: &[FwMark], action: fn() -> Expression| marks.iter().map(|each| marked(each, action())).collect::<Vec<_>>();
    let incoming = [all(&rules.untracked_in, notrack), rules.untracked_from.iter().map(|each| from_interface(each)).collect()].concat();
    [
        (PREROUTING, InetHookNumber::PreRouting, incoming),
        (FORWARD, InetHookNumber::Forward, all(&rules.not_forwarded, refuse)),
        (OUTPUT, InetHookNumber::LocalOut, all(&rules.untracked_out, notrack)),
        (POSTROUTING, InetHookNumber::PostRouting, rules.only_out_by.iter().map(only_by).collect()),
    ]
    .into_iter()
    .filter(|(_, _, rules)| !rules.is_empty())
    .map(|(label, hook, rules)| (chain(name, label, hook), rules.into_iter().map(|each| rule(name, label, each)).collect()))
    .collect()
}

fn rule(table: &str, chain: &str, expressions: Vec<Expression>) -> RuleMessage {
    RuleMessage {
        attributes: vec![
            RuleAttribute::Table(table.into()),
            RuleAttribute::Chain(chain.into()),
            RuleAttribute::Expressions(expressions),
        ],
    }
}

/// The kernel's list may say more than was asked for.
fn holds<T: PartialEq>(there: &[T], wanted: &[T]) -> bool {
    wanted.iter().all(|each| there.contains(each))
}

fn same_expression(there: &Expression, wanted: &Expression) -> bool {
    let (ListAttribute::Element(there), ListAttribute::Element(wanted)) = (there, wanted) else { return false };
    wanted.iter().all(|part| {
        there.iter().any(|other| match (other, part) {
            (ExpressionAttribute::Data(other), ExpressionAttribute::Data(part)) => match (other, part) {
                (Expressions::Meta(a), Expressions::Meta(b)) => holds(a, b),
                (Expressions::Bitwise(a), Expressions::Bitwise(b)) => holds(a, b),
                (Expressions::Cmp(a), Expressions::Cmp(b)) => holds(a, b),
                (Expressions::Immediate(a), Expressions::Immediate(b)) => holds(a, b),
                _ => false,
            },
            (other, part) => other == part,
        })
    })
}

fn same_chain(there: &ChainMessage, wanted: &ChainMessage) -> bool {
    wanted.attributes.iter().all(|part| match part {
        ChainAttribute::Hook(wanted) => {
            there.attributes.iter().any(|other| matches!(other, ChainAttribute::Hook(hook) if holds(hook, wanted)))
        }
        part => there.attributes.contains(part),
    })
}

fn same_rule(there: &RuleMessage, wanted: &RuleMessage) -> bool {
    wanted.attributes.iter().all(|part| match part {
        RuleAttribute::Expressions(wanted) => there.attributes.iter().any(|other| {
            matches!(other, RuleAttribute::Expressions(list) if list.len() == wanted.len()
                && list.iter().zip(wanted).all(|(a, b)| same_expression(a, b)))
        }),
        part => there.attributes.contains(part),
    })
}

/// Is it in force (not dormant, owned by no process)? None: there is no such table.
fn awake(name: &str) -> Io<Option<bool>> {
    let tables = list(NfTablesMessage::GetTable(TableMessage { attributes: vec![] }))?;
    Ok(tables.iter().find_map(|message| match message {
        NfTablesMessage::NewTable(table) if table.attributes.contains(&TableAttribute::Name(name.into())) => {
            Some(table.attributes.contains(&TableAttribute::Flags(TableFlags::empty())))
        }
        _ => None,
    }))
}

/// Are our chains and rules there, and nothing else?
fn in_place(name: &str, wanted: &[(ChainMessage, Vec<RuleMessage>)]) -> Io<bool> {
    if awake(name)? != Some(true) {
        return Ok(false);
    }
    let chains: Vec<ChainMessage> = list(NfTablesMessage::GetChain(ChainMessage { attributes: vec![] }))?
        .into_iter()
        .filter_map(|message| match message {
            NfTablesMessage::NewChain(chain) if chain.attributes.contains(&ChainAttribute::Table(name.into())) => Some(chain),
            _ => None,
        })
        .collect();
    let ours = RuleMessage { attributes: vec![RuleAttribute::Table(name.into())] };
    let rules: Vec<RuleMessage> = list(NfTablesMessage::GetRule(ours))?
        .into_iter()
        .filter_map(|message| match message {
            NfTablesMessage::NewRule(rule) if rule.attributes.contains(&RuleAttribute::Table(name.into())) => Some(rule),
            _ => None,
        })
        .collect();
    Ok(chains.len() == wanted.len()
        && rules.len() == wanted.iter().map(|(_, rules)| rules.len()).sum::<usize>()
        && wanted.iter().all(|(chain, ours)| {
            chains.iter().any(|there| same_chain(there, chain)) && ours.iter().all(|rule| rules.iter().any(|there| same_rule(there, rule)))
        }))
}

fn ensure(name: &str, wanted_rules: &PacketRules) -> Io<bool> {
    let wanted = chains(name, wanted_rules);
    if in_place(name, &wanted)? {
        return Ok(false);
    }
    // Made, so that it can be deleted whatever it holds, and made anew: in one transaction there is no gap.
    let mut changes = vec![
        change(inet(NfTablesMessage::NewTable(table(name))), NLM_F_CREATE),
        change(inet(NfTablesMessage::DeleteTable(table(name))), 0),
        change(inet(NfTablesMessage::NewTable(table(name))), NLM_F_CREATE),
    ];
    for (chain, rules) in wanted {
        changes.push(change(inet(NfTablesMessage::NewChain(chain)), NLM_F_CREATE));
        changes.extend(rules.into_iter().map(|rule| change(inet(NfTablesMessage::NewRule(rule)), NLM_F_CREATE | NLM_F_APPEND)));
    }
    transaction(changes)?;
    Ok(true)
}

/// A kernel without nftables, or without the expression, says so in several ways.
fn missing(error: std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOENT | libc::EPROTONOSUPPORT) => std::io::Error::from_raw_os_error(libc::EOPNOTSUPP),
        _ => error,
    }
}

/// Puts the table there whole, or again when it is not as it should be. False when it was.
#[napi(catch_unwind)]
pub fn ensure_packet_table(name: String, rules: PacketRules) -> Result<bool> {
    let devices = rules.only_out_by.iter().map(|each| &each.device);
    if rules.untracked_from.iter().chain(devices).any(|each| each.is_empty() || each.len() >= NAME_SIZE) {
        return Err(failure(libc::EINVAL, "no name of an interface", ""));
    }
    ensure(&name, &rules).map_err(|e| failed(&missing(e), &format!("nftables table inet {name}")))
}

/// False when there is none.
#[napi(catch_unwind)]
pub fn remove_packet_table(name: String) -> Result<bool> {
    match transaction(vec![change(inet(NfTablesMessage::DeleteTable(table(&name))), 0)]) {
        Ok(()) => Ok(true),
        // No such table, or no tables at all.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => Ok(false),
        Err(error) => Err(failed(&error, &format!("nftables table inet {name}"))),
    }
}
