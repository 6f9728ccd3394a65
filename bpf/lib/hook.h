/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the two hooks have in common: read the frame, find the flow, pass or drop, count. */
#pragma once
#include "frame.h"
#include "hold.h"
#include "names.h"

/* Let the next program or the stack have it. */
#define PASS TC_ACT_UNSPEC

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
static __always_inline int drop_or_reset(struct __sk_buff *skb, struct work *w, int err, __u32 hook)
{
	const struct packet *p = &w->packet;

	count_packet(-err, hook, p->length);
	if (p->protocol != IPPROTO_TCP || reset_both(skb, w, hook))
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

/* Whether an end is still who it was when it was decided on: addresses change hands. Host or world see keep_host_or_world. */
static __always_inline int is_same_end(const struct end *end, __u32 identity, __u32 ifindex)
{
	return end->ifindex == ifindex &&
	       (end->identity == identity || (is_host_or_world(end->identity) && is_host_or_world(identity)));
}

/* Whether both halves were decided by the tables in force; those of the other node are not ours to ask. */
static __always_inline int is_current(const struct flow *flow, const struct end *initiator, const struct end *responder)
{
	struct policy_table *table;
	__u32 id;

	if (flow->state == FLOW_RESET || (flow->flags & FLOW_BYPASSED) ||
	    !is_same_end(initiator, flow->identity[0], flow->ifindex[0]) ||
	    !is_same_end(responder, flow->identity[1], flow->ifindex[1]))
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
static __always_inline int redirected(struct __sk_buff *skb, struct work *w, struct flow *flow, __u32 side, __u64 now,
				      __u32 hook)
{
	struct packet *p = &w->packet;
	int err = 0;

	if (!is_current(flow, &w->ends[side & 1], &w->ends[(side ^ 1) & 1]) ||
	    (side == 0 && flow->security && keep_protected(skb, flow, 0, hook, now)))
		err = judge_again(skb, w, flow, hook);
	if (is_unproven(err))
		return drop(p, err, hook);
	if (err) {
		count_packet(-err, hook, p->length);
		if (reset_both(skb, w, hook))
			return TC_ACT_SHOT;
		/* Turned into a reset: the client's goes to Envoy, Envoy's to the client. */
		return side == 0 ? steer(skb, p, hook) : PASS;
	}
	if (side == 0) {
		if (was_lost(p, flow))
			report_lost(skb, p, w->ends, flow, hook);
		account(skb, p, flow, 0, now, hook);
		return steer(skb, p, hook);
	}
	if (hook == HOOK_FROM_WORKLOAD || skb->ingress_ifindex) {
		refuse(skb, p, w->ends, NULL, -REASON_PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL, EVENT_REPLY, hook);
		return drop(p, -REASON_PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL, hook);
	}
	account(skb, p, flow, 1, now, hook);
	return pass(p, hook);
}

/* A workload's own marks end at its veth: one that is here was put on by `put_back_dns`. It goes no further. */
static __always_inline void take_looked_at(struct __sk_buff *skb, struct work *w, __u32 hook)
{
	w->looked_at = hook == HOOK_FROM_WORKLOAD && has_mark_looked_at(skb);
	if (w->looked_at)
		skb->mark &= ~MARK_MASK;
}

/* Returns 1 when the agent must look at the packet first, or a negative drop reason when it cannot. */
static __noinline int dns_waits(struct __sk_buff *skb, struct work *w, const struct flow *flow, __u32 side, __u32 hook)
{
	const struct packet *p = &w->packet;
	__u32 ifindex = skb->ifindex;
	struct endpoint *ep;
	int err;

	if (hook == HOOK_TO_WORKLOAD) {
		ep = bpf_map_lookup_elem(&endpoints, &ifindex);
		return ep && is_answer_to_learn(skb, p, flow, side, ep->flags);
	}
	if (w->looked_at)
		return 0;
	err = query_waits(skb, p, &flow->egress, side, hook);
	if (err < 0)
		refuse(skb, p, w->ends, &w->decision, err, 0, hook);
	return err;
}

/* The packet that opened a flow, likewise. */
static __noinline int first_waits(struct __sk_buff *skb, struct work *w, __u32 hook)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &w->packet.key);
	int err;

	take_looked_at(skb, w, hook);
	if (!flow)
		return 0;
	err = dns_waits(skb, w, flow, side_of(&w->packet, flow), hook);
	if (err > 0) {
		/* Counted when it goes on. */
		flow->packets[0] -= 1;
		flow->bytes[0] -= w->packet.length;
	}
	return err;
}

