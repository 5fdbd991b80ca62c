import { createHmac, hkdfSync } from 'node:crypto'
import { accountText } from './attempts.ts'
import { knownDeviceName } from './device.ts'
import { requestIdText } from './end-cause.ts'
import type {
  Circumstances, DeviceMismatch, EventHub, Incident, LoginFailure, SessionEvent, SessionFork, UseAfterEnd
} from './events.ts'
import { addressOf } from './network.ts'
import type { SessionKind } from './record.ts'

/** What the security log tells of, in the words of OWASP's logging vocabulary, with the level that it has there. */
export interface SecurityEvents {
  /** A user signed in. */
  authn_login_success: 'info'
  /** A login failed: the credentials were wrong. */
  authn_login_fail: 'warn'
  /** A login was refused, and not checked: too many had failed. `reason` is the limit, as in the option `attempts`. */
  authn_login_fail_max: 'warn'
  /** A bearer token was issued, by a route or by `sessions.create`. */
  authn_token_created: 'info'
  /** A bearer token was ended. `reason`: `logout` or `revoked`. */
  authn_token_revoked: 'info'
  /** A bearer token was used after a logout or a revocation. Needs `endedFor`. */
  authn_token_reuse: 'critical'
  /** Your code began a session by `sessions.create`, in a route or elsewhere. */
  session_created: 'info'
  /** A session got a new id: by a regeneration. */
  session_renewed: 'info'
  /** A session ended. `reason`: `timeout`, `revoked`, or `replaced` by a later sign-in or by a regeneration. */
  session_expired: 'info'
  /** A user signed out. */
  session_logout: 'info'
  /** The cookie of a session was used after a logout or a revocation. Needs `endedFor`. */
  session_use_after_expire: 'critical'
  /**
   * A session that is bound to a device was used without it. `reason`: `refused`, or `skipped`, as in the event
   * `device-mismatch`. OWASP has no word for it.
   */
  session_device_mismatch: 'critical'
  /** Two browsers use one session, as in the event `session-forked`. OWASP has no word for it. */
  session_forked: 'critical'
  /**
   * A user has more sessions than `maxSessionsPerUser`. `reason`: `evicted`, and this session ended; or `refused`, and
   * none began.
   */
  excess_sessions_exceeded: 'warn'
  /**
   * Somebody does what only an administrator may. `reason`: `impersonation`, a session in which `actor` acts as the
   * user began, however and of whatever kind; or `unlock`, failed logins of an account were cleared.
   */
  authz_admin: 'warn'
  /** A request from another site was refused. */
  malicious_csrf: 'warn'
}

/** An entry of the security log. It holds no token and no data. What is not known is left out. */
export interface SecurityLogEntry {
  /** What happened, in OWASP's words. */
  event: keyof SecurityEvents
  /** How bad that is, in OWASP's words. */
  level: SecurityEvents[keyof SecurityEvents]
  /** When, by the store's clock: ISO 8601, in UTC. */
  datetime: string
  /** The same in a sentence, always the same one. */
  description: string
  /** The public handle of the session. It proves nothing. */
  session_id?: string
  /** Whose session it is: an HMAC of the user's id, or with `accounts: 'plain'` the id. */
  user?: string
  /**
   * What was typed in as the name of an account: an HMAC of it, or with `accounts: 'plain'` the name. In capital
   * letters, as the limits on failed logins compare it.
   */
  account?: string
  /** Who acts as the user, or ended the session, where your code says so: as `user`. */
  actor?: string
  /** What carries the session. */
  kind?: SessionKind
  /** Which of the cases it is. */
  reason?: string
  /** The `reason` that your code gave for an end. Spaces stand for invisible characters. */
  stated_reason?: string
  /** How the user proved who they are, where your code says so. */
  methods?: string[]
  /** Of a use after the end: when the session ended. */
  ended_at?: string
  /** With `knownDevices`: whether the device is new. */
  new_device?: boolean
  /** With `knownDevices`: whether the network is new. */
  new_network?: boolean
  /** The address of the client. */
  source_ip?: string
  /** The client's browser and system. Left out where they are not recognised: a client can write anything there. */
  useragent?: string
  /**
   * The id of the request, which Fastify's own lines have as `reqId`. At most 128 characters; a question mark stands
   * for what is not printable ASCII.
   */
  request_id?: string
}

/** Gets each entry of the security log. */
export type SecurityLogWriter = (entry: SecurityLogEntry) => unknown

/** The option `securityLog`, checked. */
export interface ResolvedSecurityLog {
  /** `null`: entries go to the application's logger. */
  readonly write: SecurityLogWriter | null
  readonly accounts: 'hmac' | 'plain'
}

/** The part of a logger that is needed. */
interface Log {
  info (details: object, message: string): unknown
  warn (details: object, message: string): unknown
  error (details: object, message: string): unknown
}

