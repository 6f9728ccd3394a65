/* SPDX-License-Identifier: Apache-2.0 */
/* What the load programs share: the clock, sockets, sorting. */
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_socket(const char *address, const char *port, int type)
{
	struct addrinfo hints = { .ai_socktype = type, .ai_flags = address ? AI_NUMERICHOST : AI_PASSIVE, .ai_family = AF_UNSPEC }, *info;
	int one = 1, fd;

	if (!address)
		hints.ai_family = AF_INET6; /* dual stack */
	if (getaddrinfo(address, port, &hints, &info))
		die("getaddrinfo");
	fd = socket(info->ai_family, type, 0);
	if (fd < 0)
		die("socket");
	if (address) {
		if (connect(fd, info->ai_addr, info->ai_addrlen))
			die("connect");
		if (type == SOCK_STREAM)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	} else {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(fd, info->ai_addr, info->ai_addrlen))
			die("bind");
		if (type == SOCK_STREAM && listen(fd, 4096))
			die("listen");
	}
	freeaddrinfo(info);
	return fd;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}
