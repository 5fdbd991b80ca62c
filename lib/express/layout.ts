import type { SessionLayout } from '../options/layout.ts'
import type { ResolvedOptions } from '../options/resolve.ts'
import { OwnTokens } from '../session/token.ts'
import { presentable } from '../session/data.ts'
import { userOf } from '../session/user-id.ts'
import { adopting } from './adoption.ts'
import { adoptedCredential } from './cookie.ts'
import { ExpressRecords } from './shared-records.ts'
import { ExpressTokens } from './tokens.ts'

/** The layout beside an Express app whose sessions are shared, or adopted. */
export function expressLayout (options: ResolvedOptions): SessionLayout {
  return options.expressSession === 'share' ? sharedLayout(options) : adoptingLayout(options)
}

function adoptingLayout ({ secrets }: ResolvedOptions): SessionLayout {
  return {
    tokens: new OwnTokens(secrets),
    readForeignCookie: (value) => adoptedCredential(value, secrets),
    userIsData: false,
    parts: adopting
  }
}

function sharedLayout ({ secrets, userIdFrom, cookie, idleTimeoutMs, absoluteTimeoutMs }: ResolvedOptions): SessionLayout {
  const tokens = new ExpressTokens(secrets)
  const layout = { presentable, userOf: (data: Record<string, unknown>) => userOf(data, userIdFrom), idleTimeoutMs, absoluteTimeoutMs, cookie }
  return {
    tokens,
    readForeignCookie: null,
    userIsData: true,
    parts: {
      // No key of any session: an id that is none is absent.
      names: { ofId: (id) => tokens.sidOf(id) ?? '\0', toId: (sid) => tokens.idOf(sid) },
      records: (base) => new ExpressRecords(base, layout),
      extendedByOthers: true,
      ...adopting
    }
  }
}
