import { AsyncLocalStorage } from 'node:async_hooks'
import { mock } from 'node:test'
import t from 'tap'
import type { Test } from 'tap'
import { errors } from '../../lib/errors.ts'
import { finished, Revocations } from '../../lib/session/revocations.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import type { DeleteByUserOptions, SessionStore } from '../../lib/session/store.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { Gate } from '../helpers/spy-store.ts'
import { record } from '../helpers/record.ts'
import { until } from '../helpers/redis.ts'

const NOW = 1_700_000_000_000.5

type Asked = DeleteByUserOptions & { onEnded: NonNullable<DeleteByUserOptions['onEnded']> }
type End = (userId: string, options: Asked) => Promise<string[]>

/** Revocations in a store that knows some sessions, and ends those of a user as `end` does. */
function open (t: Test, end: End, sessions: SessionRecord[] = []) {
  const told: string[] = []
  const asked: Array<Asked & { userId: string }> = []
  const store: Partial<SessionStore> = {
    now: () => NOW,
    find: async (id) => sessions.find((each) => each.id === id) ?? null,
    successor: async (id) => id === 'before' ? 'after' : null,
    // It is told the options that it asks for.
    deleteByUser: async (userId, options) => {
      asked.push({ userId, ...options as Asked })
      return await end(userId, options as Asked)
    },
    listByUser: async () => [],
    listAll: async function * () {}
  }
  const revocations = new Revocations(store as SessionStore, { tell: ({ id, userId }) => { told.push(`${id} of ${userId}`) }, markForMs: null })
  t.teardown(() => revocations.close())
  return { revocations, told, asked }
}

const old = record({ now: NOW - 1000, id: 'old' })
const down: End = async () => { throw new errors.STORE_UNAVAILABLE({ cause: new Error('down') }) }
const goesDown: End = async (userId, options) => {
  options.onEnded([])
  return await down(userId, options)
}

t.test('from the first moment on all sessions of the user are refused that began before, and nobody else\'s', async (t) => {
  const gate = new Gate()
  const { revocations } = open(t, async () => {
    await gate.pass()
    return []
  })
  t.notOk(revocations.refuses(old))
  const { done } = revocations.begin('ada', undefined, { reason: 'revoked' })
  t.ok(revocations.refuses(old))
  t.ok(revocations.refuses(record({ now: NOW })), 'also what began in this millisecond')
  t.notOk(revocations.refuses(record({ now: NOW + 1 })), 'who signs in afterwards')
  t.notOk(revocations.refuses({ ...old, userId: 'bob' }))
  t.notOk(revocations.refuses({ ...old, userId: null }))
  gate.open()
  await done
  t.notOk(revocations.refuses(old), 'they have ended')
})

t.test('the exception is refused under no id', async (t) => {
  for (const [except, sessions] of [['here', [record({ now: NOW - 50, id: 'here' })]], ['before', [record({ now: NOW - 50, id: 'after' })]]] as const) {
    const gate = new Gate()
    const { revocations } = open(t, async () => {
      await gate.pass()
      return []
    }, [...sessions])
    const { done } = revocations.begin('ada', except, { reason: 'revoked' })
    for (const id of [except, 'what it moves to']) t.notOk(revocations.refuses(record({ now: NOW - 50, id })), 'nor before it is found')
    await gate.reached
    t.notOk(revocations.refuses(record({ now: NOW - 50, id: 'what it moves to' })))
    t.ok(revocations.refuses(old))
    gate.open()
    await done
  }
})

t.test('each session that ends is told once, as it ends, also by a store that says so at the end only', async (t) => {
  const gate = new Gate()
  const portions = open(t, async (_userId, { onEnded }) => {
    onEnded(['a', 'b'])
    onEnded([])
    await gate.pass()
    onEnded(['c'])
    return ['a', 'b', 'c']
  })
  const revocation = portions.revocations.begin('ada', undefined, { reason: 'revoked' })
  await gate.reached
  t.strictSame(portions.told, ['a of ada', 'b of ada'])
  t.match(revocation, { ended: 2, steps: 2 })
  gate.open()
  t.equal(await revocation.done, 3)
  t.strictSame(portions.told, ['a of ada', 'b of ada', 'c of ada'])
  const { revocations, told } = open(t, async () => ['a', 'b'])
  t.equal(await revocations.begin('ada', undefined, { reason: 'revoked' }).done, 2)
  t.strictSame(told, ['a of ada', 'b of ada'])
})

