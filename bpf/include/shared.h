/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the kernel programs and user space both know: plain structs, enums, sizes. The TypeScript readers and
 * writers (control-plane/generated/bpf.ts) are generated from this file's BTF; `make check-generated` compares.
 * Addresses are 16 bytes everywhere, IPv4 mapped into IPv6 (RFC 4291 §2.5.5.2). Ports are in network order.
 * A change of size or meaning raises LAYOUT_VERSION; `spare` fields exist so that this is rare.
 */
#pragma once
#include <linux/types.h>
#include "reasons.h"

#define ADDRESS_BYTES 16

enum layout {
	LAYOUT_VERSION = 2,
};

/* Reserved identities: the numbers are Cilium's, so that flows read the same in its tools. */
enum reserved_identity {
	IDENTITY_ANY = 0, /* in policy keys: every identity. A packet never has it. */
	IDENTITY_HOST = 1,
	IDENTITY_WORLD = 2,
	IDENTITY_UNMANAGED = 3,
	IDENTITY_REMOTE_NODE = 6,
	IDENTITY_KUBE_APISERVER = 7,
	IDENTITY_LOCAL_FIRST = 1 << 24, /* from here on: addresses outside of the cluster, known by range or by name */
};

/* Rule ids 1 to 15 are ours; user space names the others. */
enum reserved_rule {
	RULE_NONE = 0,	     /* no policy selects the endpoint in this direction */
	RULE_LOCAL_HOST = 1, /* this node's own processes may reach its workloads (probes) */
	RULE_BYPASS = 2,     /* enforcement was off: `sidestep bypass` */
	RULE_NOT_SYNCED = 3, /* a new endpoint stays closed until every source has answered once */
	RULE_FIRST = 16,
};

enum verdict {
	VERDICT_NONE = 0, /* this half of the flow is not decided on this node */
	VERDICT_ALLOW = 1,
	VERDICT_DENY = 2,
	VERDICT_REDIRECT = 3, /* an HTTP rule: through this node's Envoy, which judges each request */
	VERDICT_DNS = 4,      /* a DNS rule: the agent judges each query */
};

/* What Envoy is told of each half. User space numbers the decision points of HTTP rules from RULESET_FIRST on. */
enum ruleset {
	RULESET_UNKNOWN = 0, /* denied */
	RULESET_PASS = 1,    /* admitted at layer 4, or decided on another node */
	RULESET_FIRST = 16,
};

/* Which part of the rule matched: Hubble's policy_match_type. */
enum match {
	MATCH_NONE = 0,
	MATCH_L3_ONLY = 1,
	MATCH_L3_L4 = 2,
	MATCH_L4_ONLY = 3,
	MATCH_ALL = 4,
	MATCH_L3_PROTO = 5,
	MATCH_PROTO_ONLY = 6,
};

/* endpoints: interface index of the host side of a workload's veth -> the workload. */
enum endpoint_flag {
	ENDPOINT_CHECK_MAC = 1,
	ENDPOINT_LEARNS_NAMES = 2, /* answers of DNS to it wait until what they say is in the tables */
};

struct endpoint {
	__u32 id;
	__u32 identity;
	__u32 egress_table;
	__u32 ingress_table;
	__u32 namespace_id;   /* FNV-1a of the namespace's name: the key of `bypass` */
	__u32 master_ifindex; /* the bridge the veth is a port of, or 0 */
	__u8 mac[6];	      /* of the workload's side */
	__u8 flags;
	__u8 version;
	__u32 authentication_table; /* what peers' ingress asks of flows from here, by peer; 0: nothing */
	__u32 audit_egress_table;   /* with what is only audited counted in; 0: nothing is */
	__u32 audit_ingress_table;
};

/* endpoint_addresses: who owns an address on this node. */
struct address_key {
	__u32 scope;
	__u8 address[ADDRESS_BYTES];
};

struct endpoint_address {
	__u32 ifindex;
	__u32 generation; /* raised each time the address changes hands */
};

