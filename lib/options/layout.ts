import type { RedisStoreParts } from '../redis/store.ts'
import type { ForeignCredential } from '../session/credentials.ts'
import { OwnTokens } from '../session/token.ts'
import type { TokenFormat } from '../session/token.ts'
import type { ResolvedOptions } from './resolve.ts'

/** What tokens look like, and how they and their sessions are kept: this package's way, or that of an Express app. */
export interface SessionLayout {
  tokens: TokenFormat
  /** Reads the cookies of another session library whose sessions are adopted; `null`: none are. */
  readForeignCookie: ((value: string) => ForeignCredential | null) | null
  /** The data alone says who is signed in. */
  userIsData: boolean
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
  return { tokens: new OwnTokens(secrets), readForeignCookie: null, userIsData: false }
}
