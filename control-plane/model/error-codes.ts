/**
 * Every error code with its meaning and hint, in one table. docs/reference/errors.md is generated from it.
 * A code is never given a second meaning.
 */
export const ERRORS = {
  // Reading manifests
  YAML_MALFORMED: {
    text: 'The file is not YAML.',
    hint: 'Mend the line named; until then the last good content of this file stays in force.',
  },
  OBJECT_UNKNOWN_KIND: {
    text: 'The kind is not one that Sidestep reads.',
    hint: 'Supported kinds: Namespace, Pod, Node, CiliumNetworkPolicy (cilium.io/v2).',
  },
  OBJECT_DUPLICATE: {
    text: 'Two files define the same object.',
    hint: 'Keep one. The first file in order of name counts.',
  },
  FIELD_UNKNOWN: { text: 'The field does not exist.', hint: 'Check the spelling against docs/reference/policy.md.' },
  FIELD_NOT_SUPPORTED: {
    text: 'The field exists elsewhere and is not supported here yet.',
    hint: 'Nothing is ignored silently: the object is refused until the field is taken out.',
  },
  FIELD_INVALID: {
    text: 'The value is not one that the field takes.',
    hint: 'See docs/reference/policy.md for the values.',
  },
  FIELD_REQUIRED: { text: 'A required field is missing.', hint: 'Add it.' },
  POLICY_EMPTY: { text: 'The policy has no section that does anything.', hint: 'Add ingress or egress.' },
  // Workloads
  POD_NETNS_MISSING: {
    text: "The pod's network namespace is not there.",
    hint: 'Check the annotation sidestep.dev/netns; the agent tries again when the namespace appears.',
  },
  POD_NO_VETH: {
    text: "No veth leads from the pod's namespace into this node.",
    hint: 'Sidestep enforces on the host side of a veth; ipvlan, macvlan and SR-IOV are not supported.',
  },
  POD_ADDRESS_CONFLICT: {
    text: 'Two pods claim one address.',
    hint: 'The pod that had it keeps it; the other stays closed until the conflict ends.',
  },
  POD_NO_ADDRESS: { text: 'The pod has no address.', hint: 'Set status.podIPs.' },
  // Kernel
  KERNEL_TOO_OLD: { text: 'The kernel is older than 5.10.', hint: 'Boot a kernel of 5.10 or newer.' },
  KERNEL_FEATURE_MISSING: {
    text: 'The kernel lacks a feature.',
    hint: 'Run `sidestep check`; it names the feature and its configuration option.',
  },
  KERNEL_PERMISSION: {
    text: 'The kernel refused for lack of privilege.',
    hint: 'Run as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN.',
  },
  KERNEL_LOAD_FAILED: {
    text: 'The kernel refused a program.',
    hint: "The verifier's words are in the cause; please report them with the output of `uname -r`.",
  },
  KERNEL_CALL_FAILED: { text: 'A call into the kernel failed.', hint: 'The errno is in the cause.' },
  KERNEL_LAYOUT_MISMATCH: {
    text: 'Pinned tables of another version do not fit.',
    hint: 'Run `sidestep uninstall` for this instance, then start the agent again.',
  },
  MAP_FULL: {
    text: 'A kernel table is full.',
    hint: 'Raise its size option; endpoints keep the last complete policy meanwhile.',
  },
  ADDON_MISSING: { text: 'The native addon is not built.', hint: 'Run `make deps`.' },
  // Agent
  INSTANCE_BUSY: { text: 'Another agent runs on this instance.', hint: 'Stop it, or pick another --instance.' },
  AGENT_UNREACHABLE: {
    text: 'No agent answers on the socket.',
    hint: 'Start it with `sidestep agent`, or name the right --instance.',
  },
  CONFIG_INVALID: { text: 'The configuration is not valid.', hint: '`sidestep agent --help` lists the options.' },
  SOURCE_UNREADABLE: { text: 'The source folder cannot be read.', hint: 'Check the path and its permissions.' },
  STATE_UNUSABLE: {
    text: 'The file in the state folder cannot be used.',
    hint: "Check the folder's space and permissions. Numbers given out anew leave flows of the past without names.",
  },
  AGENT_NOT_READY: {
    text: 'The agent was started and did not become ready.',
    hint: 'The end of its log is in the message.',
  },
  // Envoy
  ENVOY_REFUSED: {
    text: 'Envoy does not take its configuration.',
    hint: 'Its own words are in the message and in `sidestep envoy status`. What it took before stays in force; what is new is denied.',
  },
  ENVOY_MISSING: {
    text: 'There is no Envoy that can be run.',
    hint: 'Run `make deps`, or name one with --envoy; new connections under HTTP rules are refused meanwhile.',
  },
  ENVOY_VERSION: {
    text: 'Envoy is of another version than is wanted.',
    hint: 'Run `make deps`, or name another one with --envoy (1.40 is the oldest that works).',
  },
  ENVOY_MODULE_MISSING: {
    text: 'The module that tells Envoy whose connection it has is not there.',
    hint: 'Run `make deps`; Envoy runs as an unprivileged user, who must be able to read the file.',
  },
  ENVOY_MODULE_MISMATCH: {
    text: 'The identity module does not fit this Envoy.',
    hint: 'Build it again with `make deps`, for the Envoy that is installed.',
  },
  ENVOY_FAILED: {
    text: 'Envoy ended, does not answer, or could not be started.',
    hint: 'It is tried again by itself; the end of its log is in `sidestep envoy status`.',
  },
  // Commands
  USAGE: { text: 'The command was called wrongly.', hint: 'Add --help.' },
  NOT_FOUND: { text: 'There is no such object.', hint: 'List what there is first.' },
  TOOL_MISSING: {
    text: 'A program that is needed is not installed.',
    hint: 'The demo needs ip (iproute2), nsenter and umount (util-linux).',
  },
  TOOL_FAILED: { text: 'Another program failed.', hint: 'Its own words are in the message.' },
  INPUT_INVALID: { text: 'The input cannot be read.', hint: 'See the message.' },
} as const satisfies Record<string, { text: string; hint: string }>;

export type ErrorCode = keyof typeof ERRORS;
