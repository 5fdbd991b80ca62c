import { errors } from '../errors.ts'
import { cookieValues } from './cookie-header.ts'
import { Endings } from './endings.ts'
import { newRecord } from './new-record.ts'
import type { NewSession } from './new-record.ts'
import type { SessionRecord } from './record.ts'
import { Signature } from './signature.ts'
import { idOf, isToken, newId, newToken, proves } from './token.ts'
import type { Token } from './token.ts'

/** What the manager asks of a store; `lib/store/contract.ts` says what each promises. */
export interface ManagedStore {
  now (): number
  find (id: string): Promise<SessionRecord | null>
  create (record: SessionRecord, options: { replaces: SessionRecord | null, moves: boolean, carry: Carry }): Promise<SessionRecord | null>
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

type Carry = NewSession['carry']

/** A session, and the token that proves it. */
export interface HeldSession {
  readonly record: SessionRecord
  readonly token: Token
}

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
  async create (session: NewSession): Promise<HeldSession> {
    const { id = newId(), replaces, carry } = session
    const { token, secretHash } = newToken(id)
    const record = await this.#begin(newRecord(session, { id, secretHash, now: this.#store.now(), ...this.#options }), { replaces, moves: false, carry })
    if (record === null) throw new errors.UNAUTHENTICATED()
    return { record, token }
  }

  /**
   * Goes on with a session under another id and with other data: the same sign-in, the same deadlines.
   * `null`, and nothing stored, when it has ended.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
   */
  async move (from: SessionRecord, { id, data, carry }: { id: string, data: string, carry: Carry }): Promise<HeldSession | null> {
    const { token, secretHash } = newToken(id)
    const record = await this.#begin({ ...from, id, secretHash, data, lastSeenAt: Math.floor(this.#store.now()) }, { replaces: from, moves: true, carry })
    return record === null ? null : { record, token }
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
    return await this.#endings.during(id, async () => await this.#store.delete(id) !== null)
  }

  /** Ends a session that must not live on, however long the store takes to confirm it. */
  endEventually (id: string): void {
    this.end(id).catch(() => {})
  }

  /** Stops what runs in the background. Twice is safe. */
  async close (): Promise<void> {
    this.#endings.close()
  }

  async #begin (record: SessionRecord, options: { replaces: SessionRecord | null, moves: boolean, carry: Carry }): Promise<SessionRecord | null> {
    try {
      return await this.#store.create(record, options)
    } catch (error) {
      // Without a cause nothing was sent: the store was known to be down.
      if (error instanceof errors.STORE_UNAVAILABLE && error.cause !== undefined) this.#endings.add(record.id)
      throw error
    }
  }
}
