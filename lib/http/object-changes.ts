import { diff, jsonOf, parseData } from '../session/changes.ts'
import type { Data } from '../session/changes.ts'
import { userOrNull } from '../session/user-id.ts'
import type { UserIdFrom } from '../session/user-id.ts'

/** The data that a session object held when it was built. What differs from it was changed since. */
export class Baseline {
  readonly #text: string | null
  #data: Data | null

  /** `from`: the data, or its JSON as it is stored. */
  constructor (from: Data | string) {
    [this.#text, this.#data] = typeof from === 'string' ? [from, null] : [null, from]
  }

  /** The data, which nobody may change. */
  get data (): Data {
    this.#data ??= parseData(this.#text ?? '') ?? {}
    return this.#data
  }

  /**
   * Whether data is not what it was.
   * @throws TypeError for data nested more than 100 levels deep or without end, or with a BigInt
   */
  differsFrom (data: Data): boolean {
    // Data that nobody changed has the text that was read. Then its keys need not be compared.
    return jsonOf(data) !== this.#text && diff(this.data, data).size > 0
  }
}

/** A session object's data as it is stored, and whose it is. */
interface Loaded {
  readonly data: Data
  /** Whether somebody is signed in, whatever the data says. */
  readonly isSignedIn: boolean
  readonly userIdFrom: UserIdFrom
}

/**
 * The members that a route assigned to one session object. They tell whether somebody signs in, and which data has to
 * go with the user of before: one person's data is never handed to another.
 */
export class Assignments {
  readonly #loaded: () => Loaded
  /** Keys that the route assigned. */
  readonly #keys = new Set<string>()
  /** Data that has gone with the user of before. */
  readonly #gone: Data = {}
  /** Whether somebody signs in by what was assigned, maybe who it was before. */
  signsIn = false

  constructor (loaded: () => Loaded) {
    this.#loaded = loaded
  }

  /** Notes that a member was assigned. Returns the keys that have to go. */
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

  /**
   * Returns the keys that have to go once data names another user than it did: all that were loaded, but those that
   * name the new one.
   */
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

  /** Returns data with what has gone, for when nobody is signed in after all. */
  restored (data: Data): Data {
    return { ...this.#gone, ...data }
  }
}
