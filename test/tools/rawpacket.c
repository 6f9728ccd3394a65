// SPDX-License-Identifier: Apache-2.0
/*
 * Sends packets that no honest program would, straight out of an interface (AF_PACKET).
 *   rawpacket --dev eth0 --src-mac M --dst-mac M --src IP --dst IP --proto tcp|udp|icmp|NUMBER [...]
 *     --sport N --dport N   ports; --sport-step N adds N to the source port with each packet
 *     --flags SAFRPU        TCP flags
 *     --seq N --ack N       TCP numbers
 *     --icmp-type N --icmp-code N
 *     --payload-size N      bytes behind the layer-4 header
 *     --frag-offset N       bytes, a multiple of 8; with an offset the payload has no layer-4 header
 *     --more                more fragments follow
 *     --id N                identification of the datagram
 *     --extension N         this many IPv6 destination-option headers, or 4-byte IPv4 no-op options
 *     --cut N               send only N bytes of layer 3; the headers keep claiming the whole
 *     --vlan N              802.1Q tag
 *     --ttl N
 *     --count N --rate N    packets, packets a second
 *   rawpacket --dev eth0 --hex FRAME [--count N --rate N]     any frame at all, layer 2 included
 * Prints {"sent":N}.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM 70000

struct options {
	const char *dev, *hex;
	uint8_t src_mac[6], dst_mac[6];
	uint8_t src[16], dst[16];
	int v6, proto, sport, dport, sport_step, flags, icmp_type, icmp_code, payload, frag_offset, more, fragmented, extension, cut,
		vlan, ttl;
	uint32_t seq, ack, id;
	uint64_t count;
	double rate;
};

static void usage(const char *what)
{
	fprintf(stderr, "rawpacket: %s\n", what);
	exit(64);
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static uint32_t sum_of(const uint8_t *data, int length, uint32_t sum)
{
	for (int i = 0; i < length; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	return sum;
}

static uint32_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

static int tcp_flags(const char *letters)
{
	static const char names[] = "FSRPAU";
	int flags = 0;

	for (; *letters; letters++) {
		const char *at = strchr(names, *letters);

		if (!at)
			usage("unknown TCP flag");
		flags |= 1 << (at - names);
	}
	return flags;
}

static void parse_mac(const char *text, uint8_t *mac)
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6)
		usage("not a MAC address");
}

static void parse_address(const char *text, uint8_t *address, int *v6)
{
	*v6 = strchr(text, ':') != NULL;
	if (inet_pton(*v6 ? AF_INET6 : AF_INET, text, address) != 1)
		usage("not an IP address");
}

/* Layer 4 with its checksum; returns its length. */
static int build_layer4(const struct options *o, uint8_t *at, uint64_t number)
{
	int sport = (int)((o->sport + (int64_t)(number * (uint64_t)o->sport_step)) % 65536);
	int header = o->proto == IPPROTO_TCP ? 20 : o->proto == IPPROTO_UDP || o->proto == IPPROTO_ICMP || o->proto == IPPROTO_ICMPV6 ? 8 : 0;
	int length = header + o->payload, address = o->v6 ? 16 : 4, checksum = -1;
	uint32_t sum = 0;

	memset(at, 0, (size_t)length);
	memset(at + header, 'x', (size_t)o->payload);
	if (o->proto == IPPROTO_TCP || o->proto == IPPROTO_UDP) {
		put16(at, (uint32_t)sport);
		put16(at + 2, (uint32_t)o->dport);
	}
	if (o->proto == IPPROTO_TCP) {
		put32(at + 4, o->seq);
		put32(at + 8, o->ack);
		at[12] = 5 << 4;
		at[13] = (uint8_t)o->flags;
		put16(at + 14, 64240);
		checksum = 16;
	} else if (o->proto == IPPROTO_UDP) {
		put16(at + 4, (uint32_t)length);
		checksum = 6;
	} else if (header == 8) {
		at[0] = (uint8_t)o->icmp_type;
		at[1] = (uint8_t)o->icmp_code;
		checksum = 2;
	}
	if (checksum < 0)
		return length;
	if (o->proto != IPPROTO_ICMP)
		sum = sum_of(o->src, address, sum_of(o->dst, address, (uint32_t)(o->proto + length)));
	put16(at + checksum, folded(sum_of(at, length, sum)));
	return length;
}

