import t from 'tap'
import type { Test } from 'tap'
import type { SessionRecord } from '../../lib/session/record.ts'
import { MemoryStore } from '../../lib/store/memory.ts'
import { NearCacheStore } from '../../lib/near/cache.ts'
import type { Changes, NearCacheOptions } from '../../lib/near/cache.ts'
import { MINUTE, record } from '../helpers/record.ts'
import { Gate } from '../helpers/spy-store.ts'

/** A backend whose answers can be held up once they are given. */
class Backend extends MemoryStore {
  reads = 0
  /** Held up here is what was read. */
  gate: Gate | null = null

  override async find (id: string): Promise<SessionRecord | null> {
    this.reads++
    const found = await super.find(id)
    await this.gate?.pass()
    // As Redis does: each time another.
    return found && { ...found }
  }
}

/** Changes as a test tells them. */
class Told implements Changes {
  trustedUntil = Infinity
  readonly isOfEnds: boolean

  constructor ({ invalidate = 'all' }: Partial<NearCacheOptions>) {
    this.isOfEnds = invalidate === 'ends'
  }

  onChange = (_id: string): void => {}
  onGap = (): void => {}

  async listen (onChange: (id: string) => void, onGap: () => void): Promise<null> {
    this.onChange = onChange
    this.onGap = onGap
    return null
  }

  async close (): Promise<void> {
    this.trustedUntil = 0
  }
}

/** A near-cache before a store of which it hears what the test tells; time is the test's. */
async function openCache (t: Test, options: Partial<NearCacheOptions> = {}) {
  const clock = { ms: 1_000, redisMs: 1_700_000_000_000 }
  t.intercept(performance, 'now', { value: () => clock.ms })
  const backend = new Backend({ now: () => clock.redisMs })
  const told = new Told(options)
  const store = new NearCacheStore(backend, told, { maxEntries: 100, maxStaleMs: 5_000, ...options })
  await store.start()
  t.teardown(() => store.close())
  const make = (overrides: Partial<SessionRecord> = {}): SessionRecord => record({ now: clock.redisMs, ...overrides })
  const stored = async (overrides: Partial<SessionRecord> = {}): Promise<SessionRecord> => {
    const session = make(overrides)
    await backend.begin(session)
    return session
  }
  /** How many reads of the backend something takes. */
  const readsOf = async (action: () => Promise<unknown>): Promise<number> => {
    const { reads } = backend
    await action()
    return backend.reads - reads
  }
  return { clock, backend, told, store, make, stored, readsOf }
}

/** A session that was asked for and has ended since; its answer is held up at the gate. */
async function openAsked (t: Test) {
  const cache = await openCache(t)
  const session = await cache.stored()
  const gate = cache.backend.gate = new Gate()
  const asked = cache.store.find(session.id)
  await gate.reached
  cache.backend.gate = null
  await cache.backend.delete(session.id)
  return { ...cache, session, asked, gate }
}

t.test('what was read a moment ago is not read again, until it changes', async (t) => {
  const { store, told, stored, readsOf, backend } = await openCache(t)
  const session = await stored()
  t.equal(await readsOf(() => store.find(session.id)), 1)
  t.equal(await readsOf(async () => t.strictSame(await store.find(session.id), session)), 0)
  t.equal(store.findNow(session.id), await store.find(session.id), 'nor has anybody to wait for it')
  t.equal(await readsOf(async () => t.strictSame(await store.find(session.id, { fresh: true }), session)), 1, 'but for who asks what is there now')
  t.ok(Object.isFrozen(await store.find(session.id)), 'and nobody can change what the others are given')
  await backend.update(session, () => '{"cart":1}')
  told.onChange(session.id)
  t.equal(await readsOf(async () => t.equal((await store.find(session.id))?.data, '{"cart":1}')), 1)
  await backend.delete(session.id)
  told.onChange(session.id)
  t.equal(await store.find(session.id), null)
  t.equal(await readsOf(() => store.find(session.id)), 1, 'what is not there is looked for each time')
})

