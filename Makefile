# Sidestep. `make help` lists what there is.
SHELL := /bin/bash
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
SOURCES := $(shell find control-plane -name '*.ts' -not -name '*.test.ts' 2>/dev/null)

.DEFAULT_GOAL := help

.PHONY: chaos fuzz help deps demo test unit bpf-test e2e kernels spire-test lint format check check-generated generate bench bench-packets bench-http bench-policy bench-auth clean uninstall

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install all that demo and test need (root; a no-op the second time)
	@scripts/deps.sh

demo: deps ## Watch the kernel admit one workload, refuse another, and say why
	@bin/sidestep demo

test: deps ## Everything: types, lint, generated files, unit, property and end-to-end tests
	@scripts/test.sh

unit: ## Unit, golden and property tests that need no root
	@vitest run --project unit

fuzz: ## Parsers, compiler and DNS against odd input, FUZZ_SECONDS (300) for each of eleven targets
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-300} vitest run --project fuzz

bpf-test: ## The loaded programs against the evaluator, packet by packet (root)
	@vitest run --project bpf

e2e: ## Whole-system tests in network namespaces (root)
	@vitest run --project e2e

kernels: deps ## The same on Debian kernels 6.1 and 6.12, emulated; on 5.10 that it is refused (KERNELS="6.1" picks; root)
	@scripts/kernels.sh

spire-test: ## Certificates from a real SPIRE, by itself and under two nodes; builds it the first time (needs Go and gcc; root)
	@scripts/spire.sh
	@vitest run --project spire

lint: ## Types, style and who may import whom; zero warnings
	@tsc -p .
	@biome check --error-on-warnings .
	@native/build.sh --clippy

format: ## Rewrite to the style
	@biome check --write .

generate: ## Rewrite the generated files (reasons, errors, reference, CRDs, TypeScript from BTF, Envoy's and SPIRE's messages)
	@node scripts/generate-reasons.ts
	@$(MAKE) --no-print-directory -s -C bpf
	@node scripts/generate-errors.ts
	@node scripts/generate-reference.ts
	@node scripts/generate-crds.ts
	@node scripts/generate-bpf.ts
	@node scripts/generate-xds.ts
	@node scripts/generate-spire.ts

check-generated: generate ## Fail if a committed generated file is not what the generators make
	@git diff --exit-code --stat -- control-plane/generated bpf/include/reasons.h docs/reference deploy/crds

chaos: deps ## Kill and stop Envoy and the agent at random under load; an offline oracle judges (CHAOS=--short)
	@node test/chaos/main.ts $(CHAOS)

bench: deps bench-packets bench-http bench-auth ## Measure all there is to measure; prints ratios (BENCH=--short for a taste)

bench-packets: deps ## Measure against the same topology without Sidestep
	@node test/bench/main.ts $(BENCH)

bench-http: deps ## Measure HTTP rules against a pair of stock Envoys, and one
	@node test/bench/http/main.ts $(BENCH)

bench-policy: deps ## Measure what policy costs by the size of the cluster (EVENTS, SIZES; root)
	@node test/bench/policy/main.ts

bench-auth: deps ## Measure authentication and the tunnel between two nodes against the same without
	@node test/bench/auth/main.ts $(BENCH)

dist/sidestep.mjs: $(SOURCES) $(wildcard scripts/bundle*.ts) package.json bpf/build/sidestep.bpf.o native/sidestep.node native/libsidestep_identity.so
	@node scripts/bundle.ts

bpf/build/sidestep.bpf.o: $(wildcard bpf/*.c bpf/lib/*.h bpf/include/*.h)
	@$(MAKE) --no-print-directory -s -C bpf

native/sidestep.node native/libsidestep_identity.so &: $(wildcard native/src/*.rs) native/Cargo.toml native/Cargo.lock native/envoy/identity_module.c $(wildcard bpf/include/*.h)
	@native/build.sh

uninstall: ## Take the default instance off this machine
	@bin/sidestep uninstall

clean: ## Remove what was built (not node_modules)
	rm -rf dist build bpf/build native/target native/sidestep.node native/libsidestep_identity.so
