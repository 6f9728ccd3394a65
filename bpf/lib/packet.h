/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* From a frame to what policy needs to know of it. Functions return 0 or a negative drop reason. */
#pragma once
#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "../include/shared.h"
#include "clock.h"
#include "count.h"

/* linux/icmp.h brings the C library in. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_REDIRECT 5
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define EXTENSION_HEADERS_MAX 8
#define IPV4_OPTIONS_MAX 12

enum packet_flag {
	PACKET_SOURCE_IS_HIGH = 1, /* the source is the higher end of the canonical key */
	PACKET_IPV6 = 2,
	PACKET_FIRST_FRAGMENT = 4,
	PACKET_LATER_FRAGMENT = 8,
	PACKET_ICMP_ERROR = 16,
	PACKET_MULTICAST = 32, /* destination is multicast or broadcast */
};

struct packet {
	struct flow_key key;
	__u8 source[ADDRESS_BYTES];
	__u8 destination[ADDRESS_BYTES];
	__be16 source_port;
	__be16 destination_port;
	__be16 policy_port; /* what policy compares: the destination port, for ICMP the type */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 flags;
	__u8 hop_limit;
	__u32 length; /* layer 3 */
	__u32 l4_offset;
	__u32 fragment_id;
} __attribute__((aligned(8)));

static __always_inline void copy_address(void *to, const void *from)
{
	__builtin_memcpy(to, from, ADDRESS_BYTES);
}

static __always_inline void map_ipv4(__u8 *to, __be32 address)
{
	__u32 *words = (__u32 *)to;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = address;
}

/* Byte order does not matter for a canonical order, only that both directions agree. */
static __always_inline int source_is_higher(const struct packet *p)
{
	const __u64 *s = (const __u64 *)p->source, *d = (const __u64 *)p->destination;

	if (s[0] != d[0])
		return s[0] > d[0];
	if (s[1] != d[1])
		return s[1] > d[1];
	return p->source_port > p->destination_port;
}

static __always_inline int is_icmp_echo(__u8 protocol, __u8 type)
{
	return protocol == IPPROTO_ICMP ? type == ICMP_ECHO || type == ICMP_ECHOREPLY :
					  type == ICMPV6_ECHO_REQUEST || type == ICMPV6_ECHO_REPLY;
}

/* Type and id of an ICMP message, both ends' port. A request and its answer are one flow; other types are one each. */
static __always_inline void set_icmp_ports(struct packet *p, __u8 type, __be16 id)
{
	int is_answer = type == (p->protocol == IPPROTO_ICMP ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY);

	if (is_icmp_echo(p->protocol, type))
		p->key.echo = !!source_is_higher(p) != is_answer ? ECHO_OF_HIGH : ECHO_OF_LOW;
	else
		id = bpf_htons(type);
	p->source_port = id;
	p->destination_port = id;
}

static __always_inline void make_key(struct packet *p)
{
	p->key.scope = config.values.scope;
	p->key.protocol = p->protocol;
	if (source_is_higher(p)) {
		p->flags |= PACKET_SOURCE_IS_HIGH;
		copy_address(p->key.high, p->source);
		copy_address(p->key.low, p->destination);
		p->key.high_port = p->source_port;
		p->key.low_port = p->destination_port;
	} else {
		copy_address(p->key.low, p->source);
		copy_address(p->key.high, p->destination);
		p->key.low_port = p->source_port;
		p->key.high_port = p->destination_port;
	}
}

/* 0 when the packet travels from initiator to responder, 1 the other way. */
static __always_inline __u32 side_of(const struct packet *p, const struct flow *flow)
{
	return !!(p->flags & PACKET_SOURCE_IS_HIGH) != !!(flow->flags & FLOW_INITIATOR_IS_HIGH);
}

static __always_inline void fragment_key_of(const struct packet *p, struct fragment_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->scope = config.values.scope;
	key->id = p->fragment_id;
	key->protocol = p->protocol;
	copy_address(key->source, p->source);
	copy_address(key->destination, p->destination);
}

/* Ports of a fragment that has none: those its first fragment named, if that one was let through. */
static __noinline __maybe_unused int recall_fragment(struct packet *p)
{
	struct fragment_key key;
	struct fragment *first;

	fragment_key_of(p, &key);
	first = bpf_map_lookup_elem(&fragments, &key);
	if (!first || first->deadline_ns < coarse_now())
		return -REASON_IP_FRAGMENTATION_NOT_SUPPORTED;
	p->source_port = first->source_port;
	p->destination_port = first->destination_port;
	p->policy_port = first->policy_port;
	return 0;
}

