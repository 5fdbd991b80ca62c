import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { errors } from '../../lib/errors.ts'
import { RedisLink } from '../../lib/redis/link.ts'
import { Reads } from '../../lib/redis/reads.ts'
import { record } from '../helpers/record.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { Gate } from '../helpers/spy-store.ts'

const redis = await startRedis(t)
const LARGE = 'x'.repeat(70_000)
const HUGE = 'x'.repeat(2_000_000)

/** Reads over a connection of its own: what each command read there, and what was read beside it. */
async function open (t: Test) {
  const client = new Redis(redis.url)
  const link = new RedisLink(client)
  const reads = new Reads(link)
  const [sent, beside]: [string[][], string[]] = [[], []]
  const links: RedisLink[] = []
  /** Holds up what is read beside. */
  const gate = { held: null as Gate | null }
  watch(link, (keys) => sent.push(keys))
  const duplicate = link.duplicate.bind(link)
  link.duplicate = (options) => {
    const second = duplicate(options)
    links.push(second)
    watch(second, ([key = '']) => beside.push(key), async () => { await gate.held?.pass() })
    return second
  }
  t.teardown(async () => {
    await reads.large.close()
    link.close()
    client.disconnect()
  })
  await until('the connection', () => client.status === 'ready')
  const ours = prefix()
  const put = async (values: Record<string, string>): Promise<void> => { for (const [name, value] of Object.entries(values)) await redis.client.set(ours + name, value) }
  const get = async (...names: string[]): Promise<Array<string | null>> => await Promise.all(names.map(async (name) => await reads.get(ours + name)))
  const ready = async (): Promise<void> => await until('the second connection', () => links.at(-1)?.client.status === 'ready')
  return { client, link, reads, sent, beside, links, gate, ours, put, get, ready }
}

/** Hears of each command over a link that reads keys. */
function watch (link: RedisLink, hear: (keys: string[]) => void, hold: () => Promise<void> = async () => {}): void {
  const run = link.run.bind(link)
  link.run = async <T>(key: string, command: Parameters<typeof run<T>>[1]): Promise<T> => {
    await hold()
    return await run(key, (client) => command(new Proxy(client, {
      get: (target, name) => {
        const value = Reflect.get(target, name, target) as (...args: unknown[]) => unknown
        if (name !== 'mget' && name !== 'get') return value
        return (...args: unknown[]) => {
          hear(args.flat() as string[])
          return value.apply(target, args)
        }
      }
    })))
  }
}

t.test('what was large when it was read last is read by itself, beside, and who asks for anything else does not wait for it', async (t) => {
  const { sent, beside, gate, ours, put, get, ready } = await open(t)
  await put({ small: 'x', large: LARGE, other: 'y' })
  t.strictSame(await get('small', 'large', 'other'), ['x', LARGE, 'y'])
  t.strictSame(sent, [[`${ours}small`, `${ours}large`, `${ours}other`]])
  await ready()
  gate.held = new Gate()
  const late = get('large')
  await gate.held.reached
  t.strictSame(await get('small', 'other'), ['x', 'y'], 'while it is on its way')
  gate.held.open()
  t.strictSame(await late, [LARGE])
  t.strictSame([sent.length, beside], [2, [`${ours}large`]])
})

t.test('what is small again is read with the rest', async (t) => {
  const { sent, beside, links, ours, put, get, ready } = await open(t)
  await put({ large: LARGE })
  await get('large')
  await ready()
  await put({ large: 'small' })
  t.strictSame(await get('large'), ['small'])
  t.strictSame(beside, [`${ours}large`])
  t.strictSame(await get('large'), ['small'])
  await redis.client.del(`${ours}large`)
  t.strictSame(await get('large'), [null])
  t.strictSame([sent.length, beside.length, links.length], [3, 1, 1])
})

t.test('until the second connection is there, and where it is not, it is read over the first', async (t) => {
  const { sent, links, ours, put, get } = await open(t)
  await put({ large: LARGE })
  await get('large')
  t.strictSame(await get('large'), [LARGE])
  t.strictSame(sent, [[`${ours}large`], [`${ours}large`]])
  links[0]?.client.disconnect()
  t.strictSame(await get('large'), [LARGE])
})

