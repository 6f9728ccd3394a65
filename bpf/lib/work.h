/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the slow path works on: one packet, its two ends, what was decided of them. In a table rather than on the stack,
 * because the functions that the verifier looks at one by one (`judge`, `slow_path`) can be handed nothing but numbers before
 * Linux 5.12, and because the frames of all that call each other share 512 bytes. Only for the packet hooks: they are not interrupted by each other, except where a clone is sent, and
 * `reset_both` keeps its own copy there.
 */
#pragma once
#include "event.h"
#include "protect.h"

struct work {
	struct packet packet;
	struct packet kept; /* while a clone of it is sent */
	struct end ends[2]; /* source and destination of the packet */
	struct decision decision;
	struct decision first; /* what was said of the other orientation */
	struct flow_half all;  /* what would be said if everything were enforced */
	struct protect protect;
	__u32 looks; /* what is only audited may send the flow to Envoy, or keep it there */
	struct flow flow; /* built here, then inserted */
	__u32 looked_at; /* a DNS query that the agent has let go on */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} scratch SEC(".maps") __weak;

static __always_inline struct work *work_at_hand(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}
