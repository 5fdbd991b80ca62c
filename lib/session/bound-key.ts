import { hash } from 'node:crypto'

/*
 * The key that a session is bound to, as its record holds it: `<state> <boundAt> <key>`. The state is `p`, pending,
 * until the browser has shown that it holds the key, and `c`, confirmed, from then on. `boundAt` is in milliseconds
 * since 1970, in base 36. The key is one line, as `Proof` writes it.
 */
const BOUND = /^[pc] (?:0|[1-9a-z][0-9a-z]{0,8}) (?:ES256|RS256) [\w-]{1,683} [\w-]{1,683}$/
/** 132 bits: none is guessed, nor are there two alike. */
const IDENTIFIER_LENGTH = 22

/** The key that a session is bound to. */
export interface BoundKey {
  /** Whether the browser has shown that it holds the key, after the session got it. */
  readonly isConfirmed: boolean
  /** When the session got it, in milliseconds since 1970. */
  readonly boundAt: number
  /** The key as one line, as `Proof` writes it. */
  readonly key: string
  /** What the browser calls this binding: its `session_identifier`. Another key has another one. */
  readonly identifier: string
}

/** Reads the `boundKey` of a record. Returns `null` for `null`, and for what is no such text. */
export function readBoundKey (text: string | null): BoundKey | null {
  return text !== null && BOUND.test(text) ? new StoredKey(text) : null
}

/** Returns the `boundKey` of a record for a key that the browser is still to confirm. `boundAt`: see `BoundKey`. */
export function pendingKey (key: string, boundAt: number): string {
  // The clock of Redis has fractions of milliseconds.
  return `p ${Math.floor(boundAt).toString(36)} ${key}`
}

/** Returns the same `boundKey` as one that the browser has confirmed. */
export function confirmed (text: string): string {
  return `c${text.slice(1)}`
}

/** Whether the browser of a session has shown that it holds the key that this `boundKey` names. */
export function isConfirmed (text: string | null): boolean {
  return text !== null && text.startsWith('c')
}

/** Whether two `boundKey`s are of one binding, be it confirmed or not. */
export function isSameBinding (one: string | null, other: string | null): boolean {
  return one !== null && other !== null && one.slice(2) === other.slice(2)
}

/** Every request of a bound session reads one: nothing is hashed before somebody asks for the identifier. */
class StoredKey implements BoundKey {
  readonly isConfirmed: boolean
  readonly boundAt: number
  readonly key: string
  readonly #text: string
  #identifier: string | undefined

  constructor (text: string) {
    const end = text.indexOf(' ', 2)
    this.isConfirmed = text.startsWith('c')
    this.boundAt = Number.parseInt(text.slice(2, end), 36)
    this.key = text.slice(end + 1)
    this.#text = text
  }

  get identifier (): string {
    this.#identifier ??= hash('sha256', this.#text.slice(2), 'base64url').slice(0, IDENTIFIER_LENGTH)
    return this.#identifier
  }
}
