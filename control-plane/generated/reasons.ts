// Generated from bpf/reasons.yaml by scripts/generate-reasons.ts; do not edit.

export const DROP_REASONS = {
  INVALID_SOURCE_IP: {"number":132,"text":"Invalid source ip","why":"The workload used an address, MAC or ARP/ND sender that is not its own, or a packet with a local workload's address came from elsewhere.","do":"Check the pod's address in its manifest (status.podIPs) against `ip addr` in its namespace.","event":true},
  POLICY_DENIED: {"number":133,"text":"Policy denied","why":"A policy switched default deny on for this direction and no rule admits the flow.","do":"The flow names the policies that select the workload. Add a rule to one of them, or ask `sidestep policy check`.","event":true},
  INVALID_PACKET_DROPPED: {"number":134,"text":"Invalid packet","why":"The headers contradict each other (lengths, versions, hop limit of neighbour discovery), or a workload sent to an address that no wire carries (loopback, unspecified).","do":"Capture on the workload's interface; something makes malformed packets.","event":true},
  CT_TRUNCATED_OR_INVALID_HEADER: {"number":135,"text":"CT: Truncated or invalid header","why":"The packet ends before its layer-4 header does.","do":"Capture on the workload's interface; a first fragment too small to hold the ports is an old evasion.","event":true},
  UNKNOWN_L3_TARGET_ADDRESS: {"number":150,"text":"Unknown L3 target address","why":"A bridge flooded a frame to a workload that is not its destination.","do":"Nothing: this is counted so that no packet goes missing without a number.","event":false},
  CT_MAP_INSERTION_FAILED: {"number":155,"text":"CT: Map insertion failed","why":"The flow table had no room.","do":"Raise --flows; see map pressure in `sidestep status`.","event":true},
  INVALID_IPV6_EXTENSION_HEADER: {"number":156,"text":"Invalid IPv6 extension header","why":"More extension headers or options than any honest sender uses, or a cut one.","do":"Capture on the workload's interface.","event":true},
  IP_FRAGMENTATION_NOT_SUPPORTED: {"number":157,"text":"Fragment without its first","why":"A fragment came whose first fragment was not seen in the last 30 s, was refused, or came later.","do":"If this is frequent, lower the sender's datagram size or the path's reordering.","event":true},
  UNSUPPORTED_L2_PROTOCOL: {"number":166,"text":"Unsupported L2 protocol","why":"The frame is neither IPv4, IPv6 nor ARP, or carries a VLAN tag.","do":"Tagged frames from a workload are refused because a bridge could deliver them unseen.","event":true},
  FORBIDDEN_ICMPV6_MESSAGE: {"number":176,"text":"Forbidden ICMPv6 message","why":"A workload sent a router advertisement or a redirect.","do":"Only routers may. Look at what runs in the workload.","event":true},
  SOCKET_LOOKUP_FAILED: {"number":178,"text":"Proxy not ready","why":"An HTTP rule sends the flow through this node's Envoy, and no Envoy listens yet or any more; or the same SYN came again, because the one before, or Envoy's answer, was lost in the node's own network stack (a firewall, a route). Or a DNS query under rules that say what may be asked for came while no agent was there to judge it.","do":"See `sidestep envoy status`. If it is ready, docs/concepts/http-on-the-node.md says what a firewall must let through. Nothing passes such a rule unseen; the client may try again at once.","event":true},
  SOCKET_ASSIGN_FAILED: {"number":179,"text":"Proxy source port","why":"A workload used a source port that is set aside for Envoy's connections.","do":"Keep the workload's ip_local_port_range below 61000, which is Linux's default.","event":true},
  PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL: {"number":180,"text":"L7 proxy required","why":"An HTTP rule holds for a connection that does not go through Envoy: it was open before the rule came, or somebody other than Envoy answered on it.","do":"The client connects again and then goes through Envoy.","event":true},
  POLICY_DENY: {"number":181,"text":"Policy denied by denylist","why":"A deny rule matched.","do":"The flow names the rule.","event":true},
  AUTH_REQUIRED: {"number":189,"text":"Authentication required","why":"A rule requires that both ends are authenticated, and that is not proven: the flow says why.","do":"See `sidestep auth list`.","event":true},
  UNENCRYPTED_TRAFFIC: {"number":195,"text":"Traffic is unencrypted","why":"The flow must go through the tunnel between the nodes, and this packet did not, or could not.","do":"See `sidestep tunnel list` on both nodes.","event":true},
  DROP_RATE_LIMITED: {"number":198,"text":"Rate limited","why":"The workload holds more unanswered new flows open than its quota.","do":"A scan or a SYN flood looks like this. Raise --flow-quota if it is honest.","event":true},
  DROP_EP_NOT_READY: {"number":203,"text":"Endpoint not ready","why":"The interface is enforced but its endpoint has no policy yet, so it is closed.","do":"See `sidestep endpoint list`; the reason stands there.","event":true},
} as const;

export type DropReason = keyof typeof DROP_REASONS;

export const DROP_REASON_BY_NUMBER: ReadonlyMap<number, DropReason> = new Map(
  Object.entries(DROP_REASONS).map(([name, reason]) => [reason.number, name as DropReason]),
);
