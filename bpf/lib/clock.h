/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#pragma once
#include "maps.h"

/* Time for deadlines: a tick's precision is enough, and the coarse clock costs a tenth of the exact one. */
static __always_inline __u64 coarse_now(void)
{
	if (config.values.coarse_clock)
		return bpf_ktime_get_coarse_ns();
	return bpf_ktime_get_ns();
}
