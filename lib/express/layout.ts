import type { ResolvedOptions } from '../options/resolve.ts'
import type { ForeignCredential } from '../session/credentials.ts'
import { adoptedCredential } from './cookie.ts'
import { ExpressTokens } from './tokens.ts'
import { OwnTokens } from '../session/token.ts'
import type { TokenFormat } from '../session/token.ts'
import { presentable } from '../session/data.ts'
import { userOf } from '../session/user-id.ts'
import type { ExpressSessions } from '../store/open.ts'

/** What `expressSession` means for each part: what tokens look like, and how they and their sessions are kept. */
export interface SessionLayout {
  tokens: TokenFormat
  /** Reads the Express cookies whose sessions are adopted; `null`: none are. */
  readForeignCookie: ((value: string) => ForeignCredential | null) | null
  /** The data alone says who is signed in. */
  userIsData: boolean
  /** How sessions are stored where an Express app reads them, too. */
  express: ExpressSessions | undefined
}

export function sessionLayout ({ expressSession, secrets, userIdFrom, cookie, idleTimeoutMs, absoluteTimeoutMs }: ResolvedOptions): SessionLayout {
  if (expressSession !== 'share') return { tokens: new OwnTokens(secrets), readForeignCookie: expressSession === 'adopt' ? (value) => adoptedCredential(value, secrets) : null, userIsData: false, express: undefined }
  const tokens = new ExpressTokens(secrets)
  return {
    tokens,
    readForeignCookie: null,
    userIsData: true,
    express: {
      // No key of any session: an id that is none is absent.
      names: { ofId: (id) => tokens.sidOf(id) ?? '\0', toId: (sid) => tokens.idOf(sid) },
      layout: { presentable, userOf: (data) => userOf(data, userIdFrom), idleTimeoutMs, absoluteTimeoutMs, cookie }
    }
  }
}
