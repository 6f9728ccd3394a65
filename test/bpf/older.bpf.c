// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* As if an earlier version had left it pinned: a table with the name of one of ours, laid out another way. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} scratch SEC(".maps");

SEC("tc")
int counts(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&scratch, &zero);

	return value ? (int)*value : 0;
}
