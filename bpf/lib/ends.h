/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who is at the two ends of a packet. */
#pragma once
#include "link.h"

/* Values, no pointers: the verifier does not follow a pointer through an array that is indexed by a variable. */
struct end {
	__u32 identity;
	__u32 ifindex; /* of a workload on this node; 0: the rest below means nothing */
	__u32 egress_table;
	__u32 ingress_table;
	__u32 namespace_id;
	__u32 authentication_table;
	__u32 audit_egress_table;
	__u32 audit_ingress_table;
	__u32 node;  /* number of the other node it is on, or 0 */
	__u32 flags; /* enum ipcache_flag */
};

static __always_inline void local_end(struct end *end, __u32 ifindex, const struct endpoint *endpoint)
{
	end->identity = endpoint->identity;
	end->ifindex = ifindex;
	end->egress_table = endpoint->egress_table;
	end->ingress_table = endpoint->ingress_table;
	end->namespace_id = endpoint->namespace_id;
	end->authentication_table = endpoint->authentication_table;
	end->audit_egress_table = endpoint->audit_egress_table;
	end->audit_ingress_table = endpoint->audit_ingress_table;
	end->node = 0;
	end->flags = 0;
}

static __always_inline struct ipcache_entry *find_identity(const void *address)
{
	struct prefix_key prefix = { .prefix_length = 160, .scope = config.values.scope };
	struct address_key key = { .scope = config.values.scope };
	struct ipcache_entry *entry;

	copy_address(key.address, address);
	entry = bpf_map_lookup_elem(&ipcache, &key);
	if (entry)
		return entry;
	copy_address(prefix.address, address);
	return bpf_map_lookup_elem(&ipcache_prefixes, &prefix);
}

/* Does this address belong to the node itself? 127/8 and ::1 do without being asked for. */
static __always_inline int is_nodes_own(const __u8 *address)
{
	struct ipcache_entry *entry;

	if (is_loopback(address))
		return 1;
	entry = find_identity(address);
	return entry && (entry->flags & IPCACHE_NODE_ADDRESS);
}

/* An address nobody told us about is `world`; inside a pod range the table of ranges says `unmanaged`. */
static __noinline __maybe_unused int find_end(struct end *end, const void *address)
{
	struct address_key key = { .scope = config.values.scope };
	struct endpoint_address *owner;
	struct ipcache_entry *entry;

	__builtin_memset(end, 0, sizeof(*end));
	end->identity = IDENTITY_WORLD;
	copy_address(key.address, address);
	owner = bpf_map_lookup_elem(&endpoint_addresses, &key);
	if (owner) {
		__u32 ifindex = owner->ifindex;
		struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);

		if (endpoint) {
			local_end(end, ifindex, endpoint);
			return 0;
		}
	}
	entry = find_identity(address);
	if (entry) {
		end->identity = entry->identity;
		end->node = entry->node;
		end->flags = entry->flags;
		return entry->flags;
	}
	return 0;
}

/* What Envoy is told of one end. */
static __always_inline __u32 ruleset_of(const struct flow_half *half)
{
	if (half->ruleset)
		return half->ruleset;
	return half->verdict == VERDICT_DENY ? RULESET_UNKNOWN : RULESET_PASS;
}

static __always_inline struct protection_state *protection_in_force(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&protection, &zero);
}

/* Put back at `to_workload` by our own program on the TAP device; nobody else can send from there. */
static __always_inline int is_put_back(struct __sk_buff *skb)
{
	struct protection_state *state = protection_in_force();

	return state && state->hold_ifindex && skb->ingress_ifindex == state->hold_ifindex;
}

/*
 * Did a packet that claims to come from a workload of this node really come through its veth? A routed veth and a
 * bridge port show as themselves; a bridge that routes shows as the bridge. 0 is this host itself, which is trusted.
 */
static __always_inline int came_from(struct __sk_buff *skb, __u32 ifindex)
{
	struct endpoint *endpoint;
	__u32 ingress = skb->ingress_ifindex;

	if (ingress == 0 || ingress == ifindex)
		return 1;
	endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
	return (endpoint && endpoint->master_ifindex == ingress) || is_put_back(skb);
}

static __always_inline __maybe_unused int from_tunnel(struct __sk_buff *skb)
{
	struct protection_state *state = protection_in_force();

	return state && state->tunnel_ifindex && skb->ingress_ifindex == state->tunnel_ifindex;
}
