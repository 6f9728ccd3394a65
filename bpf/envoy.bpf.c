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
SEC("cgroup/connect4")
int envoy_connect4(struct bpf_sock_addr *context)
{
	struct packet p = {};

	if (!context->sk || !context->sk->src_ip4)
		return 1; /* not bound to a client's address: Envoy's own */
	map_ipv4(p.source, context->sk->src_ip4);
	map_ipv4(p.destination, context->user_ip4);
	if (is_nodes_own(p.source))
		return 1;
	return admit_upstream(context, &p, context->user_port);
}

/* On Envoy's cgroup. */
SEC("cgroup/connect6")
int envoy_connect6(struct bpf_sock_addr *context)
{
	struct packet p = {};

	if (!context->sk)
		return 1;
	copy_words(p.source, context->sk->src_ip6);
	copy_words(p.destination, context->user_ip6);
	if (is_unspecified_ipv6(p.source) || is_nodes_own(p.source))
		return 1;
	return admit_upstream(context, &p, context->user_port);
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
