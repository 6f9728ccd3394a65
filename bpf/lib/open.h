/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The first packet of a flow, or the first that we see of one. */
#pragma once
#include "steer.h"

/* The first port of Linux's default ip_local_port_range: clients have ports from here on, servers hardly ever. */
#define EPHEMERAL_FIRST 32768

static __always_inline int can_hold(void)
{
	struct protection_state *state = protection_in_force();

	return state && state->hold_ifindex;
}

static __always_inline int is_ephemeral(__be16 port)
{
	return bpf_ntohs(port) >= EPHEMERAL_FIRST;
}

static __always_inline int may_answer(const struct packet *p, __u32 hook)
{
	return hook == HOOK_FROM_WORKLOAD && p->protocol == IPPROTO_UDP &&
	       bpf_ntohs(p->source_port) < bpf_ntohs(p->destination_port);
}

/* What open_flow says of a flow that is not refused. */
enum opened {
	OPENED_PASS = 0,
	OPENED_STEER = 1, /* it goes to Envoy */
	OPENED_HOLD = 2,  /* it waits for a proof */
};

/*
 * May a flow go to Envoy that need not? For what is only audited, if Envoy is there, or has it already; never otherwise, as
 * what is audited keeps no flow from passing. Looked at by the verifier once.
 */
__weak __noinline int may_look(struct __sk_buff *skb, __u32 initiator)
{
	struct work *w = work_at_hand();
	const struct packet *p;

	if (!w)
		return 0;
	p = &w->packet;
	if (!may_steer(p))
		return 0;
	if (is_opening(p))
		return envoy_listens(!!(p->flags & PACKET_IPV6));
	return !initiator && is_held_by_envoy(skb, p, w->ends, &w->decision);
}

/* In the middle of a connection, or what says that it is. */
static __always_inline int is_midstream(const struct packet *p)
{
	return p->protocol == IPPROTO_TCP && !is_opening(p) && !(p->flags & PACKET_LATER_FRAGMENT);
}

static __always_inline int is_answer(const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
}

/* The entry of a flow that is admitted, as it begins. */
static __noinline int begin_flow(struct work *w, __u32 initiator, __u32 redirected, __u32 hook)
{
	const struct end *from = &w->ends[initiator & 1], *to = &w->ends[(initiator ^ 1) & 1];
	const struct packet *p = &w->packet;
	struct flow *flow = &w->flow;
	int midstream = is_midstream(p);

	__builtin_memset(flow, 0, sizeof(*flow));
	flow->version = LAYOUT_VERSION;
	flow->created_ns = bpf_ktime_get_ns();
	flow->state = midstream && !is_answer(p) ? FLOW_ESTABLISHED : FLOW_NEW;
	if (!!(p->flags & PACKET_SOURCE_IS_HIGH) != !!initiator)
		flow->flags |= FLOW_INITIATOR_IS_HIGH;
	if (midstream) {
		flow->flags |= FLOW_ADOPTED;
		count_statistic(STATISTIC_FLOWS_ADOPTED);
	}
	if (is_bypass(&w->decision))
		flow->flags |= FLOW_BYPASSED;
	if (redirected)
		flow->flags |= FLOW_REDIRECTED;
	if (redirected && hook == HOOK_FROM_WORKLOAD)
		flow->steered = STEERED_FIRST;
	if (from->ifindex)
		flow->flags |= FLOW_CHARGED;
	flow->security = w->protect.security;
	flow->proven_until_ns = w->protect.proven_until_ns;
	flow->generation = w->protect.generation;
	flow->egress = w->decision.egress;
	flow->ingress = w->decision.ingress;
	flow->identity[0] = from->identity;
	flow->identity[1] = to->identity;
	flow->ifindex[0] = from->ifindex;
	flow->ifindex[1] = to->ifindex;
	return 0;
}

/*
 * Nobody knows this flow: decide, remember, report; what waits is remembered and reported later.
 * @hook: enum hook, with MAY_HOLD where a packet may be put aside
 * Returns enum opened or a negative drop reason.
 */
