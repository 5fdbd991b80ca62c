import t from 'tap'
import { SessionManager } from '../../lib/index.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import { RedisStore } from '../../lib/redis/store.ts'
import { secret } from '../helpers/app.ts'
import { inRedis } from '../helpers/managers.ts'
import { operate, start } from '../helpers/operate.ts'
import type { Running } from '../helpers/operate.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'

const redis = await startRedis(t)
const env = { REDIS_URL: redis.url }

async function listening (running: Running): Promise<void> {
  await until('to listen', () => running.said().err.includes('listening to'))
}

t.test('events of all processes are printed as they happen, until Ctrl+C', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  const interruption = new AbortController()
  const given = { env, signal: interruption.signal }
  const tail = (...args: string[]) => start(['tail', '--prefix', keyPrefix, ...args], given)
  const all = [tail(), tail('--json'), tail('--json', '--user', 'bob'), tail('--json', '--type', 'revoked')]
  await Promise.all(all.map(listening))
  const { session: adas } = await sessions.create({ userId: 'ada' })
  const { session: bobs } = await sessions.create({ userId: 'bob' })
  await sessions.revoke(adas.id, { reason: 'lost laptop', actor: 'support:eve' })
  const [people, json, ofBob, revoked] = all as [Running, Running, Running, Running]
  await until('three lines', () => [people, json].every((each) => each.said().out.split('\n').length === 4))
  t.match(json.said().json(), [
    { type: 'created', id: adas.id, userId: 'ada', kind: 'cookie' }, { type: 'created', id: bobs.id, userId: 'bob' },
    { type: 'revoked', id: adas.id, userId: 'ada', reason: 'revoked', statedReason: 'lost laptop', actor: 'support:eve' }
  ])
  t.match(people.said().out, new RegExp(`Z  revoked  ${adas.id}  user ada  cookie  revoked  by support:eve  "lost laptop"\n$`))
  await until('one line each', () => [ofBob, revoked].every((each) => each.said().out !== ''))
  interruption.abort()
  t.strictSame((await Promise.all(all.map(async ({ ended }) => await ended))).map(({ code }) => code), [0, 0, 0, 0])
  t.match(ofBob.said().json(), [{ type: 'created', userId: 'bob' }])
  t.strictSame(ofBob.said().json().length, 1)
  t.strictSame(revoked.said().json().map(({ type }) => type), ['revoked'])
})

t.test('an outage is told, and events go on after it', async (t) => {
  const own = await startRedis(t)
  const { sessions, keyPrefix } = await inRedis(t, own)
  const interruption = new AbortController()
  const running = start(['tail', '--prefix', keyPrefix], { env: { REDIS_URL: own.url }, signal: interruption.signal })
  await listening(running)
  await own.restart()
  await until('to be told', () => running.said().err.includes('events may be missing here'))
  await until('the application', async () => await sessions.create({ userId: 'ada' }).then(() => true, () => false))
  await until('an event', () => running.said().out.includes('created'))
  interruption.abort()
  t.equal((await running.ended).code, 0)
})

t.test('who may not listen is told so, and a name that is none is refused', async (t) => {
  await redis.client.call('ACL', 'SETUSER', 'deaf', 'on', '>right', '~*', 'resetchannels', '+@all')
  t.match(await operate(['tail'], { env: { ...env, REDIS_USERNAME: 'deaf', REDIS_PASSWORD: 'right' } }), { code: 3, err: /cannot listen .*channels/ })
  t.match(await operate(['tail', '--type', 'created,born'], { env }), { code: 2, err: /--type takes created/ })
})

t.test('in a Cluster as well', async (t) => {
  const { nodes, ports } = await startCluster(t)
  const { sessions, keyPrefix } = await inRedis(t, { url: { cluster: nodes } as any, client: redis.client })
  const interruption = new AbortController()
  const running = start(['tail', '--json', '--cluster', '--redis', `redis://127.0.0.1:${ports[0]}`, '--prefix', keyPrefix], { signal: interruption.signal })
  await listening(running)
  await sessions.create({ userId: 'ada' })
  await until('an event', () => running.said().out !== '')
  interruption.abort()
  t.match(await running.ended, { code: 0, out: /"type":"created"/ })
})