const EVENTS: { [Name in keyof SecurityEvents]: readonly [level: SecurityEvents[Name], description: string] } = {
  authn_login_success: ['info', 'A user signed in'],
  authn_login_fail: ['warn', 'A login failed: wrong credentials'],
  authn_login_fail_max: ['warn', 'A login was refused: too many have failed'],
  authn_token_created: ['info', 'A bearer token was issued'],
  authn_token_revoked: ['info', 'A bearer token was ended'],
  authn_token_reuse: ['critical', 'A bearer token was used after it was ended'],
  session_created: ['info', 'A session was begun by code'],
  session_renewed: ['info', 'A session got a new id'],
  session_expired: ['info', 'A session ended'],
  session_logout: ['info', 'A user signed out'],
  session_use_after_expire: ['critical', 'A session was used after it was ended'],
  session_device_mismatch: ['critical', 'A session was used without the device that it is bound to'],
  session_forked: ['critical', 'Two browsers use one session'],
  excess_sessions_exceeded: ['warn', 'A user has more sessions than allowed'],
  authz_admin: ['warn', 'Somebody used a right of administrators'],
  malicious_csrf: ['warn', 'A request from another site was refused']
}

/** Level of the application's logger. `fatal` would say that the process cannot go on. */
const LEVELS = { info: 'info', warn: 'warn', critical: 'error' } as const

/** Longest name in an entry, in characters. */
const NAME_LENGTH = 255
/** Length of an HMAC in an entry: 132 bits. */
const HMAC_LENGTH = 22

/** What an entry says besides what all have. */
type Said = Omit<SecurityLogEntry, 'event' | 'level' | 'datetime' | 'description'>

interface SecurityLogContext {
  readonly securityLog: ResolvedSecurityLog | null
  readonly secrets: readonly string[]
}

/**
 * Keeps the security log of what happens in a process, if that is asked for: each thing is one entry, in the process
 * where it happens. `log`: where entries go by default, and what a function of the application throws.
 */
export function keepSecurityLog (events: EventHub, { securityLog, secrets }: SecurityLogContext, log: Log): void {
  if (securityLog === null) return
  const entries = new SecurityLog(securityLog, secrets, log)
  events.onHere('created', (event, about) => entries.created(event, about))
  events.onHere('revoked', (event, about) => entries.revoked(event, about))
  events.onHere('expired', (event) => entries.expired(event))
  events.onHere('login-failed', (event, about) => entries.loginFailed(event, about))
  events.onHere('used-after-end', (event, about) => entries.usedAfterEnd(event, about))
  events.onHere('device-mismatch', (event, about) => entries.mismatched(event, about))
  events.onHere('session-forked', (event, about) => entries.forked(event, about))
  events.onHere('limit-reached', (incident, about) => {
    entries.incident('excess_sessions_exceeded', incident, about, 'refused')
  })
  events.onHere('cross-site', (incident, about) => entries.incident('malicious_csrf', incident, about))
  events.onHere('unlocked', (incident, about) => entries.incident('authz_admin', incident, about, 'unlock'))
}

/** Makes entries of what happens, and hands them over. */
class SecurityLog {
  readonly #write: SecurityLogWriter
  readonly #nameOf: (name: string) => string
  readonly #log: Log
  #hasFailed = false

  constructor ({ write, accounts }: ResolvedSecurityLog, secrets: readonly string[], log: Log) {
    this.#write = write ?? ((entry) => log[LEVELS[entry.level]]({ security: entry }, entry.description))
    this.#nameOf = accounts === 'plain' ? plainName : hmacNames(secrets[0] ?? '')
    this.#log = log
  }

  created (event: SessionEvent, about: Circumstances): void {
    const { reason, kind, actor, newDevice, newNetwork } = event
    const own = (): Said => ({
      ...newDevice !== null && { new_device: newDevice },
      ...newNetwork !== null && { new_network: newNetwork },
      ...about.methods != null && { methods: about.methods.split(' ') }
    })
    if (reason === 'moved') this.#session('session_renewed', event, about)
    else if (actor !== null) this.#session('authz_admin', event, about, () => ({ ...own(), reason: 'impersonation' }))
    else if (kind === 'bearer') this.#session('authn_token_created', event, about, own)
    else this.#session(about.requestId === undefined ? 'session_created' : 'authn_login_success', event, about, own)
  }

  revoked (event: SessionEvent, about: Circumstances): void {
    const { kind, statedReason } = event
    const reason = event.reason ?? 'revoked'
    const own = (): Said => ({ reason, ...statedReasonOf(statedReason) })
    if (reason === 'evicted') this.#session('excess_sessions_exceeded', event, about, own)
    else if (kind === 'bearer') this.#session('authn_token_revoked', event, about, own)
    else if (reason === 'logout') this.#session('session_logout', event, about, own)
    else this.#session('session_expired', event, about, own)
  }

