/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * First packets wait for a proof in a TAP device that the agent reads: whole frames, never seen by routing or netfilter. The
 * agent writes them back when it knows, either way, and they are judged where they left. One packet of a TCP flow waits, the
 * retransmissions are dropped; of other flows several, in order. An agent that never answers is a refusal.
 */
#pragma once
#include "open.h"

/* Longer than a handshake may take, shorter than any application waits. */
#define HOLD_NS 5000000000ULL
#define DRAIN_NS 50000000ULL
#define HOLD_PACKETS 64

/* Was held and comes back: judged like any other packet, only not held again. */
static __always_inline int is_released(struct __sk_buff *skb, __u32 hook)
{
	if (hook == HOOK_FROM_WORKLOAD) /* a workload's own marks end at its veth */
		return (skb->mark & MARK_MASK) == config.values.mark_released;
	return is_put_back(skb);
}

static __always_inline int hold(struct __sk_buff *skb)
{
	struct protection_state *state = protection_in_force();

	count_statistic(STATISTIC_HELD);
	return state ? bpf_redirect(state->hold_ifindex, 0) : TC_ACT_SHOT;
}

enum waiting {
	WAITS_ON = 1,		/* put it behind those that wait */
	WAITED = 2,		/* it was the first: judge it now */
	WAITED_AND_DECIDED = 3, /* those before it were judged */
	WAITS_NO_MORE = 4,	/* drop it silently; it is counted */
};

/* Another packet of a flow that waits. Returns enum waiting, or a negative drop reason when nobody answered. */
static __noinline int waits(struct __sk_buff *skb, const struct packet *p, struct flow *flow, __u32 hook)
{
	__u64 age = bpf_ktime_get_ns() - flow->created_ns;

	if (is_released(skb, hook)) {
		count_statistic(STATISTIC_RELEASED);
		__sync_fetch_and_add(&flow->released, 1);
		if (!(flow->security & SECURITY_DRAINING))
			return WAITED;
		if (flow->released >= flow->held)
			flow->security &= ~(SECURITY_HELD | SECURITY_DRAINING);
		return WAITED_AND_DECIDED;
	}
	if (p->protocol == IPPROTO_TCP && !(flow->security & SECURITY_DRAINING)) {
		if (age > HOLD_NS)
			return -REASON_AUTH_REQUIRED;
		count_statistic(STATISTIC_HELD_DUPLICATES);
		return WAITS_NO_MORE;
	}
	if (!(flow->security & SECURITY_DRAINING) && age > HOLD_NS)
		return -REASON_AUTH_REQUIRED;
	/*
	 * While the queue drains what comes anew must go behind it. A flow that never pauses would do so for ever: after a
	 * while a few packets are lost rather than reordered.
	 */
	if (flow->held - flow->released >= HOLD_PACKETS || ((flow->security & SECURITY_DRAINING) && age > DRAIN_NS)) {
		count_statistic(STATISTIC_HELD_OVERFLOW);
		return WAITS_NO_MORE;
	}
	__sync_fetch_and_add(&flow->held, 1);
	return WAITS_ON;
}

/* Those behind it still wait: the flow that was just decided goes on draining. */
static __noinline int go_on_draining(const struct packet *p, __u32 held, __u32 released)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &p->key);

	if (flow && released < held) {
		flow->held = held;
		flow->released = released;
		flow->security |= SECURITY_HELD | SECURITY_DRAINING;
	}
	return 0;
}
