import type { Test } from 'tap'
import type { SessionRecord } from '../../lib/session/record.ts'
import type { SessionLists, SessionStore } from '../../lib/session/store.ts'
import { record } from '../helpers/record.ts'
import { isAll } from '../helpers/scale.ts'
import { allTests } from './all.ts'
import { attemptTests } from './attempts.ts'
import { changeTests } from './changes.ts'
import { lifeTests } from './life.ts'
import { limitTests } from './limits.ts'
import { manyTests } from './many.ts'
import { raceTests } from './races.ts'
import { timeTests } from './time.ts'
import { userTests } from './users.ts'

/** A store to be tested, with no session in it. */
export interface Subject {
  store: SessionStore
  /** Makes every session this much older, as waiting would. Records read before are then out of date. */
  age: (ms: number) => Promise<void> | void
  /** Whether other processes may use the same sessions at the same time. */
  atomic: 'everywhere' | 'process'
  /** Whether the store knows which sessions a user has. */
  lists: boolean
  /** A second process' view of the same sessions, where `atomic` is 'everywhere'. */
  other?: SessionStore
  /** Fills the store up: from now on it has no room for another session. */
  fill?: () => Promise<void> | void
  /** Takes a session away behind the store's back. */
  lose?: (id: string) => Promise<void> | void
  /** Whether the store notices that sessions have run out. Default `true`. */
  expiry?: boolean
}

/** A store with its capabilities: a sentence that needs one is run on the stores that have it. */
type FullStore = SessionStore & SessionLists & Required<Pick<SessionStore, 'successor' | 'attempts'>>

/** The subject as a sentence sees it: `other` is the store itself where there is no second process. */
export interface Context extends Subject {
  store: FullStore
  other: FullStore
  /** Makes a record of a session of ada's that begins now, by the store's clock. */
  make: (overrides?: Partial<SessionRecord>) => SessionRecord
}

/** One sentence of the contract; those that need what a store lacks are skipped. */
export type Define = (sentence: string, check: (t: Test, subject: Context) => Promise<void>, needs?: 'lists' | 'no lists' | 'fill' | 'lose' | 'expiry' | 'attempts' | 'successor') => void

/**
 * The suite that every store runs: lib/session/store.ts, sentence by sentence. Where each store of a combination runs all of
 * it on its own, `npm test` leaves out what takes long, and `npm run test:all` does not.
 */
export function storeContract (t: Test, name: string, makeStore: (t: Test) => Promise<Subject> | Subject, { isCombination = false } = {}): void {
  const test: Define = (sentence, check, needs) => t.test(`${name}: ${sentence}`, async (t) => {
    const subject = await makeStore(t)
    const { store, other = store, lists, fill, lose, expiry = true, atomic } = subject
    if (atomic === 'everywhere' && other === store) throw new Error('a store that is atomic everywhere is tested with two of them')
    const has = { lists, 'no lists': !lists, fill: fill !== undefined, lose: lists && lose !== undefined, expiry: lists && expiry, attempts: store.attempts !== undefined, successor: store.successor !== undefined }
    if (needs !== undefined && !has[needs]) return t.plan(0, `this store: ${needs === 'no lists' ? 'has lists' : `no ${needs}`}`)
    // Sentences say what they need.
    const full = { store: store as FullStore, other: other as FullStore }
    await check(t, { ...subject, ...full, make: (overrides) => record({ now: store.now(), ...overrides }) })
  })
  for (const define of [lifeTests, changeTests, timeTests, userTests, allTests, attemptTests]) define(test)
  if (isAll || !isCombination) for (const define of [limitTests, manyTests, raceTests]) define(test)
}
