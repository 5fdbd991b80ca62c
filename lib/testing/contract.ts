import type { SessionRecord } from '../session/record.ts'
import { hasLists } from '../session/store.ts'
import type { SessionStore } from '../session/store.ts'
import { record } from './record.ts'

/** A store to be tested, and what a test does behind its back. */
export interface TestedStore {
  /** The store, with no session in it. */
  store: SessionStore
  /**
   * Makes every session this many milliseconds older, as waiting would: moves the clock that the store is given, or
   * the times that it has stored.
   */
  age: (ms: number) => Promise<void> | void
  /** Closes what was opened. Called when the sentence has been checked. */
  close?: (() => Promise<void> | void) | undefined
  /**
   * A second process' view of the same sessions. Give one where several processes may use the store at a time: all
   * races run between the two. Default: one process alone uses the store.
   */
  other?: SessionStore | undefined
  /** Whether the store lists its sessions. Default: whether it has the methods for that. */
  lists?: boolean | undefined
  /** Whether the store notices that sessions have run out, and emits `ended` for them. Default: `true`. */
  tellsExpired?: boolean | undefined
  /** Fills the store up: from now on it has no room for another session. Default: it always has room. */
  fill?: (() => Promise<void> | void) | undefined
  /** Takes a session away behind the store's back, as an operator may. Default: nobody can. */
  lose?: ((id: string) => Promise<void> | void) | undefined
}

/** A store with all capabilities that sentences need. A sentence runs only where its store has those that it names. */
type FullStore = { [Name in Exclude<keyof SessionStore, 'adoption'>]-?: NonNullable<SessionStore[Name]> }

/** A store, as a sentence sees it. */
export interface Subject extends TestedStore {
  store: FullStore
  /** The second process, or the store itself where there is none. */
  other: FullStore
  /** Whether there is a second process. */
  isShared: boolean
  lists: boolean
  /** Makes a record of a session of ada's that begins now, by the store's clock. */
  make: (overrides?: Partial<SessionRecord>) => SessionRecord
}

/** A need of a sentence. Where a store lacks it, the sentence is skipped. */
type Need = 'lists' | 'no lists' | 'fill' | 'lose' | 'expiry' | Capability
type Capability =
  'advance' | 'attempts' | 'bind' | 'bus' | 'deleteByIdp' | 'ended' | 'findNow' | 'nowForCertain' | 'setTimeouts' |
  'successor'

/** A sentence of the contract. */
interface Sentence {
  readonly text: string
  readonly needs: readonly Need[]
  /** Rejects with an AssertionError where the store does not do what the sentence says. */
  readonly check: (subject: Subject) => Promise<void>
}

/** Sentences of the contract that are about one thing. */
export class Chapter {
  readonly sentences: Sentence[] = []

  /** Adds a sentence. It is skipped where a store lacks one of its needs. */
  says (text: string, check: Sentence['check'], ...needs: Need[]): void {
    this.sentences.push({ text, needs, check })
  }
}

/**
 * Checks a sentence on a store that is opened for it. Resolves with `null`, or with what the store lacks for that
 * sentence, which is then not checked.
 */
export async function checkSentence (
  { needs, check }: Sentence, open: () => Promise<TestedStore> | TestedStore
): Promise<string | null> {
  const tested = await open()
  try {
    const lacks = lackOf(tested, needs)
    if (lacks === null) await check(subjectOf(tested))
    return lacks
  } finally {
    await tested.close?.()
  }
}

/** Returns what a store lacks of what a sentence needs, or `null`. */
function lackOf (tested: TestedStore, needs: readonly Need[]): string | null {
  const { store, lists = hasLists(store), fill, lose, tellsExpired = true } = tested
  const has: Record<Need, boolean> = {
    lists,
    'no lists': !lists,
    fill: fill !== undefined,
    lose: lists && lose !== undefined,
    expiry: lists && tellsExpired,
    advance: store.advance !== undefined,
    attempts: store.attempts !== undefined,
    bind: store.bind !== undefined,
    bus: store.bus !== undefined,
    deleteByIdp: store.deleteByIdp !== undefined,
    ended: store.ended !== undefined,
    findNow: store.findNow !== undefined,
    nowForCertain: store.nowForCertain !== undefined,
    setTimeouts: store.setTimeouts !== undefined,
    successor: store.successor !== undefined
  }
  const need = needs.find((each) => !has[each])
  if (need === undefined) return null
  return need === 'no lists' ? 'this store has lists' : `this store has no ${need}`
}

function subjectOf (tested: TestedStore): Subject {
  const { store, other = store, lists = hasLists(store) } = tested
  return {
    ...tested,
    // Sentences say what they need.
    store: store as FullStore,
    other: other as FullStore,
    isShared: other !== store,
    lists,
    make: (overrides) => record({ now: store.now(), ...overrides })
  }
}
