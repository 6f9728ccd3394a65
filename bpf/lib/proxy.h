/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Between the kernel and Envoy. Nothing here believes a mark or a header: what a connection is, its flow entry says,
 * which the hooks at the workload wrote; what is Envoy's own, its cgroup says. The exact clock, because cgroup programs have
 * no other.
 */
#pragma once
#include <stddef.h>
#include "ends.h"
#include "event.h"
#include "listener.h"
#include "protect.h"

#define AF_INET 2
#define AF_INET6 10
#define SOL_SOCKET 1
#define SO_MARK 36

/* Canonical key of a TCP connection between two ends. Returns 1 when the first is the higher one. */
static __always_inline __u32 tcp_key(struct flow_key *key, const struct packet *p)
{
	__builtin_memcpy(key, &p->key, sizeof(*key));
	return !!(p->flags & PACKET_SOURCE_IS_HIGH);
}

/* Word by word: the kernel refuses wider reads of a context, and the compiler likes to make them. */
static __always_inline void copy_words(__u8 *to, const volatile __u32 *from)
{
	__u32 *words = (__u32 *)to;

	words[0] = from[0];
	words[1] = from[1];
	words[2] = from[2];
	words[3] = from[3];
}

static __always_inline void begin_tcp(struct packet *p, __be16 source_port, __be16 destination_port)
{
	p->protocol = IPPROTO_TCP;
	p->source_port = source_port;
	p->destination_port = destination_port;
	make_key(p);
}

static __always_inline struct flow *redirected_flow(const struct packet *p)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &p->key);

	return flow && (flow->flags & FLOW_REDIRECTED) && flow->deadline_ns >= bpf_ktime_get_ns() ? flow : NULL;
}

/*
 * A steered connection that nobody listens for: the client gets a reset, and the flow says why.
 * @flow: NULL where the packet is of no flow: something has translated it on its way here
 */
static __noinline int report_no_listener(const struct packet *p, const struct flow *flow)
{
	struct event *event;
	__u32 hook = flow && flow->ifindex[0] ? HOOK_FROM_WORKLOAD : HOOK_TO_WORKLOAD;

	count_packet(REASON_SOCKET_LOOKUP_FAILED, hook, p->length);
	event = event_begin();
	if (!event)
		return 0;
	event->time_ns = bpf_ktime_get_ns();
	event->kind = EVENT_DROP;
	event->hook = HOOK_TO_ENVOY;
	event->reason = REASON_SOCKET_LOOKUP_FAILED;
	event->protocol = IPPROTO_TCP;
	event->tcp_flags = TCP_SYN;
	copy_address(event->source, p->source);
	copy_address(event->destination, p->destination);
	event->source_port = p->source_port;
	event->destination_port = p->destination_port;
	if (!flow) {
		event_end(event);
		return 0;
	}
	event->source_identity = flow->identity[0];
	event->destination_identity = flow->identity[1];
	event->source_ifindex = flow->ifindex[0];
	event->destination_ifindex = flow->ifindex[1];
	event->ifindex = flow->ifindex[0] ? flow->ifindex[0] : flow->ifindex[1];
	event->egress = flow->egress;
	event->ingress = flow->ingress;
	if (flow->ingress.verdict == VERDICT_REDIRECT)
		event->flags |= EVENT_INGRESS;
	event_end(event);
	return 0;
}

static __always_inline __u32 kind_of(const struct flow *flow)
{
	/* A client of this node is not answered through the tunnel, wherever the server is. */
	if ((flow->security & SECURITY_TUNNEL_OUT) && !flow->ifindex[0])
		return LISTENER_TUNNEL;
	return flow->steered & STEERED_FIRST ? LISTENER_UNTRACKED : LISTENER_TRACKED;
}

