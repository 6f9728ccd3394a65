/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* To Envoy and back: how a packet gets to the proxy, and whose connection an answer belongs to. */
#pragma once
#include "flow.h"

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

/* Source ports set aside for Envoy: a workload that uses one could take its answers. */
static __always_inline int is_leg_port(__be16 port)
{
	return bpf_ntohs(port) >= config.values.leg_port_first;
}

/*
 * Does this node hold the socket that a packet is for? Asked when an entry may have been evicted. Only connections
 * count: a listener of the node is nobody's answer.
 */
static __noinline int has_socket(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	__u32 state;

	if (p->flags & PACKET_IPV6) {
		__builtin_memcpy(tuple.ipv6.saddr, p->source, ADDRESS_BYTES);
		__builtin_memcpy(tuple.ipv6.daddr, p->destination, ADDRESS_BYTES);
		tuple.ipv6.sport = p->source_port;
		tuple.ipv6.dport = p->destination_port;
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		tuple.ipv4.saddr = ((const __u32 *)p->source)[3];
		tuple.ipv4.daddr = ((const __u32 *)p->destination)[3];
		tuple.ipv4.sport = p->source_port;
		tuple.ipv4.dport = p->destination_port;
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	return state != BPF_TCP_LISTEN;
}

/*
 * A packet of one of Envoy's upstream connections.
 * Returns 1 when it is one and belongs to Envoy (steer it), 2 when it is one on its way to the workload (pass it),
 * 0 when it is none, or a negative drop reason.
 */
static __noinline int leg_direction(struct __sk_buff *skb, struct packet *p, __u32 hook)
{
	struct flow *leg;
	__u32 side;
	int from_client;

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
			/*
			 * Envoy lives on this host: what comes from anywhere else only claims to be it. But a client
			 * beyond the uplink may open a connection of its own from the same port.
			 */
			if (hook == HOOK_FROM_WORKLOAD || (skb->ingress_ifindex && !is_opening(p)))
				return -REASON_SOCKET_ASSIGN_FAILED;
			if (skb->ingress_ifindex)
				return 0;
			account(skb, p, leg, 0, coarse_now(), hook);
			return 2;
		}
		account(skb, p, leg, 1, coarse_now(), hook);
		return 1;
	}
	if (hook == HOOK_FROM_WORKLOAD && from_client && is_opening(p))
		return -REASON_SOCKET_ASSIGN_FAILED;
	/* ingress_ifindex 0 is a packet of this host: no answer from the network. */
	if (!is_opening(p) && is_leg_port(p->destination_port) &&
	    (hook == HOOK_FROM_WORKLOAD || skb->ingress_ifindex) && has_socket(skb, p)) {
		count_statistic(STATISTIC_REPLIES_BY_SOCKET);
		return 1;
	}
	return 0;
}