/* Called for a first fragment that passes. */
static __noinline __maybe_unused int remember_fragment(struct packet *p)
{
	struct fragment_key key;
	struct fragment first = {};

	fragment_key_of(p, &key);
	first.deadline_ns = coarse_now() + config.values.fragment_ns;
	first.source_port = p->source_port;
	first.destination_port = p->destination_port;
	first.policy_port = p->policy_port;
	if (bpf_map_update_elem(&fragments, &key, &first, BPF_ANY))
		count_statistic(STATISTIC_FRAGMENT_INSERT_FAILED);
	return 0;
}

static __always_inline int is_icmp_error(const struct packet *p)
{
	if (p->protocol == IPPROTO_ICMP)
		return p->icmp_type == ICMP_DEST_UNREACH || p->icmp_type == ICMP_SOURCE_QUENCH ||
		       p->icmp_type == ICMP_REDIRECT || p->icmp_type == ICMP_TIME_EXCEEDED ||
		       p->icmp_type == ICMP_PARAMETERPROB;
	return p->protocol == IPPROTO_ICMPV6 && p->icmp_type >= ICMPV6_DEST_UNREACH && p->icmp_type <= ICMPV6_PARAMPROB;
}

/* Reads the layer-4 header. `end` is where layer 3 ends, so that padding is never taken for a header. */
static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *p, __u32 end)
{
	/* Ports, sequence, acknowledgement, offset and flags: the first 14 bytes of TCP; 8 bytes of everything else. */
	struct {
		__be16 source;
		__be16 destination;
		__u8 rest[8];
		__u8 offset;
		__u8 flags;
	} tcp;
	struct {
		__u8 type;
		__u8 code;
		__be16 checksum;
		__be16 id;
		__be16 sequence;
	} icmp;
	__u32 left = end - p->l4_offset;

	switch (p->protocol) {
	case IPPROTO_TCP:
		if (left < sizeof(struct tcphdr) || bpf_skb_load_bytes(skb, p->l4_offset, &tcp, sizeof(tcp)))
			return -REASON_CT_TRUNCATED_OR_INVALID_HEADER;
		p->source_port = tcp.source;
		p->destination_port = tcp.destination;
		p->tcp_flags = tcp.flags;
		break;
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		if (left < 8 || bpf_skb_load_bytes(skb, p->l4_offset, &icmp, sizeof(icmp)))
			return -REASON_CT_TRUNCATED_OR_INVALID_HEADER;
		__builtin_memcpy(&p->source_port, &icmp, 4);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (left < 8 || bpf_skb_load_bytes(skb, p->l4_offset, &icmp, sizeof(icmp)))
			return -REASON_CT_TRUNCATED_OR_INVALID_HEADER;
		p->icmp_type = icmp.type;
		p->icmp_code = icmp.code;
		set_icmp_ports(p, icmp.type, icmp.id);
		p->policy_port = bpf_htons(icmp.type);
		if (is_icmp_error(p))
			p->flags |= PACKET_ICMP_ERROR;
		return 0;
	default:
		return 0; /* no ports: a flow by protocol and addresses, admitted by rules without ports */
	}
	p->policy_port = p->destination_port;
	return 0;
}

/* Options change where a packet goes or are padding. Bounded; source routes are refused. RFC 791 §3.1. */
static __noinline int walk_ipv4_options(struct __sk_buff *skb, __u32 offset, __u32 end)
{
	__u8 option[2];

	for (int i = 0; i < IPV4_OPTIONS_MAX; i++) {
		if (offset >= end)
			return 0;
		if (bpf_skb_load_bytes(skb, offset, option, 1))
			return -REASON_INVALID_IPV6_EXTENSION_HEADER;
		if (option[0] == 0)
			return 0;
		if (option[0] == 1) {
			offset += 1;
			continue;
		}
		if (bpf_skb_load_bytes(skb, offset, option, 2) || option[1] < 2 || option[0] == 131 || option[0] == 137)
			return -REASON_INVALID_IPV6_EXTENSION_HEADER;
		offset += option[1];
	}
	return offset >= end ? 0 : -REASON_INVALID_IPV6_EXTENSION_HEADER;
}

