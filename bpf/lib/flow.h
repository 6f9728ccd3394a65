/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The flow table: one entry per flow, two halves, and what happens to it packet by packet. */
#pragma once
#include "work.h"
#include "quota.h"
#include "reset.h"

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

static __always_inline int is_looked(const struct decision *d)
{
	return (d->egress.flags | d->ingress.flags) & HALF_LOOKED;
}

/* A policy that is only audited would refuse a live flow that it admitted, or another one would. */
static __always_inline int is_news(const struct flow_half *half, const struct flow_half *before)
{
	return (half->flags & HALF_AUDITED) && (!(before->flags & HALF_AUDITED) || half->rule != before->rule);
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

/* Asks the table in which what is only audited counts, too. Returns 0 when there is one. */
static __always_inline int ask_all(struct work *w, __u32 table, __u32 peer)
{
	ask_policy(table, peer, w->protect.l4, &w->all);
	return w->all.revision ? 0 : -1;
}

/*
 * A half that is admitted, and what would be said of it if everything were enforced: what that refuses is noted and passes;
 * where it wants requests looked into, its ruleset says what is enforced of them as well.
 */
static __always_inline void note(struct flow_half *half, const struct flow_half *all, int may_look)
{
	if (all->verdict == VERDICT_DENY) {
		half->flags = HALF_AUDITED;
	} else if (all->verdict == VERDICT_REDIRECT && may_look) {
		half->flags = HALF_LOOKED;
		half->verdict = VERDICT_REDIRECT;
		half->ruleset = all->ruleset;
	} else {
		return;
	}
	half->rule = all->rule;
	half->match = all->match;
}

/*
 * What one end's policy says of the packet at hand, with `protect.l4` and `looks`; the answer is in `decision`. Looked at by
 * the verifier once.
 * @own: which of the ends it is; @ingress: the flow is one to it
 * Returns 0 or a negative drop reason.
 */
__weak __noinline int judge_half(__u32 own, __u32 ingress)
{
	struct work *w = work_at_hand();
	struct flow_half *half;
	struct end *end;
	__u32 peer, audit;
	int err;

	if (!w)
		return -REASON_CT_MAP_INSERTION_FAILED;
	end = &w->ends[own & 1];
	peer = w->ends[(own ^ 1) & 1].identity;
	half = ingress ? &w->decision.ingress : &w->decision.egress;
	audit = ingress ? end->audit_ingress_table : end->audit_egress_table;
	err = decide_half(ingress ? end->ingress_table : end->egress_table, peer, w->protect.l4, end->namespace_id, half);
	if (!err && audit && half->rule != RULE_BYPASS && !ask_all(w, audit, peer))
		note(half, &w->all, w->looks && !is_bypassed(end->namespace_id));
	return err;
}

/*
 * Judges the packet at hand as one of a flow from its source (0) or its destination (1): both policies, then what must protect
 * the flow. The answer is in `decision` and `protect`.
 * Returns 0, HOLD, or a negative drop reason. Looked at by the verifier once, not at every call.
 */
__weak __noinline int judge(struct __sk_buff *skb, __u32 initiator, __u32 hook)
{
	struct work *w = work_at_hand();
	struct end *from, *to;
	int err;

	if (!w)
		return -REASON_CT_MAP_INSERTION_FAILED;
	from = &w->ends[initiator & 1];
	to = &w->ends[(initiator ^ 1) & 1];
	__builtin_memset(&w->decision, 0, sizeof(w->decision));
	w->protect.l4 = l4_of(&w->packet, initiator);
	w->protect.now = coarse_now();
	w->protect.ingress_ifindex = skb->ingress_ifindex;
	w->protect.hook = hook;
	w->protect.security = 0;
	w->protect.proven_until_ns = 0;
	if (from->ifindex) {
		err = judge_half(initiator & 1, 0);
		if (err)
			return err;
	}
	if (to->ifindex) {
		err = judge_half(!(initiator & 1), 1);
		if (err)
			return err;
	}
	err = protect_flow(from, to, &w->decision, &w->protect);
	if (err && (is_bypassed(from->namespace_id) || is_bypassed(to->namespace_id))) {
		w->protect.security = 0;
		/* The halves of this node: nobody is shown the other's. */
		if (from->ifindex)
			w->decision.egress.rule = RULE_BYPASS;
		if (to->ifindex)
			w->decision.ingress.rule = RULE_BYPASS;
		return 0;
	}
	return err;
}

/* A proof is missing, or the packet did not come through the tunnel: dropped, and the connection may go on later. */
static __always_inline int is_unproven(int err)
{
	return err == -REASON_AUTH_REQUIRED || err == -REASON_UNENCRYPTED_TRAFFIC;
}

/* The policy changed under a live flow, a proof ran out, or bypass holds it: judge again. May revoke, never redirect. */
static __noinline int judge_again(struct __sk_buff *skb, struct work *w, struct flow *flow, __u32 hook)
{
	const struct packet *p = &w->packet;
	__u32 side = side_of(p, flow);
	struct end *initiator = &w->ends[side & 1], *responder = &w->ends[(side ^ 1) & 1];
	/* Envoy's answers come from this host, not through the tunnel. */
	__u32 as = (flow->flags & FLOW_REDIRECTED) && side ? HOOK_FROM_WORKLOAD : hook;
	int audited, err;

	count_statistic(STATISTIC_REEVALUATED);
	keep_host_or_world(initiator, flow->identity[0]);
	keep_host_or_world(responder, flow->identity[1]);
	w->looks = !!(flow->flags & FLOW_REDIRECTED);
	err = judge(skb, side, as);
	/* For what is only audited no connection is cut: Envoy goes on by what it was told. */
	if ((err >= 0 || is_unproven(err)) && is_looked(&w->decision) && must_reset(flow, &w->decision)) {
		w->looks = 0;
		err = judge(skb, side, as);
	}
	if (err > 0)
		err = -REASON_AUTH_REQUIRED;
	if ((!err || is_unproven(err)) && must_reset(flow, &w->decision))
		err = -REASON_PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL;
	if (err) {
		refuse(skb, p, w->ends, &w->decision, err,
		       (is_unproven(err) ? 0 : EVENT_REVOKED) | (side ? EVENT_REPLY : 0), hook);
		/* The proof may come back, and the connection goes on then. */
		if (p->protocol == IPPROTO_TCP && !is_unproven(err)) {
			flow->state = FLOW_RESET;
			flow->deadline_ns = coarse_now() + config.values.closing_ns;
		}
		return err;
	}
	if (flow->flags & FLOW_REDIRECTED) {
		w->decision.egress.ruleset = flow->egress.ruleset;
		w->decision.ingress.ruleset = flow->ingress.ruleset;
	}
	audited = is_news(&w->decision.egress, &flow->egress) || is_news(&w->decision.ingress, &flow->ingress);
	flow->egress = w->decision.egress;
	flow->ingress = w->decision.ingress;
	flow->identity[0] = initiator->identity;
	flow->identity[1] = responder->identity;
	flow->ifindex[0] = initiator->ifindex;
	flow->ifindex[1] = responder->ifindex;
	/* What came through the tunnel once is answered through it. */
	flow->security = w->protect.security |
			 (flow->security & (SECURITY_TUNNEL_OUT | SECURITY_HELD | SECURITY_DRAINING));
	flow->proven_until_ns = w->protect.proven_until_ns;
	flow->generation = w->protect.generation;
	mark_for_tunnel(skb, flow->security, &w->ends[1], hook);
	if (is_bypass(&w->decision))
		flow->flags |= FLOW_BYPASSED;
	else
		flow->flags &= ~FLOW_BYPASSED;
	if (flow->state == FLOW_RESET)
		flow->state = FLOW_ESTABLISHED;
	if (audited)
		report_new(skb, p, flow, hook, side | REPORT_REVOKED);
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
		struct {
			__u8 type;
			__u8 code;
			__be16 checksum;
			__be16 id;
		} icmp;

		if (bpf_skb_load_bytes(skb, offset, &icmp, sizeof(icmp)))
			return NULL;
		set_icmp_ports(&inner, icmp.type, icmp.id);
		make_key(&inner);
		return bpf_map_lookup_elem(&flows, &inner.key);
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

/*
 * An ICMP error passes when it is about a live flow of the workload at this hook, and it goes the way of that flow: what it
 * quotes is as secret, and what it says is believed as much.
 * Returns 1 when it passes, 0 when it is about nothing we know, or a negative drop reason.
 */
static __noinline int related(struct __sk_buff *skb, struct work *w, __u32 hook)
{
	struct flow *flow = related_flow(skb, &w->packet);

	if (!flow || flow->deadline_ns < coarse_now() || flow->state == FLOW_RESET)
		return 0;
	if (flow->ifindex[0] != skb->ifindex && flow->ifindex[1] != skb->ifindex)
		return 0;
	/* ingress_ifindex 0: this host, e.g. that the tunnel takes no packets of that size. */
	if (hook == HOOK_TO_WORKLOAD && (flow->security & SECURITY_TUNNEL_IN) && skb->ingress_ifindex && !from_tunnel(skb))
		return -REASON_UNENCRYPTED_TRAFFIC;
	mark_for_tunnel(skb, flow->security, &w->ends[1], hook);
	return 1;
}
