// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The cheapest program there is: what our hooks are measured against. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int null(struct __sk_buff *skb)
{
	return -1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
