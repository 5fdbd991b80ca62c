import { confirmed, isConfirmed, readBoundKey } from '../session/bound-key.ts'
import type { SessionRecord } from '../session/record.ts'
import type { PluginContext } from './context.ts'

/**
 * Notes that a browser has shown that it holds the key of its session. Until then the session may be bound to another:
 * the reply to its registration may not have arrived. Resolves with the session as it is then. `undefined`: it is noted
 * already.
 */
export function confirm ({ core }: PluginContext, record: SessionRecord): Promise<SessionRecord | null> | undefined {
  const { boundKey } = record
  if (boundKey === null || isConfirmed(boundKey) || readBoundKey(boundKey) === null) return undefined
  return core.bind(record, confirmed(boundKey))
}
