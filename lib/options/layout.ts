import type { RedisStoreParts } from '../redis/store.ts'
import type { SharedSessions } from '../session/core.ts'
import type { ForeignCredential } from '../session/credentials.ts'
import { SignedTokens } from '../session/token.ts'
import type { TokenFormat } from '../session/token.ts'
import type { ResolvedOptions } from './resolve.ts'

/** What tokens look like, and how they and their sessions are kept: this package's way, or that of an Express app. */
export interface SessionLayout {
  tokens: TokenFormat
  /** Reads the cookies of another session library whose sessions are adopted; `null`: none are. */
  readForeignCookie: ((value: string) => ForeignCredential | null) | null
  /** What an Express app asks of the sessions that it shares; `null`: none does. */
  shared: SharedSessions | null
  /** What is different in Redis. */
  parts?: RedisStoreParts
}

/** Returns the layout that `expressSession` asks for. What serves an Express app is loaded only then. */
export async function layoutOf (options: ResolvedOptions): Promise<SessionLayout> {
  if (options.expressSession === null) return ownLayout(options)
  const { expressLayout } = await import('../express/layout.ts')
  return expressLayout(options)
}

/** The layout without an Express app. */
export function ownLayout ({ secrets }: Pick<ResolvedOptions, 'secrets'>): SessionLayout {
  return { tokens: new SignedTokens(secrets), readForeignCookie: null, shared: null }
}
