// SPDX-License-Identifier: Apache-2.0
/*
 * Load generator and its other end, one binary. Every run is bounded in time and prints one JSON line.
 *   load serve PORT                         TCP: answers each byte with a byte; UDP: counts
 *   load rr ADDRESS PORT SECONDS            one connection, closed loop: round trips
 *   load pace ADDRESS PORT SECONDS RATE     one connection, open loop: latency from the intended send time, microseconds
 *   load crr ADDRESS PORT SECONDS           connect, one byte each way, close
 *   load udp ADDRESS PORT SECONDS SIZE      datagrams as fast as the socket takes them
 *   load count PORT SECONDS                 datagrams received
 *   load bulk ADDRESS PORT SECONDS          bytes one way
 *   load drain PORT SECONDS                 bytes received on one connection
 *   load stamps ADDRESS PORT SECONDS RATE   datagrams that carry their CLOCK_MONOTONIC send time
 *   load gaps PORT SECONDS LIMIT_US         prints each pause longer than the limit: last stamp before, first after
 */
#include "load.h"
#include <poll.h>

_Noreturn static void serve(const char *port)
{
	int listener = open_socket(NULL, port, SOCK_STREAM), ep = epoll_create1(0), one = 1;
	struct epoll_event e = { .events = EPOLLIN, .data.fd = listener }, got[256];
	char buffer[65536];

	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
	printf("{\"ready\":true}\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, got, 256, -1);

		for (int i = 0; i < n; i++) {
			int fd = got[i].data.fd;

			if (fd == listener) {
				fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
				if (fd < 0)
					continue;
				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
				e.data.fd = fd;
				epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
				continue;
			}
			ssize_t size = read(fd, buffer, sizeof buffer);

			if (size <= 0 || write(fd, buffer, size) != size)
				close(fd);
		}
	}
}

static int pace(const char *address, const char *port, double seconds, double rate)
{
	int fd = open_socket(address, port, SOCK_STREAM);
	uint64_t count = seconds * rate, *latency = calloc(count + 1, sizeof *latency), start = now(), late = 0;
	char byte = 'x';

	for (uint64_t i = 0; i < count; i++) {
		uint64_t due = start + i * 1e9 / rate, t;

		while ((t = now()) < due)
			if (due - t > 200000)
				usleep((due - t) / 2000);
		if (t > due + 1000000)
			late++;
		if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
			die("round trip");
		latency[i] = now() - due;
	}
	qsort(latency, count, sizeof *latency, compare);
	printf("{\"count\":%lu,\"late\":%lu,\"p50\":%.2f,\"p99\":%.2f,\"rate\":%.1f}\n", count, late, latency[count / 2] / 1e3,
	       latency[(uint64_t)(count * 0.99)] / 1e3, count / ((now() - start) / 1e9));
	return 0;
}

static int crr(const char *address, const char *port, uint64_t end, uint64_t start)
{
	uint64_t count = 0;
	struct linger reset = { 1, 0 }; /* no TIME_WAIT: the ports of one client would run out within seconds */

	while (now() < end) {
		int fd = open_socket(address, port, SOCK_STREAM);
		char byte = 'x';

		if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
			die("round trip");
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(fd);
		count++;
	}
	printf("{\"count\":%lu,\"rate\":%.1f}\n", count, count / ((now() - start) / 1e9));
	return 0;
}

static int udp(const char *address, const char *port, uint64_t end, int size)
{
	int fd = open_socket(address, port, SOCK_DGRAM);
	static char data[64][2048];
	struct mmsghdr messages[64];
	struct iovec vectors[64];
	uint64_t count = 0;

	memset(messages, 0, sizeof messages);
	for (int i = 0; i < 64; i++) {
		vectors[i] = (struct iovec){ data[i], size };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &vectors[i], .msg_iovlen = 1 };
	}
	while (now() < end) {
		int n = sendmmsg(fd, messages, 64, 0);

		if (n > 0)
			count += n;
	}
	printf("{\"sent\":%lu}\n", count);
	return 0;
}