  expired (event: SessionEvent): void {
    this.#session('session_expired', event, {}, () => ({ reason: 'timeout' }))
  }

  usedAfterEnd (event: UseAfterEnd, about: Circumstances): void {
    const { kind, reason, statedReason, endedAt } = event
    this.#session(kind === 'bearer' ? 'authn_token_reuse' : 'session_use_after_expire', event, about, () => ({
      reason,
      ...statedReasonOf(statedReason),
      // Something else may have written the mark: what else it says is worth an entry.
      ...isTime(endedAt) && { ended_at: timeText(endedAt) }
    }))
  }

  mismatched (event: DeviceMismatch, about: Circumstances): void {
    const own = (): Said => ({ reason: event.reason })
    this.#session('session_device_mismatch', { ...event, kind: 'cookie', actor: null }, about, own)
  }

  forked (event: SessionFork, about: Circumstances): void {
    this.#session('session_forked', { ...event, kind: 'cookie', actor: null }, about)
  }

  loginFailed ({ at, reason, limit }: LoginFailure, about: Circumstances): void {
    if (reason === 'credentials') this.#add('authn_login_fail', at, about)
    else this.#add('authn_login_fail_max', at, about, () => limit === null ? {} : { reason: limit })
  }

  incident (name: keyof SecurityEvents, { at, userId }: Incident, about: Circumstances, reason?: string): void {
    this.#add(name, at, about, () => ({
      ...userId !== null && { user: this.#nameOf(userId) },
      ...reason !== undefined && { reason }
    }))
  }

  #session (
    name: keyof SecurityEvents,
    event: Pick<SessionEvent, 'id' | 'userId' | 'actor' | 'kind' | 'at' | 'requestId'>,
    about: Circumstances, own = nothing
  ): void {
    const { id, userId, actor, kind, at, requestId } = event
    this.#add(name, at, { ...about, requestId }, () => ({
      session_id: id,
      user: this.#nameOf(userId),
      ...actor !== null && { actor: this.#nameOf(actor) },
      ...kind !== null && { kind },
      ...own()
    }))
  }

  /** Nothing that happens here may throw: not what a store has stored either, of which `own` makes an entry. */
  #add (event: keyof SecurityEvents, at: number, about: Circumstances, own = nothing): void {
    try {
      const [level, description] = EVENTS[event]
      const account = accountText(about.account)
      const [ip, requestId] = [addressOf(about.ip), requestIdText(about.requestId)]
      const device = about.userAgent == null ? null : knownDeviceName(about.userAgent)
      const written = this.#write({
        event,
        level,
        datetime: timeText(at),
        description,
        ...own(),
        ...account !== null && { account: this.#nameOf(account) },
        ...ip !== null && { source_ip: ip },
        ...device !== null && { useragent: device },
        ...requestId !== null && { request_id: requestId }
      })
      // A promise, of whatever kind: nobody waits for it.
      if (written !== undefined) void this.#settled(written)
    } catch (error) {
      void this.#failed(error)
    }
  }

  async #settled (written: unknown): Promise<void> {
    try {
      await written
    } catch (error) {
      await this.#failed(error)
    }
  }

  /** Tells once that entries cannot be written: each of them would fail. Never rejects. */
  async #failed (error: unknown): Promise<void> {
    if (this.#hasFailed) return
    this.#hasFailed = true
    try {
      await this.#log.error({ err: error }, 'securityLog threw, and the entry is lost; this is logged once')
    } catch {
      // A logger that fails as well: there is nobody left to be told.
    }
  }
}

function nothing (): Said {
  return {}
}

function statedReasonOf (statedReason: string | null): Said {
  return statedReason === null ? {} : { stated_reason: shown(statedReason) }
}

function isTime (ms: number): boolean {
  return !Number.isNaN(new Date(ms).getTime())
}

function timeText (ms: number): string {
  return new Date(ms).toISOString()
}

/** Ends of lines, control characters, and what is invisible: some turn around the writing that comes after them. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu

/** Returns a text as all of it can be seen, in one line: a space stands for what cannot. */
function shown (text: string): string {
  return text.replace(HIDDEN, ' ')
}

/** Returns a name as it can be shown, whoever has typed it in. */
function plainName (name: string): string {
  return shown(name).slice(0, NAME_LENGTH).toWellFormed()
}

/** Returns a function that names accounts by an HMAC of a key of its own: it verifies nothing that the secret signs. */
function hmacNames (secret: string): (name: string) => string {
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'fastify-user-sessions security log', 32))
  return (name) => createHmac('sha256', key).update(name).digest('base64url').slice(0, HMAC_LENGTH)
}
