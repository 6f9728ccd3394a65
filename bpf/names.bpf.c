// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Ingress of the TAP device that DNS waits in: what the agent writes goes to, or comes from, the workload that asked. */
#include "lib/frame.h"

SEC("tc")
int put_back_dns(struct __sk_buff *skb)
{
	struct packet p = {};
	struct flow *flow;

	if (read_frame(skb, &p))
		goto lost;
	flow = bpf_map_lookup_elem(&flows, &p.key);
	if (!flow || !flow->ifindex[0])
		goto lost;
	skb->mark = config.values.mark_looked_at;
	return bpf_redirect(flow->ifindex[0], side_of(&p, flow) ? 0 : BPF_F_INGRESS);

lost:
	count_statistic(STATISTIC_DNS_LOST);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
