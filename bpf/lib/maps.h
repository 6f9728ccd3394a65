/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every table. Each entry file is compiled alone and linked with the others: weak definitions of one name become one. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "../include/shared.h"

/* A function of a shared header that this entry file does not call. */
#define __maybe_unused __attribute__((unused))

/* Sizes are defaults; user space sets them before the load. LRU maps evict from per-CPU lists of 128 entries, so
 * they must be far larger than 128 times the number of CPUs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct endpoint);
} endpoints SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct address_key);
	__type(value, struct endpoint_address);
} endpoint_addresses SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address_key);
	__type(value, struct ipcache_entry);
} ipcache SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct ipcache_entry);
} ipcache_prefixes SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct policy_key);
	__type(value, struct policy_entry);
} policy SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct policy_table);
} policy_tables SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 524288);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct quota);
} quotas SEC(".maps") __weak;

/* Enforcement switched off: key 0 for all, else a namespace id. Read on the way to a refusal only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} bypass SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_REASONS * 2);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STATISTIC_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} statistics SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, LISTENER_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct proxy_state);
} proxy SEC(".maps") __weak;

/* What Envoy was told of a connection that it accepted: it judges by that for the connection's life. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(max_entries, 0);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection_identity);
} told SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct authentication_key);
	__type(value, struct authentication_entry);
} authentications SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct protection_state);
} protection SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct naming_state);
} naming SEC(".maps") __weak;

/* User space writes it before the load. The zero-length members put types that only programs use into the BTF. */
struct config_variable {
	struct config values;
	struct {
		struct event event[0];
		struct counter counter[0];
		enum layout layout[0];
		enum reserved_identity identity[0];
		enum reserved_rule rule[0];
		enum verdict verdict[0];
		enum ruleset ruleset[0];
		enum leg leg[0];
		enum echo echo[0];
		enum half_flag half_flag[0];
		struct connection_identity connection_identity[0];
		enum match match[0];
		enum endpoint_flag endpoint_flag[0];
		enum ipcache_flag ipcache_flag[0];
		enum authentication authentication[0];
		enum authentication_side authentication_side[0];
		enum protection_flag protection_flag[0];
		enum security security[0];
		enum flow_state flow_state[0];
		enum flow_flag flow_flag[0];
		enum flow_steered flow_steered[0];
		enum event_kind event_kind[0];
		enum hook hook[0];
		enum event_flag event_flag[0];
		enum statistic statistic[0];
	} anchors[0];
};
const volatile struct config_variable config __weak = {};
