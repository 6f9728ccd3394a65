/**
 * Loaded into an agent before it starts: nothing is proven ahead of traffic, so that a first packet finds what has to be measured.
 * SIGUSR2: as if all other nodes had left and come back, so that the next packet is a first contact.
 * SIGURG, which means nothing to a process otherwise: all that policy makes possible is proven now.
 */
import type { PeerNode } from '../../../control-plane/auth/peers.ts';
import type { Need } from '../../../control-plane/auth/session/peer-context.ts';
import { Sessions } from '../../../control-plane/auth/session/sessions.ts';

const { setPeers, want } = Sessions.prototype;

Sessions.prototype.want = function (this: Sessions, needs: readonly Need[]): void {
  process.removeAllListeners('SIGURG');
  process.on('SIGURG', () => want.call(this, needs));
};

Sessions.prototype.setPeers = function (this: Sessions, nodes: readonly PeerNode[]): void {
  setPeers.call(this, nodes);
  process.removeAllListeners('SIGUSR2');
  process.on('SIGUSR2', () => {
    want.call(this, []);
    setPeers.call(this, []);
    setPeers.call(this, nodes);
  });
};
