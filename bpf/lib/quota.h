/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * A workload may hold only so many unanswered flows, so that a scan or a flood from one pod cannot push the flows of
 * the others out of the table. A token bucket: taken by a new flow, given back when the flow is answered, refilled with
 * time. It needs no agent. Races between CPUs make it inexact by a few tokens, which is harmless.
 */
#pragma once
#include "ends.h"

/* Returns 0 when the workload at `ifindex` may open one more. */
static __noinline int quota_take(__u32 ifindex)
{
	struct quota *quota = bpf_map_lookup_elem(&quotas, &ifindex);
	__u64 now = coarse_now(), interval = config.values.quota_interval_ns, gained;
	__s64 limit = config.values.quota_tokens;

	if (!quota || !interval)
		return 0; /* its creation failed: user space reports that; the flow table is still an LRU */
	if (now > quota->refilled_ns + interval) {
		gained = (now - quota->refilled_ns) / interval;
		quota->refilled_ns += gained * interval;
		quota->tokens = quota->tokens + (__s64)gained > limit ? limit : quota->tokens + (__s64)gained;
	}
	if (quota->tokens <= 0)
		return -REASON_DROP_RATE_LIMITED;
	__sync_fetch_and_add(&quota->tokens, -1);
	return 0;
}

static __always_inline void quota_give_back(__u32 ifindex)
{
	struct quota *quota = bpf_map_lookup_elem(&quotas, &ifindex);

	if (quota)
		__sync_fetch_and_add(&quota->tokens, 1);
}
