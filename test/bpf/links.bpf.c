// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Programs whose effect a test can see, two for each hook: one that lets pass and one that does not. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("cgroup/connect4")
int connect_allowed(struct bpf_sock_addr *context)
{
	return 1;
}

SEC("cgroup/connect4")
int connect_refused(struct bpf_sock_addr *context)
{
	return 0;
}

SEC("cgroup/connect6")
int connect6_refused(struct bpf_sock_addr *context)
{
	return 0;
}

SEC("sk_lookup")
int socket_found(struct bpf_sk_lookup *context)
{
	return SK_PASS;
}

SEC("sk_lookup")
int socket_hidden(struct bpf_sk_lookup *context)
{
	return SK_DROP;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} connects SEC(".maps");

SEC("sockops")
int count_connects(struct bpf_sock_ops *context)
{
	__u32 zero = 0, *count = bpf_map_lookup_elem(&connects, &zero);

	if (count && context->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		__sync_fetch_and_add(count, 1);
	return 1;
}

SEC("cgroup/getsockopt")
int look_on(struct bpf_sockopt *context)
{
	return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
