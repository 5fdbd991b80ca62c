import { randomBytes } from 'node:crypto'
import { errors } from '../errors.ts'
import { connect, disconnect } from '../redis/connection.ts'
import type { Client } from '../redis/connection.ts'
import { Keys } from '../redis/keys.ts'
import { RedisLink } from '../redis/link.ts'
import { RedisStore } from '../redis/store.ts'
import { SessionManager } from '../standalone.ts'
import { Failure, redisFailure } from './exit.ts'
import type { Target } from './target.ts'
import { OPERATOR_WAIT_MS } from '../util/timings.ts'

/** How many keys Redis looks at in one step: well under a millisecond. */
export const SCAN_COUNT = 200

/** A connection to the sessions of an application. */
export class Connection {
  readonly target: Target
  readonly client: Client
  readonly link: RedisLink
  readonly keys: Keys
  readonly store: RedisStore
  readonly #endedFor: number | undefined
  #sessions: SessionManager | undefined
  /** The last thing that Redis refused, or that kept it from answering. */
  #trouble: string | null = null

  /**
   * `endedFor`: for how many milliseconds it is remembered how sessions end here. Default: not at all.
   * @throws Failure for what the driver does not take
   */
  constructor (target: Target, { endedFor }: { endedFor?: number | undefined } = {}) {
    this.target = target
    this.#endedFor = endedFor
    const { client, keyPrefix } = connected(target)
    const prefix = keyPrefix + target.prefix
    this.client = client
    this.link = new RedisLink(client)
    this.keys = new Keys(prefix)
    // Nobody knows here how the application's processes tell each other of events.
    const parts = { link: this.link, isShardedOptional: true }
    this.store = new RedisStore({ client, prefix, scanCount: SCAN_COUNT, events: 'both' }, parts)
    this.store.events.on('refused', (advice, cause) => { this.#trouble = `${messageOf(cause)}: ${advice}` })
    this.store.events.on('down', (cause) => { this.#trouble = messageOf(cause) })
  }

  /**
   * Waits until Redis answers.
   * @throws Failure
   */
  async ready ({ isTolerant = false } = {}): Promise<void> {
    let failure: unknown
    try {
      failure = await this.link.ready(OPERATOR_WAIT_MS)
    } catch (error) {
      // Its cause is what Redis itself says.
      const { cause } = error as Error
      if (isTolerant && messageOf(cause).startsWith('NOPERM')) return
      throw redisFailure(`Redis at ${this.target.where} refuses: ${messageOf(cause)}`)
    }
    if (failure === null) return
    throw redisFailure(`Redis at ${this.target.where} does not answer: ${messageOf(failure)}`)
  }

  /** What Redis refused last, or what kept it from answering. */
  get trouble (): string | null {
    return this.#trouble
  }

  /** The sessions, as the application's own `app.sessions` has them. No command that uses it needs the secret. */
  get sessions (): SessionManager {
    const secret = randomBytes(32).toString('base64url')
    this.#sessions ??= new SessionManager({ secret, store: this.store, bearer: true, endedFor: this.#endedFor })
    return this.#sessions
  }

  /** Returns what an error means for who runs a command, or the error itself. */
  explained (error: unknown): unknown {
    if (error instanceof Failure) return error
    const isOurs = error instanceof errors.STORE_UNAVAILABLE || error instanceof errors.STORE_FULL
    if (!isOurs) return error
    const told = this.#trouble ?? (error.cause === undefined ? 'no answer in time' : messageOf(error.cause))
    return redisFailure(`Redis at ${this.target.where} failed: ${told}`)
  }

  /** Closes everything. Twice is safe. */
  async close (): Promise<void> {
    await this.#sessions?.close()
    await this.store.close()
    await disconnect(this.client)
  }
}

/** @throws Failure */
function connected ({ redis }: Target): ReturnType<typeof connect> {
  try {
    return connect(redis)
  } catch (error) {
    throw redisFailure(`cannot connect: ${messageOf(error)}`)
  }
}

/** Returns the text of an error. That of several attempts to connect has none of its own. */
function messageOf (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { message, code, errors: several } = error as Error & { code?: unknown, errors?: unknown[] }
  if (message !== '') return message
  return several === undefined || several.length === 0 ? String(code ?? error.name) : messageOf(several[0])
}
