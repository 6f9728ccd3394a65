// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1.1 load generator and its other end, one binary. Every run is bounded in time and prints one JSON line.
 *   http-load serve PORT BYTES                                 answers every request with a body of so many bytes
 *   http-load closed ADDRESS PORT SECONDS CONNECTIONS          closed loop, keep-alive: requests per second
 *   http-load pace ADDRESS PORT SECONDS CONNECTIONS RATE       open loop: latency from the intended send time, microseconds
 *   http-load watch ADDRESS PORT SECONDS PAUSE_US              POST, each on a connection of its own: prints every change of
 *                                                              the status (0: no answer) and when its request was sent
 * Requests are GET /api/load; both loops send one over each connection first, which does not count.
 */
#include "load.h"
#include <poll.h>
#include <sys/prctl.h>

#define MOST_CONNECTIONS 1024
#define HEAD "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n"

/* --- Server ------------------------------------------------------------------------------------------------------ */

/* Where a request's end was searched so far: the last bytes of what came before. */
static uint32_t tails[65536];

static int requests_in(int fd, const char *bytes, ssize_t size)
{
	uint32_t tail = tails[fd];
	int found = 0;

	for (ssize_t i = 0; i < size; i++) {
		tail = tail << 8 | (unsigned char)bytes[i];
		found += tail == 0x0d0a0d0a; /* no request here has a body */
	}
	tails[fd] = tail;
	return found;
}

_Noreturn static void serve(const char *port, int body)
{
	int listener = open_socket(NULL, port, SOCK_STREAM), ep = epoll_create1(0), one = 1;
	struct epoll_event e = { .events = EPOLLIN, .data.fd = listener }, got[256];
	char buffer[65536], *answer = malloc(256 + body);
	int size = sprintf(answer, HEAD, body);

	memset(answer + size, 'x', body);
	size += body;
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
				tails[fd] = 0;
				e.data.fd = fd;
				epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
				continue;
			}
			ssize_t came = read(fd, buffer, sizeof buffer);
			int left = came > 0 ? requests_in(fd, buffer, came) : -1;

			while (left > 0 && write(fd, answer, size) == size)
				left--;
			if (left)
				close(fd);
		}
	}
}

/* --- Client ------------------------------------------------------------------------------------------------------ */

struct connection {
	int fd;
	uint64_t due; /* when its request was to be sent; 0: none is open */
	int got;
	char answer[16384];
};

static struct connection connections[MOST_CONNECTIONS];
static int connection_count, request_size, poller;
static char request[512];
static uint64_t refused;

static void send_request(struct connection *c, uint64_t due)
{
	c->due = due;
	c->got = 0;
	if (write(c->fd, request, request_size) != request_size)
		die("send");
}

/* The status of a complete answer, 0 while there is more to come. */
static int complete(struct connection *c)
{
	char *end, *length;

	c->answer[c->got] = 0;
	end = strstr(c->answer, "\r\n\r\n");
	if (!end)
		return 0;
	length = strcasestr(c->answer, "content-length:");
	if (!length || length > end)
		die("an answer without its length");
	if (c->got < end + 4 - c->answer + atoi(length + 15))
		return 0;
	return atoi(c->answer + 9);
}

/* Reads what there is; 1 when the answer is complete. */
static int receive(struct connection *c)
{
	ssize_t size = read(c->fd, c->answer + c->got, sizeof c->answer - 1 - c->got);
	int status;

	if (size < 0 && errno == EAGAIN)
		die("no answer within 5 s");
	if (size <= 0)
		die("the connection was closed");
	c->got += size;
	status = complete(c);
	if (status && status != 200)
		refused++;
	return status != 0;
}

static void prepare(const char *address, const char *port, const char *count)
{
	struct timeval patience = { 5, 0 };

	connection_count = atoi(count);
	if (connection_count < 1 || connection_count > MOST_CONNECTIONS)
		die("connections");
	request_size = snprintf(request, sizeof request, "GET /api/load HTTP/1.1\r\nhost: %s:%s\r\nuser-agent: load\r\naccept: */*\r\n\r\n",
				address, port);
	poller = epoll_create1(0);
	for (int i = 0; i < connection_count; i++) {
		struct connection *c = &connections[i];
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

		c->fd = open_socket(address, port, SOCK_STREAM);
		setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
		epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
		send_request(c, 1);
		while (!receive(c))
			;
		c->due = 0;
	}
}

static void tell(uint64_t count, uint64_t *latency, uint64_t late, uint64_t start)
{
	double seconds = (now() - start) / 1e9;

	if (!count)
		die("nothing was answered");
	qsort(latency, count, sizeof *latency, compare);
	printf("{\"count\":%lu,\"refused\":%lu,\"late\":%lu,\"rate\":%.1f,\"p50\":%.2f,\"p99\":%.2f}\n", count, refused, late,
	       count / seconds, latency[count / 2] / 1e3, latency[(uint64_t)(count * 0.99)] / 1e3);
}

