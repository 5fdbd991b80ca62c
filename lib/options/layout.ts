import type { RedisStoreParts } from '../redis/store.ts'
import type { SharedSessions } from '../session/core.ts'
import type { ForeignCredential } from '../session/credentials.ts'
import type { CookieForm } from '../session/refusals.ts'
import { SignedTokens } from '../session/token.ts'
import type { TokenFormat } from '../session/token.ts'
import type { ResolvedOptions } from './resolve.ts'

/** The form of tokens, and of sessions in the store: this package's own, or one that another library reads. */
export interface SessionLayout {
  /** Makes and reads tokens. */
  tokens: TokenFormat
  /** Reads cookies of another session library whose sessions are adopted. `null`: none are. */
  readForeignCookie: ((value: string) => ForeignCredential | null) | null
  /** Forms of cookies that are read. */
  cookieForms: readonly CookieForm[]
  /** Rules of an Express app for the sessions that it shares. `null`: none does. */
  shared: SharedSessions | null
  /** Parts of the Redis store that are different. */
  parts?: RedisStoreParts
}

/** Returns the layout that `expressSession` and `adopt` ask for. Code for other libraries is loaded only then. */
export async function layoutOf (options: ResolvedOptions): Promise<SessionLayout> {
  if (options.expressSession === null && options.adopt === null) return ownLayout(options)
  const { expressLayout } = await import('../express/layout.ts')
  return expressLayout(options)
}

/** The layout without another library. */
export function ownLayout ({ secrets }: Pick<ResolvedOptions, 'secrets'>): SessionLayout {
  return {
    tokens: new SignedTokens(secrets), readForeignCookie: null, cookieForms: ['fastify-user-sessions'], shared: null
  }
}
