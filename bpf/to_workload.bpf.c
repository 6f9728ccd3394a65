// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Egress of the host side of a workload's veth: what is about to reach the workload. */
#include "lib/hook.h"

SEC("tc")
int to_workload(struct __sk_buff *skb)
{
	struct packet p = {};
	struct end ends[2];
	__u32 ifindex = skb->ifindex, side, source;
	struct endpoint *ep = bpf_map_lookup_elem(&endpoints, &ifindex);
	struct flow *flow;
	__u64 now;
	int err, flags;

	p.length = skb->len;
	if (!ep)
		return drop_early(skb, &p, -REASON_DROP_EP_NOT_READY, HOOK_TO_WORKLOAD);
	err = read_frame(skb, &p);
	if (err < 0)
		return drop_early(skb, &p, err, HOOK_TO_WORKLOAD);
	if (err)
		return pass(&p, HOOK_TO_WORKLOAD);

	flow = bpf_map_lookup_elem(&flows, &p.key);
	if (flow) {
		now = coarse_now();
		side = side_of(&p, flow);
		source = flow->ifindex[side & 1];
		/* A packet with the address of a workload of this node must have come through that workload's veth. */
		if (flow->deadline_ns >= now && flow->ifindex[(side ^ 1) & 1] == ifindex && !reopens(&p, flow, side) &&
		    is_settled(flow, side ? &flow->egress : &flow->ingress, side ? ep->egress_table : ep->ingress_table) &&
		    (!source || came_from(skb, source))) {
			if (!source)
				account(skb, &p, flow, side, now, HOOK_TO_WORKLOAD);
			return pass(&p, HOOK_TO_WORKLOAD);
		}
	}

	err = link_to_workload(&p);
	if (err > 0)
		return pass(&p, HOOK_TO_WORKLOAD);
	if (err < 0)
		return drop_early(skb, &p, err, HOOK_TO_WORKLOAD);
	if (!(p.flags & PACKET_MULTICAST) && !owns_address(ifindex, p.destination))
		return drop_early(skb, &p, -REASON_UNKNOWN_L3_TARGET_ADDRESS, HOOK_TO_WORKLOAD);

	err = flow ? 0 : leg_direction(skb, &p, HOOK_TO_WORKLOAD);
	if (err < 0)
		return drop_early(skb, &p, err, HOOK_TO_WORKLOAD);
	if (err == 1) /* an answer to Envoy, from beyond the uplink */
		return steer(skb, &p, HOOK_TO_WORKLOAD);
	if (err) /* Envoy's own, with the client's address */
		return pass(&p, HOOK_TO_WORKLOAD);

	flags = find_end(&ends[0], p.source);
	if (ends[0].ifindex) {
		if (!came_from(skb, ends[0].ifindex)) {
			/* Turned round at this workload's from_workload, on behalf of the local far end. */
			if (flow && skb->ingress_ifindex == ifindex && is_our_reset(&p, flow))
				return pass(&p, HOOK_TO_WORKLOAD);
			return drop_early(skb, &p, -REASON_INVALID_SOURCE_IP, HOOK_TO_WORKLOAD);
		}
	} else if (skb->ingress_ifindex == 0) {
		ends[0].identity = IDENTITY_HOST; /* this node made it */
	} else if (flags & IPCACHE_NODE_ADDRESS) {
		ends[0].identity = IDENTITY_WORLD; /* forwarded and masqueraded: anyone */
	}
	local_end(&ends[1], ifindex, ep);
	return slow_path(skb, &p, ends, HOOK_TO_WORKLOAD);
}

char _license[] SEC("license") = "Dual BSD/GPL";