/* ipcache (single addresses) and ipcache_prefixes (ranges): address -> identity. */
struct prefix_key {
	__u32 prefix_length; /* 32 bits of scope, then the address: 32 to 160 */
	__u32 scope;
	__u8 address[ADDRESS_BYTES];
};

enum ipcache_flag {
	IPCACHE_NODE_ADDRESS = 1, /* of this node: `host` only for packets that this node made */
	IPCACHE_ENCRYPT = 2,	  /* a pod on another node, and all pod traffic between nodes is to be encrypted */
};

struct ipcache_entry {
	__u32 identity;
	__u32 node; /* number of another node; 0: this one, or on no node that is known */
	__u32 flags;
	__u32 spare;
};

/* policy: the longest prefix inside {protocol, pad, port} decides for one table and identity. */
#define POLICY_PREFIX_BASE 64 /* table and identity */
#define POLICY_PREFIX_PROTOCOL 80
#define POLICY_PREFIX_FULL 96

struct policy_key {
	__u32 prefix_length;
	__u32 table;
	__u32 identity; /* IDENTITY_ANY: every peer */
	__u8 protocol;
	__u8 pad;
	__be16 port; /* destination port; for ICMP the type */
};

struct policy_entry {
	__u32 rule;
	__u16 ruleset; /* of a redirect: enum ruleset or a decision point */
	__u8 verdict;
	__u8 precedence; /* higher wins between the identity's own entry and the one for every identity */
	__u8 prefix;	 /* prefix bits behind table and identity: 0, 16 (protocol) to 32 (one port) */
	__u8 auth;	 /* enum authentication */
	__u8 spare[2];
};

/* What a rule asks of the two ends before their packets pass. */
enum authentication {
	AUTHENTICATION_NONE = 0,
	AUTHENTICATION_REQUIRED = 1,
	AUTHENTICATION_ALWAYS_FAIL = 2,
	AUTHENTICATION_INHERIT = 3, /* in entries only: the rule says nothing, the weaker entry may */
};

/*
 * authentications: what was proven. One entry per identity and node, not per pair: a flow between a workload here and one on
 * node N passes while {theirs, N} and {ours, N} hold; between two workloads here while {ours, 0} holds for both.
 */
enum authentication_side {
	SIDE_THEIRS = 0, /* the node has proven this identity of its own to us */
	SIDE_OURS = 1,	 /* the node has accepted this identity of ours; node 0: we have a valid SVID for it */
};

struct authentication_key {
	__u32 identity;
	__u32 node;
	__u32 side;
};

struct authentication_entry {
	__u64 expires_ns; /* CLOCK_MONOTONIC */
	__u32 epoch;	  /* of the tunnel key that was in force */
	__u32 spare;
};

/* protection: what all flows share. One entry. */
enum protection_flag {
	PROTECTION_STRICT = 1, /* what would leave this node unencrypted is dropped */
};

struct protection_state {
	__u32 tunnel_ifindex; /* 0: there is no tunnel */
	__u32 hold_ifindex;   /* of the TAP device that first packets wait in; 0: nothing is held */
	__u32 generation;     /* raised whenever something that was proven no longer is */
	__u32 flags;
};

/* naming: DNS that the agent looks at. One entry. */
struct naming_state {
	__u64 alive_until_ns; /* CLOCK_MONOTONIC; raised while there is an agent. After it answers pass and queries under rules do not. */
	__u32 ifindex;	      /* of the TAP device that they wait in; 0: there is none */
	__u32 spare;
};

/* policy_tables: table id -> state of the whole table. Revisions are unique over all tables and never used again. */
struct policy_table {
	__u32 revision;	    /* 0: no such table, everything is refused */
	__u32 default_rule; /* what refuses when no entry matches: the policies that switched default deny on */
	__u8 enforcing;	    /* 0: no policy selects these endpoints in this direction, everything is allowed */
	__u8 pad[3];
	__u32 spare;
};

