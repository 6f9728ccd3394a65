/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Authentication and encryption of a flow: does it need proofs, are they there, did the packet come through the tunnel, must
 * it leave through it? One chain: certificate -> session -> tunnel key -> source address -> identity; this is its last link.
 */
#pragma once
#include "policy.h"

struct decision {
	struct flow_half egress;
	struct flow_half ingress;
};

struct protect {
	/* Asked with. */
	__u64 now;
	__u32 l4; /* as for decide_half */
	__u32 ingress_ifindex;
	__u32 hook;
	/* Answered. */
	__u32 generation;
	__u64 proven_until_ns;
	__u8 security;
};

/* The proof is not there yet: the packet may wait for it. */
#define HOLD 1

/* When the proofs that a flow between two identities needs end, or 0. @node: of the remote one, 0 when both are here */
static __noinline __u64 proven_until(__u32 local, __u32 remote, __u32 node)
{
	struct authentication_key key = { .identity = local, .node = node, .side = SIDE_OURS };
	struct authentication_entry *ours, *theirs;

	ours = bpf_map_lookup_elem(&authentications, &key);
	key.identity = remote;
	if (node)
		key.side = SIDE_THEIRS;
	theirs = bpf_map_lookup_elem(&authentications, &key);
	if (!ours || !theirs)
		return 0;
	return ours->expires_ns < theirs->expires_ns ? ours->expires_ns : theirs->expires_ns;
}

/* What the policy of a peer on another node asks of flows to it: its node will ask at the first packet. */
static __noinline __u32 peers_authentication(__u32 table, __u32 identity, __u32 l4)
{
	struct policy_key key = {
		.prefix_length = POLICY_PREFIX_FULL,
		.table = table,
		.identity = identity,
		.protocol = l4 >> 16,
		.port = (__u16)l4,
	};
	struct policy_entry *entry;

	if (!table)
		return AUTHENTICATION_NONE;
	entry = bpf_map_lookup_elem(&policy, &key);
	return entry ? entry->auth : AUTHENTICATION_NONE;
}

static __always_inline int came_through_tunnel(const struct protect *p, const struct protection_state *state)
{
	/* Only what came through the tunnel is held at `to_workload`, so what is put back there did. */
	return (state->tunnel_ifindex && p->ingress_ifindex == state->tunnel_ifindex) ||
	       (state->hold_ifindex && p->ingress_ifindex == state->hold_ifindex);
}

/*
 * Both halves admit the flow: what must protect it?
 * Returns 0 when it may pass as `p` says, HOLD, or a negative drop reason.
 */
static __noinline int protect_flow(const struct end *initiator, const struct end *responder, const struct decision *d,
				   struct protect *p)
{
	struct protection_state *state = protection_in_force();
	const struct end *remote = !initiator->ifindex ? initiator : responder;
	const struct end *local = !initiator->ifindex ? responder : initiator;
	__u32 auth = d->egress.auth | d->ingress.auth, outside = !remote->ifindex, through;

	p->security = 0;
	p->proven_until_ns = 0;
	p->generation = 0;
	if (!state)
		return auth ? -REASON_AUTH_REQUIRED : 0;
	p->generation = state->generation;
	if (outside && !auth && remote == responder && remote->node)
		auth = peers_authentication(local->authentication_table, remote->identity, p->l4);
	if (auth & AUTHENTICATION_ALWAYS_FAIL)
		return -REASON_AUTH_REQUIRED;
	through = came_through_tunnel(p, state);
	if (auth) {
		p->security = SECURITY_AUTHENTICATED;
		if (outside) {
			/* An address on no node that we know of cannot be proven. */
			if (!remote->node)
				return -REASON_AUTH_REQUIRED;
			p->security |= SECURITY_TUNNEL_IN | SECURITY_TUNNEL_OUT;
			if (p->hook == HOOK_TO_WORKLOAD && !through)
				return -REASON_UNENCRYPTED_TRAFFIC;
		}
		p->proven_until_ns = proven_until(local->identity, remote->identity, remote->node);
		return p->proven_until_ns > p->now ? 0 : HOLD;
	}
	if (!outside)
		return 0;
	if (remote->flags & IPCACHE_ENCRYPT)
		p->security = SECURITY_TUNNEL_OUT;
	if (p->hook == HOOK_TO_WORKLOAD && through)
		p->security |= SECURITY_TUNNEL_OUT; /* answered the way it came */
	if (!(state->flags & PROTECTION_STRICT) || remote->identity == IDENTITY_HOST || (remote->flags & IPCACHE_NODE_ADDRESS))
		return 0;
	if (!(p->security & SECURITY_TUNNEL_OUT) || (p->hook == HOOK_TO_WORKLOAD && !through))
		return -REASON_UNENCRYPTED_TRAFFIC;
	p->security |= SECURITY_TUNNEL_IN;
	return 0;
}

/*
 * What must hold at every packet of a live flow, cheaply. Marks what must leave through the tunnel.
 * @side: of the packet, see side_of
 * Returns 0, or 1 when the flow must be looked at again.
 */
static __noinline __maybe_unused int keep_protected(struct __sk_buff *skb, const struct flow *flow, __u32 side, __u32 hook, __u64 now)
{
	struct protection_state *state = protection_in_force();
	__u32 source = flow->ifindex[side & 1], destination = flow->ifindex[(side ^ 1) & 1];

	if (!state || (flow->security & SECURITY_HELD))
		return 1;
	if ((flow->security & SECURITY_AUTHENTICATED) &&
	    (flow->generation != state->generation || flow->proven_until_ns <= now))
		return 1;
	if (hook == HOOK_TO_WORKLOAD) {
		if (!source && (flow->security & SECURITY_TUNNEL_IN) && skb->ingress_ifindex != state->tunnel_ifindex)
			return 1;
	} else if (!destination && (flow->security & SECURITY_TUNNEL_OUT)) {
		skb->mark = (skb->mark & ~MARK_MASK) | config.values.mark_to_tunnel;
	}
	return 0;
}

/* The mark of the packet that a flow was decided with; keep_protected does it for the others. */
static __always_inline __maybe_unused void mark_for_tunnel(struct __sk_buff *skb, __u32 security, const struct end *destination, __u32 hook)
{
	if (hook != HOOK_FROM_WORKLOAD)
		return;
	if ((security & SECURITY_TUNNEL_OUT) && !destination->ifindex)
		skb->mark = (skb->mark & ~MARK_MASK) | config.values.mark_to_tunnel;
	else if ((skb->mark & MARK_MASK) == config.values.mark_released)
		skb->mark &= ~MARK_MASK;
}