t.test('where the store fails before anything is done, nobody is refused, and nothing is tried again', async (t) => {
  const { revocations } = open(t, down)
  await t.rejects(revocations.begin('ada', undefined, { reason: 'revoked' }).done, { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.notOk(revocations.refuses(old))
  t.notOk(process.getActiveResourcesInfo().includes('Timeout'))
})

t.test('where the store fails half-way it is gone on with until it does not, for those that were to end at first', async (t) => {
  let tries = 0
  const { revocations, told, asked } = open(t, async (userId, options) => {
    options.onEnded([`${++tries}`])
    return tries < 3 ? await down(userId, options) : [`${tries}`]
  })
  const { done } = revocations.begin('ada', undefined, { reason: 'revoked' })
  await t.rejects(done, { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.ok(revocations.refuses(old), 'meanwhile they are refused')
  await until('the third try', () => tries === 3)
  await until('its end', () => !revocations.refuses(old))
  t.strictSame(asked.map(({ before }) => before), [undefined, NOW, NOW])
  t.strictSame(told, ['1 of ada', '2 of ada', '3 of ada'])
})

t.test('of two that failed for one user the later one is gone on with, and of others each', async (t) => {
  let isBack = false
  const { revocations, asked } = open(t, async (userId, options) => isBack ? [] : await goesDown(userId, options))
  const all = [['ada', undefined], ['ada', undefined], ['ada', 'here'], ['bob', undefined]] as const
  for (const [userId, except] of all) await t.rejects(revocations.begin(userId, except, { reason: 'revoked' }).done, { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  asked.length = 0
  isBack = true
  await until('their ends', () => !revocations.refuses(old) && !revocations.refuses({ ...old, userId: 'bob' }))
  t.strictSame(asked.map(({ userId, except }) => [userId, except]), [['ada', undefined], ['ada', 'here'], ['bob', undefined]])
})

t.test('what the store cannot do is not tried again, and refuses nobody', async (t) => {
  const { revocations } = open(t, async () => { throw new errors.UNSUPPORTED('that') })
  await t.rejects(revocations.begin('ada', undefined, { reason: 'revoked' }).done, { code: 'ERR_SESSION_UNSUPPORTED' })
  t.notOk(revocations.refuses(old))
  t.notOk(process.getActiveResourcesInfo().includes('Timeout'))
})

t.test('after closing nothing is tried again', async (t) => {
  const { revocations } = open(t, goesDown)
  await t.rejects(revocations.begin('ada', undefined, { reason: 'revoked' }).done)
  revocations.close()
  await t.rejects(revocations.begin('bob', undefined, { reason: 'revoked' }).done)
  t.notOk(process.getActiveResourcesInfo().includes('Timeout'))
})

t.test('whoever waits is told that the store is away when it does not go on, and not while it does', async (t) => {
  withRealLimits(t)
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  let goOn = (): void => {}
  const { revocations } = open(t, async (_userId, { onEnded }) => {
    goOn = () => onEnded(['one more'])
    return await new Promise(() => {})
  })
  let outcome: unknown = 'waits'
  void finished(revocations.begin('ada', undefined, { reason: 'revoked' })).catch((error: unknown) => { outcome = error })
  const pass = async (ms: number): Promise<void> => {
    mock.timers.tick(ms)
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
  }
  await pass(0)
  for (let portion = 0; portion < 3; portion++) {
    goOn()
    await pass(600)
    t.equal(outcome, 'waits')
  }
  await pass(600)
  t.match(outcome, { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
})

t.test('what is tried again is no part of the request that asked for it', async (t) => {
  const requests = new AsyncLocalStorage<string>()
  const seen: Array<string | undefined> = []
  const { revocations } = open(t, async (userId, options) => {
    seen.push(requests.getStore())
    return seen.length < 3 ? await goesDown(userId, options) : []
  })
  await t.rejects(requests.run('a request', () => revocations.begin('ada', undefined, { reason: 'revoked' })).done)
  await until('the third try', () => seen.length === 3)
  t.strictSame(seen, ['a request', undefined, undefined])
})
