import type { Data } from '../session/changes.ts'
import { userOrNull } from '../session/user-id.ts'
import type { UserIdFrom } from '../session/user-id.ts'

/** What the session object holds as it is stored, and whose it is. */
export interface Loaded {
  readonly data: Data
  /** Whether somebody is signed in, whatever the data says. */
  readonly isSignedIn: boolean
  readonly userIdFrom: UserIdFrom
}

/**
 * What a route assigned to one session object: whether that signs somebody in, and what has to go with the user of
 * before. One person's data is never handed to another.
 */
export class Assignments {
  readonly #loaded: () => Loaded
  /** Members that the route assigned: they are not the ones that were loaded. */
  readonly #keys = new Set<string>()
  /** What has gone with the user of before. */
  readonly #gone: Data = {}
  /** Somebody signs in by what was assigned, maybe who it was before. */
  signsIn = false

  constructor (loaded: () => Loaded) {
    this.#loaded = loaded
  }

  /** Notes that a member was assigned. Returns the members that have to go. */
  note (key: string, data: Data): string[] {
    const { isSignedIn, userIdFrom } = this.#loaded()
    this.#keys.add(key)
    if (userIdFrom === null && key === 'userId') this.signsIn = true
    if (isSignedIn) return this.leaving(data)
    // Nobody was, though the data may have named somebody: who is named now signs in, also if it is the same.
    const { [key]: _assigned, ...others } = data
    const named = userOrNull(data, userIdFrom)
    if (named !== null && userOrNull(others, userIdFrom) !== named) this.signsIn = true
    return []
  }

  /** The members that have to go, once data names another user than it did: all that were loaded, but what names the new one. */
  leaving (data: Data): string[] {
    const { data: loaded, isSignedIn, userIdFrom } = this.#loaded()
    if (!isSignedIn) return []
    const before = userOrNull(loaded, userIdFrom)
    const after = userOrNull(data, userIdFrom, loaded)
    if (before === null || after === null || before === after) return []
    const rest = { ...data }
    return Object.keys(loaded).filter((key) => {
      const { [key]: value, ...others } = rest
      if (!Object.hasOwn(rest, key) || this.#keys.has(key)) return false
      if (userOrNull(others, userIdFrom, loaded) !== after) return false
      delete rest[key]
      this.#gone[key] = value
      return true
    })
  }

  /** Data with what has gone, for where nobody is signed in after all. */
  restored (data: Data): Data {
    return { ...this.#gone, ...data }
  }
}
