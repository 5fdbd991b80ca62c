import { errors } from '../errors.ts'
import { cookieValues } from './cookie-header.ts'
import { Endings } from './endings.ts'
import type { JsonObject, SessionRecord } from './record.ts'
import { Signature } from './signature.ts'
import { idOf, isToken, newId, newToken, proves } from './token.ts'
import type { Token } from './token.ts'

/** What the manager asks of a store; `lib/store/contract.ts` says what each promises. */
export interface ManagedStore {
  now (): number
  find (id: string): Promise<SessionRecord | null>
  create (record: SessionRecord, options: { replaces: SessionRecord | null }): Promise<boolean>
  update (record: SessionRecord, change: (data: string) => string): Promise<SessionRecord | null>
  touch (record: SessionRecord): Promise<boolean>
  delete (id: string): Promise<SessionRecord | null>
}

export interface SessionManagerOptions {
  store: ManagedStore
  /** The first signs, all verify. */
  secrets: readonly string[]
  /** The first is written, all are read. */
  cookieNames: readonly string[]
  idleTimeoutMs: number
  absoluteTimeoutMs: number
  /** How often an unchanged session is extended at most; `null`: a tenth of its idle timeout; `false`: never. */
  touchAfterMs: number | null | false
}

/** A cookie that verifies; whether its session lives is another question. */
export interface Credential {
  readonly token: Token
  /** It came under an old name or an old secret: to be issued again. */
  readonly renew: boolean
}

/** A new session. */
export interface NewSession {
  userId: string | null
  /** JSON text of an object. */
  data: string
  /** The id it shall have; default a fresh one. */
  id?: string | undefined
  label?: string | null | undefined
  meta?: Readonly<JsonObject> | null | undefined
  idleTimeoutMs?: number | undefined
  absoluteTimeoutMs?: number | undefined
  /** `false`: its cookie ends with the browser session. Default `true`. */
  persistent?: boolean | undefined
  ip?: string | null | undefined
  userAgent?: string | null | undefined
  /** The session that ends when this one begins. */
  replaces: SessionRecord | null
}

const LABEL_LENGTH = 200
const META_BYTES = 4096
const USER_AGENT_LENGTH = 128

/** Makes sessions, finds them by what a client holds, and ends them. Knows no Fastify and no Redis. */
export class SessionManager {
  readonly #store: ManagedStore
  readonly #signature: Signature
  readonly #options: SessionManagerOptions
  readonly #endings: Endings

  constructor (options: SessionManagerOptions) {
    this.#options = options
    this.#store = options.store
    this.#signature = new Signature(options.secrets)
    this.#endings = new Endings((id) => this.#store.delete(id))
  }

  now (): number {
    return this.#store.now()
  }

  /**
   * The session cookie of a `Cookie` header, or `null` when there is none that verifies. Two cookies of
   * one name are none: one of them was planted. Costs no store access.
   */
  readCookie (header: string): Credential | null {
    for (const [index, name] of this.#options.cookieNames.entries()) {
      const values = cookieValues(header, name)
      if (values.length === 0) continue
      const verified = values.length === 1 ? this.#signature.verify(values[0] as string) : null
      if (verified !== null && isToken(verified.value)) return { token: verified.value, renew: verified.renew || index > 0 }
    }
    return null
  }

  /** What goes into the cookie for `token`. */
  sign (token: Token): string {
    return this.#signature.sign(token)
  }

  /** The live session that `token` proves, or `null`. */
  async find (token: Token): Promise<SessionRecord | null> {
    const id = idOf(token)
    if (this.#endings.has(id)) return null
    const record = await this.#store.find(id)
    // Asked again: it may have been ended here while the store was answering.
    return record !== null && proves(token, record.secretHash) && !this.#endings.has(id) ? record : null
  }

  /**
   * Stores a new session. Whatever it replaces is dead when this resolves.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL; no session lives on then
   * @throws ERR_SESSION_UNAUTHENTICATED when the user was signed out everywhere in the meantime
   */
  async create (session: NewSession): Promise<{ record: SessionRecord, token: Token }> {
    const id = session.id ?? newId()
    const { token, secretHash } = newToken(id)
    const now = Math.floor(this.#store.now())
    const record: SessionRecord = {
      id,
      secretHash,
      userId: session.userId,
      label: checkedLabel(session.label ?? null),
      meta: checkedMeta(session.meta ?? null),
      createdAt: now,
      authenticatedAt: session.userId === null ? null : now,
      lastSeenAt: now,
      endsAt: now + (session.absoluteTimeoutMs ?? this.#options.absoluteTimeoutMs),
      idleTimeoutMs: session.idleTimeoutMs ?? this.#options.idleTimeoutMs,
      persistent: session.persistent ?? true,
      ip: session.ip ?? null,
      userAgent: session.userAgent?.slice(0, USER_AGENT_LENGTH) ?? null,
      data: session.data
    }
    try {
      if (await this.#store.create(record, { replaces: session.replaces })) return { record, token }
    } catch (error) {
      if (error instanceof errors.STORE_UNAVAILABLE) this.#endings.add(id)
      throw error
    }
    throw new errors.UNAUTHENTICATED()
  }

  /** Replaces the session's data by `change` of it; `null` when the session has ended, and nothing is written. */
  async update (record: SessionRecord, change: (data: string) => string): Promise<SessionRecord | null> {
    return await this.#store.update(record, change)
  }

  /** Whether this use of the session has to be written down. */
  isTouchDue (record: SessionRecord): boolean {
    const { touchAfterMs } = this.#options
    if (touchAfterMs === false) return false
    const tenth = record.idleTimeoutMs / 10
    const after = touchAfterMs === null || touchAfterMs >= record.idleTimeoutMs ? tenth : touchAfterMs
    return this.#store.now() - record.lastSeenAt >= after
  }

  /** Writes down that the session was used. `false` when it has ended. */
  async touch (record: SessionRecord): Promise<boolean> {
    return await this.#store.touch(record)
  }

  /**
   * Ends a session; `false` when it had ended. If the store does not confirm it, this process refuses
   * the session from now on and goes on ending it.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async end (id: string): Promise<boolean> {
    try {
      return await this.#store.delete(id) !== null
    } catch (error) {
      this.#endings.add(id)
      throw error
    }
  }

  /** Ends a session that must not live on, however long the store takes to confirm it. */
  endEventually (id: string): void {
    this.end(id).catch(() => {})
  }

  /** Stops what runs in the background. Twice is safe. */
  async close (): Promise<void> {
    this.#endings.close()
  }
}

function checkedLabel (label: string | null): string | null {
  if (label !== null && (typeof label !== 'string' || label.length > LABEL_LENGTH)) throw new TypeError(`label must be a string of at most ${LABEL_LENGTH} characters`)
  return label
}

function checkedMeta (meta: Readonly<JsonObject> | null): string | null {
  if (meta === null) return null
  const text = typeof meta === 'object' && !Array.isArray(meta) ? JSON.stringify(meta) : undefined
  if (text === undefined || !text.startsWith('{') || Buffer.byteLength(text) > META_BYTES) throw new TypeError(`meta must be an object of at most ${META_BYTES} bytes of JSON`)
  return text
}
