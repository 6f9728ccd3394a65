// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What no kernel takes: it reads behind the context. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int refused(struct __sk_buff *skb)
{
	return *(volatile __u32 *)(skb + 1);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
