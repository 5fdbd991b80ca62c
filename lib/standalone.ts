import { deviceBinding } from './device/binding.ts'
import { errors } from './errors.ts'
import type { SessionData } from './http/session-data.ts'
import { ownLayout } from './options/layout.ts'
import type { SessionOptions } from './options/types.ts'
import { resolveOptions } from './options/resolve.ts'
import { SessionCore } from './session/core.ts'
import { SessionManager as Sessions } from './session/manager.ts'
import { keepSecurityLog } from './session/security-log.ts'
import { asSessionStore, countersOf, encrypted, nearCached, tellRefusal } from './store/open.ts'

/** The options that mean something without Fastify. */
type SharedOptions =
  | 'secret' | 'cookieName' | 'cookie' | 'idleTimeout' | 'absoluteTimeout' | 'assurance' | 'touchAfter' | 'bearer'
  | 'maxSessionsPerUser' | 'onLimit' | 'userIdFrom' | 'sessionSchema' | 'migrate' | 'maxDataSize' | 'encryption'
  | 'nearCache' | 'endedFor' | 'securityLog' | 'deviceBound'

/** Options of `SessionManager`: those of `sessionPlugin` that mean something without Fastify, and a `store`. */
export interface SessionManagerOptions extends Pick<SessionOptions, SharedOptions> {
  /** Store of the sessions: a `MemoryStore`, a `RedisStore`, or any store for express-session. You close it. */
  store: NonNullable<SessionOptions['store']>
}

/** `app.sessions` without Fastify: in a worker, a script, beside another framework. */
export class SessionManager extends Sessions<SessionData> {
  // No members of its own: one type for this and for `app.sessions`.

  /** @throws ERR_SESSION_INVALID_OPTIONS */
  constructor (options: SessionManagerOptions) {
    const { store: given, ...resolved } = resolveOptions(options)
    if (given === undefined) throw new errors.INVALID_OPTIONS(`store ${NO_STORE}`)
    if (resolved.securityLog?.write === null) throw new errors.INVALID_OPTIONS(`securityLog ${NO_LOGGER}`)
    const store = asSessionStore(given)
    const near = nearCached(store, resolved)
    const stores = { store: near ?? encrypted(store, resolved), near, counters: countersOf(store) }
    const device = deviceBinding(resolved)
    const core = new SessionCore({ ...resolved, ...ownLayout(resolved), ...stores, device })
    keepSecurityLog(core.events, resolved, PROCESS)
    super(core, async () => {
      await near?.stop()
      if (store !== given) await store.close()
    })
    // Nobody waits for the near-cache. Until it is on, and where Redis refuses it, every session is read.
    if (near !== null) tellRefusal(near, near.start())
  }
}

const NO_LOGGER = 'needs a function, or write: there is no logger here'

/** What to log without a logger: that the security log fails is a warning of the process. */
const PROCESS = {
  info: () => {},
  warn: () => {},
  error: (_details: object, message: string) => process.emitWarning(message)
}

const NO_STORE = 'is required: a MemoryStore, a RedisStore or an express-session compatible store'