t.test('however the processes tell each other of events, each is printed once', async (t) => {
  const { nodes, ports } = await startCluster(t)
  for (const [target, where] of [[redis.url, ['--redis', redis.url]], [{ cluster: nodes }, ['--cluster', '--redis', `redis://127.0.0.1:${ports[0]}`]]] as const) {
    const keyPrefix = prefix()
    const interruption = new AbortController()
    const running = start(['tail', '--json', ...where, '--prefix', keyPrefix], { signal: interruption.signal })
    await listening(running)
    const ids: string[] = []
    for (const events of ['broadcast', 'sharded', 'both'] as const) {
      const sessions = new SessionManager({ secret, store: await openStore(t, target, { prefix: keyPrefix, events }) })
      t.teardown(() => sessions.close())
      const { session } = await sessions.create({ userId: events })
      await sessions.revoke(session.id)
      ids.push(session.id, session.id)
    }
    const printed = () => running.said().json().map(({ id }) => id as string)
    await until('all events', () => printed().length >= ids.length)
    interruption.abort()
    const { code, err } = await running.ended
    t.equal(code, 0)
    t.notMatch(err, 'missing')
    t.strictSame(printed().sort(), ids.sort())
  }
})

t.test('who may not listen to sharded events listens to the others', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  await redis.client.call('ACL', 'SETUSER', 'plain', 'on', '>right', '~*', '&*', '+@all', '-ssubscribe', '-spublish')
  const interruption = new AbortController()
  const running = start(['tail', '--prefix', keyPrefix], { env: { ...env, REDIS_USERNAME: 'plain', REDIS_PASSWORD: 'right' }, signal: interruption.signal })
  await listening(running)
  await sessions.create({ userId: 'ada' })
  await until('an event', () => running.said().out.includes('created'))
  interruption.abort()
  t.match(await running.ended, { code: 0 })
})

t.test('who may not send sharded events is not told so by the command line, but by an application', async (t) => {
  await redis.client.call('ACL', 'SETUSER', 'quiet', 'on', '>right', '~*', '&*', '+@all', '-spublish')
  const { client } = connect({ host: '127.0.0.1', port: redis.port, username: 'quiet', password: 'right' })
  t.teardown(() => disconnectNow(client))
  for (const isShardedOptional of [true, false]) {
    const store = new RedisStore({ client, prefix: prefix(), events: 'both' }, { isShardedOptional })
    t.teardown(() => store.close())
    const refused: string[] = []
    store.events.on('refused', (_advice, cause) => { refused.push((cause as Error).message) })
    await store.ready(10_000)
    await store.bus.publish('hello')
    t.strictSame(refused.map((message) => /^NOPERM.*spublish/.test(message)), isShardedOptional ? [] : [true])
  }
})

t.test('what the command line ends is told in both ways', async (t) => {
  for (const events of ['broadcast', 'sharded'] as const) {
    const keyPrefix = prefix()
    const sessions = new SessionManager({ secret, store: await openStore(t, redis.url, { prefix: keyPrefix, events }) })
    t.teardown(() => sessions.close())
    const ended: string[] = []
    sessions.on('revoked', ({ id }) => { ended.push(id) })
    const { session } = await sessions.create({ userId: 'ada' })
    // Subscribing is not waited for.
    await until('to listen', async () => {
      const [shards, all] = await Promise.all(['SHARDCHANNELS', 'CHANNELS'].map(async (which) => await redis.client.call('PUBSUB', which, `@${keyPrefix}*`) as string[]))
      return (shards?.length ?? 0) === 16 || all?.length === 1
    })
    t.match(await operate(['revoke', session.id, '--prefix', keyPrefix], { env }), { code: 0 })
    await until('the event', () => ended.length === 1)
    t.strictSame(ended, [session.id])
  }
})
