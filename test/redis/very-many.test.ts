import { once } from 'node:events'
import { Agent, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { fill } from '../../bench/fill.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { Keys } from '../../lib/redis/keys.ts'
import type { RedisStore } from '../../lib/redis/store.ts'
import { startApp } from '../helpers/app.ts'
import { openManager } from '../helpers/managers.ts'
import { record } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { commandsDuring } from '../helpers/redis-commands.ts'
import { keysOf, openStore } from '../helpers/redis-store.ts'
import { report, times } from '../helpers/scale.ts'

const redis = await startRedis(t)

const idsOf = (records: SessionRecord[]): string[] => records.map(({ id }) => id)
const newestFirst = (records: SessionRecord[]): string[] => idsOf([...records].sort((a, b) => b.createdAt - a.createdAt))

/** What version 0.1 does when a session is used: it takes what is scored below now for expired. */
const USE_BY_0_1 = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. redis.call('TIME')[1] * 1000)
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])`

interface Subject { store: RedisStore, other: RedisStore, ours: string, list: string, keys: Keys, make: (overrides?: Partial<SessionRecord>) => SessionRecord }

/** Two processes' view of sessions in Redis. */
async function open (t: Test): Promise<Subject> {
  const ours = prefix()
  const [store, other] = [await openStore(t, redis.url, { prefix: ours }), await openStore(t, redis.url, { prefix: ours })]
  return { store, other, ours, list: `@${ours}user:ada`, keys: new Keys(ours), make: (overrides) => record({ now: store.now(), ...overrides }) }
}

/** Sessions of ada's, each a millisecond younger than the one before. */
async function begin ({ store, make }: Subject, count: number, overrides: Partial<SessionRecord> = {}): Promise<SessionRecord[]> {
  const now = Math.floor(store.now())
  const sessions = Array.from({ length: count }, (_, index) => make({ createdAt: now - 2 * count + index, ...overrides }))
  for (let from = 0; from < count; from += 100) await Promise.all(sessions.slice(from, from + 100).map((each) => store.begin(each)))
  return sessions
}

/** Their list as version 0.1 has it: no index, and no telling a bearer token from a cookie. */
async function asIn01 ({ list, keys, store }: Subject, sessions: SessionRecord[], scoreOf: (index: number) => number): Promise<void> {
  await redis.client.zremrangebyscore(list, '-inf', '(0')
  const expiry = Math.floor(store.now()) + 1_000_000
  await redis.client.zadd(list, ...sessions.flatMap((each, index) => [expiry + scoreOf(index), keys.memberOf(each)]))
}

for (const [when, scoreOf] of Object.entries({ 'one after the other': (index: number) => index, 'all at once': () => 0 })) {
  t.test(`very many sessions that version 0.1 left, which end ${when}, are listed, limited and ended as any others`, async (t) => {
    const subject = await open(t)
    const { store, other, ours, make } = subject
    const tokens = await begin(subject, 50, { kind: 'bearer' })
    const sessions = await begin(subject, 700)
    await asIn01(subject, [...sessions, ...tokens], scoreOf)
    t.strictSame(idsOf(await other.listByUser('ada')).sort(), idsOf([...sessions, ...tokens]).sort())

    await asIn01(subject, [...sessions, ...tokens], scoreOf)
    for (const each of tokens) await store.touch(each)
    const logins = Array.from({ length: 6 }, () => make())
    for (const each of logins) t.ok(await store.begin(each, { limit: { max: 600, evicts: true } }))
    const cookies = (await store.listByUser('ada')).filter(({ kind }) => kind === 'cookie')
    // Of 706 the oldest: a hundred when the index was there, and what was too many after that.
    t.strictSame(idsOf(cookies), [...idsOf(cookies.slice(0, 6)), ...newestFirst(sessions.slice(106))])
    t.strictSame(idsOf(cookies.slice(0, 6)).sort(), idsOf(logins).sort())

    await asIn01(subject, [...sessions, ...tokens], scoreOf)
    t.equal((await other.deleteByUser('ada')).length, 650)
    t.strictSame(await keysOf(redis.client, ours), [])
  })
}

t.test('while version 0.1 uses sessions of the same user, the listing is right, and the limit counts them all', async (t) => {
  const subject = await open(t)
  const { store, other, list, keys, make } = subject
  const sessions = await begin(subject, 300)
  const wrong: number[] = []
  for (let round = 0; round < 50; round++) {
    const used = sessions[(round * 37) % 300] as SessionRecord
    await redis.client.eval(USE_BY_0_1, 1, list, keys.memberOf(used), Math.floor(store.now()) + 2_000_000 + round)
    if (round % 3 === 0) t.ok(await store.touch(sessions[round] as SessionRecord))
    const page = await other.listByUser('ada', { limit: 20, before: sessions[200] })
    if (idsOf(page).join() !== newestFirst(sessions.slice(180, 200)).join()) wrong.push(round)
  }
  t.strictSame(wrong, [])
  await t.rejects(store.begin(make(), { limit: { max: 300, evicts: false } }), { code: 'ERR_SESSION_LIMIT_REACHED' })
  t.strictSame(idsOf(await store.listByUser('ada')), newestFirst(sessions))
})

t.test('the last one of very many to sign out leaves nothing behind', async (t) => {
  const subject = await open(t)
  const sessions = await begin(subject, 150)
  await subject.store.listByUser('ada')
  for (const { id } of sessions) await subject.other.delete(id)
  t.strictSame(await keysOf(redis.client, subject.ours), [])
})

t.test('a full Redis lists very many sessions, and ends them', async (t) => {
  const subject = await open(t)
  const { store, ours, list } = subject
  const sessions = await begin(subject, 300)
  await redis.client.zremrangebyscore(list, '-inf', '(0')
  await redis.client.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1')
  t.teardown(() => redis.client.config('SET', 'maxmemory', '0'))
  t.strictSame(idsOf(await store.listByUser('ada')), newestFirst(sessions))
  t.equal((await store.deleteByUser('ada')).length, 300)
  t.strictSame(await keysOf(redis.client, ours), [])
})

t.test('twenty thousand sessions that ran out at once keep nobody from signing in, and are told some hundred at a time', async (t) => {
  const ours = prefix()
  const [here, there] = [await openStore(t, redis.url, { prefix: ours }), await openStore(t, redis.url, { prefix: ours })]
  const [sessions, watcher] = [openManager(t, { store: here }), openManager(t, { store: there })]
  const told = { here: new Set<string>(), there: new Set<string>(), inAll: 0 }
  for (const [where, manager] of [['here', sessions], ['there', watcher]] as const) {
    manager.on('expired', ({ id }) => {
      told[where].add(id)
      told.inAll++
    })
  }
  await until('both to listen', async () => Number((await redis.client.pubsub('NUMSUB', `@${ours}events`))[1]) === 2)
  const past = Math.floor(here.now()) - 10_000
  for (let from = 0; from < 20_000; from += 1_000) {
    await redis.client.zadd(`@${ours}user:ada`, ...Array.from({ length: 1_000 }, (_, index) => [past, `${String(from + index).padStart(22, '0')}:${past.toString(36)}`]).flat())
  }
  const commands = await commandsDuring(redis.client, async () => { await sessions.create({ userId: 'ada' }) })
  t.ok((commands.publish ?? 0) <= 10, `${commands.publish} messages`)
  await until('both to hear of it', () => told.here.size > 0 && told.there.size === told.here.size)
  t.ok(told.here.size <= 1_000, `${told.here.size} told at once`)
  // Not within the time of a request, which a busy machine may not have for so many.
  const rest = await commandsDuring(redis.client, async () => { t.equal((await here.listByUser('ada')).length, 1) })
  await until('both to hear of all', () => told.here.size === 20_000 && told.there.size === 20_000)
  t.equal(told.inAll, 40_000, 'each once')
  t.ok((rest.publish ?? 0) <= 200, `${rest.publish} messages`)
  t.equal(await redis.client.zcount(`@${ours}user:ada`, '0', '+inf'), 1)
})

/** The most that any command was told or asked to handle of a user's list while something was done, scripts' own commands included. */
async function mostAtOnce (t: Test, list: string, work: () => Promise<unknown>): Promise<number> {
  const listener = await redis.client.monitor() as unknown as Redis
  t.teardown(() => listener.disconnect())
  let most = 0
  let isDone = false
  listener.on('monitor', (_time: string, [command = '', ...args]: string[]) => {
    if (args[0] === 'that was it') isDone = true
    if (!args.includes(list)) return
    const limit = args.indexOf('LIMIT')
    const asked = !/^zrange/i.test(command) ? args.length / 2 : limit !== -1 ? Number(args[limit + 2]) : args[1] === '0' ? 100 : Number(args[2]) - Number(args[1]) + 1
    most = Math.max(most, asked)
  })
  await work()
  await redis.client.echo('that was it')
  await until('the monitor', () => isDone)
  listener.disconnect()
  return most
}

t.test('however many sessions a user has, no command handles more than some hundred of them', async (t) => {
  const subject = await open(t)
  const { store, list, make } = subject
  const sessions = await begin(subject, 3_000)
  const [login, bearer] = [make(), make({ kind: 'bearer' })]
  const limits = { evicting: { max: 1_000, evicts: true }, refusing: { max: 3_000, evicts: false } }
  const work: Record<string, () => Promise<unknown>> = {
    'a sign-in': async () => t.ok(await store.begin(bearer)),
    'one under a limit': async () => t.ok(await store.begin(login, { limit: limits.evicting })),
    'one that is refused': async () => await t.rejects(store.begin(make(), { limit: { ...limits.refusing, max: 2_000 } }), { code: 'ERR_SESSION_LIMIT_REACHED' }),
    'a use': async () => t.ok(await store.touch(sessions[2_999] as SessionRecord)),
    'a page': async () => t.equal((await store.listByUser('ada', { limit: 100, before: sessions[1_000] })).length, 100),
    'a sign-out': async () => t.ok(await store.delete(sessions[2_998]?.id as string)),
    'the end of all': async () => t.equal((await store.deleteByUser('ada')).length, 2_901)
  }
  for (const [what, each] of Object.entries(work)) {
    const most = await mostAtOnce(t, list, each)
    t.ok(most > 0 && most <= 1_001, `${what}: ${most}`)
  }
})

/** How long a server has worked, in milliseconds. */
async function cpuMs (client: Redis): Promise<number> {
  const used = [...(await client.info('cpu')).matchAll(/^used_cpu_(?:sys|user):(\S+)/gm)]
  return used.reduce((sum, [, seconds]) => sum + Number(seconds) * 1000, 0)
}

/** How much more of Redis it may take to end sessions, in portions, than to write them by one script. */
const MOST_BESIDE_FILLING = 4

t.test('while all sessions of one user end, however many, another one is served, and Redis is kept from nobody for long', { timeout: 300_000 }, async (t) => {
  const count = times(100_000, 10_000)
  const own = await startRedis(t)
  const app = await startApp(t, { redis: own.url, keyPrefix: 'sess:' }, { forceCloseConnections: true })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const { headers } = await app.sessions.create({ userId: 'bob' })
  const cpuAtFirst = await cpuMs(own.client)
  await fill(own.client, 0, count, { perUser: count })
  const filling = await cpuMs(own.client) - cpuAtFirst

  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  const statuses = new Map<number | undefined, number>()
  /** Has the other user ask, four times at a time, for as long as this says. */
  const ask = async (goesOn: () => boolean): Promise<unknown> => await Promise.all(Array.from({ length: 4 }, async () => {
    while (goesOn()) {
      const [response] = await once(get({ host: '127.0.0.1', port, path: '/me', agent, headers: headers as Record<string, string> }), 'response')
      response.resume()
      await once(response, 'end')
      statuses.set(response.statusCode, (statuses.get(response.statusCode) ?? 0) + 1)
    }
  }))
  const asked = (): number => [...statuses.values()].reduce((sum, each) => sum + each, 0)
  let isDone = false
  const [startedAt, cpuBefore] = [performance.now(), await cpuMs(own.client)]
  const others = ask(() => !isDone)
  t.equal(await app.sessions.revokeUser('0'), count)
  const ms = performance.now() - startedAt
  isDone = true
  await others
  const [during, cpuAfter] = [asked(), await cpuMs(own.client)]
  t.strictSame([...statuses.keys()], [200], JSON.stringify([...statuses]))
  // The other user asks the more the longer it takes: what that cost is what as many requests cost by themselves. Time
  // in which the server was kept from working is nobody's portion.
  let left = during
  await ask(() => left-- > 0)
  const cpu = cpuAfter - cpuBefore - (await cpuMs(own.client) - cpuAfter)
  t.ok(cpu < MOST_BESIDE_FILLING * filling, `${(cpu / filling).toFixed(1)} times what it took Redis to write them at once, ${cpu.toFixed()} ms`)
  t.strictSame(await keysOf(own.client, '0000'), [])
  t.equal(await app.sessions.revokeUser('0'), 0)
  report({ scenario: `one user's ${count} sessions ended while another is served`, on: 'Redis', tries: during, failed: 0, slowestMs: ms })
})
