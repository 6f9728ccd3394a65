/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Reports to user space. A full ring is counted, never waited for. */
#pragma once
#include "ends.h"

static __always_inline struct event *event_begin(void)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count_statistic(STATISTIC_EVENTS_LOST);
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	return event;
}

static __always_inline void event_end(struct event *event)
{
	count_statistic(STATISTIC_EVENTS_MADE);
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void event_packet(struct event *event, struct __sk_buff *skb, const struct packet *p, __u32 hook)
{
	event->time_ns = bpf_ktime_get_ns();
	event->hook = hook;
	event->ifindex = skb->ifindex;
	event->protocol = p->protocol;
	event->tcp_flags = p->tcp_flags;
	event->icmp_type = p->icmp_type;
	event->icmp_code = p->icmp_code;
	event->length = p->length;
}

enum report {
	REPORT_REVERSED = 1, /* the packet at hand travels towards the initiator */
	REPORT_REVOKED = 2,  /* not new: a policy that is only audited would have ended it */
};

/* A new flow, told from its initiator's side. @how: enum report */
static __noinline __maybe_unused int report_new(struct __sk_buff *skb, const struct packet *p, const struct flow *flow, __u32 hook,
				 __u32 how)
{
	struct event *event = event_begin();
	__u32 reversed = how & REPORT_REVERSED;

	if (!event)
		return 0;
	event_packet(event, skb, p, hook);
	event->kind = EVENT_NEW;
	if (flow->flags & FLOW_ADOPTED)
		event->flags |= EVENT_ADOPTED;
	if (flow->flags & FLOW_BYPASSED)
		event->flags |= EVENT_BYPASSED;
	if (how & REPORT_REVOKED)
		event->flags |= EVENT_REVOKED;
	copy_address(event->source, reversed ? p->destination : p->source);
	copy_address(event->destination, reversed ? p->source : p->destination);
	event->source_port = reversed ? p->destination_port : p->source_port;
	event->destination_port = reversed ? p->source_port : p->destination_port;
	event->source_identity = flow->identity[0];
	event->destination_identity = flow->identity[1];
	event->source_ifindex = flow->ifindex[0];
	event->destination_ifindex = flow->ifindex[1];
	event->security = flow->security;
	event->egress = flow->egress;
	event->ingress = flow->ingress;
	event_end(event);
	return 0;
}

struct refusal {
	const struct end *source;
	const struct end *destination;
	const struct flow_half *egress;
	const struct flow_half *ingress;
	__u8 reason;
	__u8 flags; /* enum event_flag */
};

/* A dropped packet, as it was on the wire. Parts of the refusal that are not known are NULL. */
static __noinline __maybe_unused int report_drop(struct __sk_buff *skb, const struct packet *p, const struct refusal *refusal, __u32 hook)
{
	struct event *event;

	if (reason_is_silent(refusal->reason))
		return 0;
	event = event_begin();
	if (!event)
		return 0;
	event_packet(event, skb, p, hook);
	event->kind = EVENT_DROP;
	event->reason = refusal->reason;
	event->flags = refusal->flags;
	copy_address(event->source, p->source);
	copy_address(event->destination, p->destination);
	event->source_port = p->source_port;
	event->destination_port = p->destination_port;
	if (refusal->source) {
		event->source_identity = refusal->source->identity;
		event->source_ifindex = refusal->source->ifindex;
	}
	if (refusal->destination) {
		event->destination_identity = refusal->destination->identity;
		event->destination_ifindex = refusal->destination->ifindex;
	}
	if (refusal->egress)
		event->egress = *refusal->egress;
	if (refusal->ingress)
		event->ingress = *refusal->ingress;
	event_end(event);
	return 0;
}

/* The end of a TCP flow: what it carried. */
static __noinline __maybe_unused int report_close(struct __sk_buff *skb, const struct packet *p, const struct flow *flow, __u32 hook)
{
	struct event *event = event_begin();
	int high = flow->flags & FLOW_INITIATOR_IS_HIGH;

	if (!event)
		return 0;
	event_packet(event, skb, p, hook);
	event->kind = EVENT_CLOSE;
	if (flow->flags & FLOW_ADOPTED)
		event->flags |= EVENT_ADOPTED;
	if (flow->flags & FLOW_BYPASSED)
		event->flags |= EVENT_BYPASSED;
	event->tcp_flags = flow->tcp_flags[0] | flow->tcp_flags[1];
	copy_address(event->source, high ? p->key.high : p->key.low);
	copy_address(event->destination, high ? p->key.low : p->key.high);
	event->source_port = high ? p->key.high_port : p->key.low_port;
	event->destination_port = high ? p->key.low_port : p->key.high_port;
	event->source_identity = flow->identity[0];
	event->destination_identity = flow->identity[1];
	event->source_ifindex = flow->ifindex[0];
	event->destination_ifindex = flow->ifindex[1];
	event->security = flow->security;
	event->egress = flow->egress;
	event->ingress = flow->ingress;
	event->duration_ns = event->time_ns - flow->created_ns;
	event->packets[0] = flow->packets[0];
	event->packets[1] = flow->packets[1];
	event->bytes[0] = flow->bytes[0];
	event->bytes[1] = flow->bytes[1];
	event_end(event);
	return 0;
}
