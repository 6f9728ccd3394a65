/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * DNS that the agent looks at, in a TAP device of its own: queries where policy says what may be asked for, and answers to
 * workloads whose policy admits by name. What it writes goes on from where it was put aside, and is not judged a second time.
 * Without an agent answers pass, and what names stood for stays; queries under rules do not.
 */
#pragma once
#include "frame.h"
#include "flow.h"

#define DNS_PORT 53

static __always_inline struct naming_state *naming_in_force(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&naming, &only);
}

static __always_inline int has_mark_looked_at(struct __sk_buff *skb)
{
	return config.values.mark_looked_at && (skb->mark & MARK_MASK) == config.values.mark_looked_at;
}

/* Anybody on this host can mark what goes to a workload: it must have come by the device, which only the agent writes to. */
static __always_inline int is_answer_looked_at(struct __sk_buff *skb)
{
	struct naming_state *state;

	if (!has_mark_looked_at(skb))
		return 0;
	state = naming_in_force();
	return state && state->ifindex && skb->ingress_ifindex == state->ifindex;
}

/* Where the layer-4 payload begins is not kept; only TCP has packets without one. */
static __always_inline int has_payload(struct __sk_buff *skb, const struct packet *p)
{
	__u8 offset;

	if (p->protocol != IPPROTO_TCP)
		return 1;
	if (bpf_skb_load_bytes(skb, p->l4_offset + 12, &offset, 1))
		return 0;
	return p->l4_offset + (offset >> 4) * 4 < ETH_HLEN + p->length;
}

static __always_inline int is_dns_transport(const struct packet *p)
{
	return p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_TCP;
}

static __always_inline int is_fragment(const struct packet *p)
{
	return p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT);
}

/*
 * An answer in a flow that this workload opened. Fragments are not put together: what they say is not learned.
 * Returns 1 when it was given to the agent, with `action` what becomes of the packet.
 */
static __noinline int answer_waits(struct __sk_buff *skb, const struct packet *p, const struct flow *flow)
{
	struct naming_state *state = naming_in_force();

	if (!state || !state->ifindex || state->alive_until_ns < coarse_now() || is_fragment(p) || !has_payload(skb, p))
		return 0;
	/* Names are asked for at port 53; where policy has rules for DNS, at the port of the rule. */
	if (p->source_port != bpf_htons(DNS_PORT) && flow->egress.verdict != VERDICT_DNS)
		return 0;
	count_statistic(STATISTIC_DNS_ANSWERS);
	return 1;
}

static __always_inline int is_answer_to_learn(struct __sk_buff *skb, const struct packet *p, const struct flow *flow,
					      __u32 side, __u32 endpoint_flags)
{
	return (endpoint_flags & ENDPOINT_LEARNS_NAMES) && side == 1 && is_dns_transport(p) && answer_waits(skb, p, flow);
}

static __always_inline int to_agent(void)
{
	struct naming_state *state = naming_in_force();

	return state ? bpf_redirect(state->ifindex, 0) : TC_ACT_SHOT;
}

/* What the agent let go on, or wrote itself: judged when it was put aside, or an answer of the agent's own. */
static __noinline __maybe_unused int pass_looked_at(struct __sk_buff *skb, const struct packet *p, __u32 hook)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &p->key);
	__u32 side;

	skb->mark &= ~MARK_MASK;
	if (flow) {
		side = side_of(p, flow);
		if (!flow->ifindex[side & 1]) /* otherwise it was counted where it came from */
			account(skb, p, flow, side, coarse_now(), hook);
	}
	count_packet(REASON_NONE, hook, p->length);
	return TC_ACT_UNSPEC;
}

/* Returns 1 when the packet is a query that the agent must look at first, or a negative drop reason when it cannot. */
static __noinline int query_waits(struct __sk_buff *skb, const struct packet *p, const struct flow_half *egress, __u32 side,
				  __u32 hook)
{
	struct naming_state *state;

	if (hook != HOOK_FROM_WORKLOAD || side != 0 || egress->verdict != VERDICT_DNS)
		return 0;
	if (is_fragment(p))
		return -REASON_IP_FRAGMENTATION_NOT_SUPPORTED;
	if (!has_payload(skb, p))
		return 0;
	state = naming_in_force();
	if (!state || !state->ifindex || state->alive_until_ns < coarse_now())
		return -REASON_SOCKET_LOOKUP_FAILED;
	count_statistic(STATISTIC_DNS_QUERIES);
	return 1;
}
