import { allMasters } from '../../redis/cluster.ts'
import { replyOf } from '../../redis/driver.ts'
import { infoField } from '../../redis/suitability.ts'
import type { SessionRecord } from '../../session/record.ts'
import { decode, parseExpress } from '../../store/codec.ts'
import type { Patient } from './doctor.ts'
import { broken, refused } from './findings.ts'
import type { Server } from './findings.ts'

/** How many keys Redis looks at in one step: under half a millisecond. */
const SCAN_COUNT = 200
/** How many commands are under way at once. Redis runs them one after the other, and others in between. */
const AT_ONCE = 50
/** How much of a session is read: its first line, which is never longer. */
const HEAD_BYTES = 16_384
/** How many members of one list are looked up. */
const MEMBERS = 100
/** How many users with the most sessions are named. */
const USERS = 10
/** What a sample looks at, at the most: keys of one server by name, sessions and lists by what they hold. */
const SAMPLE = { keys: 100_000, sessions: 2_000, lists: 500, ms: 10_000 }
/** The same, where a session can only be read as a whole. */
const WHOLE_SESSIONS = 200

/** Forms of what lies under the prefix. Names of keys are not shown: of other libraries they are secrets. */
type Form = 'express' | 'unreadable' | 'other'

/** What lies under a prefix. Of a sample, numbers are estimates. */
export interface Stored {
  /** Whether only a part of the keys, or of the sessions, was looked at. */
  readonly isSample: boolean
  /** Keys that were looked at, of those in the database. `null`: it does not say how many it has. */
  readonly lookedAt: number
  readonly keys: number | null
  readonly sessions: number
  readonly signedIn: number
  readonly anonymous: number
  /** Those of bearer tokens, which are among the signed-in ones. */
  readonly bearer: number
  /** What the sessions take. */
  readonly bytes: number
  /** Lists with sessions: users who are signed in. */
  readonly lists: number
  /** Entries of lists that were looked up, and those among them without a session. */
  readonly entries: { readonly checked: number, readonly orphans: number }
  /** Sessions that were looked up on their user's list, and those among them that are not on it. */
  readonly listed: { readonly checked: number, readonly missing: number }
  /** Keys under the prefix that are no sessions of this package. */
  readonly foreign: Readonly<Record<Form, number>>
  /** Users with the most sessions among the lists that were looked at. */
  readonly users: ReadonlyArray<{ readonly userId: string, readonly sessions: number }>
}

/** How to count. */
export interface CensusOptions {
  /** Looks at everything, however long that takes. */
  readonly full: boolean
  /** The sessions are those of an Express app, which have a form of their own. */
  readonly isShared: boolean
  /** Ends the work early. */
  readonly signal?: AbortSignal | undefined
  /** Called now and then. */
  readonly onProgress: (lookedAt: number, keys: number | null) => void
}

/**
 * Counts what lies under the prefix. Reads only: the names of keys by SCAN, the first lines of sessions, parts of
 * lists. What it keeps does not grow with the store.
 * @throws ERR_SESSION_STORE_UNAVAILABLE
 */
export async function census (patient: Patient, options: CensusOptions): Promise<Stored> {
  const counter = new Counter(patient, options)
  try {
    for (const [, server] of allMasters(patient.client)) await counter.count(server)
  } catch (error) {
    throw broken(error)
  }
  return counter.result()
}

/** Sizes of sessions, by the best command that Redis allows. */
type SizeBy = 'memory' | 'strlen' | 'text'

class Counter {
  readonly #patient: Patient
  readonly #options: CensusOptions
  readonly #giveUpAt: number
  readonly #listStart: string
  #lookedAt = 0
  #keys: number | null = 0
  #isPart = false
  /** Keys under the prefix, and lists with sessions, as if all servers had been looked at as a whole. */
  #under = 0
  #lists = 0
  /** What was read of sessions. */
  readonly #read = { count: 0, signedIn: 0, bearer: 0, sessions: 0, bytes: 0 }
  readonly #foreign: Record<Form, number> = { express: 0, unreadable: 0, other: 0 }
  readonly #entries = { checked: 0, orphans: 0 }
  readonly #listed = { checked: 0, missing: 0 }
  #listsRead = 0
  #users: Array<{ userId: string, sessions: number }> = []
  #sizeBy: SizeBy = 'memory'
  #readsWhole = false

