// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Sends whole frames to a TAP device and puts back what comes from it, at either side of a veth. What is held is told by its
 * destination port; what was put back carries a mark. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FIRST_PORT 9000
#define LAST_PORT 9009
#define PUT_BACK 0x7777

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} devices SEC(".maps"); /* the TAP device, the veth */

static __always_inline __u32 device(__u32 which)
{
	__u32 *found = bpf_map_lookup_elem(&devices, &which);

	return found ? *found : 0;
}

/* Ports stand first in TCP and UDP. */
static __always_inline int is_held(struct __sk_buff *skb)
{
	__u32 offset = ETH_HLEN;
	__u16 port = 0;
	__u8 protocol = 0;

	if (skb->mark == PUT_BACK)
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		bpf_skb_load_bytes(skb, offset + offsetof(struct iphdr, protocol), &protocol, 1);
		offset += sizeof(struct iphdr);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		bpf_skb_load_bytes(skb, offset + offsetof(struct ipv6hdr, nexthdr), &protocol, 1);
		offset += sizeof(struct ipv6hdr);
	}
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return 0;
	bpf_skb_load_bytes(skb, offset + 2, &port, 2);
	return bpf_ntohs(port) >= FIRST_PORT && bpf_ntohs(port) <= LAST_PORT;
}

SEC("tc")
int hold(struct __sk_buff *skb)
{
	return is_held(skb) ? bpf_redirect(device(0), 0) : TC_ACT_UNSPEC;
}

/* At the ingress of the TAP device. */
SEC("tc")
int put_back_ingress(struct __sk_buff *skb)
{
	skb->mark = PUT_BACK;
	return bpf_redirect(device(1), BPF_F_INGRESS);
}

SEC("tc")
int put_back_egress(struct __sk_buff *skb)
{
	skb->mark = PUT_BACK;
	return bpf_redirect(device(1), 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
