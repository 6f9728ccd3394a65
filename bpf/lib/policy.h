/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One end's policy: two look-ups in a table shared by all endpoints with the same policy. */
#pragma once
#include "packet.h"

static __always_inline __u8 match_of(const struct policy_entry *entry, int exact)
{
	__u8 bits = entry->prefix;

	if (bits == 0)
		return exact ? MATCH_L3_ONLY : MATCH_ALL;
	if (bits == POLICY_PREFIX_PROTOCOL - POLICY_PREFIX_BASE)
		return exact ? MATCH_L3_PROTO : MATCH_PROTO_ONLY;
	return exact ? MATCH_L3_L4 : MATCH_L4_ONLY;
}

/*
 * The stronger of the entry for this identity and the entry for every identity: higher precedence, then deny, then
 * the longer port prefix, then the identity's own. The order is Cilium's. Precedence between prefixes of one identity
 * was solved by the compiler.
 */
static __always_inline int exact_wins(const struct policy_entry *exact, const struct policy_entry *any)
{
	if (exact->precedence != any->precedence)
		return exact->precedence > any->precedence;
	if (exact->verdict != any->verdict)
		return exact->verdict == VERDICT_DENY;
	return exact->prefix >= any->prefix;
}

static __always_inline int is_bypassed(__u32 namespace_id)
{
	__u32 all = 0;

	return bpf_map_lookup_elem(&bypass, &all) || bpf_map_lookup_elem(&bypass, &namespace_id);
}

static __always_inline int is_host_or_world(__u32 identity)
{
	return identity == IDENTITY_HOST || identity == IDENTITY_WORLD;
}

/* This node's processes, and whoever is outside of the cluster, however it is known. */
static __always_inline int can_prove(__u32 identity)
{
	return !is_host_or_world(identity) && identity < IDENTITY_LOCAL_FIRST;
}

static __always_inline int let_pass(struct flow_half *half)
{
	half->auth = AUTHENTICATION_NONE;
	half->ruleset = RULESET_UNKNOWN;
	half->rule = RULE_BYPASS;
	half->verdict = VERDICT_ALLOW;
	return 0;
}

/*
 * What the stronger entry asks for; where its rules say nothing, what the weaker one of the same precedence asks for: so a
 * rule for HTTP does not inherit from a plain one. Host and world have nothing to prove with (Cilium skips them, too).
 */
static __always_inline __u8 authentication_of(const struct policy_entry *winner, const struct policy_entry *other,
					      __u32 identity)
{
	__u8 auth = winner->auth;

	if (auth == AUTHENTICATION_INHERIT)
		auth = other && other->precedence == winner->precedence ? other->auth : AUTHENTICATION_NONE;
	return auth == AUTHENTICATION_INHERIT || !can_prove(identity) ? AUTHENTICATION_NONE : auth;
}

/*
 * What a table says of one half of a flow.
 * @table: of the endpoint, for the direction
 * @identity: of the peer
 * @l4: protocol << 16 | destination port of the flow or ICMP type in network order
 * Returns 0 or a negative drop reason; `half` names the rule either way.
 */
static __noinline int ask_policy(__u32 table, __u32 identity, __u32 l4, struct flow_half *half)
{
	struct policy_key key = {
		.prefix_length = POLICY_PREFIX_FULL,
		.table = table,
		.identity = identity,
		.protocol = l4 >> 16,
		.port = (__u16)l4,
	};
	struct policy_table *state = bpf_map_lookup_elem(&policy_tables, &key.table);
	struct policy_entry *exact, *any, *entry;

	half->ruleset = 0;
	half->auth = AUTHENTICATION_NONE;
	half->match = MATCH_NONE;
	half->verdict = VERDICT_DENY;
	half->revision = 0;
	half->rule = RULE_NOT_SYNCED;
	if (!state || !state->revision)
		return -REASON_DROP_EP_NOT_READY;

	/* Read before the entries: an edit that lands between is judged again at the next packet. */
	half->revision = *(volatile __u32 *)&state->revision;
	exact = bpf_map_lookup_elem(&policy, &key);
	key.identity = IDENTITY_ANY;
	any = bpf_map_lookup_elem(&policy, &key);
	entry = exact && (!any || exact_wins(exact, any)) ? exact : any;
	if (entry) {
		half->rule = entry->rule;
		half->ruleset = entry->ruleset;
		half->verdict = entry->verdict;
		half->match = match_of(entry, entry == exact);
		half->auth = authentication_of(entry, entry == exact ? any : exact, identity);
		if (entry->verdict == VERDICT_ALLOW || entry->verdict == VERDICT_REDIRECT)
			return 0;
		/* Queries under a DNS rule are the agent's to judge, one by one (names.h). */
		return entry->verdict == VERDICT_DNS ? 0 : -REASON_POLICY_DENY;
	} else if (state->enforcing) {
		half->rule = state->default_rule;
		return -REASON_POLICY_DENIED;
	}
	half->rule = RULE_NONE;
	half->verdict = VERDICT_ALLOW;
	return 0;
}

/* Decides one half of a flow, see ask_policy. Enforcement switched off is switched off for requests, too: none goes to Envoy. */
static __always_inline int decide_half(__u32 table, __u32 identity, __u32 l4, __u32 namespace_id, struct flow_half *half)
{
	int err = ask_policy(table, identity, l4, half);

	return (err || half->verdict == VERDICT_REDIRECT || half->verdict == VERDICT_DNS) && is_bypassed(namespace_id) ?
		       let_pass(half) :
		       err;
}