t.test('of what is huge one is on its way at a time, and of what is only large several', async (t) => {
  const { beside, gate, put, get, ready } = await open(t)
  await put({ huge: HUGE, large: LARGE })
  await get('huge', 'large')
  await ready()
  gate.held = new Gate()
  const all = get('huge', 'huge', 'large', 'large', 'large')
  await gate.held.reached
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(beside, [])
  gate.held.open()
  t.equal((await all).filter((value) => value !== null).length, 5)
  t.strictSame(beside.map((key) => key.slice(-5)), [':huge', 'large', 'large', 'large', ':huge'])
})

t.test('who has waited too long is told so, and nothing is read for them', async (t) => {
  const { beside, gate, put, get, ready } = await open(t)
  await put({ huge: HUGE })
  await get('huge')
  await ready()
  gate.held = new Gate()
  const first = get('huge')
  const others = ['a', 'b', 'c'].map(async () => await get('huge').then(() => null, (error: unknown) => error))
  await gate.held.reached
  const now = performance.now() + 700
  const clock = t.intercept(performance, 'now', { value: () => now })
  gate.held.open()
  t.equal((await first)[0]?.length, HUGE.length)
  const refusals = await Promise.all(others)
  clock.restore()
  t.ok(refusals.every((error) => error instanceof errors.STORE_UNAVAILABLE && !('cause' in error)), 'of which nothing was sent')
  t.equal(beside.length, 1)
})

t.test('what comes too late is known to be large the next time', async (t) => {
  const { link, beside, ours, put, reads, ready } = await open(t)
  await put({ large: LARGE })
  const { run } = link
  let arrived: Promise<unknown> = Promise.resolve()
  link.run = async <T>(key: string, command: Parameters<typeof link.run<T>>[1]): Promise<T> => {
    arrived = run(key, command)
    throw new errors.STORE_UNAVAILABLE({ cause: new Error('no answer within 500 ms') })
  }
  await t.rejects(reads.get(`${ours}large`), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  await arrived
  link.run = run
  await ready()
  t.equal(await reads.get(`${ours}large`), LARGE)
  t.strictSame(beside, [`${ours}large`])
})

t.test('the second connection goes with the first, so that a server that was left is asked nothing', async (t) => {
  const { client, links, beside, put, get, ready } = await open(t)
  await put({ large: LARGE })
  await get('large')
  await ready()
  await get('large')
  const { stream } = client
  client.disconnect(true)
  await until('another connection', () => client.stream !== stream && client.status === 'ready')
  t.strictSame(await get('large'), [LARGE])
  t.equal(links.length, 2)
  await until('the old one to be gone', () => links[0]?.client.status === 'end')
  await ready()
  await get('large')
  t.equal(beside.length, 2)
})

t.test('no more than a thousand keys are remembered, those that were read last', async (t) => {
  const { reads } = await open(t)
  for (let key = 0; key < 1_200; key++) reads.large.saw(`${key}`, LARGE)
  const known = Array.from({ length: 1_200 }, (_, key) => key).filter((key) => reads.large.has(`${key}`))
  t.strictSame([known.length, known[0]], [1_000, 200])
})

t.test('closing a store closes the second connection', async (t) => {
  const connections = async (): Promise<number> => (await redis.client.client('LIST') as string).trim().split('\n').length
  const store = await openStore(t, redis.url, { prefix: prefix() })
  const before = await connections()
  const session = record({ now: store.now(), data: JSON.stringify({ cart: LARGE }) })
  await store.begin(session)
  for (let visit = 0; visit < 3; visit++) t.strictSame(await store.find(session.id), session)
  await until('the second connection', async () => await connections() === before + 1)
  await store.close()
  await until('it to be gone', async () => await connections() === before)
})

t.test('in a Cluster what is large is read beside as well', async (t) => {
  const cluster = await startCluster(t)
  const store = await openStore(t, { cluster: cluster.nodes }, { prefix: prefix() })
  const session = record({ now: store.now(), data: JSON.stringify({ cart: LARGE }) })
  await store.begin(session)
  const names = async (): Promise<number> => {
    const lists = await Promise.all(cluster.client.nodes('master').map(async (node) => await node.client('LIST') as string))
    return lists.join('').split('\n').length
  }
  const before = await names()
  t.strictSame(await store.find(session.id), session)
  await until('more connections', async () => await names() > before)
  for (let visit = 0; visit < 10; visit++) t.strictSame(await store.find(session.id), session)
  await store.delete(session.id)
  t.equal(await store.find(session.id), null)
})
