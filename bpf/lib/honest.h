/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Only for what workloads send: ARP, neighbour discovery, MLD and DHCP must speak for the workload itself. */
#pragma once
#include "link.h"

/* The sender an ARP packet claims must be the workload itself; 0.0.0.0 is a probe (RFC 5227). */
static __noinline int check_arp(struct __sk_buff *skb, struct endpoint *ep)
{
	struct {
		__be16 hardware;
		__be16 protocol;
		__u8 hardware_length;
		__u8 protocol_length;
		__be16 operation;
		__u8 sender_mac[ETH_ALEN];
		__u8 sender[4];
	} arp;
	__u8 address[ADDRESS_BYTES] __attribute__((aligned(8)));
	__be32 sender;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return -REASON_INVALID_PACKET_DROPPED;
	if (arp.protocol != bpf_htons(ETH_P_IP) || arp.hardware_length != ETH_ALEN || arp.protocol_length != 4)
		return -REASON_INVALID_PACKET_DROPPED;
	if ((ep->flags & ENDPOINT_CHECK_MAC) && !same_mac(arp.sender_mac, ep->mac))
		return -REASON_INVALID_SOURCE_IP;
	__builtin_memcpy(&sender, arp.sender, 4);
	map_ipv4(address, sender);
	return sender == 0 || owns_address(skb->ifindex, address) ? 0 : -REASON_INVALID_SOURCE_IP;
}

/*
 * Addresses that no packet on a wire has as its destination. Envoy, which lives on the node, would take them for the
 * node: they would reach what listens on the node's loopback only.
 */
static __always_inline int is_nowhere(const __u8 *destination)
{
	return is_loopback(destination) || is_unspecified_ipv4(destination) || is_unspecified_ipv6(destination);
}

/* From the workload: 1 = belongs to the link and is honest, 0 = an ordinary packet, negative = drop. */
static __noinline int link_from_workload(struct __sk_buff *skb, struct packet *p)
{
	__u8 target[ADDRESS_BYTES] __attribute__((aligned(8)));

	if (is_dhcp(p, 68, 67, 546, 547) && (is_unspecified_ipv4(p->source) || is_link_local(p->source)))
		return 1;
	if (!is_neighbour_discovery(p) && !is_multicast_listener(p))
		return 0;
	if (!is_unspecified_ipv6(p->source) && !is_link_local(p->source) && !owns_address(skb->ifindex, p->source))
		return -REASON_INVALID_SOURCE_IP;
	if (is_multicast_listener(p))
		return 1;
	if (p->hop_limit != 255) /* came through a router, so not from this link: RFC 4861 §7.1 */
		return -REASON_INVALID_PACKET_DROPPED;
	if (p->icmp_type == ND_ROUTER_ADVERT || p->icmp_type == ND_REDIRECT)
		return -REASON_FORBIDDEN_ICMPV6_MESSAGE;
	if (p->icmp_type != ND_NEIGHBOUR_ADVERT)
		return 1;
	if (bpf_skb_load_bytes(skb, p->l4_offset + 8, target, sizeof(target)))
		return -REASON_CT_TRUNCATED_OR_INVALID_HEADER;
	return is_link_local(target) || owns_address(skb->ifindex, target) ? 1 : -REASON_INVALID_SOURCE_IP;
}
