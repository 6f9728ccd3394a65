// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Ingress of the host side of a workload's veth: what the workload sends. */
#include "lib/honest.h"
#include "lib/hook.h"

SEC("tc")
int from_workload(struct __sk_buff *skb)
{
	struct packet p = {};
	struct end ends[2];
	__u32 ifindex = skb->ifindex, side;
	struct endpoint *ep = bpf_map_lookup_elem(&endpoints, &ifindex);
	struct flow *flow;
	__u64 now;
	int err;

	p.length = skb->len;
	if (!ep)
		return drop_early(skb, &p, -REASON_DROP_EP_NOT_READY, HOOK_FROM_WORKLOAD);
	err = read_frame(skb, &p);
	if (err < 0)
		return drop_early(skb, &p, err, HOOK_FROM_WORKLOAD);
	if (!mac_is_honest(skb, ep))
		return drop_early(skb, &p, -REASON_INVALID_SOURCE_IP, HOOK_FROM_WORKLOAD);
	if (err) {
		err = check_arp(skb, ep);
		return err ? drop_early(skb, &p, err, HOOK_FROM_WORKLOAD) : pass(&p, HOOK_FROM_WORKLOAD);
	}

	flow = bpf_map_lookup_elem(&flows, &p.key);
	if (flow) {
		now = coarse_now();
		side = side_of(&p, flow);
		/* The entry remembers which interface the source was proven to own. */
		if (flow->deadline_ns >= now && flow->ifindex[side & 1] == ifindex && !reopens(&p, flow, side) &&
		    is_settled(flow, side ? &flow->ingress : &flow->egress, side ? ep->ingress_table : ep->egress_table)) {
			account(skb, &p, flow, side, now, HOOK_FROM_WORKLOAD);
			return pass(&p, HOOK_FROM_WORKLOAD);
		}
	}

	err = link_from_workload(skb, &p);
	if (err > 0)
		return pass(&p, HOOK_FROM_WORKLOAD);
	if (err < 0)
		return drop_early(skb, &p, err, HOOK_FROM_WORKLOAD);
	if (!owns_address(ifindex, p.source)) {
		if (flow && is_our_reset(&p, flow)) /* turned round at to_workload on behalf of the far end */
			return pass(&p, HOOK_FROM_WORKLOAD);
		return drop_early(skb, &p, -REASON_INVALID_SOURCE_IP, HOOK_FROM_WORKLOAD);
	}
	err = flow ? 0 : leg_direction(skb, &p, HOOK_FROM_WORKLOAD);
	if (err < 0)
		return drop_early(skb, &p, err, HOOK_FROM_WORKLOAD);
	if (err) /* an answer to Envoy */
		return steer(skb, &p, HOOK_FROM_WORKLOAD);
	local_end(&ends[0], ifindex, ep);
	find_end(&ends[1], p.destination);
	return slow_path(skb, &p, ends, HOOK_FROM_WORKLOAD);
}

char _license[] SEC("license") = "Dual BSD/GPL";