/* flows: one entry a flow, key canonical (the lower of the two ends first), seen by every hook in both directions. */
struct flow_key {
	__u32 scope;
	__u8 protocol;
	__u8 leg;  /* enum leg */
	__u8 echo; /* enum echo */
	__u8 pad;
	__u8 low[ADDRESS_BYTES];
	__u8 high[ADDRESS_BYTES];
	__be16 low_port;
	__be16 high_port;
	__u32 spare;
} __attribute__((aligned(8))); /* copied and compared eight bytes at a time */

enum leg {
	LEG_NONE = 0,
	LEG_ENVOY = 1, /* Envoy's upstream connection, which carries the client's address; written by Envoy's own cgroup hook */
};

/* Both ends of an echo have the same port, its id: who asks whom tells two flows apart. */
enum echo {
	ECHO_NONE = 0,
	ECHO_OF_LOW = 1, /* the lower end asks */
	ECHO_OF_HIGH = 2,
};

enum flow_state {
	FLOW_NEW = 1, /* nothing has come back yet */
	FLOW_ESTABLISHED = 2,
	FLOW_CLOSING = 3, /* one FIN */
	FLOW_CLOSED = 4,  /* both FINs, or RST */
	FLOW_RESET = 5,	  /* policy took it back: resets pass, nothing else */
};

enum flow_flag {
	FLOW_INITIATOR_IS_HIGH = 1,
	FLOW_ADOPTED = 2, /* first seen mid-stream */
	FLOW_BYPASSED = 4,
	FLOW_CLOSE_REPORTED = 8,
	FLOW_FIN_INITIATOR = 16,
	FLOW_FIN_RESPONDER = 32,
	FLOW_REDIRECTED = 128, /* through Envoy, for the connection's life */
	FLOW_CHARGED = 64, /* a token of the initiator's quota is taken and not yet given back */
};

/* Of a redirected flow. */
enum flow_steered {
	STEERED_FIRST = 1,   /* before the node's stack saw it: connection tracking knows nothing of it, nor may it of the answers */
	STEERED_ARRIVED = 2, /* Envoy's listener was asked for */
};

enum half_flag {
	HALF_AUDITED = 1, /* it passes; `rule` and `match` are what would have refused it */
	HALF_LOOKED = 2,  /* `rule` and `ruleset` are of what is audited: Envoy notes what it would refuse */
};

/* What one end's policy said: egress of the initiator, ingress of the responder. */
struct flow_half {
	__u32 revision; /* of the table that decided; 0 when this half is not decided on this node */
	__u32 rule;
	__u16 ruleset;
	__u8 verdict;
	__u8 match;
	__u8 auth;  /* enum authentication */
	__u8 flags; /* enum half_flag */
	__u8 spare[2];
};

/* What protects a flow. */
enum security {
	SECURITY_AUTHENTICATED = 1, /* both ends must be proven, at every packet */
	SECURITY_TUNNEL_IN = 2,	    /* what comes from the other node must have come through the tunnel */
	SECURITY_TUNNEL_OUT = 4,    /* what goes to the other node goes through the tunnel */
	SECURITY_HELD = 8,	    /* first packets wait for a proof */
	SECURITY_DRAINING = 16,	    /* it is there, and those that waited go first */
};

struct flow {
	__u64 created_ns;  /* CLOCK_MONOTONIC */
	__u64 deadline_ns; /* CLOCK_MONOTONIC_COARSE where the kernel offers it */
	__u64 packets[2];  /* from the initiator, from the responder */
	__u64 bytes[2];	   /* of layer 3, headers included */
	struct flow_half egress;
	struct flow_half ingress;
	__u32 identity[2]; /* initiator, responder */
	__u32 ifindex[2];  /* interface of the workload on this node, or 0 */
	__u8 state;
	__u8 flags;
	__u8 tcp_flags[2]; /* all TCP flags seen, by side */
	__u8 version;
	__u8 security; /* enum security */
	__u8 hold_hook; /* where held packets go back to: enum hook */
	__u8 steered; /* enum flow_steered */
	__u64 proven_until_ns; /* of an authenticated flow, as of `generation` */
	__u32 generation;
	__u32 hold_ifindex;
	__u32 held; /* packets that were put aside and that came back */
	__u32 released;
	__u8 original_address[ADDRESS_BYTES]; /* reserved: destination before translation */
	__be16 original_port;
	__u8 spare[14];
};