t.test('an answer that was given before a change is not kept, whether it arrives before the message or after', async (t) => {
  for (const message of ['before', 'after'] as const) {
    const { store, told, session, asked, gate } = await openAsked(t)
    if (message === 'before') told.onChange(session.id)
    gate.open()
    t.strictSame(await asked, session, 'it was there when it was asked for')
    if (message === 'after') told.onChange(session.id)
    t.equal(await store.find(session.id), null, `the message came ${message} the answer`)
  }
})

t.test('an answer that was under way when messages were lost is not kept', async (t) => {
  const { store, told, session, asked, gate } = await openAsked(t)
  told.onGap()
  gate.open()
  await asked
  t.equal(await store.find(session.id), null)
})

type Own = (store: NearCacheStore, session: SessionRecord, make: (overrides?: Partial<SessionRecord>) => SessionRecord) => Promise<unknown>

const OWN: Record<string, Own> = {
  'a change': (store, session) => store.update(session, () => '{"cart":1}'),
  'a touch': (store, session) => store.touch(session),
  'a binding': (store, session) => store.bind(session, 'ES256 one'),
  'an end': (store, session) => store.delete(session.id),
  'a sign-in in its place': (store, session, make) => store.replace(make(), session),
  'a move': (store, session, make) => store.move({ ...session, id: make().id }, session),
  'a sign-in for which it has to go': (store, session, make) => store.begin(make({ createdAt: session.createdAt + 1 }), { limit: { max: 1, evicts: true } }),
  'the end of all of its user': (store) => store.deleteByUser('ada')
}

for (const [name, change] of Object.entries(OWN)) {
  t.test(`who made ${name} here reads it at once, though nobody has told of it`, async (t) => {
    for (const isOnItsWay of [false, true]) {
      const { store, stored, backend, make, clock } = await openCache(t)
      const session = await stored()
      clock.redisMs += MINUTE
      const gate = backend.gate = isOnItsWay ? new Gate() : null
      const asked = store.find(session.id)
      await gate?.reached
      backend.gate = null
      if (!isOnItsWay) await asked
      await change(store, session, make)
      gate?.open()
      await asked
      t.strictSame(await store.find(session.id), await backend.find(session.id), isOnItsWay ? 'an older answer was on its way' : 'it was kept')
    }
  })
}

t.test('who ends a session by an id that it had before ends it here at once', async (t) => {
  const { store, stored, make } = await openCache(t)
  const session = await stored()
  const moved = make()
  await store.move(moved, session)
  t.not(await store.find(moved.id), null)
  t.equal((await store.delete(session.id))?.id, moved.id)
  t.equal(await store.find(moved.id), null)
})

t.test('what is larger than all there is room for is not kept, and takes nobody else\'s place', async (t) => {
  const { store, stored, readsOf } = await openCache(t)
  const small = await stored()
  const large = await stored({ data: JSON.stringify({ all: 'x'.repeat(1_000_000) }) })
  await store.find(small.id)
  t.strictSame(await store.find(large.id), large)
  t.equal(await readsOf(() => store.find(large.id)), 1)
  t.equal(await readsOf(() => store.find(small.id)), 0)
})

t.test('a change whose outcome is not known counts as one', async (t) => {
  const { store, stored, backend, readsOf } = await openCache(t)
  const session = await stored()
  const failing = t.intercept(backend, 'delete', {
    value: async (id: string) => {
      await store.find(id)
      await MemoryStore.prototype.delete.call(backend, id)
      throw new Error('no answer')
    }
  })
  await store.find(session.id)
  await t.rejects(store.delete(session.id), { message: 'no answer' })
  failing.restore()
  t.equal(await readsOf(() => store.find(session.id)), 1)
  t.equal(await store.find(session.id), null)
})

t.test('while changes are not heard for certain everything is read, and what was kept is forgotten where messages were lost', async (t) => {
  const { store, stored, told, clock, readsOf } = await openCache(t)
  const [first, second] = [await stored(), await stored()]
  await store.find(first.id)
  told.trustedUntil = clock.ms
  t.equal(await readsOf(() => store.find(first.id)), 1)
  t.equal(await readsOf(() => store.find(second.id)), 1)
  told.trustedUntil = Infinity
  t.equal(await readsOf(() => store.find(first.id)), 0, 'none was lost')
  t.equal(await readsOf(() => store.find(second.id)), 1, 'what was read meanwhile was not kept')
  told.onGap()
  for (const { id } of [first, second]) t.equal(await readsOf(() => store.find(id)), 1)
  await store.stop()
  t.equal(await readsOf(() => store.find(first.id)), 1)
})

