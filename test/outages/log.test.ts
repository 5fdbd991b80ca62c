import { once } from 'node:events'
import { connect } from 'node:net'
import type { LookupFunction } from 'node:net'
import { inspect } from 'node:util'
import { isNativeError } from 'node:util/types'
import session from 'express-session'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { isOutage, isReply, withoutCommand } from '../../lib/redis/driver.ts'
import { RedisLink } from '../../lib/redis/link.ts'
import { Breaker } from '../../lib/store/breaker.ts'
import { Browser, startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { prefix, startCluster, startRedis } from '../helpers/redis.ts'

/*
 * What the log has of the requests of an outage, by Fastify's own logger.
 */

const FRAME = '    at '

/** Somebody who is signed in, and what the log says of each of their requests that fails. */
async function startService (t: Test, options: Partial<SessionOptions>) {
  const app = await startApp(t, { keyPrefix: prefix(), ...options })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/cart', async ({ session }) => { session.cart = ['book'] })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  app.get('/bug', async () => { throw new Error('a bug') })
  const ada = new Browser(app)
  t.equal((await ada.post('/login')).statusCode, 200)
  /** The lines of requests that were answered 503, by request. */
  const failed = (): LogLine[][] => {
    const ids = app.lines.filter(({ res }) => (res as { statusCode?: number } | undefined)?.statusCode === 503).map(({ reqId }) => reqId)
    return [...new Set(ids)].map((id) => app.lines.filter(({ reqId, level }) => reqId === id && level >= 40))
  }
  return { app, ada, failed }
}

/** Checks that each of so many requests has failed with one line, whose error is as many lines as it has causes. */
function areShort (t: Test, requests: LogLine[][], count: number): void {
  t.equal(requests.length, count)
  for (const lines of requests) {
    t.equal(lines.length, 1)
    const { level, err } = lines[0] as LogLine & { err: { code: string, stack: string } }
    t.match({ level, err }, { level: 50, err: { code: 'ERR_SESSION_STORE_UNAVAILABLE' } })
    t.match(err.stack, /^FastifyError \[ERR_SESSION_STORE_UNAVAILABLE\]: The session store is unavailable(\ncaused by: .+)*$/)
    t.notMatch(JSON.stringify(lines), FRAME)
  }
}

for (const how of ['is gone', 'is frozen'] as const) {
  t.test(`while Redis ${how}, a request that fails is one line, and no stack`, async (t) => {
    const redis = await startRedis(t)
    const { app, ada, failed } = await startService(t, { redis: redis.url })
    if (how === 'is gone') await redis.stop()
    else redis.pause()
    t.teardown(() => redis.resume())
    const urls = ['/me', '/me', '/cart', '/login', '/me', '/me']
    const first = await Promise.all(urls.slice(0, 4).map(async (url) => await (url === '/me' ? ada.get(url) : ada.post(url))))
    const later = [await ada.get('/me'), await ada.get('/me')]
    t.strictSame([...first, ...later].map(({ statusCode }) => statusCode), urls.map(() => 503))
    areShort(t, failed(), urls.length)
    t.notMatch(JSON.stringify(app.lines), FRAME)
  })
}

t.test('why Redis is out of reach is said without where in the driver that was noticed', async (t) => {
  const breaker = new Breaker({ deadlineMs: 1, probeEveryMs: 1_000, probe: async () => {}, isOutage: () => true, onDown: () => {}, onUp: () => {} })
  t.teardown(() => breaker.close())
  const { cause } = await breaker.run(() => new Promise(() => {})).catch((error: Error) => error) as { cause: Error }
  t.equal(cause.stack, 'Error: no answer within 1 ms')
  const refusal = Object.assign(new Error('NOPERM this user has no permissions'), { name: 'ReplyError' })
  t.equal(withoutCommand(refusal).stack?.split('\n').length, 1)
  const lost = withoutCommand(Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:6379'), { code: 'ECONNREFUSED' }))
  t.equal(lost.stack, 'Error: connect ECONNREFUSED 127.0.0.1:6379')
  t.match(withoutCommand(new TypeError('a bug')).stack, FRAME, 'a bug of ours says where it is')
  t.equal(withoutCommand(Object.freeze(new Error('lost'))).message, 'lost')
  for (const Fault of [RangeError, ReferenceError, SyntaxError, URIError, EvalError]) {
    t.match(withoutCommand(new Fault('a bug')).stack, FRAME)
    t.notOk(isOutage(new Fault('a bug')))
  }
  t.equal(withoutCommand(Object.assign(new Error('lost'), { stack: undefined })).stack, 'Error: lost')
  t.equal(withoutCommand(new Error('lost\n    at noon')).stack, 'Error: lost\n    at noon')
})

t.test('where several addresses of a server refuse, the error says which', async (t) => {
  const lookup: LookupFunction = (_host, _options, callback) => { callback(null, [{ address: '127.0.0.1', family: 4 }, { address: '127.0.0.2', family: 4 }]) }
  const socket = connect({ host: 'redis.test', port: 1, autoSelectFamily: true, lookup })
  const [error] = await once(socket, 'error') as [AggregateError]
  const shown = withoutCommand(error)
  t.match(shown.message, /127\.0\.0\.1:1.*127\.0\.0\.2:1/)
  t.equal(shown.stack, `AggregateError [ECONNREFUSED]: ${shown.message}`)
  for (const each of shown.errors as Error[]) t.notMatch(each.stack, FRAME)
})

t.test('an error that an application shares with the plugin stays as the application\'s own', async (t) => {
  const redis = await startRedis(t)
  const client = new Redis(redis.url, { retryStrategy: () => null })
  t.teardown(() => client.disconnect())
  client.on('error', () => {})
  await client.ping()
  const link = new RedisLink(client)
  t.teardown(() => link.close())
  // Neither has an answer when the connection is gone.
  redis.pause()
  t.teardown(() => redis.resume())
  const [own, ours] = [client.get('own'), link.ping()].map(async (each) => await each.catch((error: Error) => error)) as Array<Promise<Error>>
  client.stream.destroy(new Error('the connection is gone'))
  const { message, stack } = await own as Error
  const { cause } = await ours as { cause: Error }
  t.match(stack, FRAME)
  t.equal(cause.message, message)
  t.ok(isNativeError(cause))
  t.notMatch(cause.stack, FRAME)
})

t.test('a command that Redis refuses is in its own error, and in none of the plugin\'s', async (t) => {
  const redis = await startRedis(t)
  const error = await redis.client.call('NO-SUCH', 'a secret').catch((thrown: Error) => thrown) as Error & { command?: unknown }
  const shown = withoutCommand(error)
  t.match(error.command, { args: ['a secret'] })
  t.notMatch(inspect(shown, { showHidden: true, depth: 9 }), 'a secret')
  t.equal(shown.name, 'ReplyError')
  t.ok(isReply(shown))
})

t.test('so it is in a Cluster that is gone', async (t) => {
  const cluster = await startCluster(t)
  const { ada, failed } = await startService(t, { redis: { cluster: cluster.nodes } })
  const nodes = cluster.client.nodes('master')
  await Promise.all(nodes.map(async (node) => await node.call('SHUTDOWN', 'NOSAVE').catch(() => {})))
  for (let each = 0; each < 3; each++) t.equal((await ada.get('/me')).statusCode, 503)
  areShort(t, failed(), 3)
})

t.test('a refusal of Redis is one line as well', async (t) => {
  const redis = await startRedis(t)
  const { ada, failed } = await startService(t, { redis: redis.url })
  await redis.client.config('SET', 'min-replicas-to-write', '1')
  for (let each = 0; each < 3; each++) t.equal((await ada.post('/cart')).statusCode, 503)
  areShort(t, failed(), 3)
})

t.test('other errors keep their stack, and so does what a store of one\'s own throws', async (t) => {
  const store = new session.MemoryStore()
  const { app, ada } = await startService(t, { store, keyPrefix: undefined })
  t.equal((await ada.get('/bug')).statusCode, 500)
  t.match(app.lines.find(({ err }) => (err as Error | undefined)?.message === 'a bug')?.err, { stack: FRAME })
  store.get = () => { throw new TypeError('a bug of the store') }
  t.equal((await ada.get('/me')).statusCode, 503)
  const line = app.lines.find(({ err }) => (err as { code?: string } | undefined)?.code === 'ERR_SESSION_STORE_UNAVAILABLE')
  t.match((line?.err as Error).stack, /^FastifyError \[ERR_SESSION_STORE_UNAVAILABLE\]: The session store is unavailable\ncaused by: TypeError: a bug of the store\n {4}at /)
})