/* fragments: the ports that the first fragment of a datagram named. */
struct fragment_key {
	__u32 scope;
	__u32 id;
	__u8 protocol;
	__u8 pad[3];
	__u8 source[ADDRESS_BYTES];
	__u8 destination[ADDRESS_BYTES];
};

struct fragment {
	__u64 deadline_ns;
	__be16 source_port;
	__be16 destination_port;
	__be16 policy_port;
	__u16 spare;
};

/* quotas: new flows of one endpoint, a token bucket that refills by itself so that it needs no agent. */
struct quota {
	__u64 refilled_ns;
	__s64 tokens;
};

/* events: what user space is told. One shape for all kinds; fields that a kind does not have are 0. */
enum event_kind {
	EVENT_NEW = 1,
	EVENT_DROP = 2,
	EVENT_CLOSE = 3,
};

enum hook {
	HOOK_FROM_WORKLOAD = 1,
	HOOK_TO_WORKLOAD = 2,
	HOOK_TO_ENVOY = 3, /* sk_lookup */
};

enum event_flag {
	EVENT_ADOPTED = 1,
	EVENT_BYPASSED = 2,
	EVENT_REPLY = 4,   /* a drop: the packet was an answer in a flow that was known */
	EVENT_INGRESS = 8, /* a drop: the ingress half decided; otherwise the egress half, or none */
	EVENT_REVOKED = 16, /* the flow was allowed before the policy changed; not a drop where the policy is only audited */
	EVENT_RELATED = 32, /* an ICMP error about a flow */
};


struct event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u8 kind;
	__u8 hook;
	__u8 reason; /* of a drop: enum drop_reason */
	__u8 protocol;
	__u8 tcp_flags; /* of this packet; at close: of both sides together */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 flags;
	__u8 source[ADDRESS_BYTES];	 /* new and close: the initiator; drop: of the packet */
	__u8 destination[ADDRESS_BYTES]; /* new and close: the responder; drop: of the packet */
	__be16 source_port;
	__be16 destination_port;
	__u32 source_identity;
	__u32 destination_identity;
	__u32 ifindex;	     /* of the hook */
	__u32 source_ifindex; /* workload on this node, or 0 */
	__u32 destination_ifindex;
	__u32 length; /* of the packet, layer 3 */
	struct flow_half egress;
	struct flow_half ingress;
	__u8 security; /* enum security */
	__u8 pad[7];
	__u64 duration_ns; /* at close */
	__u64 packets[2];
	__u64 bytes[2];
};

/* counters: per CPU, index = reason * 2 + direction (0 from the workload, 1 to it). Reason 0 is "passed". */
struct counter {
	__u64 packets;
	__u64 bytes;
};
#define COUNTER_REASONS 256

