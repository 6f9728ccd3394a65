// SPDX-License-Identifier: Apache-2.0
/*
 * Both ends of many first connections at once: one process with sockets in many network namespaces.
 *   pairs serve PORT NAMESPACE...                                  prints "listening", then echoes until it is killed
 *   pairs connect PORT TIMEOUT_MS ADDRESS... -- NAMESPACE...       from each namespace to each address, all at once
 * A namespace is a path. `connect` prints "asked" when every SYN is on its way, and when all have an answer or time is up
 * {"answered","segments","micros":[…]}: segments that the clients sent again (tcp_info), and from connect() to the echo of a byte.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256

struct attempt {
	int fd;
	int64_t began, took;
	int asked;
};

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

static void enter(const char *namespace)
{
	int fd = open(namespace, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(namespace);
	close(fd);
}

static struct addrinfo *resolve(const char *address, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST }, *to;

	if (getaddrinfo(address, port, &hints, &to) != 0)
		die(address);
	return to;
}

_Noreturn static void serve(const char *port, char **namespaces)
{
	struct epoll_event e = { .events = EPOLLIN }, got[BATCH];
	int ep = epoll_create1(0), one = 1, first = 0, last = 0;
	char byte;

	for (; *namespaces; namespaces++) {
		struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) };
		int fd;

		enter(*namespaces);
		fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(fd, (void *)&any, sizeof any) || listen(fd, 4096))
			die("listen");
		first = first ? first : fd;
		e.data.fd = last = fd;
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	}
	puts("listening");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, got, BATCH, -1);

		for (int i = 0; i < n; i++) {
			int fd = got[i].data.fd;

			if (fd >= first && fd <= last) {
				e.data.fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
				if (e.data.fd >= 0)
					epoll_ctl(ep, EPOLL_CTL_ADD, e.data.fd, &e);
			} else if (read(fd, &byte, 1) != 1 || write(fd, &byte, 1) != 1)
				close(fd);
		}
	}
}

static void start(struct attempt *attempt, const struct addrinfo *to, int ep)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT, .data.ptr = attempt };
	int one = 1;

	attempt->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(attempt->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	attempt->began = now_ns();
	if (connect(attempt->fd, to->ai_addr, to->ai_addrlen) && errno != EINPROGRESS)
		die("connect");
	epoll_ctl(ep, EPOLL_CTL_ADD, attempt->fd, &e);
}

/* returns whether it is over */
static int go_on(struct attempt *attempt, uint32_t events, int ep)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = attempt };
	char byte = 'x';

	if (!attempt->asked && events & EPOLLOUT && !(events & EPOLLERR)) {
		attempt->asked = 1;
		epoll_ctl(ep, EPOLL_CTL_MOD, attempt->fd, &e);
		return write(attempt->fd, &byte, 1) != 1;
	}
	if (read(attempt->fd, &byte, 1) == 1)
		attempt->took = now_ns() - attempt->began;
	epoll_ctl(ep, EPOLL_CTL_DEL, attempt->fd, NULL);
	return 1;
}

static int report(const struct attempt *attempts, int count)
{
	int answered = 0;
	long segments = 0;

	for (int i = 0; i < count; i++) {
		struct tcp_info info = { 0 };
		socklen_t size = sizeof info;

		answered += attempts[i].took > 0;
		getsockopt(attempts[i].fd, IPPROTO_TCP, TCP_INFO, &info, &size);
		segments += info.tcpi_total_retrans;
	}
	printf("{\"answered\":%d,\"segments\":%ld,\"micros\":[", answered, segments);
	for (int i = 0, comma = 0; i < count; i++)
		if (attempts[i].took > 0)
			printf("%s%.1f", comma++ ? "," : "", attempts[i].took / 1e3);
	puts("]}");
	return 0;
}

static int connect_all(const char *port, int timeout_ms, char **addresses)
{
	char **namespaces = addresses;
	int ep = epoll_create1(0), targets = 0, sources = 0, count = 0, over = 0;
	struct addrinfo **to;
	struct attempt *attempts;
	int64_t end;

	for (; *namespaces && strcmp(*namespaces, "--"); namespaces++)
		targets++;
	if (!*namespaces)
		return 64;
	for (namespaces++; namespaces[sources];)
		sources++;
	to = calloc(targets, sizeof *to);
	attempts = calloc(targets * sources, sizeof *attempts);
	for (int i = 0; i < targets; i++)
		to[i] = resolve(addresses[i], port);
	end = now_ns() + timeout_ms * 1000000ll;
	for (int i = 0; i < sources; i++) {
		enter(namespaces[i]);
		for (int j = 0; j < targets; j++)
			start(&attempts[count++], to[j], ep);
	}
	puts("asked");
	fflush(stdout);
	while (over < count) {
		struct epoll_event got[BATCH];
		int64_t left = (end - now_ns()) / 1000000;
		int n = left > 0 ? epoll_wait(ep, got, BATCH, left) : 0;

		if (n == 0)
			break;
		for (int i = 0; i < n; i++)
			over += go_on(got[i].data.ptr, got[i].events, ep);
	}
	return report(attempts, count);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };

	setrlimit(RLIMIT_NOFILE, &files);
	if (argc > 3 && !strcmp(argv[1], "serve"))
		serve(argv[2], argv + 3);
	if (argc > 6 && !strcmp(argv[1], "connect"))
		return connect_all(argv[2], atoi(argv[3]), argv + 4);
	fprintf(stderr, "usage: see the comment in pairs.c\n");
	return 64;
}
