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
    hint: 'Supported kinds: Namespace, Pod, Node, Service, Endpoints, EndpointSlice (discovery.k8s.io/v1), NetworkPolicy (networking.k8s.io/v1), CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and CiliumCIDRGroup (cilium.io/v2), SidestepNode (sidestep.dev/v1alpha1).',
  },
  KIND_NOT_SUPPORTED: {
    text: 'The object is a policy of a kind that exists elsewhere and is not supported here.',
    hint: 'Nothing of it is enforced; the message says what to write instead.',
  },
  OBJECT_DUPLICATE: {
    text: 'Two files define the same object.',
    hint: 'Keep one. The first file in order of name counts.',
  },
  FIELD_UNKNOWN: { text: 'The field does not exist.', hint: 'Check the spelling.' },
  FIELD_NOT_SUPPORTED: {
    text: 'The field exists elsewhere and is not supported here yet.',
    hint: 'Nothing is ignored silently: the object is refused until the field is taken out.',
  },
  FIELD_INVALID: {
    text: 'The value is not one that the field takes.',
    hint: 'The reference lists the values.',
  },
  FIELD_REQUIRED: { text: 'A required field is missing.', hint: 'Add it.' },
  NAMED_PORT_UNKNOWN: {
    text: 'A rule names a port that none of the pods concerned has.',
    hint: 'Until a container port has that name, the rule matches nothing there.',
  },
  REFERENCE_UNKNOWN: {
    text: 'A rule names a Service or a CIDR group that is not there.',
    hint: 'Until it is, the rule admits and denies nothing by it.',
  },
  LAYER7_CONFLICT: {
    text: 'A DNS rule meets HTTP rules or server names on the same port.',
    hint: 'The others count, and the DNS rule admits nothing there. Give them ports of their own.',
  },
  AUTHENTICATION_CONFLICT: {
    text: 'Two rules say different things about authentication for the same peer and port.',
    hint: 'The stricter counts (test-always-fail, required, disabled). Write one mode, or give the exception a port of its own.',
  },
  POLICY_EMPTY: {
    text: 'The policy has no section that does anything.',
    hint: 'Add ingress, egress, ingressDeny or egressDeny.',
  },
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
  KERNEL_TOO_OLD: { text: 'The kernel is older than 5.17.', hint: 'Boot a kernel of 5.17 or newer.' },
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
  SOURCE_UNWRITABLE: {
    text: 'This node cannot make itself known in the source folder.',
    hint: 'Other nodes do not find it, or keep what it said last. Give the agent the right to write there.',
  },
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
  // Packets that wait for a proof
  AUTH_HOLD_TIMEOUT: {
    text: 'A packet waited for a proof longer than it may.',
    hint: 'The next one asks again. `sidestep auth list` shows what the session with the node does.',
  },
  // Certificates (SVIDs)
  SVID_MALFORMED: {
    text: 'What should be a certificate or a chain of certificates is none.',
    hint: 'X.509 version 3, PEM or DER, the leaf first, at most 8 certificates.',
  },
  SVID_EXPIRED: {
    text: 'A certificate has expired.',
    hint: 'Its source should have renewed it: see what `sidestep auth list` says about it, and compare the clocks.',
  },
  SVID_NOT_YET_VALID: {
    text: 'A certificate is not valid yet.',
    hint: 'Compare the clock of the machine that issued it with the one of the machine that refuses it.',
  },
  SVID_OTHER_TRUST_DOMAIN: {
    text: 'A certificate is of another trust domain.',
    hint: 'All nodes of one mesh have one trust domain; see the option of that name.',
  },
  SVID_AUTHORITY_UNKNOWN: {
    text: 'No authority of the trust bundle has issued the certificate.',
    hint: 'Compare the trust bundles of both nodes; after a rotation, one of them may still have the old one.',
  },
  SVID_SIGNATURE_INVALID: {
    text: 'A certificate names an issuer who has not signed it.',
    hint: 'Two authorities of one name, one of them not ours, or a forgery.',
  },
  SVID_ID_INVALID: {
    text: 'The certificate does not name exactly one SPIFFE ID.',
    hint: 'An SVID has one URI among its alternative names: spiffe://<trust domain>/<path>.',
  },
  SVID_CA_AS_LEAF: {
    text: 'A certificate that may sign others stands where a leaf belongs.',
    hint: 'An SVID that authenticates is no CA and has neither keyCertSign nor cRLSign among its key usages.',
  },
  SVID_CHAIN_INVALID: {
    text: 'A certificate in the chain may not issue the one before it.',
    hint: 'Each certificate behind the leaf is a CA that may sign, of the same trust domain, without constraints on names.',
  },
  // Sessions between nodes
  AUTH_SVID_MISSING: {
    text: 'There is no certificate for the identity now.',
    hint: 'The message says why; it is used as soon as it is there.',
  },
  AUTH_SVID_UNUSABLE: {
    text: 'A certificate is there and cannot be used for a proof.',
    hint: 'Keys on P-256, P-384 or P-521, Ed25519 and RSA are; a chain may have 32 KiB.',
  },
  AUTH_NODE_UNKNOWN: {
    text: 'The node is not one that the resource source has.',
    hint: 'Both nodes must have published themselves (SidestepNode); a new one is known within one sync.',
  },
  AUTH_NODE_GONE: {
    text: 'The node has left: the resource source does not have it any more.',
    hint: 'What it had proven is withdrawn. If it is still there, look at what its agent publishes.',
  },
  AUTH_UNREACHABLE: {
    text: "The node's agent cannot be reached.",
    hint: 'Does it run, and may this node connect to TCP port 4250 at one of its addresses?',
  },
  AUTH_HANDSHAKE_TIMEOUT: {
    text: 'The other end did not finish the handshake in time.',
    hint: 'A machine without time to spare, or not an agent.',
  },
  AUTH_TLS_FAILED: {
    text: 'The TLS handshake failed.',
    hint: "The library's words are in the message. Is it a Sidestep agent that listens there?",
  },
  AUTH_TLS_VERSION: {
    text: 'The other end does not speak TLS 1.3.',
    hint: 'Nothing older is spoken. Something between the nodes, or not an agent.',
  },
  AUTH_TLS_RESUMED: {
    text: 'The other end resumed an earlier TLS session.',
    hint: 'Every session is proven anew; agents never resume.',
  },
  AUTH_TLS_APPLICATION: {
    text: 'The other end speaks another protocol inside of TLS.',
    hint: 'The port is that of another service with a certificate of this trust domain.',
  },
  AUTH_CERTIFICATE_MISSING: { text: 'The other end showed no certificate.', hint: 'Agents always show one.' },
  AUTH_NOT_A_NODE: {
    text: 'The certificate is not that of a node.',
    hint: 'Nodes are spiffe://<trust domain>/node/<name>, or what the configuration maps to a node.',
  },
  AUTH_WRONG_NODE: {
    text: 'The other end is another node than it should be.',
    hint: 'Its address was reused, or somebody stands in between. Nothing was told to it.',
  },
  AUTH_NODE_CERTIFICATE_EXPIRED: {
    text: 'The certificate that the session was opened with has expired.',
    hint: 'A new session is opened at once; what was proven stays until it expires itself.',
  },
  AUTH_VERSION_MISMATCH: {
    text: 'The two agents have no version of the protocol in common.',
    hint: 'Upgrade the older one.',
  },
  AUTH_FRAME_INVALID: {
    text: 'What the other end sent is not a message of the protocol.',
    hint: 'Are both agents of the same version? The session is opened anew.',
  },
  AUTH_PROTOCOL: {
    text: 'A message came at a time when it has no place.',
    hint: 'Are both agents of the same version? The session is opened anew.',
  },
  AUTH_SESSION_REPLACED: {
    text: 'Another session with the same node has taken over.',
    hint: 'Nothing has to be done.',
  },
  AUTH_SESSION_LOST: {
    text: 'The connection ended.',
    hint: 'It is opened anew by itself; what was proven stays until it expires.',
  },
  AUTH_PEER_SILENT: {
    text: 'The node said nothing for 15 s.',
    hint: 'The session is opened anew by itself; what was proven stays until it expires.',
  },
  AUTH_PEER_SLOW: {
    text: 'The node does not read what is sent to it.',
    hint: 'The session is opened anew by itself. A machine without time to spare?',
  },
  AUTH_AGENT_STOPS: { text: "The node's agent stops.", hint: 'What was proven stays until it expires.' },
  AUTH_LIMIT: {
    text: 'There is more of something than is allowed.',
    hint: 'The message says of what; the limit protects this agent.',
  },
  AUTH_KEY_FAILED: {
    text: "The tunnel's new key could not be put in place.",
    hint: 'The cause is in the message. The old key stays in force, and it is tried again by itself.',
  },
  AUTH_KEY_TIMEOUT: {
    text: "The tunnel's new key was not in place at both ends in time.",
    hint: 'May the nodes reach each other at the UDP port of the tunnel? The old key stays in force.',
  },
  AUTH_KEY_BUSY: {
    text: 'Another tunnel key is just being replaced.',
    hint: 'Nothing has changed. Neighbours replace their keys one after the other: try again.',
  },
  AUTH_TUNNEL_CHANGED: {
    text: "This node's tunnel has another public key now.",
    hint: 'A new session, which carries it, is opened at once.',
  },
  AUTH_TUNNEL_KEY_TAKEN: {
    text: 'A node names the tunnel key of another node as its own.',
    hint: 'Two nodes were made from one image with its key, or one of them lies. Remove the key file of one of them.',
  },
  AUTH_INTERNAL: {
    text: 'Something failed in a session that should not.',
    hint: 'Please report it with the message. The session is opened anew.',
  },
  AUTH_ENTRY_FAILED: {
    text: 'What was proven could not be written down.',
    hint: 'The cause is in the message. The session is opened anew.',
  },
  // Proofs of identities
  AUTH_PROOF_MALFORMED: {
    text: 'A proof has certificates that cannot be read.',
    hint: 'Are both agents of the same version?',
  },
  AUTH_PROOF_FORGED: {
    text: "A proof is not signed with the key of the identity's certificate.",
    hint: 'Whoever sent it has the certificate and not its key.',
  },
  AUTH_PROOF_REPLAYED: {
    text: 'A proof was made for another session.',
    hint: 'Whoever sent it has recorded it; every session wants proofs of its own.',
  },
  AUTH_PROOF_EXPIRED: {
    text: 'A proof has expired.',
    hint: 'Is the certificate renewed in time, and do the clocks of both nodes agree?',
  },
  AUTH_PROOF_MISNAMED: {
    text: 'A proof names another identity than its certificate.',
    hint: 'Are both agents of the same version?',
  },
  AUTH_NOT_A_WORKLOAD: {
    text: 'The identity is not that of a workload of this trust domain.',
    hint: 'Workloads are spiffe://<trust domain>/ns/<namespace>/sa/<service account>.',
  },
  AUTH_IDENTITY_ELSEWHERE: {
    text: 'The node runs no pod of the identity that it has proven.',
    hint: 'As far as the resource source knows; a pod that was just bound is known within one sync.',
  },
  AUTH_IDENTITY_WITHDRAWN: {
    text: 'The node does not prove the identity any more.',
    hint: 'Its pods have ended, or its certificate was taken away.',
  },
  // What a held packet may hear
  AUTH_NO_SESSION: {
    text: 'There is no session with the node.',
    hint: 'The message says why; it is tried again by itself.',
  },
  AUTH_REFUSED_BY_PEER: {
    text: 'The other node has refused.',
    hint: 'Its reason is in the message; its own `sidestep auth list` says more.',
  },
  AUTH_DEMAND_TIMEOUT: {
    text: 'The proof did not come in time.',
    hint: 'Both nodes have a session, and the other does not answer; see its log.',
  },
  SVID_ID_UNEXPECTED: {
    text: 'The certificate is of another identity than the one that it was asked for.',
    hint: 'Workloads are spiffe://<trust domain>/ns/<namespace>/sa/<service account>, nodes spiffe://<trust domain>/node/<name>.',
  },
  SVID_USAGE_INVALID: {
    text: 'The certificate is not made for authentication.',
    hint: 'An SVID has key usage digitalSignature; if it has extended key usages, serverAuth and clientAuth are among them.',
  },
  SVID_KEY_WEAK: {
    text: 'A key or a signature in the chain is too weak, or of a kind that is not taken.',
    hint: 'Taken: ECDSA on P-256, P-384, P-521; Ed25519; RSA of 2048 bits or more; each with SHA-256 or better.',
  },
  SVID_KEY_MISMATCH: {
    text: 'The private key does not belong to the certificate.',
    hint: 'Replace both; one of them alone is of no use.',
  },
  SVID_KEY_EXPOSED: {
    text: 'A file with a private key can be read by others.',
    hint: 'Take the permissions away (chmod 600); for a Kubernetes secret set defaultMode: 0400. Keys that were exposed are best replaced.',
  },
  SVID_MISSING: {
    text: 'The source of certificates has none for the identity.',
    hint: 'Files: is there a folder NAMESPACE.SERVICEACCOUNT with tls.crt and tls.key? SPIRE: is there a registration entry that its agent has?',
  },
  SVID_FILES_INCOMPLETE: {
    text: 'A file of the certificate is missing or cannot be read.',
    hint: 'A folder holds tls.crt and tls.key, the one of the node also ca.crt.',
  },
  SPIRE_UNREACHABLE: {
    text: "SPIRE's agent does not answer on its socket.",
    hint: 'Is it running, and are the paths of its workload socket and its admin socket the right ones? What it issued stays valid meanwhile.',
  },
  SPIRE_REFUSED: {
    text: "SPIRE's agent does not give this agent certificates.",
    hint: "Is there a registration entry for this agent on this node, and is its ID one of authorized_delegates in the configuration of SPIRE's agent?",
  },
  // The embedded CA
  CA_UNREACHABLE: {
    text: 'The certificate authority does not answer.',
    hint: 'Is the agent that was started with --ca running, and its port open? What was issued stays valid meanwhile.',
  },
  CA_IMPOSTOR: {
    text: 'What answers at the address of the certificate authority is not it.',
    hint: 'Another process has the port, or somebody stands in between. Nothing was sent to it.',
  },
  CA_PROTOCOL: {
    text: 'The other side does not speak the protocol of the certificate authority.',
    hint: 'Is the port the right one, and are both agents of the same version?',
  },
  CA_BUSY: {
    text: 'The certificate authority has more requests than it takes from one address.',
    hint: 'It is tried again by itself.',
  },
  CA_FAILED: {
    text: 'The certificate authority could not decide, by a fault of its own.',
    hint: 'The log of the agent that was started with --ca says why.',
  },
  CA_REQUEST_INVALID: {
    text: 'The signing request is not one that the certificate authority reads.',
    hint: 'PKCS #10 in DER, with a key on P-256.',
  },
  CA_REQUEST_FORGED: {
    text: 'The signing request is not signed with the key that it asks a certificate for.',
    hint: 'Whoever sent it does not have the key.',
  },
  CA_TOKEN_MISSING: {
    text: 'The node has no valid certificate, and no join token to get one.',
    hint: 'Create a token for this node where the certificate authority runs, and give it to the agent.',
  },
  CA_TOKEN_REFUSED: {
    text: 'The join token is not the one that the certificate authority has for this node.',
    hint: 'Was it made for this node name, and is it the last one made? A token that expired long ago is forgotten, too.',
  },
  CA_TOKEN_EXPIRED: { text: 'The join token has expired.', hint: 'Create a new one.' },
  CA_TOKEN_USED: {
    text: 'The join token has been used before.',
    hint: 'A token is good for one join. If it was not this node that used it, somebody else has: give the node another name.',
  },
  CA_NODE_REFUSED: {
    text: 'The caller has not proven to be a node of this mesh.',
    hint: "Renewals and workloads' certificates are given to nodes that show their own valid certificate and that the source still has.",
  },
  CA_WORKLOAD_ELSEWHERE: {
    text: 'The node has asked for the certificate of a workload that does not run on it.',
    hint: 'As far as the source of the certificate authority knows. A pod that was just bound is asked for again by itself.',
  },
  CA_STATE_UNUSABLE: {
    text: 'The folder with the key of the certificate authority cannot be used.',
    hint: 'Nothing was changed in it. Restore it from a backup, or move it away to start a new authority: every node must join again then.',
  },
  // Tunnel between nodes
  TUNNEL_UNAVAILABLE: {
    text: 'Neither the kernel nor a program can do WireGuard here.',
    hint: 'Boot a kernel with CONFIG_WIREGUARD, or install Go and run `make deps`, which builds wireguard-go; packets that must be encrypted are refused meanwhile.',
  },
  TUNNEL_FAILED: {
    text: 'The tunnel is lost, gives no answer, or could not be made.',
    hint: 'It is made anew by itself, and packets that must be encrypted are refused meanwhile; the end of its log is in `sidestep tunnel list`.',
  },
  TUNNEL_PORT_BUSY: {
    text: "The tunnel's UDP port is taken.",
    hint: 'End what has it (`ss -Hlun`), or pick another port on every node.',
  },
  TUNNEL_REFUSED: {
    text: 'WireGuard does not take its configuration.',
    hint: 'Its errno is in the message; what it took before stays in force.',
  },
  TUNNEL_KEY_UNSAFE: {
    text: "This node's tunnel key is not one that only it can know.",
    hint: 'If nobody else can have read it, mend owner and mode (0600); else remove the file, and a new key is made.',
  },
  TUNNEL_PREFIX_CONFLICT: {
    text: 'Two nodes claim one inner address.',
    hint: 'The node that had it keeps it; otherwise nobody gets it until only one claims it.',
  },
  TUNNEL_ROUTING_CONFLICT: {
    text: "Something else uses the tunnel's routing table or mark.",
    hint: 'Move the route or rule named elsewhere: encrypted packets use the mark 0x500/0xf00 and table 2005.',
  },
  CA_UNKNOWN: {
    text: 'Nobody is known to hold the certificate authority.',
    hint: 'Start one agent with --ca true, and give this one a token from `sidestep ca token NODE` (--join-token-file).',
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
