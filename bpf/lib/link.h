/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What makes a link work and is not a flow: ARP, neighbour discovery, MLD, DHCP. Checked for whose it is, then passed. */
#pragma once
#include "packet.h"

#define MLD_QUERY 130
#define MLD_DONE 132
#define ND_ROUTER_SOLICIT 133
#define ND_ROUTER_ADVERT 134
#define ND_NEIGHBOUR_ADVERT 136
#define ND_REDIRECT 137
#define MLD2_REPORT 143

static __always_inline int owns_address(__u32 ifindex, const void *address)
{
	struct address_key key = { .scope = config.values.scope };
	struct endpoint_address *owner;

	copy_address(key.address, address);
	owner = bpf_map_lookup_elem(&endpoint_addresses, &key);
	return owner && owner->ifindex == ifindex;
}

static __always_inline int is_link_local(const __u8 *address)
{
	return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

static __always_inline int is_unspecified_ipv6(const __u8 *address)
{
	const __u64 *words = (const __u64 *)address;

	return words[0] == 0 && words[1] == 0;
}

static __always_inline int is_unspecified_ipv4(const __u8 *address)
{
	return ((const __u32 *)address)[3] == 0 && ((const __u32 *)address)[2] == bpf_htonl(0xffff) &&
	       ((const __u64 *)address)[0] == 0;
}

/* 127/8 and ::1: whoever gets the packet. */
static __always_inline int is_loopback(const __u8 *address)
{
	const __u64 *words = (const __u64 *)address;

	if (words[0] != 0)
		return 0;
	return words[1] == bpf_cpu_to_be64(1) ||
	       (((const __u32 *)address)[2] == bpf_htonl(0xffff) && address[12] == 127);
}

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] && a[5] == b[5];
}

static __always_inline int is_neighbour_discovery(const struct packet *p)
{
	return p->protocol == IPPROTO_ICMPV6 && p->icmp_type >= ND_ROUTER_SOLICIT && p->icmp_type <= ND_REDIRECT;
}

static __always_inline int is_multicast_listener(const struct packet *p)
{
	return p->protocol == IPPROTO_ICMPV6 &&
	       ((p->icmp_type >= MLD_QUERY && p->icmp_type <= MLD_DONE) || p->icmp_type == MLD2_REPORT);
}

/* DHCP between a client without an address and the link: only to addresses that do not leave the link. */
static __always_inline int is_dhcp(const struct packet *p, __u16 from, __u16 to, __u16 from6, __u16 to6)
{
	if (p->protocol != IPPROTO_UDP)
		return 0;
	if (p->flags & PACKET_IPV6)
		return p->source_port == bpf_htons(from6) && p->destination_port == bpf_htons(to6) &&
		       (is_link_local(p->destination) || (p->flags & PACKET_MULTICAST));
	return p->source_port == bpf_htons(from) && p->destination_port == bpf_htons(to) && (p->flags & PACKET_MULTICAST);
}

/* To the workload: 1 = belongs to the link, 0 = an ordinary packet, negative = drop. */
static __always_inline int link_to_workload(const struct packet *p)
{
	if (is_dhcp(p, 67, 68, 547, 546) || is_multicast_listener(p))
		return 1;
	if (!is_neighbour_discovery(p))
		return 0;
	return p->hop_limit == 255 ? 1 : -REASON_INVALID_PACKET_DROPPED;
}
