// SPDX-License-Identifier: Apache-2.0
/*
 * Whose connection is this? An Envoy dynamic module with one listener filter. It asks the kernel about the socket that
 * was accepted (a private getsockopt, answered by bpf/envoy.bpf.c from the flow's own entry) and tells Envoy: rulesets
 * and identities as filter state, which the RBAC filters match, and the address that the client asked for.
 * No answer, or one that does not fit, is "unknown": ruleset 0, which no RBAC rule admits.
 * It needs no SDK. The declarations below are our own; names and signatures are what Envoy 1.40 calls and offers.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "shared.h"

#define IDENTITY_VERSION 1
_Static_assert(sizeof(struct connection_identity) == 48, "the answer's layout is agreed with the kernel program");

/* --- Envoy's side ----------------------------------------------------------------------------------------------- */

struct text {
	const char *start;
	size_t length;
};

/* Objects of Envoy or of ours that the other side only passes back. */
typedef void *handle;

enum { CONTINUE = 0 };

#define CALL(name) envoy_dynamic_module_callback_listener_filter_##name
#define ON(name) envoy_dynamic_module_on_##name

extern int64_t CALL(get_socket_fd)(handle envoy);
extern bool CALL(restore_local_address)(handle envoy, struct text address, uint32_t port, bool is_ipv6);
extern bool CALL(set_filter_state)(handle envoy, struct text key, struct text value);

/* --- The filter ------------------------------------------------------------------------------------------------- */

static bool ask_kernel(handle envoy, struct connection_identity *answer)
{
	socklen_t length = sizeof(*answer);
	int64_t fd = CALL(get_socket_fd)(envoy);

	return fd >= 0 && getsockopt((int)fd, IDENTITY_LEVEL, IDENTITY_OPTION, answer, &length) == 0 &&
	       length == sizeof(*answer) && answer->version == IDENTITY_VERSION;
}

static bool restore_destination(handle envoy, const struct connection_identity *answer)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool ipv4 = memcmp(answer->destination, mapped, sizeof(mapped)) == 0;
	char address[INET6_ADDRSTRLEN];
	const void *bytes = answer->destination + (ipv4 ? sizeof(mapped) : 0);

	if (!inet_ntop(ipv4 ? AF_INET : AF_INET6, bytes, address, sizeof(address)))
		return false;
	return CALL(restore_local_address)(envoy, (struct text){ address, strlen(address) },
					   ntohs(answer->destination_port), !ipv4);
}

/* Should Envoy not take it, the key is absent, which RBAC refuses as it refuses 0. */
static void tell(handle envoy, const char *key, uint32_t number)
{
	char digits[12];
	int length = snprintf(digits, sizeof(digits), "%u", number);

	CALL(set_filter_state)(envoy, (struct text){ key, strlen(key) }, (struct text){ digits, (size_t)length });
}

/* What is not static below is what Envoy looks for by name; it refuses a module that lacks one. */

/* Nothing is kept between calls; Envoy wants something that is not NULL. */
static char nothing;

const char *ON(program_init)(void)
{
	return "v0.2.0"; /* the ABI this was written against; Envoy logs a difference */
}

handle ON(listener_filter_config_new)(handle, struct text, struct text)
{
	return &nothing;
}

handle ON(listener_filter_new)(handle, handle)
{
	return &nothing;
}

int ON(listener_filter_on_accept)(handle envoy, handle)
{
	struct connection_identity answer = {};

	/* A destination that cannot be restored would send the request to Envoy itself. */
	if (!ask_kernel(envoy, &answer) || !restore_destination(envoy, &answer))
		answer = (struct connection_identity){};
	tell(envoy, "sidestep.egress", answer.egress_ruleset);
	tell(envoy, "sidestep.ingress", answer.ingress_ruleset);
	tell(envoy, "sidestep.source_identity", answer.source_identity);
	tell(envoy, "sidestep.destination_identity", answer.destination_identity);
	tell(envoy, "sidestep.generation", answer.generation);
	return CONTINUE;
}

int ON(listener_filter_on_data)(handle, handle, size_t)
{
	return CONTINUE;
}

size_t ON(listener_filter_get_max_read_bytes)(handle, handle)
{
	return 0; /* the identity is not in the bytes */
}

void ON(listener_filter_on_close)(handle, handle)
{
}

void ON(listener_filter_destroy)(handle)
{
}

void ON(listener_filter_scheduled)(handle, handle, uint64_t)
{
}

void ON(listener_filter_config_destroy)(handle)
{
}

void ON(listener_filter_config_scheduled)(handle, uint64_t)
{
}