static __always_inline int pick_listener(struct bpf_sk_lookup *context)
{
	struct packet p = {};
	struct bpf_sock *listener;
	struct flow *flow;
	__u32 slot;
	long err;

	if (context->protocol != IPPROTO_TCP || context->ingress_ifindex != config.values.loopback_ifindex)
		return SK_PASS;
	if (context->family == AF_INET) {
		map_ipv4(p.source, context->remote_ip4);
		map_ipv4(p.destination, context->local_ip4);
	} else if (context->family == AF_INET6) {
		copy_words(p.source, context->remote_ip6);
		copy_words(p.destination, context->local_ip6);
		p.flags |= PACKET_IPV6;
	} else {
		return SK_PASS;
	}
	begin_tcp(&p, context->remote_port, bpf_htons((__u16)context->local_port));
	flow = redirected_flow(&p);
	if (!flow) { /* a steered packet without an entry must not meet a listener of the node on the same port */
		if (is_nodes_own(p.destination))
			return SK_PASS;
		report_no_listener(&p, NULL);
		return SK_DROP;
	}
	flow->steered |= STEERED_ARRIVED;
	slot = listener_slot(kind_of(flow), context->family == AF_INET6);
	listener = slot < LISTENER_SLOTS ? bpf_map_lookup_elem(&listeners, &slot) : NULL;
	if (!listener) {
		report_no_listener(&p, flow);
		return SK_DROP;
	}
	err = bpf_sk_assign(context, listener, 0);
	bpf_sk_release(listener);
	if (err) {
		report_no_listener(&p, flow);
		return SK_DROP;
	}
	return SK_PASS;
}

/* Envoy's listener: kept so that sk_lookup can hand it connections. It listens on loopback only. */
static __always_inline void remember_listener(struct bpf_sock_ops *context)
{
	__u32 port = context->local_port, first = config.values.envoy_port, slot;

	if (port < first || port >= first + LISTENER_KINDS)
		return;
	slot = listener_slot(port - first, context->family == AF_INET6);
	bpf_sock_map_update(context, &listeners, &slot, BPF_ANY);
}

/*
 * The answers of a workload of this node are steered before connection tracking sees them: it must not see the questions
 * either, or it would call all but the first of them invalid.
 */