t.test('nothing is served that was asked for longer than maxStale ago, though nobody tells of a change', async (t) => {
  const { store, stored, clock, readsOf, backend } = await openCache(t, { maxStaleMs: 2_000 })
  const session = await stored()
  const gate = backend.gate = new Gate()
  const asked = store.find(session.id)
  await gate.reached
  backend.gate = null
  // Since it was asked for, not since it was answered.
  clock.ms += 1_500
  gate.open()
  await asked
  await backend.delete(session.id)
  clock.ms += 499
  t.equal(await readsOf(async () => t.not(await store.find(session.id), null)), 0)
  clock.ms += 1
  t.equal(await store.find(session.id), null)
})

t.test('a session is over when its time is, by the clock of the store', async (t) => {
  const { store, stored, clock } = await openCache(t)
  const [idle, busy] = [await stored({ idleTimeoutMs: MINUTE }), await stored({ endsAt: clock.redisMs + MINUTE })]
  for (const { id } of [idle, busy]) t.not(await store.find(id), null)
  clock.redisMs += MINUTE - 1
  for (const { id } of [idle, busy]) t.not(await store.find(id), null)
  clock.redisMs += 1
  for (const { id } of [idle, busy]) t.equal(await store.find(id), null)
})

t.test('no more is kept than there is room for, in number and in text, and what was read first goes first', async (t) => {
  const few = await openCache(t, { maxEntries: 3 })
  const sessions = await Promise.all([1, 2, 3, 4].map(() => few.stored()))
  // Twice each: there are hits, so it is worth it.
  for (const { id } of sessions) for (let visit = 0; visit < 2; visit++) await few.store.find(id)
  const kept = async ({ store, readsOf }: typeof few, ids: string[]): Promise<boolean[]> => {
    const answers: boolean[] = []
    for (const id of ids) answers.push(await readsOf(() => store.find(id)) === 0)
    return answers
  }
  // The last first: what is read again takes the place of another.
  t.strictSame(await kept(few, sessions.map(({ id }) => id).reverse().slice(0, 3)), [true, true, true])
  t.strictSame(await kept(few, [sessions[0]?.id as string]), [false])

  const large = await openCache(t, { maxEntries: 100 })
  const texts = await Promise.all(Array.from({ length: 5 }, (_, at) => large.stored({ data: `{"at":${at},"text":"${'x'.repeat(300_000)}"}` })))
  for (const { id } of texts) for (let visit = 0; visit < 2; visit++) await large.store.find(id)
  t.strictSame(await kept(large, texts.map(({ id }) => id).reverse().slice(0, 3)), [true, true, true])
  t.strictSame(await kept(large, [texts[0]?.id as string]), [false])
  const bound = await openCache(t, { maxEntries: 100 })
  const keys = await Promise.all(Array.from({ length: 5 }, () => bound.stored({ boundKey: 'k'.repeat(300_000) })))
  for (const { id } of keys) for (let visit = 0; visit < 2; visit++) await bound.store.find(id)
  t.strictSame(await kept(bound, [keys[0]?.id as string]), [false], 'the key of a browser counts')
  const huge = await large.stored({ data: `{"text":"${'x'.repeat(1_000_000)}"}` })
  await large.store.find(huge.id)
  t.strictSame(await kept(large, [huge.id]), [false], 'one that is larger than all the room is read each time')
})

t.test('room is used again, however often what is kept changes', async (t) => {
  const { store, stored, told, readsOf } = await openCache(t, { maxEntries: 4 })
  const sessions = await Promise.all(Array.from({ length: 4 }, () => stored()))
  for (let round = 0; round < 50; round++) {
    for (const { id } of sessions) await store.find(id)
    told.onChange(sessions[round % 4]?.id as string)
    if (round % 7 === 0) told.onGap()
  }
  for (const { id } of sessions) await store.find(id)
  t.equal(await readsOf(async () => { for (const { id } of sessions) await store.find(id) }), 0)
})

