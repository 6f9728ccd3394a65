/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Generated from bpf/reasons.yaml by scripts/generate-reasons.ts; do not edit. */
#pragma once

enum drop_reason {
	REASON_NONE = 0,
	REASON_INVALID_SOURCE_IP = 132,
	REASON_POLICY_DENIED = 133,
	REASON_INVALID_PACKET_DROPPED = 134,
	REASON_CT_TRUNCATED_OR_INVALID_HEADER = 135,
	REASON_UNKNOWN_L3_TARGET_ADDRESS = 150,
	REASON_CT_MAP_INSERTION_FAILED = 155,
	REASON_INVALID_IPV6_EXTENSION_HEADER = 156,
	REASON_IP_FRAGMENTATION_NOT_SUPPORTED = 157,
	REASON_UNSUPPORTED_L2_PROTOCOL = 166,
	REASON_FORBIDDEN_ICMPV6_MESSAGE = 176,
	REASON_POLICY_DENY = 181,
	REASON_DROP_RATE_LIMITED = 198,
	REASON_DROP_EP_NOT_READY = 203,
};

/* Reasons that are counted and not reported one by one. */
static inline __attribute__((always_inline)) int reason_is_silent(__u32 reason)
{
	return reason == REASON_UNKNOWN_L3_TARGET_ADDRESS;
}
