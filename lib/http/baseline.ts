import { assertShallow, diff, parseData } from '../session/changes.ts'
import type { Data } from '../session/changes.ts'

/** What a session object held when it was built: what differs from it was changed since. */
export class Baseline {
  readonly #text: string | null
  #data: Data | null

  /** The data, or its JSON as it is stored. */
  constructor (from: Data | string) {
    [this.#text, this.#data] = typeof from === 'string' ? [from, null] : [null, from]
  }

  /** Not to be changed. */
  get data (): Data {
    this.#data ??= parseData(this.#text ?? '') ?? {}
    return this.#data
  }

  /**
   * Whether data is not what it was. Throws what `JSON.stringify` throws (a BigInt).
   * @throws TypeError for data nested more than 100 levels deep, or without end
   */
  differsFrom (data: Data): boolean {
    assertShallow(data)
    // Of data that nobody changed the text is the one that was read: then it need not be compared key by key.
    return JSON.stringify(data) !== this.#text && diff(this.data, data).size > 0
  }
}
