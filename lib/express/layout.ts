import type { SessionLayout } from '../options/layout.ts'
import type { ResolvedOptions } from '../options/resolve.ts'
import { OwnTokens } from '../session/token.ts'
import { presentable } from '../session/data.ts'
import { userOf } from '../session/user-id.ts'
import { adopting } from './adoption.ts'
import { adoptedCredential, ExpressTokens } from './tokens.ts'
import { ExpressRecords } from './shared-records.ts'

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

function sharedLayout (options: ResolvedOptions): SessionLayout {
  const { secrets, userIdFrom, cookie, idleTimeoutMs, absoluteTimeoutMs } = options
  const tokens = new ExpressTokens(secrets)
  const named = (data: Record<string, unknown>) => userOf(data, userIdFrom)
  const layout = { presentable, userOf: named, idleTimeoutMs, absoluteTimeoutMs, cookie }
  return {
    tokens,
    readForeignCookie: null,
    userIsData: true,
    parts: {
      // '\0' is the key of no session: what is no id is absent.
      names: { ofId: (id) => tokens.sidOf(id) ?? '\0', toId: (sid) => tokens.idOf(sid) },
      records: (base) => new ExpressRecords(base, layout),
      extendedByOthers: true,
      ...adopting
    }
  }
}