/* statistics: per CPU, what the programs themselves could not do. */
enum statistic {
	STATISTIC_EVENTS_MADE = 0,
	STATISTIC_EVENTS_LOST = 1, /* the ring was full */
	STATISTIC_FLOW_INSERT_FAILED = 2,
	STATISTIC_FRAGMENT_INSERT_FAILED = 3,
	STATISTIC_FLOWS_CREATED = 4,
	STATISTIC_FLOWS_ADOPTED = 5,
	STATISTIC_REEVALUATED = 6,
	STATISTIC_RESETS_SENT = 7,
	STATISTIC_STEERED = 8,		/* packets handed to Envoy */
	STATISTIC_LEGS_RECORDED = 9,	/* Envoy's upstream connections */
	STATISTIC_LEGS_BY_SOCKET = 10, /* packets of one whose entry was evicted: the socket itself was asked */
	STATISTIC_IDENTITIES_READ = 11,
	STATISTIC_IDENTITIES_UNKNOWN = 12,
	STATISTIC_HELD = 13,		/* packets put aside until a proof */
	STATISTIC_RELEASED = 14,
	STATISTIC_HELD_DUPLICATES = 15, /* retransmissions of one that waits */
	STATISTIC_HELD_OVERFLOW = 16,	/* of a flow that has too many waiting */
	STATISTIC_HELD_LOST = 17,	/* came back and nobody knew them any more */
	STATISTIC_UPSTREAM_REFUSED = 18, /* connections of Envoy to a backend that policy or authentication forbids */
	STATISTIC_TUNNEL_ASTRAY = 19,	/* came out of the tunnel for no pod of this node */
	STATISTIC_DNS_QUERIES = 20,	/* put aside for the agent to judge */
	STATISTIC_DNS_ANSWERS = 21,	/* put aside until what they say is in the tables */
	STATISTIC_DNS_LOST = 22,	/* came back and nobody knew their flow any more */
	STATISTIC_COUNT = 24,
};

/*
 * listeners: Envoy's listening sockets. Slot = slot of the Envoy * 8 + enum listener_kind * 2 + (IPv6 ? 1 : 0). What a
 * connection is told by is the mark of the socket that accepted it, which the SYN-ACK has, too; the ports follow each other.
 */
enum listener_kind {
	LISTENER_TRACKED = 0,
	LISTENER_UNTRACKED = 1, /* connection tracking has not seen the client's packets, nor may it see the answers */
	LISTENER_TUNNEL = 2,	/* the client is on another node and came through the tunnel */
	LISTENER_KINDS = 3,
};
#define LISTENER_SLOTS 16

/* proxy: which Envoy is in force. One entry. */
struct proxy_state {
	__u32 active; /* its slot, without the family */
	__u32 generation;
};

/* What getsockopt answers Envoy's listener filter, native/envoy/identity_module.c, which includes this file. */
#define IDENTITY_LEVEL 0x5353
#define IDENTITY_OPTION 1

struct connection_identity {
	__u32 version;
	__u32 egress_ruleset;
	__u32 ingress_ruleset;
	__u32 source_identity;
	__u32 destination_identity;
	__u32 generation;
	__u8 destination[ADDRESS_BYTES]; /* that the client asked for */
	__be16 destination_port;
	__be16 source_port;
	__u32 spare;
};

#define MARK_MASK 0xf00

/* Set before load, frozen by the kernel: the verifier cuts what is switched off. */
struct config {
	__u32 scope;
	__u8 coarse_clock; /* bpf_ktime_get_coarse_ns exists (5.11) */
	__u8 pad[3];
	__u64 quota_tokens;	 /* flows a workload may hold open unanswered */
	__u64 quota_interval_ns; /* one token comes back per interval */
	__u64 established_ns;	 /* idle time after which an established TCP flow is forgotten */
	__u64 opening_ns;	 /* TCP flow without an answer */
	__u64 closing_ns;	 /* TCP flow with a FIN or RST */
	__u64 datagram_ns;	 /* UDP, ICMP and everything else */
	__u64 fragment_ns;
	__u32 mark_to_envoy;   /* a routing hint, never evidence; 0: nothing is ever steered */
	__u32 loopback_ifindex;
	__u16 envoy_port;      /* of Envoy's listeners, host order; enum listener_kind is added */
	__u16 leg_port_first;  /* source ports of Envoy's upstream connections, host order: from here to the end */
	__u32 mark_to_tunnel;  /* a routing hint, never evidence */
	__u32 mark_released;   /* was held before; a hint too: it is judged like any other, only not held again */
	__u32 mark_untracked;  /* what Envoy sends and connection tracking must not see */
	__u32 mark_looked_at;  /* DNS that the agent has looked at; believed only with the way it came */
};
