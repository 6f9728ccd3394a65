// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Ingress of the tunnel's device: what came encrypted does not leave this node as it is. It is for a pod of this node, by the
 * way of that pod, or for this node itself. One whose pod has moved on, or was never here, would otherwise be forwarded to
 * where routing has that address, and so be read there by anybody in between.
 */
#include <linux/in.h>
#include "lib/ends.h"
#include "lib/count.h"

#ifndef AF_INET
#define AF_INET 2
#define AF_INET6 10
#endif

struct addresses {
	__u8 source[16];
	__u8 destination[16];
};

struct way {
	__u32 ifindex; /* that packets are forwarded to; 0: this host keeps or refuses them */
	__u32 gateway; /* whether somebody else is to bring them on from there */
};

/* Where packets to the destination go from here, or, with @back, to the source. */
static __noinline int find_way(struct __sk_buff *skb, const struct addresses *a, __u32 back, struct way *way)
{
	const __u8 *source = back ? a->destination : a->source, *destination = back ? a->source : a->destination;
	struct bpf_fib_lookup fib = { .ifindex = skb->ifindex };
	long answer;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		fib.family = AF_INET;
		__builtin_memcpy(&fib.ipv4_src, source + 12, 4);
		__builtin_memcpy(&fib.ipv4_dst, destination + 12, 4);
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, source, 16);
		__builtin_memcpy(fib.ipv6_dst, destination, 16);
	}
	answer = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	way->ifindex = way->gateway = 0;
	if (answer != BPF_FIB_LKUP_RET_SUCCESS && answer != BPF_FIB_LKUP_RET_NO_NEIGH &&
	    answer != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return 0;
	way->ifindex = fib.ifindex;
	/* The look-up has put the gateway in the place of the destination, maybe an IPv6 one for IPv4 (RFC 5549). */
	if (skb->protocol == bpf_htons(ETH_P_IP))
		way->gateway = fib.family != AF_INET || __builtin_memcmp(&fib.ipv4_dst, destination + 12, 4);
	else
		way->gateway = !!__builtin_memcmp(fib.ipv6_dst, destination, 16);
	return 0;
}

SEC("tc")
int leave_tunnel(struct __sk_buff *skb)
{
	struct addresses a = {};
	struct way way, back;
	struct endpoint *endpoint;
	struct end end;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 ends[2];

		if (bpf_skb_load_bytes_relative(skb, offsetof(struct iphdr, saddr), ends, sizeof(ends), BPF_HDR_START_NET))
			return TC_ACT_SHOT;
		map_ipv4(a.source, ends[0]);
		map_ipv4(a.destination, ends[1]);
	} else if (skb->protocol != bpf_htons(ETH_P_IPV6) ||
		   bpf_skb_load_bytes_relative(skb, offsetof(struct ipv6hdr, saddr), &a, sizeof(a), BPF_HDR_START_NET)) {
		return TC_ACT_SHOT;
	}
	find_way(skb, &a, 0, &way);
	if (!way.ifindex) {
		/* An ICMP error about the others would quote them. */
		if (is_nodes_own(a.destination))
			return TC_ACT_OK;
		goto astray;
	}
	find_end(&end, a.destination);
	if (end.ifindex) {
		endpoint = bpf_map_lookup_elem(&endpoints, &end.ifindex);
		if (way.ifindex == end.ifindex || (endpoint && endpoint->master_ifindex == way.ifindex))
			return TC_ACT_OK;
	} else if (!end.node && !way.gateway) {
		/* A pod that is not in force here, say: not by a gateway, nor back to where its sender is without the tunnel. */
		find_way(skb, &a, 1, &back);
		if (way.ifindex != back.ifindex)
			return TC_ACT_OK;
	}
astray:
	count_statistic(STATISTIC_TUNNEL_ASTRAY);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
