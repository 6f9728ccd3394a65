/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
#include "maps.h"

static __always_inline void count_statistic(__u32 which)
{
	__u64 *value = bpf_map_lookup_elem(&statistics, &which);

	if (value)
		*value += 1; /* per CPU, and tc programs do not nest on one CPU */
}

/* Every packet is counted exactly once per hook: passed (reason 0) or dropped. */
static __always_inline void count_packet(__u32 reason, __u32 hook, __u32 length)
{
	__u32 index = (reason & (COUNTER_REASONS - 1)) * 2 + (hook == HOOK_TO_WORKLOAD);
	struct counter *counter = bpf_map_lookup_elem(&counters, &index);

	if (counter) {
		counter->packets += 1;
		counter->bytes += length;
	}
}
