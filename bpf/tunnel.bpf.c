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

/* Returns the interface that packets to `destination` are forwarded to; 0: this host keeps or refuses them. */
static __noinline __u32 way_of(struct __sk_buff *skb, const struct addresses *a, __u32 back)
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
	if (answer == BPF_FIB_LKUP_RET_SUCCESS || answer == BPF_FIB_LKUP_RET_NO_NEIGH ||
	    answer == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return fib.ifindex;
	return 0;
}

SEC("tc")
int leave_tunnel(struct __sk_buff *skb)
{
	struct addresses a = {};
	struct endpoint *endpoint;
	struct end end;
	__u32 way;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 ends[2];

		if (bpf_skb_load_bytes(skb, offsetof(struct iphdr, saddr), ends, sizeof(ends)))
			return TC_ACT_SHOT;
		map_ipv4(a.source, ends[0]);
		map_ipv4(a.destination, ends[1]);
	} else if (skb->protocol != bpf_htons(ETH_P_IPV6) ||
		   bpf_skb_load_bytes(skb, offsetof(struct ipv6hdr, saddr), &a, sizeof(a))) {
		return TC_ACT_SHOT;
	}
	way = way_of(skb, &a, 0);
	if (!way) {
		/* An ICMP error about the others would quote them. */
		if (is_nodes_own(a.destination))
			return TC_ACT_OK;
		goto astray;
	}
	find_end(&end, a.destination);
	if (end.ifindex) {
		endpoint = bpf_map_lookup_elem(&endpoints, &end.ifindex);
		if (way == end.ifindex || (endpoint && endpoint->master_ifindex == way))
			return TC_ACT_OK;
	} else if (!end.node && way != way_of(skb, &a, 1)) {
		/* A pod that is not in force here, say: not back to where its sender would be without the tunnel. */
		return TC_ACT_OK;
	}
astray:
	count_statistic(STATISTIC_TUNNEL_ASTRAY);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