#define MAY_HOLD 0x100
static __noinline int open_flow(struct __sk_buff *skb, struct work *w, __u32 hook_and_hold)
{
	const struct packet *p = &w->packet;
	const struct decision *said = &w->decision;
	struct flow *flow = &w->flow;
	__u32 hook = hook_and_hold & ~MAY_HOLD, initiator = 0;
	int midstream = is_midstream(p), answer = is_answer(p);
	int redirected, held, err;

	/*
	 * A segment in the middle of a connection does not say who opened it: the lower port is the likelier server. Only
	 * where the ports do not tell may the other orientation admit it; otherwise a connection that policy forbids
	 * would live on as one that its server might have opened (docs/adr/0006).
	 */
	if (midstream && (answer || bpf_ntohs(p->source_port) < bpf_ntohs(p->destination_port)))
		initiator = 1;
	w->looks = 1;
	err = judge(skb, initiator, hook);
	if (err < 0 && !is_unproven(err) && midstream && !answer &&
	    is_ephemeral(p->source_port) == is_ephemeral(p->destination_port)) {
		int turned;

		w->first = w->decision;
		turned = judge(skb, !initiator, hook);
		if (turned >= 0 || is_unproven(turned)) {
			initiator = !initiator;
			err = turned;
		} else {
			w->decision = w->first;
		}
	}
	/*
	 * Nor does a datagram: one from the lower port may answer one whose flow is forgotten. Where that would have to be
	 * authenticated, so must this, or the answer would leave in the clear as something that its sender may begin.
	 */
	if (!err && may_answer(p, hook) && !(w->protect.security & SECURITY_AUTHENTICATED)) {
		int turned = judge(skb, 1, hook);

		if (is_unproven(turned) || (turned >= 0 && (w->protect.security & SECURITY_AUTHENTICATED))) {
			initiator = 1;
			err = turned;
		} else {
			err = judge(skb, 0, hook);
		}
	}
	/* What is refused is not looked at by anybody either, and its record must not say so. */
	if (is_looked(&w->decision) && ((err < 0 && !is_unproven(err)) || !may_look(skb, initiator))) {
		w->looks = 0;
		err = judge(skb, initiator, hook);
	}
	redirected = (err >= 0 || is_unproven(err)) && is_redirect(&w->decision);
	/* An HTTP rule never lets a connection pass that Envoy does not hold. */
	if (redirected && (!may_steer(p) || (midstream && (initiator || !is_held_by_envoy(skb, p, w->ends, &w->decision)))))
		err = -REASON_PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL;
	held = err == HOLD && (hook_and_hold & MAY_HOLD) && can_hold();
	if (err > 0)
		err = held ? 0 : -REASON_AUTH_REQUIRED;
	if (err)
		goto refused;
	if (midstream && (p->tcp_flags & TCP_RST))
		return held ? -REASON_AUTH_REQUIRED : 0; /* the end of something we never saw: nothing to remember */
	if (w->ends[initiator & 1].ifindex) {
		err = quota_take(w->ends[initiator & 1].ifindex);
		if (err) {
			said = NULL;
			goto refused;
		}
	}
	begin_flow(w, initiator, redirected, hook);
	if (held) {
		flow->security |= SECURITY_HELD;
		flow->hold_hook = hook;
		flow->hold_ifindex = skb->ifindex;
		flow->held = 1;
		flow->deadline_ns = coarse_now() + config.values.opening_ns;
	} else {
		account(skb, p, flow, initiator, coarse_now(), hook);
	}
	if (bpf_map_update_elem(&flows, &p->key, flow, BPF_ANY)) {
		count_statistic(STATISTIC_FLOW_INSERT_FAILED);
		err = -REASON_CT_MAP_INSERTION_FAILED;
		said = NULL;
		goto refused;
	}
	if (held)
		return OPENED_HOLD;
	count_statistic(STATISTIC_FLOWS_CREATED);
	report_new(skb, p, flow, hook, initiator);
	mark_for_tunnel(skb, flow->security, &w->ends[1], hook);
	return redirected ? OPENED_STEER : OPENED_PASS;

refused:
	return refuse(skb, p, w->ends, said, err, 0, hook);
}
