// SPDX-License-Identifier: Apache-2.0
/*
 * ICMP echo: ping ADDRESS COUNT TIMEOUT_MS [PAYLOAD_BYTES]. One request after the other; prints {"sent":N,"received":N}.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint16_t checksum(const uint8_t *data, size_t length)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < length; i += 2)
		sum += (uint32_t)data[i] << 8 | data[i + 1];
	if (length % 2)
		sum += (uint32_t)data[length - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* Type, code, checksum, id, sequence: the same 8 bytes in both versions. */
static int answered(int fd, int v6, uint16_t id, uint16_t sequence, int timeout)
{
	int64_t deadline = now_ms() + timeout;
	struct pollfd wait = { fd, POLLIN, 0 };

	for (;;) {
		int64_t left = deadline - now_ms();
		uint8_t packet[65536], *icmp = packet;
		ssize_t length;

		if (left <= 0 || poll(&wait, 1, (int)left) <= 0)
			return 0;
		length = recv(fd, packet, sizeof(packet), 0);
		if (!v6 && length > 0)
			icmp += (packet[0] & 15) * 4, length -= (packet[0] & 15) * 4;
		if (length >= 8 && icmp[0] == (v6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) && memcmp(icmp + 4, &id, 2) == 0 &&
		    memcmp(icmp + 6, &sequence, 2) == 0)
			return 1;
	}
}

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_RAW }, *to;
	int count, received = 0, v6, fd, payload;
	uint16_t id = htons((uint16_t)getpid());
	uint8_t request[65536] = { 0 };

	if (argc < 4 || getaddrinfo(argv[1], NULL, &hints, &to) != 0) {
		fprintf(stderr, "usage: ping ADDRESS COUNT TIMEOUT_MS [PAYLOAD_BYTES]\n");
		return 64;
	}
	count = atoi(argv[2]);
	payload = argc > 4 ? atoi(argv[4]) : 56;
	v6 = to->ai_family == AF_INET6;
	fd = socket(to->ai_family, SOCK_RAW, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	if (fd < 0) {
		perror("socket");
		return 1;
	}
	for (int n = 0; n < count; n++) {
		uint16_t sequence = htons((uint16_t)n);

		memset(request, 0, 8);
		request[0] = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
		memcpy(request + 4, &id, 2);
		memcpy(request + 6, &sequence, 2);
		if (!v6) { /* the kernel fills in the one of version 6 */
			uint16_t sum = checksum(request, 8 + (size_t)payload);
			memcpy(request + 2, &sum, 2);
		}
		if (sendto(fd, request, 8 + (size_t)payload, 0, to->ai_addr, to->ai_addrlen) < 0)
			perror("send");
		received += answered(fd, v6, id, sequence, atoi(argv[3]));
	}
	printf("{\"sent\":%d,\"received\":%d}\n", count, received);
	return 0;
}