static int receive(const char *port, double seconds, int type, double limit_us)
{
	int fd = open_socket(NULL, port, type), size = 8 << 20;
	uint64_t count = 0, bytes = 0, first = 0, last = 0, before = 0, end;
	static char buffer[1 << 20];

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	printf("{\"ready\":true}\n");
	fflush(stdout);
	end = now() + seconds * 1e9;
	if (type == SOCK_STREAM) {
		fd = accept(fd, NULL, NULL);
		end = now() + seconds * 1e9;
	}
	for (uint64_t t; (t = now()) < end;) {
		struct pollfd p = { fd, POLLIN, 0 };
		ssize_t got;

		if (poll(&p, 1, (end - t) / 1000000 + 1) <= 0)
			break;
		for (int i = 0; i < 256 && (got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0; i++) {
			count++;
			bytes += got;
			last = now();
			if (!first)
				first = last;
			if (limit_us > 0) {
				uint64_t stamp = *(uint64_t *)buffer;

				if (before && stamp - before > limit_us * 1000)
					printf("{\"before\":%lu,\"after\":%lu}\n", before, stamp), fflush(stdout);
				before = stamp;
			}
		}
		if (got == 0)
			break;
	}
	printf("{\"count\":%lu,\"bytes\":%lu,\"seconds\":%.6f}\n", count, bytes, (last - first) / 1e9);
	return 0;
}

static int stamps(const char *address, const char *port, uint64_t start, uint64_t end, double rate)
{
	int fd = open_socket(address, port, SOCK_DGRAM);
	uint64_t count = 0;

	for (uint64_t t; (t = now()) < end;) {
		if (t < start + count * 1e9 / rate)
			continue;
		uint64_t stamp[8] = { now() };

		if (send(fd, stamp, sizeof stamp, 0) < 0 && errno != ECONNREFUSED)
			die("send");
		count++;
	}
	printf("{\"sent\":%lu}\n", count);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	double seconds = argc > 3 ? atof(argv[3]) : 0;
	uint64_t start = now(), end;

	if (!strcmp(mode, "serve"))
		serve(argv[2]);
	if (!strcmp(mode, "count") && argc == 4)
		return receive(argv[2], seconds, SOCK_DGRAM, 0);
	if (!strcmp(mode, "drain") && argc == 4)
		return receive(argv[2], seconds, SOCK_STREAM, 0);
	if (!strcmp(mode, "gaps") && argc == 5)
		return receive(argv[2], seconds, SOCK_DGRAM, atof(argv[4]));
	if (argc < 5) {
		fprintf(stderr, "usage: see the comment in load.c\n");
		return 64;
	}
	seconds = atof(argv[4]);
	end = start + seconds * 1e9;
	if (!strcmp(mode, "crr"))
		return crr(argv[2], argv[3], end, start);
	if (!strcmp(mode, "udp"))
		return udp(argv[2], argv[3], end, argc > 5 ? atoi(argv[5]) : 64);
	if (!strcmp(mode, "pace") && argc == 6)
		return pace(argv[2], argv[3], seconds, atof(argv[5]));
	if (!strcmp(mode, "stamps") && argc == 6)
		return stamps(argv[2], argv[3], start, end, atof(argv[5]));
	if (!strcmp(mode, "rr")) {
		int fd = open_socket(argv[2], argv[3], SOCK_STREAM);
		uint64_t count = 0;
		char byte = 'x';

		for (start = now(), end = start + seconds * 1e9; now() < end; count++)
			if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
				die("round trip");
		printf("{\"count\":%lu,\"rate\":%.1f}\n", count, count / ((now() - start) / 1e9));
		return 0;
	}
	if (!strcmp(mode, "bulk")) {
		int fd = open_socket(argv[2], argv[3], SOCK_STREAM);
		static char block[65536];
		uint64_t bytes = 0;

		while (now() < end) {
			ssize_t n = write(fd, block, sizeof block);

			if (n > 0)
				bytes += n;
		}
		printf("{\"bytes\":%lu,\"rate\":%.1f}\n", bytes, bytes / ((now() - start) / 1e9));
		return 0;
	}
	fprintf(stderr, "unknown mode %s\n", mode);
	return 64;
}