static __always_inline int fragment_rules(const struct packet *p, __u32 offset_bytes)
{
	/* A later fragment that reaches into the TCP header could rewrite what was decided on. RFC 3128. */
	if (p->protocol == IPPROTO_TCP && offset_bytes < sizeof(struct tcphdr))
		return -REASON_CT_TRUNCATED_OR_INVALID_HEADER;
	return 0;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	__u32 header, total, fragment;
	int err;

	if ((void *)(ip + 1) > data_end)
		return -REASON_INVALID_PACKET_DROPPED;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || total < header || total > skb->len - ETH_HLEN)
		return -REASON_INVALID_PACKET_DROPPED;
	map_ipv4(p->source, ip->saddr);
	map_ipv4(p->destination, ip->daddr);
	p->protocol = ip->protocol;
	p->hop_limit = ip->ttl;
	p->length = total;
	p->l4_offset = ETH_HLEN + header;
	fragment = bpf_ntohs(ip->frag_off);
	p->fragment_id = ip->id;
	if ((ip->daddr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || ip->daddr == 0xffffffff)
		p->flags |= PACKET_MULTICAST;
	if (header > sizeof(*ip)) {
		err = walk_ipv4_options(skb, ETH_HLEN + sizeof(*ip), ETH_HLEN + header);
		if (err)
			return err;
	}
	if (fragment & 0x1fff) {
		p->flags |= PACKET_LATER_FRAGMENT;
		err = fragment_rules(p, (fragment & 0x1fff) * 8);
		return err ? err : recall_fragment(p);
	}
	if (fragment & 0x2000)
		p->flags |= PACKET_FIRST_FRAGMENT;
	return parse_l4(skb, p, ETH_HLEN + total);
}

static __always_inline int is_extension_header(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_DSTOPTS ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_AH;
}

/* Follows the chain of RFC 8200 §4 to the layer-4 header. Returns 1 for a fragment that has none. */
static __noinline int walk_ipv6_extensions(struct __sk_buff *skb, struct packet *p)
{
	struct {
		__u8 next;
		__u8 length;
		__be16 fragment;
		__be32 id;
	} header;

	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		if (!is_extension_header(p->protocol))
			return 0;
		if (bpf_skb_load_bytes(skb, p->l4_offset, &header, sizeof(header)))
			return -REASON_INVALID_IPV6_EXTENSION_HEADER;
		if (p->protocol == IPPROTO_FRAGMENT) {
			__u32 fragment = bpf_ntohs(header.fragment);

			p->fragment_id = header.id;
			p->l4_offset += 8;
			p->protocol = header.next;
			if (fragment & 0xfff8) {
				/* What follows is payload; the first fragment knows the rest of the chain. */
				p->flags |= PACKET_LATER_FRAGMENT;
				return fragment_rules(p, fragment & 0xfff8) ?: 1;
			}
			if (fragment & 1)
				p->flags |= PACKET_FIRST_FRAGMENT;
			continue;
		}
		p->l4_offset += p->protocol == IPPROTO_AH ? (header.length + 2) * 4 : (header.length + 1) * 8;
		p->protocol = header.next;
	}
	return is_extension_header(p->protocol) ? -REASON_INVALID_IPV6_EXTENSION_HEADER : 0;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + ETH_HLEN;
	__u32 total;
	int err;

	if ((void *)(ip + 1) > data_end)
		return -REASON_INVALID_PACKET_DROPPED;
	total = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	/* Jumbograms (payload_len 0) do not cross a veth. */
	if (ip->version != 6 || total > skb->len - ETH_HLEN)
		return -REASON_INVALID_PACKET_DROPPED;
	copy_address(p->source, &ip->saddr);
	copy_address(p->destination, &ip->daddr);
	p->flags |= PACKET_IPV6;
	p->protocol = ip->nexthdr;
	p->hop_limit = ip->hop_limit;
	p->length = total;
	p->l4_offset = ETH_HLEN + sizeof(*ip);
	if (p->destination[0] == 0xff)
		p->flags |= PACKET_MULTICAST;
	if (is_extension_header(p->protocol)) {
		err = walk_ipv6_extensions(skb, p);
		if (err < 0)
			return err;
		if (err)
			return recall_fragment(p);
		if (p->l4_offset > ETH_HLEN + total)
			return -REASON_INVALID_IPV6_EXTENSION_HEADER;
	}
	return parse_l4(skb, p, ETH_HLEN + total);
}
