// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Egress of the host side of a workload's veth: what is about to reach the workload. */
#include "lib/hook.h"

SEC("tc")
int to_workload(struct __sk_buff *skb)
{
	struct packet p = {};
	struct work *w;
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
	if (is_answer_looked_at(skb))
		return pass_looked_at(skb, &p, HOOK_TO_WORKLOAD);

	flow = bpf_map_lookup_elem(&flows, &p.key);
	if (flow) {
		now = coarse_now();
		side = side_of(&p, flow);
		source = flow->ifindex[side & 1];
		/* A packet with the address of a workload of this node must have come through that workload's veth. */
		if (flow->deadline_ns >= now && flow->ifindex[(side ^ 1) & 1] == ifindex && !reopens(&p, flow, side) &&
		    is_settled(flow, side ? &flow->egress : &flow->ingress, side ? ep->egress_table : ep->ingress_table) &&
		    (!source || came_from(skb, source))) {
			if (!flow->security || !keep_protected(skb, flow, side, HOOK_TO_WORKLOAD, now)) {
				if (is_answer_to_learn(skb, &p, flow, side, ep->flags))
					return to_agent();
				if (!source)
					account(skb, &p, flow, side, now, HOOK_TO_WORKLOAD);
				return pass(&p, HOOK_TO_WORKLOAD);
			}
		}
	}

	err = link_to_workload(&p);
	if (err > 0)
		return pass(&p, HOOK_TO_WORKLOAD);
	if (err < 0)
		return drop_early(skb, &p, err, HOOK_TO_WORKLOAD);
	if (!(p.flags & PACKET_MULTICAST) && !owns_address(ifindex, p.destination))
		return drop_early(skb, &p, -REASON_UNKNOWN_L3_TARGET_ADDRESS, HOOK_TO_WORKLOAD);

	w = work_at_hand();
	if (!w)
		return TC_ACT_SHOT;
	flags = find_end(&w->ends[0], p.source);
	if (w->ends[0].ifindex && !came_from(skb, w->ends[0].ifindex)) {
		/*
		 * Turned round at this workload's from_workload, on behalf of the local far end: nothing else comes back with
		 * a foreign source. Without a flow it tells that there is none.
		 */
		if (skb->ingress_ifindex == ifindex && (p.tcp_flags & TCP_RST) && (!flow || is_our_reset(&p, flow)))
			return pass(&p, HOOK_TO_WORKLOAD);
		return drop_early(skb, &p, -REASON_INVALID_SOURCE_IP, HOOK_TO_WORKLOAD);
	}
	err = may_be_leg(flow) ? leg_direction(skb, &p, !!flow, HOOK_TO_WORKLOAD) : 0;
	if (err < 0)
		return drop_early(skb, &p, err, HOOK_TO_WORKLOAD);
	if (err == 1) /* an answer to Envoy, from beyond the uplink */
		return steer(skb, &p, HOOK_TO_WORKLOAD);
	if (err) /* Envoy's own, with the client's address */
		return pass(&p, HOOK_TO_WORKLOAD);

	if (!w->ends[0].ifindex) {
		if (skb->ingress_ifindex == 0 && !is_envoys_answer(&p, flow)) {
			w->ends[0].identity = IDENTITY_HOST; /* this node made it */
			w->ends[0].node = 0;
		} else if (flags & IPCACHE_NODE_ADDRESS) {
			w->ends[0].identity = IDENTITY_WORLD; /* forwarded and masqueraded: anyone */
		}
	}
	local_end(&w->ends[1], ifindex, ep);
	w->packet = p;
	return slow_path(skb, HOOK_TO_WORKLOAD);
}

char _license[] SEC("license") = "Dual BSD/GPL";