static __always_inline void keep_untracked(struct bpf_sock_ops *context, const struct packet *p)
{
	struct address_key key = { .scope = config.values.scope };
	int mark = config.values.mark_untracked;

	copy_address(key.address, p->destination);
	if (bpf_map_lookup_elem(&endpoint_addresses, &key))
		bpf_setsockopt(context, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
}

/* Envoy connects upstream with the client's address: its port is chosen, its SYN not sent. */
static __always_inline void remember_leg(struct bpf_sock_ops *context)
{
	struct packet p = {};
	struct flow leg = {};
	struct flow_key key;

	if (context->family == AF_INET) {
		map_ipv4(p.source, context->local_ip4);
		map_ipv4(p.destination, context->remote_ip4);
	} else if (context->family == AF_INET6) {
		copy_words(p.source, context->local_ip6);
		copy_words(p.destination, context->remote_ip6);
	} else {
		return;
	}
	if (is_nodes_own(p.source)) /* Envoy's own: ordinary traffic of the host */
		return;
	keep_untracked(context, &p);
	begin_tcp(&p, bpf_htons((__u16)context->local_port), (__be16)(context->remote_port >> 16));
	p.key.leg = LEG_ENVOY;
	if (tcp_key(&key, &p))
		leg.flags = FLOW_INITIATOR_IS_HIGH;
	leg.version = LAYOUT_VERSION;
	leg.created_ns = bpf_ktime_get_ns();
	leg.deadline_ns = bpf_ktime_get_ns() + config.values.opening_ns;
	leg.state = FLOW_NEW;
	/* admit_upstream has set it, on this very socket. */
	if (context->sk && (context->sk->mark & MARK_MASK) == config.values.mark_to_tunnel)
		leg.security = SECURITY_TUNNEL_IN | SECURITY_TUNNEL_OUT;
	/* No record of its own: the client's flow and the request tell of it. */
	leg.flags |= FLOW_CLOSE_REPORTED;
	if (bpf_map_update_elem(&flows, &key, &leg, BPF_ANY))
		count_statistic(STATISTIC_FLOW_INSERT_FAILED);
	else
		count_statistic(STATISTIC_LEGS_RECORDED);
}

/*
 * Envoy picks a backend for a client of this node: the client's policy must admit it at layer 4, both must be proven where
 * authentication is required, and then the connection goes through the tunnel. Returns 1, or 0: connect() fails.
 */
static __always_inline int admit_upstream(struct bpf_sock_addr *context, struct packet *p, __be16 port)
{
	struct protect protect = { .hook = HOOK_FROM_WORKLOAD, .now = bpf_ktime_get_ns() };
	struct end client, backend;
	struct decision d = {};
	int mark = config.values.mark_to_tunnel;

	find_end(&client, p->source);
	if (!client.ifindex) /* of another node, whose policy was asked there; the backend is here */
		return 1;
	find_end(&backend, p->destination);
	protect.l4 = (__u32)IPPROTO_TCP << 16 | port;
	if (decide_half(client.egress_table, backend.identity, protect.l4, client.namespace_id, &d.egress))
		goto refuse;
	if (backend.ifindex &&
	    decide_half(backend.ingress_table, client.identity, protect.l4, backend.namespace_id, &d.ingress))
		goto refuse;
	if (protect_flow(&client, &backend, &d, &protect) && !is_bypassed(client.namespace_id))
		goto refuse;
	if ((protect.security & SECURITY_TUNNEL_OUT) && !backend.ifindex &&
	    bpf_setsockopt(context, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)))
		goto refuse;
	return 1;

refuse:
	count_statistic(STATISTIC_UPSTREAM_REFUSED);
	return 0;
}

/* Who is at the other end of a connection that Envoy accepted. Silence means unknown, and unknown is denied. */
static __always_inline void answer_identity(struct bpf_sockopt *context)
{
	struct connection_identity *answer = context->optval;
	struct bpf_sock *sk = context->sk;
	struct packet p = {};
	struct flow *flow;
	struct proxy_state *state;
	struct connection_identity *kept;
	__u32 zero = 0;

	if (!sk || (void *)(answer + 1) > context->optval_end)
		return;
	if (sk->family == AF_INET) {
		map_ipv4(p.source, sk->dst_ip4);
		map_ipv4(p.destination, sk->src_ip4);
	} else if (sk->family == AF_INET6) {
		copy_words(p.source, sk->dst_ip6);
		copy_words(p.destination, sk->src_ip6);
	} else {
		return;
	}
	begin_tcp(&p, sk->dst_port, bpf_htons((__u16)sk->src_port));
	flow = redirected_flow(&p);
	if (!flow) {
		count_statistic(STATISTIC_IDENTITIES_UNKNOWN);
		return;
	}
	state = bpf_map_lookup_elem(&proxy, &zero);
	answer->version = 1;
	answer->egress_ruleset = ruleset_of(&flow->egress);
	answer->ingress_ruleset = ruleset_of(&flow->ingress);
	answer->source_identity = flow->identity[0];
	answer->destination_identity = flow->identity[1];
	answer->generation = state ? state->generation : 0;
	copy_address(answer->destination, p.destination);
	answer->destination_port = p.destination_port;
	answer->source_port = p.source_port;
	answer->spare = 0;
	kept = bpf_sk_storage_get(&told, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!kept) /* a later packet of it without its entry could not be held against this */
		return;
	__builtin_memcpy(kept, answer, sizeof(*kept));
	context->retval = 0;
	/* The verifier refuses the two stores merged into one. */
	asm volatile("" ::: "memory");
	context->optlen = sizeof(*answer);
	asm volatile("" ::: "memory");
	count_statistic(STATISTIC_IDENTITIES_READ);
}
