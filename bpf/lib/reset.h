/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A TCP flow that policy took back: both ends are told with a reset, so that no application waits for a timeout.
 * The packet at hand becomes the reset for its receiver; a clone of it, turned round, the one for its sender.
 * Packets with IP options or extension headers are only dropped.
 */
#pragma once
#include "work.h"

static __always_inline __u16 fold(__s64 sum)
{
	__u32 value = (__u32)sum;

	value = (value & 0xffff) + (value >> 16);
	value = (value & 0xffff) + (value >> 16);
	return ~value;
}

static __always_inline void fill_tcp(struct tcphdr *tcp, __be16 source, __be16 destination, __be32 sequence)
{
	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = source;
	tcp->dest = destination;
	tcp->seq = sequence;
	tcp->doff = 5;
	tcp->rst = 1;
}

/* Checksum of a header-only TCP segment; `addresses` are 8 or 32 bytes of source and destination. */
static __always_inline __u16 tcp_checksum(void *addresses, __u32 size, struct tcphdr *tcp)
{
	struct {
		__be32 length;
		__be32 protocol;
	} pseudo = { bpf_htonl(sizeof(*tcp)), bpf_htonl(IPPROTO_TCP) };
	__s64 sum = bpf_csum_diff(NULL, 0, addresses, size, 0);

	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)tcp, sizeof(*tcp), sum);
	return fold(sum);
}

/* Writes a reset over the packet. @turned: to the sender instead of to the receiver. */
static __noinline int write_reset(struct __sk_buff *skb, const struct packet *p, const struct ethhdr *old, __be32 sequence,
				  __u32 turned)
{
	__be16 source = turned ? p->destination_port : p->source_port;
	__be16 destination = turned ? p->source_port : p->destination_port;
	const __u8 *from = turned ? p->destination : p->source, *to = turned ? p->source : p->destination;
	struct ethhdr eth = *old;

	if (turned) {
		__builtin_memcpy(eth.h_dest, old->h_source, ETH_ALEN);
		__builtin_memcpy(eth.h_source, old->h_dest, ETH_ALEN);
	}
	if (p->flags & PACKET_IPV6) {
		struct {
			struct ipv6hdr ip;
			struct tcphdr tcp;
		} r;

		__builtin_memset(&r.ip, 0, sizeof(r.ip));
		r.ip.version = 6;
		r.ip.payload_len = bpf_htons(sizeof(r.tcp));
		r.ip.nexthdr = IPPROTO_TCP;
		r.ip.hop_limit = 64;
		copy_address(&r.ip.saddr, from);
		copy_address(&r.ip.daddr, to);
		fill_tcp(&r.tcp, source, destination, sequence);
		r.tcp.check = tcp_checksum(&r.ip.saddr, 32, &r.tcp);
		if (bpf_skb_store_bytes(skb, ETH_HLEN, &r, sizeof(r), 0))
			return -1;
	} else {
		struct {
			struct iphdr ip;
			struct tcphdr tcp;
		} r;

		__builtin_memset(&r.ip, 0, sizeof(r.ip));
		r.ip.version = 4;
		r.ip.ihl = 5;
		r.ip.tot_len = bpf_htons(sizeof(r));
		r.ip.frag_off = bpf_htons(0x4000);
		r.ip.ttl = 64;
		r.ip.protocol = IPPROTO_TCP;
		r.ip.saddr = ((const __u32 *)from)[3];
		r.ip.daddr = ((const __u32 *)to)[3];
		r.ip.check = fold(bpf_csum_diff(NULL, 0, (__be32 *)&r.ip, sizeof(r.ip), 0));
		fill_tcp(&r.tcp, source, destination, sequence);
		r.tcp.check = tcp_checksum(&r.ip.saddr, 8, &r.tcp);
		if (bpf_skb_store_bytes(skb, ETH_HLEN, &r, sizeof(r), 0))
			return -1;
	}
	return bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) ? -1 : 0;
}

/* Returns 0 when the packet is now a reset for its receiver and may go on. */
static __noinline int reset_both(struct __sk_buff *skb, struct work *w, __u32 hook)
{
	const struct packet *p = &w->kept;
	struct {
		__be32 sequence;
		__be32 acknowledged;
	} numbers;
	struct ethhdr eth;
	__u32 l3;

	/* The clone runs through the hooks before this returns, and they put their packet where ours is. */
	w->kept = w->packet;
	l3 = p->flags & PACKET_IPV6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	if (p->protocol != IPPROTO_TCP || (p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT)) ||
	    p->l4_offset != ETH_HLEN + l3)
		return -1;
	if (bpf_skb_load_bytes(skb, p->l4_offset + 4, &numbers, sizeof(numbers)) ||
	    bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return -1;
	if (bpf_skb_change_tail(skb, ETH_HLEN + l3 + sizeof(struct tcphdr), 0))
		return -1;
	if (p->tcp_flags & TCP_ACK) {
		if (write_reset(skb, p, &eth, numbers.acknowledged, 1))
			return -1;
		/* Back out of the veth it came in by, or back in by the one it was to leave by: the flow's state lets it pass. */
		bpf_clone_redirect(skb, skb->ifindex, hook == HOOK_FROM_WORKLOAD ? 0 : BPF_F_INGRESS);
	}
	count_statistic(STATISTIC_RESETS_SENT);
	return write_reset(skb, p, &eth, numbers.sequence, 0);
}
