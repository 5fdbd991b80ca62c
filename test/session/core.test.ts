import { errors } from '../../lib/errors.ts'
import t from 'tap'
import type { Test } from 'tap'
import { keepable } from '../../lib/express/layout.ts'
import { SessionCore } from '../../lib/session/core.ts'
import type { CoreOptions } from '../../lib/session/core.ts'
import type { NewSession } from '../../lib/session/new-record.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { idOf, newId, newToken, SignedTokens, Signature } from '../../lib/session/token.ts'
import { MemoryAttempts } from '../../lib/store/memory-attempts.ts'
import { DAY, HOUR, MINUTE, record } from '../helpers/record.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'

const secrets = ['today', 'yesterday']
const ada: NewSession = { userId: 'ada', data: '{"userId":"ada"}', replaces: null }

interface Subject {
  store: SpyStore
  core: SessionCore
  now: () => number
  age: (ms: number) => void
}

function open (t: Test, options: Partial<CoreOptions> = {}): Subject {
  let now = 1_700_000_000_000.5
  const store = new SpyStore({ now: () => now })
  const core = new SessionCore({ store, counters: new MemoryAttempts(), tokens: new SignedTokens(secrets), cookieNames: ['sid', 'old'], idleTimeoutMs: 30 * MINUTE, absoluteTimeoutMs: 7 * DAY, longest: { idleTimeoutMs: Infinity, absoluteTimeoutMs: Infinity }, touchAfterMs: null, bearer: false, limit: null, userIdFrom: null, dataSchema: null, maxDataSize: 65_536, endedForMs: null, readForeignCookie: null, cookieForms: ['fastify-user-sessions'], shared: null, ...options })
  t.teardown(() => core.close())
  return { store, core, now: () => now, age: (ms) => { now += ms } }
}

/** Finds the session of a token that came in a cookie. */
async function find (core: SessionCore, token: string, { adopts }: { adopts?: string } = {}): Promise<SessionRecord | null> {
  return await core.find(core.credentials.credential(token, { kind: 'cookie', renew: false, ...adopts !== undefined && { adopts } }))
}

/** How many timers are running. */
function timers (): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
}

