import t from 'tap'
import type { SessionEvent } from '../../lib/index.ts'
import { inRedis } from '../helpers/managers.ts'
import type { Sessions } from '../helpers/managers.ts'
import { operate, start } from '../helpers/operate.ts'
import { startCluster, startRedis, until } from '../helpers/redis.ts'

const redis = await startRedis(t)
const env = { REDIS_URL: redis.url }
const DAY = 86_400_000

/** Begins a session of nobody, as a visitor with a cart has one. */
async function visit ({ sessions, store }: Sessions, id: string): Promise<void> {
  const { session } = await sessions.create({ userId: 'somebody', idleTimeout: '5d', absoluteTimeout: '6d' })
  const record = await store.find(session.id)
  await sessions.revoke(session.id)
  await store.begin({ ...record as any, id, userId: null, authenticatedAt: null })
}

async function idsOf ({ store }: Sessions): Promise<string[]> {
  const ids: string[] = []
  for await (const { id } of store.listAll?.() ?? []) ids.push(id)
  return ids
}

t.test('why and by whom a session ended reaches the other processes', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  const events: SessionEvent[] = []
  sessions.on('revoked', (event) => events.push(event))
  const begin = async () => (await sessions.create({ userId: 'ada' })).session.id
  const [one, other, third] = [await begin(), await begin(), await begin()]
  // Not before this process listens.
  await until('to listen', async () => (await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`))[1] === 1)
  const call = async (...args: string[]) => await operate(['revoke', ...args, '--prefix', keyPrefix], { env })
  await call(one, '--reason', 'lost laptop')
  await call('--user', 'ada', '--except', third, '--actor', 'support:bob')
  await call('--all', '--yes')
  await until('three events', () => events.length === 3)
  const about = { userId: 'ada', reason: 'revoked', local: false }
  t.match(events, [
    { id: one, ...about, statedReason: 'lost laptop', actor: 'cli:ada' },
    { id: other, ...about, statedReason: null, actor: 'support:bob' },
    { id: third, ...about, actor: 'cli:ada' }
  ])
  const nameless = await begin()
  await operate(['revoke', nameless, '--prefix', keyPrefix], { env, userName: null })
  await until('the last event', () => events.length === 4)
  t.match(events[3], { actor: 'cli' })
})

t.test('what the command line ends is remembered for a day, or for as long as it is told', async (t) => {
  const given = await inRedis(t, redis)
  const { sessions, another, keyPrefix } = given
  const knowing = await another({ endedFor: '1h' })
  const call = async (...args: string[]) => await operate(['revoke', ...args, '--prefix', keyPrefix], { env })
  const old = { idleTimeout: '5d', absoluteTimeout: '6d' } as const
  const ways: Array<[args: (id: string) => string[], reason: string | null]> = [
    [(id) => [id, '--reason', 'one'], 'one'],
    [() => ['--user', 'ada', '--reason', 'of a user'], 'of a user'],
    [() => ['--older-than', '1d'], null],
    [() => ['--all', '--yes'], null]
  ]
  for (const [argsOf, statedReason] of ways) {
    const { token, session } = await sessions.create({ userId: 'ada', ...old })
    await given.age(2 * DAY)
    t.equal((await call(...argsOf(session.id))).code, 0)
    t.match(await knowing.ended(token), { reason: 'revoked', userId: 'ada', statedReason, actor: 'cli:ada' })
    const left = await redis.client.pttl(`@{${keyPrefix}${session.id}}:ended`)
    t.ok(left > DAY - 3_600_000 && left <= DAY, String(left))
  }
  for (const [time, least, most] of [['1m', 1, 60_000], ['30d', 29 * DAY, 30 * DAY]] as const) {
    const { session } = await sessions.create({ userId: 'ada' })
    t.equal((await call(session.id, '--ended-for', time)).code, 0)
    const left = await redis.client.pttl(`@{${keyPrefix}${session.id}}:ended`)
    t.ok(left >= least && left <= most, String(left))
  }
  const { session } = await sessions.create({ userId: 'ada' })
  t.equal((await call(session.id, '--ended-for', 'off')).code, 0)
  t.equal(await redis.client.exists(`@{${keyPrefix}${session.id}}:ended`), 0)
  const kept = (await sessions.create({ userId: 'ada' })).session.id
  for (const time of ['59s', '31d', '3600000', 'soon', 'never', '-1h']) {
    const { code, err } = await call(kept, `--ended-for=${time}`)
    t.equal(code, 2, time)
    t.match(err, /--ended-for must be /)
  }
  t.ok(await sessions.get(kept), 'nothing was ended')
})

t.test('a near-cache of another process does not answer with what the command line has ended', async (t) => {
  const { sessions, another, keyPrefix } = await inRedis(t, redis)
  const near = await another({ nearCache: true })
  const { token, session } = await sessions.create({ userId: 'ada' })
  await until('a session in the near-cache', async () => (await near.find(token))?.id === session.id)
  t.equal((await operate(['revoke', session.id, '--prefix', keyPrefix], { env })).code, 0)
  await until('its end', async () => await near.find(token) === null)
})

t.test('--older-than ends the sessions of users that began before, and no other', async (t) => {
  const given = await inRedis(t, redis)
  const { sessions, age, keyPrefix } = given
  const old = { userId: 'ada', idleTimeout: '5d', absoluteTimeout: '6d' } as const
  for (let each = 0; each < 30; each++) await sessions.create({ ...old, userId: `user ${each}` })
  await visit(given, 'n'.repeat(22))
  await age(2 * DAY)
  const kept = (await sessions.create(old)).session.id
  const call = async (...args: string[]) => await operate(['revoke', '--older-than', '1d', ...args, '--json', '--prefix', keyPrefix], { env })
  t.match(await call(), { code: 0, out: '{"ended":30}\n' })
  t.strictSame((await idsOf(given)).sort(), [kept, 'n'.repeat(22)].sort())
  t.ok(await sessions.get(kept))
  t.match(await call(), { code: 1, out: '{"ended":0}\n' }, 'twice is harmless')
})

t.test('--all ends all sessions, those of nobody too, and nothing under another prefix', async (t) => {
  const [given, others] = [await inRedis(t, redis), await inRedis(t, redis)]
  await others.sessions.create({ userId: 'ada' })
  for (let each = 0; each < 40; each++) await given.sessions.create({ userId: `user ${each % 25}` })
  for (const id of 'abc') await visit(given, id.repeat(22))
  await redis.client.set(`@${given.keyPrefix}user:${'x'.repeat(300)}`, 'no list')
  const call = async (...args: string[]) => await operate(['revoke', '--all', ...args, '--json', '--prefix', given.keyPrefix], { env })
  t.match(await call('--yes'), { code: 0, out: '{"ended":43}\n', err: '' })
  t.strictSame(await idsOf(given), [])
  t.match(await call('--yes'), { code: 1, out: '{"ended":0}\n' }, 'twice is harmless')
  t.equal((await idsOf(others)).length, 1)
})

t.test('--all asks a person first, and only yes is yes', async (t) => {
  const given = await inRedis(t, redis)
  const argv = ['revoke', '--all', '--prefix', given.keyPrefix]
  await given.sessions.create({ userId: 'ada' })
  for (const answer of ['', 'no', 'y']) {
    const running = start(argv, { env, isTty: true })
    await until('the question', () => running.said().err.includes('Type yes'))
    running.stdin.write(`${answer}\n`)
    t.match(await running.ended, { code: 1, out: 'nothing was ended\n' }, answer)
  }
  const interruption = new AbortController()
  const asked = start(argv, { env, isTty: true, signal: interruption.signal })
  await until('the question', () => asked.said().err.includes(`every session under "${given.keyPrefix}"`))
  interruption.abort()
  t.match(await asked.ended, { code: 130 })
  t.equal((await idsOf(given)).length, 1)
  const running = start(argv, { env, isTty: true })
  running.stdin.write('yes\n')
  t.match(await running.ended, { code: 0, out: '1 session ended\n' })
  t.strictSame(await idsOf(given), [])
})

t.test('a run that is broken off says how far it was, and the next one goes on', async (t) => {
  const given = await inRedis(t, redis)
  await Promise.all(Array.from({ length: 300 }, async (_, each) => await given.sessions.create({ userId: `user ${each}` })))
  const interruption = new AbortController()
  given.sessions.on('revoked', () => interruption.abort())
  await until('to listen', async () => (await redis.client.pubsub('NUMSUB', `@${given.keyPrefix}events`))[1] === 1)
  const argv = ['revoke', '--all', '--yes', '--prefix', given.keyPrefix]
  const { code, err } = await operate(argv, { env, signal: interruption.signal })
  t.equal(code, 130)
  const ended = Number(/(\d+) sessions were ended before/.exec(err)?.[1])
  const left = (await idsOf(given)).length
  t.equal(ended + left, 300)
  t.ok(ended > 0 && left > 0, `${left} left`)
  t.match(await operate(argv, { env }), { code: 0, out: `${left} sessions ended\n` })
})

t.test('a run is broken off also while it finds no session', async (t) => {
  const own = await startRedis(t)
  const others = Array.from({ length: 100_000 }, (_, each) => [`cache:${each}`, 'x'])
  for (let from = 0; from < others.length; from += 10_000) await own.client.mset(...others.slice(from, from + 10_000).flat())
  const scans = async (): Promise<number> => Number(/cmdstat_scan:calls=(\d+)/.exec(await own.client.info('commandstats'))?.[1] ?? 0)
  for (const what of [['--all', '--yes'], ['--older-than', '1d']]) {
    const interruption = new AbortController()
    const before = await scans()
    const running = start(['revoke', ...what, '--redis', own.url], { signal: interruption.signal })
    await until('it to look', async () => await scans() > before)
    interruption.abort()
    t.match(await running.ended, { code: 130 }, what.join(' '))
  }
})

t.test('--all beside logins: none is left that was there when it began', async (t) => {
  const given = await inRedis(t, redis)
  const { sessions, keyPrefix } = given
  const login = async () => await sessions.create({ userId: `user ${Math.floor(Math.random() * 20)}` }).then(({ session }) => session.id, () => '')
  const before = await Promise.all(Array.from({ length: 200 }, login))
  const over = new AbortController()
  const later: string[] = []
  const loggingIn = Array.from({ length: 4 }, async () => { while (!over.signal.aborted) later.push(await login()) })
  const { code } = await operate(['revoke', '--all', '--yes', '--prefix', keyPrefix], { env })
  over.abort()
  await Promise.all(loggingIn)
  t.equal(code, 0)
  const living = new Set(await idsOf(given))
  t.strictSame(before.filter((id) => living.has(id)), [])
  for (const id of living) t.ok(later.includes(id))
  // What lives is listed, so that it can be ended by its user.
  const listed = (await Promise.all(Array.from({ length: 20 }, async (_, each) => await sessions.listByUser(`user ${each}`)))).flat()
  t.strictSame(new Set(listed.map(({ id }) => id)), living)
})

t.test('in a Cluster all nodes are looked at', async (t) => {
  const { nodes, ports } = await startCluster(t)
  const given = await inRedis(t, { url: { cluster: nodes } as any, client: redis.client })
  for (let each = 0; each < 30; each++) await given.sessions.create({ userId: `user ${each}` })
  await visit(given, 'v'.repeat(22))
  const where = ['--cluster', '--redis', `redis://127.0.0.1:${ports[0]}`, '--prefix', given.keyPrefix]
  t.match(await operate(['revoke', '--older-than', '1h', ...where]), { code: 1 })
  t.match(await operate(['revoke', '--all', '--yes', ...where]), { code: 0, out: '31 sessions ended\n' })
  t.strictSame(await idsOf(given), [])
})