static int closed(double seconds)
{
	uint64_t count = 0, room = 1 << 20, *latency = malloc(room * sizeof *latency), start = now(), t;
	struct epoll_event got[MOST_CONNECTIONS];

	for (int i = 0; i < connection_count; i++)
		send_request(&connections[i], now());
	while ((t = now()) < start + seconds * 1e9) {
		int n = epoll_wait(poller, got, connection_count, 1000);

		for (int i = 0; i < n; i++) {
			struct connection *c = got[i].data.ptr;

			if (!receive(c))
				continue;
			if (count == room)
				latency = realloc(latency, (room *= 2) * sizeof *latency);
			t = now();
			latency[count++] = t - c->due;
			send_request(c, t);
		}
	}
	tell(count, latency, 0, start);
	return 0;
}

static int pace(double seconds, double rate)
{
	uint64_t count = seconds * rate, sent = 0, answered = 0, late = 0;
	uint64_t *latency = calloc(count + 1, sizeof *latency), start, give_up, t;
	struct connection *idle[MOST_CONNECTIONS];
	struct epoll_event got[MOST_CONNECTIONS];
	int free_count = connection_count;

	for (int i = 0; i < connection_count; i++)
		idle[i] = &connections[i];
	/* Sleeps end when they are to end: spinning would take the core from what is measured. */
	prctl(PR_SET_TIMERSLACK, 1000ul);
	start = now();
	give_up = start + (seconds + 10) * 1e9;
	while (answered < count && (t = now()) < give_up) {
		struct timespec wait = { 1, 0 };
		int own = free_count > 0, n;

		while (sent < count && free_count > 0) {
			uint64_t due = start + sent * 1e9 / rate;

			t = now();
			if (due > t) {
				wait = (struct timespec){ (due - t) / 1000000000, (due - t) % 1000000000 };
				break;
			}
			if (t - due > 1000000 && own)
				late++;
			send_request(idle[--free_count], due);
			sent++;
		}
		n = epoll_pwait2(poller, got, connection_count, &wait, NULL);
		for (int i = 0; i < n; i++) {
			struct connection *c = got[i].data.ptr;

			if (!receive(c))
				continue;
			latency[answered++] = now() - c->due;
			idle[free_count++] = c;
		}
	}
	tell(answered, latency, late, start);
	return 0;
}

/* --- Watch ------------------------------------------------------------------------------------------------------- */

/* One request over a connection of its own; 0 when it is not answered within 100 ms. */
static int ask_once(const struct addrinfo *to, const char *text, int size)
{
	int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0), status = 0;
	struct pollfd p = { fd, POLLOUT, 0 };
	struct linger reset = { 1, 0 }; /* no TIME_WAIT: the ports of one client would run out */
	char answer[4096];

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	if ((!connect(fd, to->ai_addr, to->ai_addrlen) || errno == EINPROGRESS) && poll(&p, 1, 100) == 1 &&
	    write(fd, text, size) == size) {
		p.events = POLLIN;
		if (poll(&p, 1, 100) == 1) {
			ssize_t got = read(fd, answer, sizeof answer - 1);

			if (got > 12) {
				answer[got] = 0;
				status = atoi(answer + 9);
			}
		}
	}
	close(fd);
	return status;
}

static int watch(const char *address, const char *port, double seconds, unsigned pause_us)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST }, *to;
	uint64_t end = now() + seconds * 1e9, sent;
	char text[512];
	int last = -1, size;

	if (getaddrinfo(address, port, &hints, &to))
		die("getaddrinfo");
	size = snprintf(text, sizeof text, "POST /api/load HTTP/1.1\r\nhost: %s:%s\r\ncontent-length: 0\r\n\r\n", address, port);
	while ((sent = now()) < end) {
		int status = ask_once(to, text, size);

		if (status != last) {
			printf("{\"status\":%d,\"sent\":%lu,\"answered\":%lu}\n", status, sent, now());
			fflush(stdout);
		}
		last = status;
		usleep(pause_us);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	double seconds = argc > 4 ? atof(argv[4]) : 0;

	if (!strcmp(mode, "serve") && argc == 4)
		serve(argv[2], atoi(argv[3]));
	if (!strcmp(mode, "watch") && argc == 6)
		return watch(argv[2], argv[3], seconds, atoi(argv[5]));
	if (!strcmp(mode, "closed") && argc == 6) {
		prepare(argv[2], argv[3], argv[5]);
		return closed(seconds);
	}
	if (!strcmp(mode, "pace") && argc == 7) {
		prepare(argv[2], argv[3], argv[5]);
		return pace(seconds, atof(argv[6]));
	}
	fprintf(stderr, "usage: see the comment in http-load.c\n");
	return 64;
}
