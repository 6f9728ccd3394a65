/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where the listeners of the Envoy in force are. */
#pragma once
#include "maps.h"

static __always_inline __u32 listener_slot(__u32 kind, __u32 is_ipv6)
{
	struct proxy_state *state;
	__u32 zero = 0;

	state = bpf_map_lookup_elem(&proxy, &zero);
	return (state ? state->active : 0) * 8 + kind * 2 + is_ipv6;
}

/* Envoy opens its listeners together, and they go with it. */
static __always_inline __maybe_unused int envoy_listens(__u32 is_ipv6)
{
	__u32 slot = listener_slot(LISTENER_TRACKED, is_ipv6);
	struct bpf_sock *listener = slot < LISTENER_SLOTS ? bpf_map_lookup_elem(&listeners, &slot) : NULL;

	if (!listener)
		return 0;
	bpf_sk_release(listener);
	return 1;
}