  constructor (patient: Patient, options: CensusOptions) {
    this.#patient = patient
    this.#options = options
    this.#giveUpAt = performance.now() + SAMPLE.ms
    this.#listStart = patient.keys.user('')
  }

  /** Counts what one server holds. */
  async count (server: Server): Promise<void> {
    const size = await this.#sizeOf(server)
    this.#keys = size === null || this.#keys === null ? null : this.#keys + size
    const [under, lists, before] = [this.#under, this.#lists, this.#lookedAt]
    let cursor = '0'
    do {
      const [next, page] = await server.scan(cursor, 'COUNT', SCAN_COUNT)
      cursor = next
      this.#lookedAt += page.length
      await this.#look(server, page)
      this.#options.onProgress(this.#lookedAt, this.#keys)
    } while (cursor !== '0' && this.#goesOn(this.#lookedAt - before))
    if (cursor === '0') return
    this.#isPart = true
    const factor = Math.max(1, (size ?? 0) / (this.#lookedAt - before))
    this.#under = under + (this.#under - under) * factor
    this.#lists = lists + (this.#lists - lists) * factor
  }

  result (): Stored {
    const { count, sessions, signedIn, bearer, bytes } = this.#read
    // What was read stands for all.
    const factor = count === 0 ? 0 : this.#under / count
    const estimated = (number: number): number => Math.round(number * factor)
    const { express, unreadable, other } = this.#foreign
    return {
      isSample: this.#isPart || count < this.#under,
      lookedAt: this.#lookedAt,
      keys: this.#keys,
      sessions: estimated(sessions),
      signedIn: estimated(signedIn),
      anonymous: estimated(sessions) - estimated(signedIn),
      bearer: estimated(bearer),
      bytes: estimated(bytes),
      lists: Math.round(this.#lists),
      entries: this.#entries,
      listed: this.#listed,
      foreign: { express: estimated(express), unreadable: estimated(unreadable), other: estimated(other) },
      users: topOf(this.#users)
    }
  }

  #goesOn (lookedAt: number): boolean {
    const { full, signal } = this.#options
    if (signal?.aborted === true) return false
    return full || (lookedAt < SAMPLE.keys && performance.now() < this.#giveUpAt)
  }

  /** Returns how many keys the database of a server has; `null` where INFO is refused. */
  async #sizeOf (server: Server): Promise<number | null> {
    try {
      const info = await server.info('keyspace')
      return Number(/^keys=(\d+)/.exec(infoField(info, `db${this.#patient.link.database}`) ?? '')?.[1] ?? 0)
    } catch (error) {
      refused('sessions', 'INFO', error)
      return null
    }
  }

  async #look (server: Server, page: readonly string[]): Promise<void> {
    const { prefix } = this.#patient.keys
    const sessions = page.filter((key) => key.startsWith(prefix))
    const lists = page.filter((key) => key.startsWith(this.#listStart))
    this.#under += sessions.length
    const most = this.#readsWhole ? WHOLE_SESSIONS : SAMPLE.sessions
    const toRead = this.#options.full ? sessions : sessions.slice(0, Math.max(0, most - this.#read.count))
    await inPortions(toRead, async (key) => { await this.#readSession(server, key) })
    await inPortions(lists, async (key) => { await this.#readList(server, key) })
  }

  async #readSession (server: Server, key: string): Promise<void> {
    const text = await this.#headOf(server, key)
    if (text === '') {
      // It has ended meanwhile.
      this.#under--
      return
    }
    this.#read.count++
    const record = typeof text === 'string' ? recordIn(this.#patient.keys.idOf(key), text) : null
    if (record === null) {
      const form = formOf(text)
      if (form === 'express' && this.#options.isShared) this.#read.sessions++
      else this.#foreign[form]++
      return
    }
    this.#read.sessions++
    const bytes = await this.#bytesOf(server, key, String(text))
    this.#read.bytes += bytes
    if (record.userId === null) return
    this.#read.signedIn++
    if (record.kind === 'bearer') this.#read.bearer++
    await this.#checkListed(record, record.userId)
  }

  /** Returns the beginning of a session; `''` if there is none, `null` if it is no text. */
  async #headOf (server: Server, key: string): Promise<string | null> {
    const readsWhole = this.#readsWhole
    try {
      if (readsWhole) return await server.get(key) ?? ''
      return await server.getrange(key, 0, HEAD_BYTES - 1)
    } catch (error) {
      const reply = replyOf(error)
      if (reply.startsWith('WRONGTYPE')) return null
      // Its slot is on its way to another server, which has it.
      if (/^(MOVED|ASK|TRYAGAIN) /.test(reply)) return ''
      if (readsWhole || !isRefusal(error)) throw error
      this.#readsWhole = true
      return await this.#headOf(server, key)
    }
  }

  async #bytesOf (server: Server, key: string, text: string): Promise<number> {
    const by = this.#sizeBy
    try {
      if (by === 'memory') return Number(await server.call('MEMORY', 'USAGE', key) ?? 0)
      if (by === 'strlen') return await server.strlen(key)
      return Buffer.byteLength(text)
    } catch (error) {
      if (!isRefusal(error)) return 0
      // Others may have found out meanwhile.
      if (this.#sizeBy === by) this.#sizeBy = by === 'memory' ? 'strlen' : 'text'
      return await this.#bytesOf(server, key, text)
    }
  }

  async #checkListed (record: SessionRecord, userId: string): Promise<void> {
    const { link, keys } = this.#patient
    const [list, session] = [keys.user(userId), keys.session(record.id)]
    this.#listed.checked++
    const score = await link.run(list, (client) => client.zscore(list, keys.memberOf(record)))
    // One that has ended meanwhile is on no list.
    if (score === null && await link.run(session, (client) => client.exists(session)) === 1) this.#listed.missing++
  }

  async #readList (server: Server, list: string): Promise<void> {
    const now = Math.floor(this.#patient.link.now())
    const sessions = await server.zcount(list, now, '+inf').catch(noneIfOther)
    // A list outlives its last session.
    if (sessions === 0) return
    this.#lists++
    this.#rank({ userId: list.slice(this.#listStart.length), sessions })
    if (this.#options.isShared) return
    if (!this.#options.full && this.#listsRead >= SAMPLE.lists) return
    this.#listsRead++
    const members = await server.zrangebyscore(list, now, '+inf', 'LIMIT', 0, MEMBERS).catch(() => [])
    // Those that begin with a plus are logins under way.
    await inPortions(members.filter((member) => !member.startsWith('+')), async (member) => {
      await this.#checkMember(server, list, member)
    })
  }

  async #checkMember (server: Server, list: string, member: string): Promise<void> {
    const { link, keys } = this.#patient
    const session = keys.session(keys.idOfMember(member))
    this.#entries.checked++
    if (await link.run(session, (client) => client.exists(session)) === 1) return
    // A session that ends comes off its list a moment later.
    if (await server.zscore(list, member) !== null) this.#entries.orphans++
  }

  #rank (user: { userId: string, sessions: number }): void {
    this.#users.push(user)
    // Now and then, so that what is kept stays small.
    if (this.#users.length > 10 * USERS) this.#users = topOf(this.#users)
  }
}

function topOf (users: Array<{ userId: string, sessions: number }>): Array<{ userId: string, sessions: number }> {
  return users.toSorted((one, other) => other.sessions - one.sessions).slice(0, USERS)
}

/** Does something with each of them, so many at once. */
async function inPortions<T> (all: readonly T[], work: (each: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < all.length; at += AT_ONCE) await Promise.all(all.slice(at, at + AT_ONCE).map(work))
}

/** Returns the record of a session of which the beginning was read, without its data; `null` if it is none. */
function recordIn (id: string, text: string): SessionRecord | null {
  const newline = text.indexOf('\n')
  return text[newline + 1] === '{' ? decode(id, `${text.slice(0, newline)}\n{}`) : null
}

function formOf (text: string | null): Form {
  if (text === null) return 'other'
  if (text.length < HEAD_BYTES) return parseExpress(text) === null ? 'unreadable' : 'express'
  return text.startsWith('{"cookie":{') ? 'express' : 'unreadable'
}

function isRefusal (error: unknown): boolean {
  return /^(NOPERM|ERR unknown)/.test(replyOf(error))
}

/** What is no list has no members. */
function noneIfOther (error: unknown): number {
  if (replyOf(error).startsWith('WRONGTYPE')) return 0
  throw error
}