/* A packet of a flow that is known, and that is not waiting. Returns a TC action. */
static __always_inline int known_flow(struct __sk_buff *skb, struct work *w, struct flow *flow, __u64 now, __u32 hook)
{
	struct packet *p = &w->packet;
	__u32 side = side_of(p, flow);
	int err;

	take_looked_at(skb, w, hook);
	/* Whatever becomes of the packet, a reset included: it leaves by the way of its flow or not at all. */
	mark_for_tunnel(skb, flow->security, &w->ends[1], hook);
	if (is_our_reset(p, flow))
		return pass(p, hook);
	if (flow->flags & FLOW_REDIRECTED)
		return redirected(skb, w, flow, side, now, hook);
	err = judge_again(skb, w, flow, hook);
	if (is_unproven(err))
		return drop(p, err, hook);
	if (err)
		return drop_or_reset(skb, w, err, hook);
	err = dns_waits(skb, w, flow, side, hook);
	if (err < 0)
		return drop(p, err, hook);
	if (err)
		return to_agent();
	if (hook == HOOK_FROM_WORKLOAD || !flow->ifindex[side & 1])
		account(skb, p, flow, side, now, hook);
	return pass(p, hook);
}

/*
 * Everything but the fast path, for either hook, once both ends are known and honest. Looked at by the verifier once.
 * Returns a TC action.
 */
__weak __noinline int slow_path(struct __sk_buff *skb, __u32 hook)
{
	struct work *w = work_at_hand();
	__u32 held = 0, released = 0;
	__u64 now = coarse_now();
	struct packet *p;
	struct flow *flow;
	int err;

	if (!w)
		return TC_ACT_SHOT;
	p = &w->packet;
	flow = bpf_map_lookup_elem(&flows, &p->key);
	if (flow && flow->deadline_ns < now)
		flow = NULL;
	if (flow && (flow->security & SECURITY_HELD)) {
		err = waits(skb, p, flow, hook);
		if (err == WAITS_ON)
			return hold(skb);
		if (err == WAITS_NO_MORE)
			return TC_ACT_SHOT;
		if (err == WAITED_AND_DECIDED)
			return known_flow(skb, w, flow, now, hook);
		held = flow->held;
		released = flow->released;
		if (flow->flags & FLOW_CHARGED)
			quota_give_back(flow->ifindex[0]);
		bpf_map_delete_elem(&flows, &p->key);
		if (err < 0) {
			refuse(skb, p, w->ends, NULL, err, 0, hook);
			return drop(p, err, hook);
		}
		flow = NULL;
	}
	if (flow && !reopens(p, flow, side_of(p, flow)))
		return known_flow(skb, w, flow, now, hook);
	if (p->flags & PACKET_ICMP_ERROR) {
		err = related(skb, w, hook);
		if (err < 0) {
			refuse(skb, p, w->ends, NULL, err, EVENT_RELATED, hook);
			return drop(p, err, hook);
		}
		if (err)
			return pass(p, hook);
	}
	err = open_flow(skb, w, hook | (is_released(skb, hook) ? 0 : MAY_HOLD));
	if (err == OPENED_HOLD)
		return hold(skb);
	if (err >= 0 && held)
		go_on_draining(p, held, released);
	if (err == OPENED_STEER)
		return steer(skb, p, hook);
	if (err == -REASON_PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL) {
		mark_for_tunnel(skb, w->protect.security, &w->ends[1], hook);
		return drop_or_reset(skb, w, err, hook);
	}
	if (!err)
		err = first_waits(skb, w, hook);
	if (err > 0)
		return to_agent();
	return err ? drop(p, err, hook) : pass(p, hook);
}