static int build_v4(const struct options *o, uint8_t *ip, uint64_t number)
{
	int header = 20 + 4 * o->extension, length;

	memset(ip, 0, (size_t)header);
	length = o->frag_offset ? o->payload : build_layer4(o, ip + header, number);
	if (o->frag_offset)
		memset(ip + header, 'x', (size_t)length);
	memset(ip + 20, 1, (size_t)(4 * o->extension)); /* no-op options */
	ip[0] = (uint8_t)(0x40 | header / 4);
	put16(ip + 2, (uint32_t)(header + length));
	put16(ip + 4, o->id);
	put16(ip + 6, (uint32_t)(o->frag_offset / 8) | (o->more ? 0x2000u : 0));
	ip[8] = (uint8_t)o->ttl;
	ip[9] = (uint8_t)o->proto;
	memcpy(ip + 12, o->src, 4);
	memcpy(ip + 16, o->dst, 4);
	put16(ip + 10, folded(sum_of(ip, header, 0)));
	return header + length;
}

static int build_v6(const struct options *o, uint8_t *ip, uint64_t number)
{
	uint8_t *at = ip + 40, *next = ip + 6;
	int length;

	memset(ip, 0, 40);
	ip[0] = 0x60;
	ip[7] = (uint8_t)o->ttl;
	memcpy(ip + 8, o->src, 16);
	memcpy(ip + 24, o->dst, 16);
	for (int i = 0; i < o->extension; i++, at += 8) {
		static const uint8_t padding[8] = { 0, 0, 1, 4, 0, 0, 0, 0 };

		memcpy(at, padding, 8);
		*next = IPPROTO_DSTOPTS;
		next = at;
	}
	if (o->fragmented) {
		memset(at, 0, 8);
		*next = IPPROTO_FRAGMENT;
		next = at;
		put16(at + 2, (uint32_t)o->frag_offset | (o->more ? 1u : 0));
		put32(at + 4, o->id);
		at += 8;
	}
	*next = (uint8_t)o->proto;
	length = o->frag_offset ? o->payload : build_layer4(o, at, number);
	if (o->frag_offset)
		memset(at, 'x', (size_t)length);
	length += (int)(at - ip);
	put16(ip + 4, (uint32_t)(length - 40));
	return length;
}

static int build(const struct options *o, uint8_t *frame, uint64_t number)
{
	uint8_t *at = frame + 12;
	int length;

	memcpy(frame, o->dst_mac, 6);
	memcpy(frame + 6, o->src_mac, 6);
	if (o->vlan >= 0) {
		put16(at, ETHERTYPE_VLAN);
		put16(at + 2, (uint32_t)o->vlan);
		at += 4;
	}
	put16(at, o->v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IP);
	at += 2;
	length = o->v6 ? build_v6(o, at, number) : build_v4(o, at, number);
	if (o->cut >= 0 && o->cut < length)
		length = o->cut;
	return (int)(at - frame) + length;
}

static int from_hex(const char *hex, uint8_t *frame)
{
	int length = 0;

	for (; hex[0] && hex[1] && length < ROOM; hex += 2)
		if (sscanf(hex, "%2hhx", &frame[length++]) != 1)
			usage("not hexadecimal");
	return length;
}

static int protocol(const char *text)
{
	return !strcmp(text, "tcp") ? IPPROTO_TCP : !strcmp(text, "udp") ? IPPROTO_UDP : !strcmp(text, "icmp") ? IPPROTO_ICMP : atoi(text);
}

