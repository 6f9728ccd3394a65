/** Marks and tables of the tunnel. A mark is a hint inside its mask, never evidence. */

export const MARK_MASK = 0xf00;
/** On packets that must be encrypted. */
export const MARK_ENCRYPT = 0x500;
/** On the encrypted ones, so that they do not go into the tunnel again. */
export const MARK_OUTER = 0x600;
/** Behind the tunnel there is only "unreachable". */
export const TABLE_TUNNEL = 2005;
/** Behind the one to Envoy (9), before the rules of the system (32766) and of others. */
export const RULE_PRIORITY = 10;
/** The dummy address (RFC 7600): the kernel's check of sources wants the device to have one. It is never on a packet. */
export const DEVICE_ADDRESS = '192.0.0.8';
/** UDP. */
export const TUNNEL_PORT = 51871;
