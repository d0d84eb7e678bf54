/** Who leads: kept in the metadata database, so that a restart changes nothing. Written by a promotion and by a fence. */
import { decode, encode } from 'cbor-x';
import { metaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';

export type Role = 'leader' | 'follower';

export interface StoredRole {
  readonly role: Role;
  /** It led until another was found to lead under a higher epoch: what only it has is to be given up, with a note. */
  readonly fenced: boolean;
}

const VERSION = 1;
const KEY = metaKey('boot', 'role');

/** null: neither promoted nor fenced yet. */
export async function loadRole(meta: MetaStore): Promise<StoredRole | null> {
  const stored = await meta.get(KEY);
  if (stored === undefined) return null;
  const { role, fenced } = decode(stored) as StoredRole;
  return { role, fenced };
}

export function saveRole(meta: MetaStore, stored: StoredRole): Promise<void> {
  return meta.write([{ key: KEY, value: encode({ v: VERSION, ...stored }) }]);
}
