/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* From a frame to a packet. */
#pragma once
#include "packet.h"

/* Enough of the packet for the longest fixed headers is made readable in place. */
static __always_inline int make_readable(struct __sk_buff *skb)
{
	__u32 want = ETH_HLEN + sizeof(struct ipv6hdr);

	if ((void *)(long)skb->data + want <= (void *)(long)skb->data_end)
		return 0;
	return bpf_skb_pull_data(skb, skb->len < want ? skb->len : want);
}

/* Returns 0 for an IP packet now described by `p`, 1 for ARP, or a negative drop reason. */
static __always_inline int read_frame(struct __sk_buff *skb, struct packet *p)
{
	struct ethhdr *eth;
	__be16 type;
	int err;

	p->length = skb->len;
	make_readable(skb);
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return -REASON_INVALID_PACKET_DROPPED;
	if (skb->vlan_present) /* a bridge could deliver a tagged frame unseen */
		return -REASON_UNSUPPORTED_L2_PROTOCOL;
	type = eth->h_proto;
	if (type == bpf_htons(ETH_P_ARP))
		return 1;
	if (type == bpf_htons(ETH_P_IP))
		err = parse_ipv4(skb, p);
	else if (type == bpf_htons(ETH_P_IPV6))
		err = parse_ipv6(skb, p);
	else
		return -REASON_UNSUPPORTED_L2_PROTOCOL;
	if (!err)
		make_key(p);
	return err;
}
