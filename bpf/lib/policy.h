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

static __always_inline int let_pass(struct flow_half *half)
{
	half->ruleset = RULESET_UNKNOWN;
	half->rule = RULE_BYPASS;
	half->verdict = VERDICT_ALLOW;
	return 0;
}

/*
 * Decides one half of a flow.
 * @table: of the endpoint, for the direction
 * @identity: of the peer
 * @l4: protocol << 16 | destination port of the flow or ICMP type in network order
 * Returns 0 or a negative drop reason; `half` names the rule either way.
 */
static __always_inline int decide_half(__u32 table, __u32 identity, __u32 l4, __u32 namespace_id,
				       struct flow_half *half)
{
	struct policy_key key = {
		.prefix_length = POLICY_PREFIX_FULL,
		.table = table,
		.identity = identity,
		.protocol = l4 >> 16,
		.port = (__u16)l4,
	};
	struct policy_table *state = bpf_map_lookup_elem(&policy_tables, &table);
	struct policy_entry *exact, *any, *entry;
	int reason;

	half->ruleset = 0;
	half->match = MATCH_NONE;
	half->verdict = VERDICT_DENY;
	half->revision = 0;
	half->rule = RULE_NOT_SYNCED;
	reason = REASON_DROP_EP_NOT_READY;
	if (!state || !state->revision)
		goto refuse;

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
		if (entry->verdict == VERDICT_ALLOW)
			return 0;
		/* Enforcement switched off is switched off for requests, too: the flow does not go to Envoy at all. */
		if (entry->verdict == VERDICT_REDIRECT)
			return is_bypassed(namespace_id) ? let_pass(half) : 0;
		reason = REASON_POLICY_DENY;
	} else if (state->enforcing) {
		half->rule = state->default_rule;
		reason = REASON_POLICY_DENIED;
	} else {
		half->rule = RULE_NONE;
		half->verdict = VERDICT_ALLOW;
		return 0;
	}

refuse:
	return is_bypassed(namespace_id) ? let_pass(half) : -reason;
}
