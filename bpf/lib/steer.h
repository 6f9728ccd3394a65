/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* To Envoy and back: how a packet gets to the proxy, and whose connection an answer belongs to. */
#pragma once
#include "flow.h"
#include "listener.h"

/*
 * Hands the packet to this node's own stack, where a rule for the mark makes its destination local. The destination
 * MAC is cleared because that is lo's: anywhere else the stack would forward the packet, on a bridge even past us.
 */
static __always_inline int steer(struct __sk_buff *skb, const struct packet *p, __u32 hook)
{
	__u8 zero[ETH_ALEN] = {};

	bpf_skb_store_bytes(skb, 0, zero, ETH_ALEN, 0);
	skb->mark = config.values.mark_to_envoy;
	count_statistic(STATISTIC_STEERED);
	count_packet(REASON_NONE, hook, p->length);
	return bpf_redirect(config.values.loopback_ifindex, BPF_F_INGRESS);
}

static __always_inline int may_steer(const struct packet *p)
{
	return config.values.mark_to_envoy && p->protocol == IPPROTO_TCP &&
	       !(p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT));
}

/* The entry that Envoy's own cgroup hook wrote for one of its upstream connections, or NULL. */
static __always_inline struct flow *leg_of(struct packet *p)
{
	struct flow *leg;

	p->key.leg = LEG_ENVOY;
	leg = bpf_map_lookup_elem(&flows, &p->key);
	p->key.leg = LEG_NONE;
	return leg;
}

/* A flow that does not go through Envoy has no such connection beside it. */
static __always_inline int may_be_leg(const struct flow *flow)
{
	return !flow || (flow->flags & FLOW_REDIRECTED);
}

/* What Envoy says to a client it says for the server, who is asked about when the flow is judged again. */
static __always_inline __maybe_unused int is_envoys_answer(const struct packet *p, const struct flow *flow)
{
	return flow && (flow->flags & FLOW_REDIRECTED) && flow->deadline_ns >= coarse_now() && side_of(p, flow) == 1;
}

/* Source ports set aside for Envoy: a workload that uses one could take its answers. */
static __always_inline int is_leg_port(__be16 port)
{
	return bpf_ntohs(port) >= config.values.leg_port_first;
}

/*
 * The socket of this node that a packet is for or, @from_here, is from; to be released. Asked when an entry may have
 * been evicted.
 */
static __always_inline struct bpf_sock *find_socket(struct __sk_buff *skb, const struct packet *p, int from_here)
{
	const __u8 *remote = from_here ? p->destination : p->source, *local = from_here ? p->source : p->destination;
	__be16 remote_port = from_here ? p->destination_port : p->source_port;
	__be16 local_port = from_here ? p->source_port : p->destination_port;
	struct bpf_sock_tuple tuple = {};

	if (p->flags & PACKET_IPV6) {
		__builtin_memcpy(tuple.ipv6.saddr, remote, ADDRESS_BYTES);
		__builtin_memcpy(tuple.ipv6.daddr, local, ADDRESS_BYTES);
		tuple.ipv6.sport = remote_port;
		tuple.ipv6.dport = local_port;
		return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	tuple.ipv4.saddr = ((const __u32 *)remote)[3];
	tuple.ipv4.daddr = ((const __u32 *)local)[3];
	tuple.ipv4.sport = remote_port;
	tuple.ipv4.dport = local_port;
	return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
}

/*
 * Is this part of a connection that this node itself opened? A listener is nobody's connection, and what Envoy accepted
 * is a client's, which has to be judged.
 */
static __noinline int is_opened_here(struct __sk_buff *skb, const struct packet *p, int from_here)
{
	struct bpf_sock *sk = find_socket(skb, p, from_here);
	int is;

	if (!sk)
		return 0;
	is = sk->state != BPF_TCP_LISTEN && !bpf_sk_storage_get(&told, sk, NULL, 0);
	bpf_sk_release(sk);
	return is;
}

/*
 * Does Envoy hold the connection that a client's packet belongs to, and was it told what policy says of it now? Envoy
 * judges requests by what it was told when it accepted, so another identity or decision point needs another connection.
 */
static __noinline int is_held_by_envoy(struct __sk_buff *skb, const struct packet *p, const struct end *ends,
				       const struct decision *d)
{
	struct bpf_sock *sk = find_socket(skb, p, 0);
	struct connection_identity *was;
	int is;

	if (!sk)
		return 0;
	was = bpf_sk_storage_get(&told, sk, NULL, 0);
	is = was && was->egress_ruleset == ruleset_of(&d->egress) && was->ingress_ruleset == ruleset_of(&d->ingress) &&
	     was->source_identity == ends[0].identity && was->destination_identity == ends[1].identity;
	bpf_sk_release(sk);
	return is;
}

/*
 * A packet of one of Envoy's upstream connections. Asked before the flow of the same ends and ports: a client beyond
 * the uplink may have a connection to Envoy from the very port that Envoy took to go on with; the two differ only in where
 * they come from.
 * @known: there is such a flow, see may_be_leg
 * Returns 1 when it is one and belongs to Envoy (steer it), 2 when it is one on its way to the workload (pass it),
 * 0 when it is none, or a negative drop reason.
 */
static __noinline int leg_direction(struct __sk_buff *skb, struct packet *p, __u32 known, __u32 hook)
{
	struct flow *leg;
	__u32 side;
	int from_client, from_here;

	if (!may_steer(p))
		return 0;
	/* A packet towards a port of Envoy's range is an answer; one from such a port is Envoy's own. */
	from_client = is_leg_port(p->source_port);
	if (!from_client && !is_leg_port(p->destination_port))
		return 0;
	leg = leg_of(p);
	if (leg && leg->deadline_ns < coarse_now())
		leg = NULL;
	if (leg) {
		side = side_of(p, leg);
		if (side == 0) {
			/* Envoy lives on this host: what comes from anywhere else is the client's own, or only claims to be Envoy. */
			if (hook == HOOK_FROM_WORKLOAD)
				return -REASON_SOCKET_ASSIGN_FAILED;
			if (skb->ingress_ifindex)
				return known || is_opening(p) ? 0 : -REASON_SOCKET_ASSIGN_FAILED;
			account(skb, p, leg, 0, coarse_now(), hook);
			return 2;
		}
		if ((leg->security & SECURITY_TUNNEL_IN) && hook == HOOK_TO_WORKLOAD && !from_tunnel(skb))
			return -REASON_UNENCRYPTED_TRAFFIC;
		account(skb, p, leg, 1, coarse_now(), hook);
		return 1;
	}
	if (hook == HOOK_FROM_WORKLOAD && from_client && is_opening(p))
		return -REASON_SOCKET_ASSIGN_FAILED;
	/* Evicted? ingress_ifindex 0 is a packet of this host; with the node's own address it is no leg of Envoy's. */
	from_here = hook == HOOK_TO_WORKLOAD && !skb->ingress_ifindex;
	if (known || is_opening(p) || !is_leg_port(from_here ? p->source_port : p->destination_port) ||
	    (from_here && is_nodes_own(p->source)) || !is_opened_here(skb, p, from_here))
		return 0;
	count_statistic(STATISTIC_LEGS_BY_SOCKET);
	return from_here ? 2 : 1;
}