t.test('where nearly nobody comes again in time, most of what is read is not kept, and who does come again is', async (t) => {
  const { store, stored } = await openCache(t, { maxEntries: 10 })
  const sessions = await Promise.all(Array.from({ length: 1_000 }, () => stored()))
  let kept = 0
  for (const { id } of sessions) if (Object.isFrozen(await store.find(id))) kept++
  t.ok(kept < 200, `${kept} of 1,000`)
  const [often] = sessions as [SessionRecord]
  for (let visit = 0; visit < 100; visit++) await store.find(often.id)
  t.ok(store.findNow(often.id))
})

t.test('lists and what has moved are the store\'s own', async (t) => {
  const { store, stored, backend } = await openCache(t)
  const session = await stored()
  await store.find(session.id)
  await backend.delete(session.id)
  t.strictSame(await store.listByUser('ada'), [])
  for await (const each of store.listAll()) t.fail(each.id)
  t.equal(await store.successor(session.id), null)
})

// -- where only ends are told ------------------------------------------------------------------------

const ENDS = { invalidate: 'ends' } as const

t.test('what another process has changed is seen within maxStale where only ends are told, and no change is lost', async (t) => {
  const { store, stored, backend, clock, readsOf } = await openCache(t, { ...ENDS, maxStaleMs: 2_000 })
  const session = await stored({ data: '{"cart":0}' })
  await store.find(session.id)
  const elsewhere = (key: string) => (data: string) => JSON.stringify({ ...JSON.parse(data) as object, [key]: 1 })
  await backend.update(session, elsewhere('there'))
  clock.ms += 1_999
  t.equal(await readsOf(async () => t.equal((await store.find(session.id))?.data, '{"cart":0}')), 0)
  const stale = await store.find(session.id) as SessionRecord
  t.equal((await store.update(stale, elsewhere('here')))?.data, '{"cart":0,"there":1,"here":1}')
  await backend.update(session, elsewhere('later'))
  clock.ms += 2_000
  t.equal((await store.find(session.id))?.data, '{"cart":0,"there":1,"here":1,"later":1}')
})

t.test('that another process has bound a session is seen within maxStale where only ends are told, and at once by who binds it', async (t) => {
  const { store, stored, backend, clock, readsOf } = await openCache(t, { ...ENDS, maxStaleMs: 2_000 })
  const [first, second] = [await stored(), await stored()]
  for (const session of [first, second]) {
    await store.find(session.id)
    await backend.bind(session, 'ES256 one')
  }
  clock.ms += 1_999
  t.equal(await readsOf(async () => t.equal((await store.find(first.id))?.boundKey, null)), 0)
  t.equal((await store.bind(first, 'ES256 another'))?.boundKey, 'ES256 one')
  t.equal((await store.find(first.id))?.boundKey, 'ES256 one')
  t.equal(store.findNow(second.id)?.boundKey, null)
  clock.ms += 1
  t.equal((await store.find(second.id))?.boundKey, 'ES256 one')
})

t.test('of several processes that see that a touch is due one touches, where only ends are told', async (t) => {
  const { store, stored, backend, clock } = await openCache(t, ENDS)
  let touches = 0
  const touch = backend.touch.bind(backend)
  t.intercept(backend, 'touch', {
    value: async (record: SessionRecord) => {
      touches++
      return await touch(record)
    }
  })
  const session = await stored()
  clock.redisMs += MINUTE
  const seen = await store.find(session.id) as SessionRecord
  await touch(session)
  t.equal(await store.touch(seen), true)
  t.equal(touches, 0, 'another process has done so a moment ago')
  clock.redisMs += MINUTE
  t.equal(await store.touch(seen), true)
  t.equal(touches, 1, 'that was a minute ago')
  t.equal((await backend.find(session.id))?.lastSeenAt, clock.redisMs)
  await store.find(session.id)
  t.equal(await store.touch(seen), true)
  await store.find(session.id)
  clock.redisMs += MINUTE
  await backend.delete(session.id)
  t.equal(await store.touch(seen), false)
})
