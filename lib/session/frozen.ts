import type { SessionRecord } from './record.ts'

/**
 * Returns a frozen copy of a record, with texts of its own where they are given.
 *
 * Every member is named: V8 makes a frozen copy by spread a hash table, which takes twice the memory, and is slower to
 * read.
 */
export function frozenCopy (record: SessionRecord, { id, data }: Pick<SessionRecord, 'id' | 'data'>): SessionRecord {
  const copy = {
    id,
    secretHash: record.secretHash,
    kind: record.kind,
    userId: record.userId,
    label: record.label,
    meta: record.meta,
    createdAt: record.createdAt,
    authenticatedAt: record.authenticatedAt,
    lastSeenAt: record.lastSeenAt,
    endsAt: record.endsAt,
    idleTimeoutMs: record.idleTimeoutMs,
    persistent: record.persistent,
    methods: record.methods,
    actor: record.actor,
    idp: record.idp,
    boundKey: record.boundKey,
    twin: record.twin,
    ip: record.ip,
    userAgent: record.userAgent,
    data
  } satisfies SessionRecord
  const { listedAs } = record
  return Object.freeze(listedAs === undefined ? copy : { ...copy, listedAs })
}