static void parse(int argc, char **argv, struct options *o)
{
	enum { DEV, HEX, SRC_MAC, DST_MAC, SRC, DST, PROTO, SPORT, DPORT, SPORT_STEP, FLAGS, SEQ, ACK, ICMP_TYPE, ICMP_CODE, PAYLOAD,
	       FRAG_OFFSET, MORE, ID, EXTENSION, CUT, VLAN, TTL, COUNT, RATE };
	static const struct option known[] = {
		{ "dev", 1, 0, DEV }, { "hex", 1, 0, HEX }, { "src-mac", 1, 0, SRC_MAC }, { "dst-mac", 1, 0, DST_MAC },
		{ "src", 1, 0, SRC }, { "dst", 1, 0, DST }, { "proto", 1, 0, PROTO }, { "sport", 1, 0, SPORT }, { "dport", 1, 0, DPORT },
		{ "sport-step", 1, 0, SPORT_STEP }, { "flags", 1, 0, FLAGS }, { "seq", 1, 0, SEQ }, { "ack", 1, 0, ACK },
		{ "icmp-type", 1, 0, ICMP_TYPE }, { "icmp-code", 1, 0, ICMP_CODE }, { "payload-size", 1, 0, PAYLOAD },
		{ "frag-offset", 1, 0, FRAG_OFFSET }, { "more", 0, 0, MORE }, { "id", 1, 0, ID }, { "extension", 1, 0, EXTENSION },
		{ "cut", 1, 0, CUT }, { "vlan", 1, 0, VLAN }, { "ttl", 1, 0, TTL }, { "count", 1, 0, COUNT }, { "rate", 1, 0, RATE }, { 0 },
	};
	int v6_source = 0, chosen;

	while ((chosen = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (chosen) {
		case DEV: o->dev = optarg; break;
		case HEX: o->hex = optarg; break;
		case SRC_MAC: parse_mac(optarg, o->src_mac); break;
		case DST_MAC: parse_mac(optarg, o->dst_mac); break;
		case SRC: parse_address(optarg, o->src, &v6_source); break;
		case DST: parse_address(optarg, o->dst, &o->v6); break;
		case PROTO: o->proto = protocol(optarg); break;
		case SPORT: o->sport = atoi(optarg); break;
		case DPORT: o->dport = atoi(optarg); break;
		case SPORT_STEP: o->sport_step = atoi(optarg); break;
		case FLAGS: o->flags = tcp_flags(optarg); break;
		case SEQ: o->seq = (uint32_t)strtoul(optarg, NULL, 0); break;
		case ACK: o->ack = (uint32_t)strtoul(optarg, NULL, 0); break;
		case ICMP_TYPE: o->icmp_type = atoi(optarg); break;
		case ICMP_CODE: o->icmp_code = atoi(optarg); break;
		case PAYLOAD: o->payload = atoi(optarg); break;
		case FRAG_OFFSET: o->frag_offset = atoi(optarg); o->fragmented = 1; break;
		case MORE: o->more = 1; o->fragmented = 1; break;
		case ID: o->id = (uint32_t)strtoul(optarg, NULL, 0); break;
		case EXTENSION: o->extension = atoi(optarg); break;
		case CUT: o->cut = atoi(optarg); break;
		case VLAN: o->vlan = atoi(optarg); break;
		case TTL: o->ttl = atoi(optarg); break;
		case COUNT: o->count = strtoull(optarg, NULL, 10); break;
		case RATE: o->rate = atof(optarg); break;
		default: usage("unknown option");
		}
	}
	if (!o->dev || !if_nametoindex(o->dev))
		usage("--dev names no interface");
	if (!o->hex && v6_source != o->v6)
		usage("--src and --dst are of different versions");
	if (o->v6 && o->proto == IPPROTO_ICMP)
		o->proto = IPPROTO_ICMPV6;
	if (o->payload < 0 || o->payload > 65000)
		usage("--payload-size");
}

int main(int argc, char **argv)
{
	struct options o = { .proto = IPPROTO_TCP, .sport = 40000, .dport = 80, .count = 1, .ttl = 64, .cut = -1, .vlan = -1, .id = 1, .icmp_type = -1 };
	static uint8_t frame[ROOM];
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };
	struct timespec start;
	uint64_t sent = 0;
	int fd;

	parse(argc, argv, &o);
	if (o.icmp_type < 0)
		o.icmp_type = o.v6 ? 128 : 8;
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (fd < 0) {
		perror("socket");
		return 1;
	}
	to.sll_ifindex = (int)if_nametoindex(o.dev);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (uint64_t number = 0; number < o.count; number++) {
		int length = o.hex ? from_hex(o.hex, frame) : build(&o, frame, number);

		if (o.rate > 0) {
			int64_t due = start.tv_nsec + (int64_t)(number * 1e9 / o.rate);
			struct timespec until = { start.tv_sec + due / 1000000000ll, due % 1000000000ll };

			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		}
		while (sendto(fd, frame, (size_t)length, 0, (struct sockaddr *)&to, sizeof(to)) < 0) {
			if (errno == ENOBUFS || errno == EINTR)
				continue;
			perror("send");
			return 1;
		}
		sent++;
	}
	printf("{\"sent\":%llu}\n", (unsigned long long)sent);
	return 0;
}
