/** For how long a refusal must not have been seen to be told again, in milliseconds. */
const QUIET_MS = 60_000
/** How many kinds are told apart: they come from Redis, and are few. */
const MAX_KINDS = 50

/** What an operator can do about what Redis says. */
const ADVICE: Array<[says: RegExp, advice: string]> = [
  [/NOPERM .*channel/, 'its user lacks the channels: README, "What is in Redis", has the ACL. Until then processes hear of each other\'s sign-outs five seconds late'],
  [/NOPERM|can't run this command/, 'its user lacks a command or key: README, "What is in Redis", has the ACL'],
  [/NOAUTH|WRONGPASS/, 'it wants another user name or password'],
  [/OOM /, 'it is full: nobody can sign in. Give it more memory'],
  [/MISCONF/, 'it cannot save to its disk, and takes no writes until it can'],
  [/no replica/, 'none follows, or not fast enough: signing in and out is answered 503 until one does'],
  [/READONLY|NOREPLICAS/, 'it takes no writes: it has become a replica, or lacks its own']
]

/**
 * Tells of Redis' refusals, of each kind once until it has not been seen for a minute: they come with every
 * request.
 */
export class Refusals {
  readonly #tell: (advice: string, cause: Error) => void
  readonly #seenAt = new Map<string, number>()

  constructor (tell: (advice: string, cause: Error) => void) {
    this.#tell = tell
  }

  /** Redis answered with this error. */
  seen (error: Error): void {
    const advice = ADVICE.find(([says]) => says.test(error.message))?.[1]
    // Of what its user lacks, each command is news: one line would hide the next.
    const kind = advice === undefined || advice.includes('README') ? error.message : advice
    const now = performance.now()
    const before = this.#seenAt.get(kind) ?? -Infinity
    if (this.#seenAt.size > MAX_KINDS) this.#seenAt.clear()
    this.#seenAt.set(kind, now)
    if (now - before >= QUIET_MS) this.#tell(advice ?? 'see what it says', error)
  }
}
