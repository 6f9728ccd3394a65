/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The first packet of a flow, or the first that we see of one. */
#pragma once
#include "steer.h"

/* The first port of Linux's default ip_local_port_range: clients have ports from here on, servers hardly ever. */
#define EPHEMERAL_FIRST 32768

static __always_inline int is_ephemeral(__be16 port)
{
	return bpf_ntohs(port) >= EPHEMERAL_FIRST;
}

/* Nobody knows this flow: decide, remember, report. Returns 1 when it goes to Envoy, 0 when it passes, or a drop reason. */
static __noinline int open_flow(struct __sk_buff *skb, struct work *work, __u32 hook)
{
	const struct packet *p = &work->packet;
	const struct end *ends = work->ends;
	const struct decision *d = &work->decision;
	struct flow *flow = &work->flow;
	__u32 initiator = 0;
	int midstream = p->protocol == IPPROTO_TCP && !is_opening(p) && !(p->flags & PACKET_LATER_FRAGMENT);
	int answer = (p->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
	int redirected, err;

	/*
	 * A segment in the middle of a connection does not say who opened it: the lower port is the likelier server. Only
	 * where the ports do not tell may the other orientation admit it; otherwise a connection that policy forbids
	 * would live on as one that its server might have opened (docs/adr/0006).
	 */
	if (midstream && (answer || bpf_ntohs(p->source_port) < bpf_ntohs(p->destination_port)))
		initiator = 1;
	err = decide_flow(hook, initiator, l4_of(p, initiator), 0);
	if (err && midstream && !answer && is_ephemeral(p->source_port) == is_ephemeral(p->destination_port)) {
		if (!decide_flow(hook, !initiator, l4_of(p, !initiator), 1)) {
			initiator = !initiator;
			d = &work->turned;
			err = 0;
		}
	}
	redirected = !err && is_redirect(d);
	/* An HTTP rule never lets a connection pass that Envoy does not hold. */
	if (redirected && (!may_steer(p) || (midstream && (initiator || !has_socket(skb, p)))))
		err = -REASON_PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL;
	if (err)
		return refuse(skb, p, ends, d, err, 0, hook);
	if (midstream && (p->tcp_flags & TCP_RST))
		return 0; /* the end of something we never saw: nothing to remember */
	if (ends[initiator].ifindex) {
		err = quota_take(ends[initiator].ifindex);
		if (err)
			return refuse(skb, p, ends, NULL, err, 0, hook);
	}
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->version = LAYOUT_VERSION;
	flow->created_ns = bpf_ktime_get_ns();
	flow->state = midstream && !answer ? FLOW_ESTABLISHED : FLOW_NEW;
	if (!!(p->flags & PACKET_SOURCE_IS_HIGH) != !!initiator)
		flow->flags |= FLOW_INITIATOR_IS_HIGH;
	if (midstream) {
		flow->flags |= FLOW_ADOPTED;
		count_statistic(STATISTIC_FLOWS_ADOPTED);
	}
	if (is_bypass(d))
		flow->flags |= FLOW_BYPASSED;
	if (redirected)
		flow->flags |= FLOW_REDIRECTED;
	if (ends[initiator].ifindex)
		flow->flags |= FLOW_CHARGED;
	flow->egress = d->egress;
	flow->ingress = d->ingress;
	flow->identity[0] = ends[initiator].identity;
	flow->identity[1] = ends[!initiator].identity;
	flow->ifindex[0] = ends[initiator].ifindex;
	flow->ifindex[1] = ends[!initiator].ifindex;
	account(skb, p, flow, initiator, coarse_now(), hook);
	if (bpf_map_update_elem(&flows, &p->key, flow, BPF_ANY)) {
		count_statistic(STATISTIC_FLOW_INSERT_FAILED);
		return refuse(skb, p, ends, NULL, -REASON_CT_MAP_INSERTION_FAILED, 0, hook);
	}
	count_statistic(STATISTIC_FLOWS_CREATED);
	report_new(skb, p, flow, hook, initiator);
	return redirected;
}
