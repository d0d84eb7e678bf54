/** Whom a quota is for, as the protocol spells it (KIP-546). */
import { HeadwaterError } from '../errors.ts';
import type { QuotaEntity } from '../quotas/rules.ts';

export type WireEntityType = 'user' | 'client-id';

interface WireEntity {
  readonly entityType: string;
  readonly entityName: string | null;
}

export function wireEntityType(type: string): WireEntityType | null {
  return type === 'user' || type === 'client-id' ? type : null;
}

/** The name of that kind; null: the default; undefined: the entity has none of it. */
export function entityOfWire(entity: QuotaEntity, type: WireEntityType): string | null | undefined {
  return type === 'user' ? entity.user : entity.clientId;
}

export function entityToWire({ user, clientId }: QuotaEntity): WireEntity[] {
  const wire: WireEntity[] = [];
  if (user !== undefined) wire.push({ entityType: 'user', entityName: user });
  if (clientId !== undefined) wire.push({ entityType: 'client-id', entityName: clientId });
  return wire;
}

/** Throws INVALID_REQUEST for a kind that is not known or comes twice. */
export function wireToEntity(wire: readonly WireEntity[]): QuotaEntity {
  const entity: { user?: string | null; clientId?: string | null } = {};
  for (const { entityType, entityName } of wire) {
    const type = wireEntityType(entityType);
    if (type === null) {
      throw new HeadwaterError('INVALID_REQUEST', `quotas for "${entityType}" are not kept; known: user, client-id`);
    }
    const field = type === 'user' ? 'user' : 'clientId';
    if (field in entity) throw new HeadwaterError('INVALID_REQUEST', `"${entityType}" comes twice`);
    entity[field] = entityName;
  }
  return entity;
}
