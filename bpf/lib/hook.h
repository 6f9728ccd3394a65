/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the two hooks have in common: read the frame, find the flow, pass or drop, count. */
#pragma once
#include "open.h"

/* Let the next program or the stack have it. */
#define PASS TC_ACT_UNSPEC

/* Enough of the packet for the longest fixed headers is made readable in place. */
static __always_inline int make_readable(struct __sk_buff *skb)
{
	__u32 want = ETH_HLEN + sizeof(struct ipv6hdr);

	if ((void *)(long)skb->data + want <= (void *)(long)skb->data_end)
		return 0;
	return bpf_skb_pull_data(skb, skb->len < want ? skb->len : want);
}

/* Returns 0 for an IP packet now described by `p`, 1 for ARP, or a negative drop reason. */
static __always_inline int read_frame(struct __sk_buff *skb, struct packet *p)
{
	struct ethhdr *eth;
	__be16 type;
	int err;

	p->length = skb->len;
	make_readable(skb);
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return -REASON_INVALID_PACKET_DROPPED;
	if (skb->vlan_present) /* a bridge could deliver a tagged frame unseen */
		return -REASON_UNSUPPORTED_L2_PROTOCOL;
	type = eth->h_proto;
	if (type == bpf_htons(ETH_P_ARP))
		return 1;
	if (type == bpf_htons(ETH_P_IP))
		err = parse_ipv4(skb, p);
	else if (type == bpf_htons(ETH_P_IPV6))
		err = parse_ipv6(skb, p);
	else
		return -REASON_UNSUPPORTED_L2_PROTOCOL;
	if (!err)
		make_key(p);
	return err;
}

/* Only after make_readable and a length check; the workload's MAC never changes on an honest veth. */
static __always_inline int mac_is_honest(struct __sk_buff *skb, const struct endpoint *ep)
{
	struct ethhdr *eth = (void *)(long)skb->data;

	if (!(ep->flags & ENDPOINT_CHECK_MAC))
		return 1;
	return (void *)(eth + 1) <= (void *)(long)skb->data_end && same_mac(eth->h_source, ep->mac);
}

static __always_inline int pass(struct packet *p, __u32 hook)
{
	if (p->flags & PACKET_FIRST_FRAGMENT)
		remember_fragment(p);
	count_packet(REASON_NONE, hook, p->length);
	return PASS;
}

static __always_inline int drop(const struct packet *p, int err, __u32 hook)
{
	count_packet(-err, hook, p->length);
	return TC_ACT_SHOT;
}

/* A drop before anything is known of the ends but the workload's own. */
static __noinline int drop_early(struct __sk_buff *skb, const struct packet *p, int err, __u32 hook)
{
	struct refusal refusal = { .reason = -err };

	report_drop(skb, p, &refusal, hook);
	return drop(p, err, hook);
}

/* A revoked TCP flow: the packet goes on as a reset if it can be made one. It is counted as dropped either way. */
static __always_inline int drop_or_reset(struct __sk_buff *skb, const struct packet *p, int err, __u32 hook)
{
	count_packet(-err, hook, p->length);
	if (p->protocol != IPPROTO_TCP || reset_both(skb, p, hook))
		return TC_ACT_SHOT;
	return PASS;
}

/*
 * The way of every established packet: this workload's half was decided by the table now in force.
 * @table: of this workload, for its half
 */
static __always_inline int is_settled(const struct flow *flow, const struct flow_half *half, __u32 table)
{
	struct policy_table *state = bpf_map_lookup_elem(&policy_tables, &table);

	return state && half->revision == state->revision && half->revision && half->verdict == VERDICT_ALLOW &&
	       !(flow->flags & (FLOW_BYPASSED | FLOW_REDIRECTED)) && flow->state != FLOW_RESET;
}

/* Resets that we made ourselves on a flow that policy took back. */
static __always_inline int is_our_reset(const struct packet *p, const struct flow *flow)
{
	return flow->state == FLOW_RESET && (p->tcp_flags & TCP_RST);
}

