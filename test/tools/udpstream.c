// SPDX-License-Identifier: Apache-2.0
/*
 * A numbered UDP stream, to count what a network loses.
 *   udpstream send ADDRESS PORT RATE COUNT   COUNT 0: until SIGTERM; prints {"sent":N}
 *   udpstream receive PORT                   prints "listening", and on SIGTERM one JSON line about what came
 * The sender's clock is absolute: a late packet does not delay the next. The receiver tells what its own socket
 * dropped (SO_RXQ_OVFL), so that a slow receiver is not mistaken for a lossy network.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_PACKETS (64u << 20)

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int send_stream(const char *address, const char *port, double rate, uint64_t count)
{
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST }, *to;
	uint64_t sent = 0, failed = 0, number;
	int64_t start;
	int fd;

	if (getaddrinfo(address, port, &hints, &to) != 0)
		die("address");
	fd = socket(to->ai_family, SOCK_DGRAM, 0);
	if (fd < 0)
		die("socket");
	start = now_ns();
	for (number = 0; !stopped && (count == 0 || number < count); number++) {
		int64_t due = start + (int64_t)(number * 1e9 / rate);
		struct timespec until = { due / 1000000000ll, due % 1000000000ll };
		char packet[64] = { 0 };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		if (stopped)
			break;
		memcpy(packet, &number, sizeof(number));
		/* Not connected, so an ICMP error about one packet does not fail the next. A full queue is tried again. */
		while (sendto(fd, packet, sizeof(packet), 0, to->ai_addr, to->ai_addrlen) < 0) {
			if (errno == ENOBUFS || errno == EAGAIN || errno == EINTR)
				continue;
			failed++;
			break;
		}
		sent++;
	}
	printf("{\"sent\":%llu,\"failed\":%llu,\"seconds\":%.3f}\n", (unsigned long long)sent, (unsigned long long)failed,
	       (now_ns() - start) / 1e9);
	return 0;
}

static int receive_stream(const char *port)
{
	struct sockaddr_in6 here = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port)) };
	uint64_t received = 0, duplicates = 0, reordered = 0, missing = 0, first = 0, highest = 0, number;
	uint32_t overflow = 0;
	int64_t last_time = 0, longest = 0;
	int fd = socket(AF_INET6, SOCK_DGRAM, 0), off = 0, on = 1, room = 32 << 20;
	uint8_t *seen = calloc(MAX_PACKETS / 8, 1);

	if (fd < 0 || seen == NULL)
		die("socket");
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0)
		die("bind");
	printf("listening\n");
	fflush(stdout);
	while (!stopped) {
		char packet[2048], control[64];
		struct iovec io = { packet, sizeof(packet) };
		struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
		ssize_t length = recvmsg(fd, &message, 0);
		struct cmsghdr *c;
		int64_t time;

		if (length < (ssize_t)sizeof(number))
			continue;
		for (c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
			if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL)
				memcpy(&overflow, CMSG_DATA(c), sizeof(overflow));
		memcpy(&number, packet, sizeof(number));
		if (number >= MAX_PACKETS)
			continue;
		time = now_ns();
		if (received > 0 && time - last_time > longest)
			longest = time - last_time;
		last_time = time;
		if (seen[number / 8] & (1 << number % 8)) {
			duplicates++;
			continue;
		}
		seen[number / 8] |= (uint8_t)(1 << number % 8);
		if (received == 0) {
			first = number;
			highest = number;
		} else if (number < highest) {
			reordered++;
			if (number < first)
				first = number;
		} else {
			highest = number;
		}
		received++;
	}
	for (number = first; received > 0 && number <= highest; number++)
		missing += !(seen[number / 8] & (1 << number % 8));
	printf("{\"received\":%llu,\"first\":%llu,\"last\":%llu,\"gaps\":%llu,\"duplicates\":%llu,\"reordered\":%llu,"
	       "\"socketOverflow\":%u,\"longestSilenceMs\":%.3f}\n",
	       (unsigned long long)received, (unsigned long long)first, (unsigned long long)highest, (unsigned long long)missing,
	       (unsigned long long)duplicates, (unsigned long long)reordered, overflow, longest / 1e6);
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop };

	sigaction(SIGTERM, &action, NULL);
	if (argc == 6 && strcmp(argv[1], "send") == 0)
		return send_stream(argv[2], argv[3], atof(argv[4]), strtoull(argv[5], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "receive") == 0)
		return receive_stream(argv[2]);
	fprintf(stderr, "usage: udpstream send ADDRESS PORT RATE COUNT | receive PORT\n");
	return 64;
}
