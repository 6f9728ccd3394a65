// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Around Envoy: which listener a steered packet belongs to, whose connection it is, and Envoy's own connections. */
#include "lib/proxy.h"

/* In the node's network namespace. */
SEC("sk_lookup")
int pick_envoy(struct bpf_sk_lookup *context)
{
	return pick_listener(context);
}

/* On Envoy's cgroup. */
SEC("sockops")
int envoy_sockets(struct bpf_sock_ops *context)
{
	if (context->op == BPF_SOCK_OPS_TCP_LISTEN_CB)
		remember_listener(context);
	else if (context->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		remember_leg(context);
	return 1;
}

/* On Envoy's cgroup. */
SEC("cgroup/getsockopt")
int envoy_identity(struct bpf_sockopt *context)
{
	if (context->level == IDENTITY_LEVEL && context->optname == IDENTITY_OPTION)
		answer_identity(context);
	return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