/* Whether both halves were decided by the tables in force; those of the other node are not ours to ask. */
static __always_inline int is_current(const struct flow *flow, const struct end *initiator, const struct end *responder)
{
	struct policy_table *table;
	__u32 id;

	if (flow->state == FLOW_RESET || (flow->flags & FLOW_BYPASSED))
		return 0;
	id = initiator->egress_table;
	table = initiator->ifindex ? bpf_map_lookup_elem(&policy_tables, &id) : NULL;
	if (initiator->ifindex && (!table || table->revision != flow->egress.revision))
		return 0;
	id = responder->ingress_table;
	table = responder->ifindex ? bpf_map_lookup_elem(&policy_tables, &id) : NULL;
	return !responder->ifindex || (table && table->revision == flow->ingress.revision);
}

/*
 * The same SYN again: the one before was lost between this hook and Envoy, or Envoy's answer on its way back. Neither
 * happens without somebody (a firewall, rp_filter, a routing rule), and no other hook would tell.
 */
static __noinline int report_lost(struct __sk_buff *skb, const struct packet *p, const struct end *ends,
				  const struct flow *flow, __u32 hook)
{
	struct decision d = { .egress = flow->egress, .ingress = flow->ingress };

	count_packet(REASON_SOCKET_LOOKUP_FAILED, hook, p->length);
	return refuse(skb, p, ends, &d, -REASON_SOCKET_LOOKUP_FAILED, 0, hook);
}

/* Answers to a client beyond the uplink pass no hook: there a lost one may have been lost anywhere. */
static __always_inline int was_lost(const struct packet *p, const struct flow *flow)
{
	return is_opening(p) && flow->state == FLOW_NEW &&
	       (!(flow->steered & STEERED_ARRIVED) || (flow->steered & STEERED_FIRST));
}

/*
 * A packet of a flow that goes through Envoy: the client's are steered, and only Envoy, which lives on this host, may
 * answer. Returns a TC action.
 */
static __always_inline int redirected(struct __sk_buff *skb, struct packet *p, struct flow *flow, struct end *ends,
				      __u32 side, __u64 now, __u32 hook)
{
	/* A client beyond the uplink and Envoy may have taken the same port: they differ in where they come from. */
	int err = leg_direction(skb, p, hook);

	if (err > 0)
		return err == 1 ? steer(skb, p, hook) : pass(p, hook);
	err = 0;
	if (!is_current(flow, &ends[side & 1], &ends[(side ^ 1) & 1]))
		err = judge_again(skb, p, ends, flow, hook);
	if (err) {
		count_packet(-err, hook, p->length);
		if (reset_both(skb, p, hook))
			return TC_ACT_SHOT;
		/* Turned into a reset: the client's goes to Envoy, Envoy's to the client. */
		return side == 0 ? steer(skb, p, hook) : PASS;
	}
	if (side == 0) {
		if (was_lost(p, flow))
			report_lost(skb, p, ends, flow, hook);
		account(skb, p, flow, 0, now, hook);
		return steer(skb, p, hook);
	}
	if (hook == HOOK_FROM_WORKLOAD || skb->ingress_ifindex) {
		refuse(skb, p, ends, NULL, -REASON_PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL, EVENT_REPLY, hook);
		return drop(p, -REASON_PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL, hook);
	}
	account(skb, p, flow, 1, now, hook);
	return pass(p, hook);
}

/* Everything but the fast path, for either hook, once both ends are known and honest. */
static __noinline int slow_path(struct __sk_buff *skb, struct packet *p, struct end *ends, __u32 hook)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &p->key);
	__u64 now = coarse_now();
	__u32 side;
	int err;

	if (flow && flow->deadline_ns >= now) {
		side = side_of(p, flow);
		if (!reopens(p, flow, side)) {
			if (is_our_reset(p, flow))
				return pass(p, hook);
			if (flow->flags & FLOW_REDIRECTED)
				return redirected(skb, p, flow, ends, side, now, hook);
			err = judge_again(skb, p, ends, flow, hook);
			if (err)
				return drop_or_reset(skb, p, err, hook);
			if (hook == HOOK_FROM_WORKLOAD || !flow->ifindex[side & 1])
				account(skb, p, flow, side, now, hook);
			return pass(p, hook);
		}
	}
	if ((p->flags & PACKET_ICMP_ERROR) && is_related(skb, p))
		return pass(p, hook);
	err = open_flow(skb, p, ends, hook);
	if (err > 0)
		return steer(skb, p, hook);
	if (err == -REASON_PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL)
		return drop_or_reset(skb, p, err, hook);
	return err ? drop(p, err, hook) : pass(p, hook);
}
