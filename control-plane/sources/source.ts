import type { ObjectSet } from '../model/objects.ts';

/** Where objects come from: listed, then watched. */
export interface ResourceSource {
  /**
   * Lists, then watches. The listener gets the whole set: first when the list is complete, then after each change.
   * Changes that come while it runs are joined.
   * @throws SOURCE_UNREADABLE
   */
  start(listener: (objects: ObjectSet) => void): void;
  close(): void;
}
