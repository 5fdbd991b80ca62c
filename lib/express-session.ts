import type { ResolvedOptions } from './resolve-options.ts'
import { ExpressTokens } from './session/express-tokens.ts'
import { OwnTokens } from './session/token-format.ts'
import type { TokenFormat } from './session/token-format.ts'
import { presentable } from './session/reserved.ts'
import { userOf } from './session/user-id.ts'
import type { ExpressSessions } from './store/open.ts'

/** What `expressSession` means for each part: what tokens look like, and how they and their sessions are kept. */
export interface SessionLayout {
  tokens: TokenFormat
  /** The secrets of Express cookies whose sessions are adopted. */
  adopts: readonly string[] | null
  /** The data alone says who is signed in. */
  userIsData: boolean
  /** How sessions are stored where an Express app reads them, too. */
  express: ExpressSessions | undefined
}

export function sessionLayout ({ expressSession, secrets, userIdFrom, cookie, idleTimeoutMs, absoluteTimeoutMs }: ResolvedOptions): SessionLayout {
  if (expressSession !== 'share') return { tokens: new OwnTokens(secrets), adopts: expressSession === 'adopt' ? secrets : null, userIsData: false, express: undefined }
  const tokens = new ExpressTokens(secrets)
  return {
    tokens,
    adopts: null,
    userIsData: true,
    express: {
      // No key of any session: an id that is none is absent.
      names: { ofId: (id) => tokens.sidOf(id) ?? '\0', toId: (sid) => tokens.idOf(sid) },
      layout: { presentable, userOf: (data) => userOf(data, userIdFrom), idleTimeoutMs, absoluteTimeoutMs, cookie }
    }
  }
}
