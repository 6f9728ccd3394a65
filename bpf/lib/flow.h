/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The flow table: one entry per flow, two halves, and what happens to it packet by packet. */
#pragma once
#include "event.h"
#include "policy.h"
#include "quota.h"
#include "reset.h"
#include "work.h"

/* 0 when the packet travels from initiator to responder, 1 the other way. */
static __always_inline __u32 side_of(const struct packet *p, const struct flow *flow)
{
	return !!(p->flags & PACKET_SOURCE_IS_HIGH) != !!(flow->flags & FLOW_INITIATOR_IS_HIGH);
}

static __always_inline int is_opening(const struct packet *p)
{
	return p->protocol == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* A SYN that is not part of this flow: from the responder, or from the initiator after the end. */
static __always_inline int reopens(const struct packet *p, const struct flow *flow, __u32 side)
{
	return is_opening(p) && (side == 1 || flow->state >= FLOW_CLOSING);
}

static __always_inline __u64 lifetime(const struct packet *p, __u8 state)
{
	if (p->protocol != IPPROTO_TCP)
		return config.values.datagram_ns;
	if (state == FLOW_ESTABLISHED)
		return config.values.established_ns;
	return state == FLOW_NEW ? config.values.opening_ns : config.values.closing_ns;
}

static __always_inline __u8 answered(struct flow *flow)
{
	if (flow->flags & FLOW_CHARGED) {
		flow->flags &= ~FLOW_CHARGED;
		quota_give_back(flow->ifindex[0]);
	}
	return FLOW_ESTABLISHED;
}

/* Called once per packet and flow, at the first hook that sees it. */
static __always_inline void account(struct __sk_buff *skb, const struct packet *p, struct flow *flow, __u32 side,
				    __u64 now, __u32 hook)
{
	__u8 state = flow->state;

	if (side == 0) {
		flow->packets[0] += 1;
		flow->bytes[0] += p->length;
		flow->tcp_flags[0] |= p->tcp_flags;
		/* Envoy's answers to a client beyond the uplink pass no hook: an ACK says that there was one. */
		if (state == FLOW_NEW && (flow->flags & FLOW_REDIRECTED) && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_ACK)
			state = answered(flow);
	} else {
		flow->packets[1] += 1;
		flow->bytes[1] += p->length;
		flow->tcp_flags[1] |= p->tcp_flags;
		if (state == FLOW_NEW)
			state = answered(flow);
	}
	if (p->tcp_flags & (TCP_FIN | TCP_RST)) {
		if (p->tcp_flags & TCP_FIN)
			flow->flags |= side ? FLOW_FIN_RESPONDER : FLOW_FIN_INITIATOR;
		if (state < FLOW_CLOSING)
			state = FLOW_CLOSING;
		if ((p->tcp_flags & TCP_RST) ||
		    (flow->flags & (FLOW_FIN_INITIATOR | FLOW_FIN_RESPONDER)) == (FLOW_FIN_INITIATOR | FLOW_FIN_RESPONDER))
			if (state < FLOW_CLOSED)
				state = FLOW_CLOSED;
	}
	flow->state = state;
	flow->deadline_ns = now + lifetime(p, state);
	if (state >= FLOW_CLOSED && !(flow->flags & FLOW_CLOSE_REPORTED)) {
		flow->flags |= FLOW_CLOSE_REPORTED;
		report_close(skb, p, flow, hook);
	}
}

/* protocol << 16 | port that policy compares, for a flow opened from the packet's source (0) or destination (1). */
static __always_inline __u32 l4_of(const struct packet *p, __u32 initiator)
{
	__be16 port = p->policy_port;

	if (initiator == 1) {
		if (p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6) {
			if (p->protocol == IPPROTO_ICMP && port == bpf_htons(ICMP_ECHOREPLY))
				port = bpf_htons(ICMP_ECHO);
			else if (p->protocol == IPPROTO_ICMPV6 && port == bpf_htons(ICMPV6_ECHO_REPLY))
				port = bpf_htons(ICMPV6_ECHO_REQUEST);
		} else {
			port = p->source_port;
		}
	}
	return (__u32)p->protocol << 16 | port;
}

/*
 * Egress of the initiator, ingress of the responder: each if that end is on this node.
 * @side: 0 when the source of the hook's packet opened the flow, 1 when its destination did
 * @turned: where in the hook's work the answer is left
 * Returns 0 or a negative drop reason.
 */
__weak int decide_flow(__u32 hook, __u32 side, __u32 l4, __u32 turned)
{
	struct work *work = work_of(hook);
	const struct end *initiator, *responder;
	struct decision *d;
	int err;

	if (!work)
		return -REASON_CT_MAP_INSERTION_FAILED;
	initiator = &work->ends[side & 1];
	responder = &work->ends[(side ^ 1) & 1];
	d = turned ? &work->turned : &work->decision;
	__builtin_memset(d, 0, sizeof(*d));
	if (initiator->ifindex) {
		err = decide_half(initiator->egress_table, responder->identity, l4, initiator->namespace_id, &d->egress);
		if (err)
			return err;
	}
	if (responder->ifindex)
		return decide_half(responder->ingress_table, initiator->identity, l4, responder->namespace_id, &d->ingress);
	return 0;
}

static __always_inline int refuse(struct __sk_buff *skb, const struct packet *p, const struct end *ends,
				  const struct decision *d, int err, __u32 flags, __u32 hook)
{
	struct refusal refusal = {
		.source = &ends[0],
		.destination = &ends[1],
		.egress = d ? &d->egress : NULL,
		.ingress = d ? &d->ingress : NULL,
		.reason = -err,
		.flags = flags,
	};

	if (d && d->ingress.verdict == VERDICT_DENY)
		refusal.flags |= EVENT_INGRESS;
	report_drop(skb, p, &refusal, hook);
	return err;
}

static __always_inline int is_bypass(const struct decision *d)
{
	return d->egress.rule == RULE_BYPASS || d->ingress.rule == RULE_BYPASS;
}

static __always_inline int is_host_or_world(__u32 identity)
{
	return identity == IDENTITY_HOST || identity == IDENTITY_WORLD;
}

/*
 * Whether a node's address is this host or somebody masqueraded behind it was seen when the flow began, at the hook
 * that could tell; an address alone cannot.
 */
static __always_inline void keep_host_or_world(struct end *end, __u32 known)
{
	if (!end->ifindex && is_host_or_world(end->identity) && is_host_or_world(known))
		end->identity = known;
}

static __always_inline int is_redirect(const struct decision *d)
{
	return d->egress.verdict == VERDICT_REDIRECT || d->ingress.verdict == VERDICT_REDIRECT;
}

/*
 * A flow cannot move to Envoy or between decision points: what Envoy was told when it accepted the connection holds
 * for its life. A flow whose HTTP rule is gone stays with Envoy and is told so by the rulesets themselves.
 */
static __always_inline int must_reset(const struct flow *flow, const struct decision *d)
{
	if (!(flow->flags & FLOW_REDIRECTED))
		return is_redirect(d);
	return (d->egress.verdict == VERDICT_REDIRECT && d->egress.ruleset != flow->egress.ruleset) ||
	       (d->ingress.verdict == VERDICT_REDIRECT && d->ingress.ruleset != flow->ingress.ruleset);
}

/* The policy changed under a live flow, or bypass holds it: judge again. May revoke, never redirect. */
static __noinline int judge_again(struct __sk_buff *skb, struct work *work, struct flow *flow, __u32 hook)
{
	const struct packet *p = &work->packet;
	struct decision *d = &work->decision;
	struct end *ends = work->ends;
	__u32 side = side_of(p, flow);
	int err;

	count_statistic(STATISTIC_REEVALUATED);
	keep_host_or_world(&ends[side & 1], flow->identity[0]);
	keep_host_or_world(&ends[(side ^ 1) & 1], flow->identity[1]);
	err = decide_flow(hook, side, l4_of(p, side), 0);
	if (!err && must_reset(flow, d))
		err = -REASON_PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL;
	if (err) {
		refuse(skb, p, ends, d, err, EVENT_REVOKED | (side ? EVENT_REPLY : 0), hook);
		if (p->protocol == IPPROTO_TCP) {
			flow->state = FLOW_RESET;
			flow->deadline_ns = coarse_now() + config.values.closing_ns;
		}
		return err;
	}
	if (flow->flags & FLOW_REDIRECTED) {
		d->egress.ruleset = flow->egress.ruleset;
		d->ingress.ruleset = flow->ingress.ruleset;
	}
	flow->egress = d->egress;
	flow->ingress = d->ingress;
	flow->identity[0] = ends[side & 1].identity;
	flow->identity[1] = ends[(side ^ 1) & 1].identity;
	flow->ifindex[0] = ends[side & 1].ifindex;
	flow->ifindex[1] = ends[(side ^ 1) & 1].ifindex;
	if (is_bypass(d))
		flow->flags |= FLOW_BYPASSED;
	else
		flow->flags &= ~FLOW_BYPASSED;
	if (flow->state == FLOW_RESET)
		flow->state = FLOW_ESTABLISHED;
	return 0;
}

/* The flow that an ICMP error speaks of, by the headers it quotes. NULL when there is none or they are cut. */
static __noinline struct flow *related_flow(struct __sk_buff *skb, const struct packet *p)
{
	struct packet inner = {};
	__u32 offset = p->l4_offset + 8;
	__be16 ports[2];

	if (p->flags & PACKET_IPV6) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)))
			return NULL;
		inner.protocol = ip.nexthdr;
		copy_address(inner.source, &ip.saddr);
		copy_address(inner.destination, &ip.daddr);
		offset += sizeof(ip);
	} else {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) || (ip.frag_off & bpf_htons(0x1fff)))
			return NULL;
		inner.protocol = ip.protocol;
		map_ipv4(inner.source, ip.saddr);
		map_ipv4(inner.destination, ip.daddr);
		offset += ip.ihl * 4;
	}
	if (inner.protocol == IPPROTO_ICMP || inner.protocol == IPPROTO_ICMPV6) {
		/* Echo requests are what errors come back for; their id is four bytes in. */
		if (bpf_skb_load_bytes(skb, offset + 4, ports, 2))
			return NULL;
		ports[1] = ports[0];
	} else if (inner.protocol == IPPROTO_TCP || inner.protocol == IPPROTO_UDP || inner.protocol == IPPROTO_SCTP) {
		if (bpf_skb_load_bytes(skb, offset, ports, sizeof(ports)))
			return NULL;
	} else {
		ports[0] = ports[1] = 0;
	}
	inner.source_port = ports[0];
	inner.destination_port = ports[1];
	make_key(&inner);
	return bpf_map_lookup_elem(&flows, &inner.key);
}

/* An ICMP error passes when it is about a live flow of the workload at this hook. */
static __noinline int is_related(struct __sk_buff *skb, const struct packet *p)
{
	struct flow *flow = related_flow(skb, p);

	if (!flow || flow->deadline_ns < coarse_now() || flow->state == FLOW_RESET)
		return 0;
	return flow->ifindex[0] == skb->ifindex || flow->ifindex[1] == skb->ifindex;
}