/** Polls until a condition holds. */
async function until (condition: () => boolean): Promise<void> {
  const giveUpAt = performance.now() + 10_000
  while (!condition()) {
    if (performance.now() > giveUpAt) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

t.test('a new session is found by its token and by nothing else', async (t) => {
  const { core } = open(t)
  const { record, token } = await core.create(ada)
  t.equal(idOf(token), record.id)
  t.same(await find(core, token), record)
  t.equal(await find(core, newToken(record.id).token), null, 'another secret')
  t.equal(await find(core, newToken(newId()).token), null, 'another id')
})

t.test('a new session says who, when and how long, by the store\'s clock', async (t) => {
  const { core, now } = open(t)
  const { record } = await core.create({ ...ada, label: 'phone', meta: { a: 1 }, ip: '::1', userAgent: 'x'.repeat(500) })
  t.match(record, {
    userId: 'ada',
    label: 'phone',
    meta: '{"a":1}',
    ip: '::1',
    userAgent: 'x'.repeat(40),
    persistent: true,
    data: '{"userId":"ada"}',
    createdAt: Math.floor(now()),
    authenticatedAt: Math.floor(now()),
    lastSeenAt: Math.floor(now()),
    endsAt: Math.floor(now()) + 7 * DAY,
    idleTimeoutMs: 30 * MINUTE
  })
  const id = newId()
  const other = await core.create({ userId: null, data: '{}', replaces: null, id, idleTimeoutMs: MINUTE, absoluteTimeoutMs: HOUR, persistent: false })
  t.match(other.record, { id, userId: null, label: null, meta: null, ip: null, userAgent: null, authenticatedAt: null, endsAt: Math.floor(now()) + HOUR, idleTimeoutMs: MINUTE, persistent: false })
})

t.test('what a session replaces is dead when it begins', async (t) => {
  const { core } = open(t)
  const first = await core.create(ada)
  const second = await core.create({ ...ada, replaces: first.record })
  t.equal(await find(core, first.token), null)
  t.ok(await find(core, second.token))
})

t.test('a login during which the user was signed out everywhere is refused', async (t) => {
  const { core, store } = open(t)
  store.begin = async () => null
  await t.rejects(core.create(ada), { code: 'ERR_SESSION_UNAUTHENTICATED' })
})

t.test('whether a session that is held has ended is looked up as it is now, not as it was a moment ago', async (t) => {
  const { core, store } = open(t)
  const { record } = await core.create(ada)
  const asked: unknown[] = []
  store.find = async (_id: string, options?: unknown) => {
    asked.push(options)
    return null
  }
  const signal = core.signals.of(record.id)
  await until(() => signal.aborted)
  t.strictSame(asked, [{ fresh: true }])
})

t.test('a cookie header gives the token that is signed in it', async (t) => {
  const { core } = open(t)
  const { token } = newToken(newId())
  const signed = core.credentials.sign(token)
  const signedYesterday = new Signature(['yesterday']).sign(token)
  t.match(core.credentials.readCookie(`a=b; sid=${signed}; c=d`), { kind: 'cookie', token, renew: false })
  t.match(core.credentials.readCookie(`sid=${signedYesterday}`), { kind: 'cookie', token, renew: true })
  t.match(core.credentials.readCookie(`old=${signed}`), { kind: 'cookie', token, renew: true })
  t.match(core.credentials.readCookie(`old=garbage; sid=${signed}`), { kind: 'cookie', token, renew: false }, 'the name of today comes first')
  t.match(core.credentials.readCookie(`sid=garbage; old=${signed}`), { kind: 'cookie', token, renew: true }, 'garbage hides nothing')
  for (const header of ['', 'sid=', `sid=${token}`, `sid=${signed}; sid=${signed}`, `other=${signed}`, `sid=${new Signature(['tomorrow']).sign(token)}`, `sid=${core.credentials.sign('no token')}`]) {
    t.equal(core.credentials.readCookie(header), null, header)
  }
})

t.test('using a session is written down once a tenth of its idle timeout has passed', async (t) => {
  const { core, age } = open(t)
  const { record } = await core.create({ ...ada, idleTimeoutMs: 10 * MINUTE })
  age(MINUTE - 1)
  t.equal(core.isTouchDue(record), false)
  age(1)
  t.equal(core.isTouchDue(record), true)
})

t.test('touchAfter says when instead, but not for sessions that would end before', async (t) => {
  const { core, age } = open(t, { touchAfterMs: 5 * MINUTE })
  const { record } = await core.create(ada)
  const short = (await core.create({ ...ada, idleTimeoutMs: 5 * MINUTE })).record
  age(30_000)
  t.equal(core.isTouchDue(short), true, 'a tenth of its idle timeout')
  age(5 * MINUTE - 30_001)
  t.equal(core.isTouchDue(record), false)
  age(1)
  t.equal(core.isTouchDue(record), true)
})

t.test('touchAfter 0 is every time, false never', async (t) => {
  for (const [touchAfterMs, due] of [[0, true], [false, false]] as const) {
    const { core, age } = open(t, { touchAfterMs })
    const { record } = await core.create(ada)
    t.equal(core.isTouchDue(record), due)
    age(29 * MINUTE)
    t.equal(core.isTouchDue(record), due)
  }
})

t.test('ending a session says whether there was one', async (t) => {
  const { core } = open(t)
  const { record, token } = await core.create(ada)
  t.equal(await core.end(record.id, { reason: 'logout' }), true)
  t.equal(await core.end(record.id, { reason: 'logout' }), false)
  t.equal(await find(core, token), null)
})

t.test('a session whose end is not confirmed is refused at once, and ended when the store is back', async (t) => {
  const { core, store } = open(t)
  const { record, token } = await core.create(ada)
  const { token: other } = await core.create(ada)
  const told: unknown[] = []
  core.events.on('revoked', ({ reason }) => { told.push(reason) })
  store.failing.add('delete')
  await t.rejects(core.end(record.id, { reason: 'logout' }), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.ok(await store.peek(record.id), 'it is still there')
  t.strictSame(await store.during(async () => t.equal(await find(core, token), null)), [], 'without asking the store')
  t.ok(await find(core, other), 'nobody else is refused')
  const tries = (): number => store.calls.filter((call) => call === 'delete').length
  await until(() => tries() >= 3)
  t.equal(await find(core, token), null)
  t.ok(await store.peek(record.id))
  store.failing.clear()
  const before = tries()
  await until(() => tries() > before)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(await store.peek(record.id), null)
  t.strictSame(told, ['logout'], 'told late, as what it was')
})

t.test('a store that never answers one deletion is asked for the others all the same', async (t) => {
  const { core, store } = open(t)
  const [first, second] = [await core.create(ada), await core.create(ada)]
  const remove = store.delete.bind(store)
  store.delete = async (id) => {
    if (id === first.record.id) return await new Promise(() => {})
    return await remove(id)
  }
  void core.end(first.record.id, { reason: 'logout' })
  store.failing.add('delete')
  await core.end(second.record.id, { reason: 'logout' }).catch(() => {})
  await until(() => store.calls.filter((call) => call === 'delete').length >= 3)
  store.failing.clear()
  const before = store.calls.length
  await until(() => store.calls.length > before)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(await store.peek(second.record.id), null)
  t.equal(await find(core, first.token), null, 'and the other stays refused')
})

t.test('a session that is being refused is refused although the store was asked before', async (t) => {
  const { core, store } = open(t)
  const { record, token } = await core.create(ada)
  const gate = new Gate()
  store.gates.set('find', gate)
  const found = find(core, token)
  await gate.reached
  store.failing.add('delete')
  await core.end(record.id, { reason: 'logout' }).catch(() => {})
  gate.open()
  t.equal(await found, null)
})

t.test('a login of unknown outcome is ended when the store is back, one that was refused is not', async (t) => {
  for (const [error, ends] of [[new errors.STORE_UNAVAILABLE({ cause: new Error('no answer') }), true], [new errors.STORE_UNAVAILABLE(), false], [new errors.STORE_FULL(), false]] as const) {
    const { core, store } = open(t)
    const begin = store.begin.bind(store)
    // It was stored, but nobody was told.
    store.begin = async (...args) => {
      await begin(...args)
      throw error
    }
    const id = newId()
    const before = timers()
    await t.rejects(core.create({ ...ada, id }), error)
    t.equal(timers() - before, ends ? 1 : 0)
    if (ends) await until(() => store.calls.includes('delete'))
    await core.close()
    t.equal(await store.peek(id) === null, ends)
  }
})

t.test('a session can be ended without waiting for it', async (t) => {
  const { core, store } = open(t)
  const { record } = await core.create(ada)
  store.failing.add('delete')
  core.endEventually(record.id)
  await until(() => store.calls.includes('delete'))
  store.failing.clear()
  await until(() => store.calls.filter((call) => call === 'delete').length > 1)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(await store.peek(record.id), null)
})

t.test('a closed core leaves nothing running, and closing it twice is safe', async (t) => {
  const { core, store } = open(t)
  const { record } = await core.create(ada)
  store.failing.add('delete')
  await core.end(record.id, { reason: 'logout' }).catch(() => {})
  const before = timers()
  await core.close()
  await core.close()
  t.equal(timers(), before - 1)
  await core.end(record.id, { reason: 'logout' }).catch(() => {})
  t.equal(timers(), before - 1, 'nor does it begin again')
})

t.test('a session of an ended one cannot be changed or used', async (t) => {
  const { core } = open(t)
  const { record, token } = await core.create(ada)
  t.match(await core.update(record, () => '{"cart":1}'), { data: '{"cart":1}' })
  t.equal(await core.touch(record), true)
  await core.end(record.id, { reason: 'logout' })
  t.equal(await core.update(record, () => '{"cart":2}'), null)
  t.equal(await core.touch(record), false)
  t.equal(await find(core, token), null)
})

t.test('beside an Express app, what a session takes over never makes it another user\'s', async (t) => {
  const { core, store } = open(t, { shared: { keepable: (session) => keepable(session, null) } })
  const { record } = await core.create(ada)
  const carries: Array<((ended: string) => string) | undefined> = []
  store.replace = async (created, _old, options) => {
    carries.push(options?.carry)
    return created
  }
  await core.create({ ...ada, replaces: record, carry: (ended) => ended })
  t.equal(carries[0]?.('{"userId":"bob","cart":1}'), '{"userId":"ada"}')
  t.equal(carries[0]?.('{"userId":"ada","cart":1}'), '{"userId":"ada","cart":1}')
})

t.test('what others changed last in a session that is replaced comes along only as far as it fits', async (t) => {
  const { core, store } = open(t)
  const { record } = await core.create(ada)
  const carries: Array<((ended: string) => string) | undefined> = []
  store.replace = store.move = async (created, _old, options) => {
    carries.push(options?.carry)
    return created
  }
  const join = (ended: string): string => JSON.stringify({ ...JSON.parse(ended), own: 'x'.repeat(40_000) })
  await core.create({ ...ada, data: join(ada.data), replaces: record, carry: join })
  await core.move(record, { id: newId(), data: join(ada.data), carry: join })
  for (const carry of carries) {
    t.equal(carry?.('{"userId":"ada","cart":1}'), join('{"userId":"ada","cart":1}'))
    t.equal(carry?.(JSON.stringify({ userId: 'ada', cart: 'x'.repeat(40_000) })), join(ada.data), 'the new session\'s own data alone')
  }
})

t.test('a session that is being ended here while it is adopted is nobody\'s', async (t) => {
  const { core, store } = open(t)
  const { token } = newToken(newId())
  let ends = false
  Object.assign(store, {
    adoption: {
      adopt: async (_sid: string, made: { id: string, secretHash: string }) => {
        if (ends) core.endEventually(made.id)
        return record({ ...made, now: store.now() })
      }
    },
    delete: async () => await new Promise(() => {})
  })
  t.match(await find(core, token, { adopts: 'sid' }), { userId: 'ada' })
  ends = true
  t.equal(await find(core, token, { adopts: 'sid' }), null)
})

t.test('a logout ends the Express session before what may be made of it', async (t) => {
  const { core, store } = open(t)
  const order: string[] = []
  Object.assign(store, {
    adoption: {
      discard: async (sid: string) => {
        order.push(`discards ${sid}`)
        await new Promise((resolve) => setImmediate(resolve))
        order.push('discarded')
      }
    },
    delete: async () => {
      order.push('deletes')
      return null
    }
  })
  await core.logout({ id: newId(), secretHash: '', kind: 'cookie' }, {}, 'sid')
  t.strictSame(order, ['discards sid', 'discarded', 'deletes'])
})
