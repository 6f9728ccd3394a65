// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Answers the identity module with whatever a test has put into the table. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "shared.h"

struct answer {
	__u32 length; /* 0: no answer */
	struct connection_identity identity;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer);
} answers SEC(".maps");

SEC("cgroup/getsockopt")
int answer_identity(struct bpf_sockopt *context)
{
	struct connection_identity *to = context->optval;
	struct answer *answer;
	__u32 zero = 0;

	if (context->level != IDENTITY_LEVEL || context->optname != IDENTITY_OPTION)
		return 1;
	answer = bpf_map_lookup_elem(&answers, &zero);
	if (!answer || !answer->length || (void *)(to + 1) > context->optval_end)
		return 1;
	__builtin_memcpy(to, &answer->identity, sizeof(*to));
	context->retval = 0;
	asm volatile("" ::: "memory"); /* kept apart: the verifier refuses one merged store */
	context->optlen = answer->length;
	asm volatile("" ::: "memory");
	return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
