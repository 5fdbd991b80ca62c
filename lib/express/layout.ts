import { errors } from '../errors.ts'
import type { SessionLayout } from '../options/layout.ts'
import type { ResolvedOptions } from '../options/resolve.ts'
import type { Data } from '../session/changes.ts'
import { presentable } from '../session/data.ts'
import type { NewSession } from '../session/new-record.ts'
import { SignedTokens } from '../session/token.ts'
import { userOf } from '../session/user-id.ts'
import type { UserIdFrom } from '../session/user-id.ts'
import { ForeignAdoption } from './adoption.ts'
import { ExpressRecords } from './shared-records.ts'
import { adoptedCredential, ExpressTokens } from './tokens.ts'

/** The layout where an Express app shares its sessions, or where those of another library are adopted. */
export function expressLayout (options: ResolvedOptions): SessionLayout {
  return options.adopt === null ? sharedLayout(options) : adoptingLayout(options)
}

function adoptingLayout (options: ResolvedOptions): SessionLayout {
  return {
    tokens: new SignedTokens(options.secrets),
    readForeignCookie: (value) => adoptedCredential(value, options),
    cookieForms: ['fastify-user-sessions', ...options.adopt === null ? [] : [options.adopt]],
    shared: null,
    parts: { adoption: (base) => new ForeignAdoption(base, options) }
  }
}

function sharedLayout (options: ResolvedOptions): SessionLayout {
  const { secrets, userIdFrom, cookie, idleTimeoutMs, absoluteTimeoutMs } = options
  const tokens = new ExpressTokens(secrets)
  const named = (data: Data) => userOf(data, userIdFrom)
  const layout = { presentable, userOf: named, idleTimeoutMs, absoluteTimeoutMs, cookie }
  return {
    tokens,
    readForeignCookie: null,
    cookieForms: ['express-session'],
    shared: { keepable: (session) => keepable(session, userIdFrom) },
    parts: {
      // '\0' is the key of no session: what is no id is absent.
      names: { ofId: (id) => tokens.sidOf(id) ?? '\0', toId: (sid) => tokens.idOf(sid) },
      records: (base) => new ExpressRecords(base, layout),
      extendedByOthers: true,
      adoption: (base) => new ForeignAdoption(base, options)
    }
  }
}

/**
 * Returns a new session as an Express app can keep it. What the session takes over from the one before it never makes
 * it another user's: Express may have changed that one.
 * @throws ERR_SESSION_UNSUPPORTED for a bearer token, for an actor, or where the data does not name the user
 */
export function keepable (session: NewSession, userIdFrom: UserIdFrom): NewSession {
  const { kind, userId, data, carry, actor = null } = session
  if (kind === 'bearer') {
    throw new errors.UNSUPPORTED('bearer tokens beside an Express app: its sessions have no place for them')
  }
  if (actor !== null) {
    throw new errors.UNSUPPORTED('an actor beside an Express app, which would take it for the user')
  }
  // The text of session data is that of an object.
  const named = (text: string) => userOf(JSON.parse(text) as Data, userIdFrom)
  if (userId !== null && named(data) !== userId) throw new errors.UNSUPPORTED(UNNAMED)
  if (carry === undefined) return session
  return {
    ...session,
    carry: (ended) => {
      const carried = carry(ended)
      return named(carried) === userId ? carried : data
    }
  }
}

const UNNAMED = 'signing in beside an Express app, which reads the user from the data: put it where userIdFrom looks,' +
  ' as in request.session.user = { id }, or data: { user: { id } } for app.login'
