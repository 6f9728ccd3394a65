// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Ingress of the TAP device: a frame that waited goes back to where it was put aside. */
#include "lib/frame.h"

SEC("tc")
int put_back(struct __sk_buff *skb)
{
	struct packet p = {};
	struct flow *flow;

	if (read_frame(skb, &p))
		goto lost;
	flow = bpf_map_lookup_elem(&flows, &p.key);
	if (!flow || !(flow->security & SECURITY_HELD))
		goto lost;
	skb->mark = config.values.mark_released;
	return bpf_redirect(flow->hold_ifindex, flow->hold_hook == HOOK_FROM_WORKLOAD ? BPF_F_INGRESS : 0);

lost:
	count_statistic(STATISTIC_HELD_LOST);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
