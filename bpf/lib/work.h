/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a hook works on: more than the 512 bytes of its stack hold, and where global functions find it. The verifier
 * looks into a global function once, not once for every way that leads to it; on older kernels such a function takes
 * only the context and numbers. Each hook has its own on each CPU: a reset turned round at from_workload runs through
 * to_workload before from_workload goes on. The table is pinned as the others are: if its size changes, so must its name.
 */
#pragma once
#include "ends.h"

struct decision {
	struct flow_half egress;
	struct flow_half ingress;
};

struct work {
	struct packet packet;
	struct end ends[2]; /* of the packet: its source, its destination */
	struct decision decision;
	struct decision turned; /* had the flow been opened from the other end */
	struct flow flow;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct work);
} work SEC(".maps") __weak;

/* Never NULL; the verifier does not know. */
static __always_inline struct work *work_of(__u32 hook)
{
	__u32 index = hook == HOOK_TO_WORKLOAD;

	return bpf_map_lookup_elem(&work, &index);
}
