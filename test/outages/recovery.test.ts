import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import type { ReadStream } from 'node:fs'
import { inspect } from 'node:util'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { authRoutes, MemoryStore, RedisStore, sessionPlugin } from '../../lib/index.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { connect as connectRedis } from '../../lib/redis/connection.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { startWire } from '../helpers/wire.ts'

withRealLimits(t)

const ADA = { username: 'ada', password: 'lovelace' }

async function callsOf (redis: TestRedis, command: string): Promise<number> {
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await redis.client.info('commandstats'))?.[1] ?? 0)
}

t.test('an outage with two thousand visitors leaves nothing to be tried again but the sign-out that was promised', async (t) => {
  const redis = await startRedis(t)
  const wire = await startWire(t, redis)
  const keyPrefix = prefix()
  const app = await startApp(t, { redis: wire.url, keyPrefix }, { logger: false })
  app.post('/cart', async ({ session }) => { session.cart = ['book'] })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/logout', async (request) => { await app.logout(request) })
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null }))
  const [ada, bob] = [new Browser(app), new Browser(app)]
  await ada.post('/login')
  await bob.post('/login')
  await wire.cut()
  await until('the outage', async () => (await bob.get('/me')).statusCode === 503)
  await redis.client.config('RESETSTAT')
  const urls = Array.from({ length: 2_000 }, (_, visitor) => visitor % 2 === 0 ? '/cart' : '/login')
  const codes = await Promise.all(urls.map(async (url) => (await app.inject({ method: 'POST', url })).statusCode))
  t.strictSame(new Set(codes), new Set([503]))
  const id = ada.cookies.get('sid')?.split('.')[0] ?? ''
  t.equal((await ada.post('/logout')).statusCode, 503)
  t.equal(await redis.client.exists(keyPrefix + id), 1, 'which could not reach Redis')

  await wire.mend()
  await until('service', async () => (await bob.get('/me')).statusCode === 200)
  // What was refused first would be tried first: once this is gone, all of it was.
  await until('the sign-out', async () => await redis.client.exists(keyPrefix + id) === 0, 30_000)
  const tries = await callsOf(redis, 'evalsha')
  t.ok(tries >= 1 && tries <= 3, `${tries} deletions after the outage`)
  t.equal((await bob.get('/me')).json().userId, 'ada')
  t.equal((await new Browser(app).post('/login')).statusCode, 200)
  t.equal((await new Browser(app).post('/cart')).statusCode, 200)
})

/** Work that does not let go of the process. */
function work (ms: number): void {
  for (const end = Date.now() + ms; Date.now() < end;);
}

/** Keeps the process busy at a certain point of a find. */
class BusyStore extends RedisStore {
  busyAt: ((work: () => void) => void) | null = null

  override async find (id: string): Promise<SessionRecord | null> {
    const found = super.find(id)
    this.busyAt?.(() => work(700))
    this.busyAt = null
    return await found
  }
}

t.test('a process that was busy itself while Redis was asked does not take that for an outage', async (t) => {
  const redis = await startRedis(t)
  const { client } = connectRedis(redis.url)
  const store = new BusyStore({ client, prefix: prefix() })
  t.teardown(async () => {
    await store.close()
    client.disconnect()
  })
  t.equal(await store.ready(10_000), null)
  const app = await startApp(t, { store })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  const ada = new Browser(app)
  await ada.post('/login')
  const moments: Record<string, (work: () => void) => void> = {
    'before the command is sent': (work) => work(),
    'at the end of the tick': (work) => process.nextTick(work),
    'after the tick': (work) => { setImmediate(work) },
    'once the command is sent': (work) => { setImmediate(() => setImmediate(work)) },
    'again and again': (work) => { setImmediate(() => setImmediate(() => { work(); setImmediate(work) })) }
  }
  for (const [moment, begin] of Object.entries(moments)) {
    for (let round = 0; round < 3; round++) {
      await until('service', async () => (await ada.get('/me')).statusCode === 200)
      const from = app.lines.length
      store.busyAt = begin
      const response = await ada.get('/me')
      t.strictSame([response.statusCode, response.body], [200, 'ada'], moment)
      t.equal((await ada.get('/me')).statusCode, 200, `the next, ${moment}`)
      t.strictSame(app.lines.slice(from).filter(({ msg }) => /session store/.test(msg)), [], moment)
    }
  }
})

for (const error of ['LOADING Redis is loading the dataset in memory', 'OOM command not allowed when used memory > \'maxmemory\'.', 'NOPERM this user has no permissions to run the command', 'CLUSTERDOWN Hash slot not served', 'ERR unknown', 'READONLY You can\'t write against a read only replica.']) {
  t.test(`no secret and no data is in the log or in an error when Redis answers ${error.split(' ')[0]}`, async (t) => {
    const redis = await startRedis(t)
    const wire = await startWire(t, redis)
    const app = await startApp(t, { redis: wire.url, keyPrefix: prefix(), touchAfter: 0 })
    const seen: string[] = []
    app.addHook('onError', async (_request, _reply, failure) => { seen.push(inspect(failure, { depth: 20, showHidden: true }), JSON.stringify(failure), failure.stack ?? '') })
    await app.register(authRoutes, { verify: ({ username, password }) => password === ADA.password ? { id: username } : null })
    app.post('/cart', async ({ session }) => {
      session._csrf = 'the-csrf-secret'
      session.cart = 'the-data-of-a-cart'
    })
    app.post('/relogin', async (request) => { await app.login(request, { id: 'ada' }, { keep: true, meta: { note: 'the-meta-of-a-session' }, label: 'the-label-of-a-session' }) })
    app.get('/me', async (request) => request.auth?.userId ?? null)
    const ada = new Browser(app)
    await ada.post('/login', ADA)
    await ada.post('/cart')
    const header = ada.header

    wire.error = error
    const answers = []
    for (const [method, url] of [['POST', '/cart'], ['POST', '/login'], ['POST', '/relogin'], ['GET', '/me'], ['POST', '/logout']] as const) {
      const [holder, stranger] = [new Browser(app), new Browser(app)]
      holder.cookies.set('sid', header.slice('sid='.length))
      for (const browser of [holder, stranger]) {
        const response = await browser.request(method, url, url === '/login' ? { payload: ADA } : {})
        answers.push(response.statusCode, response.body)
      }
    }
    t.ok(answers.includes(503), 'something failed')
    t.ok(seen.length > 0)
    const hashes = [...wire.sent.matchAll(/"h":"([\w-]{43})"/g)].map(([, hash = '']) => hash)
    t.ok(hashes.length >= 1, 'hashes were sent')
    const said = JSON.stringify(app.lines) + seen.join('\n') + JSON.stringify(answers)
    const [, token = ''] = header.split('.')
    for (const secretText of [...hashes, token, decodeURIComponent(header).split('.')[1] ?? '', 'the-csrf-secret', 'the-data-of-a-cart', 'the-meta-of-a-session', 'the-label-of-a-session', ADA.password]) {
      t.ok(secretText.length > 5 && !said.includes(secretText), secretText.slice(0, 12))
    }
  })
}

t.test('a boot that fails after Redis was opened leaves no connection to it', async (t) => {
  const redis = await startRedis(t)
  const connections = async (): Promise<number> => (await redis.client.client('LIST') as string).trim().split('\n').length
  const before = await connections()
  const failing: Array<(app: FastifyInstance) => Promise<void>> = [
    async (app) => { app.decorate('serializeCookie', () => '') },
    async (app) => { await app.register(async (other) => { await other.register(sessionPlugin, { secret, store: new MemoryStore() }) }) }
  ]
  for (const prepare of failing) {
    for (const options of [{}, { nearCache: true, durability: 'replicated' as const }]) {
      // As it ends where nobody closes it.
      const app = Fastify() as unknown as FastifyInstance
      t.teardown(() => app.close())
      await prepare(app)
      await t.rejects(async () => { await app.register(sessionPlugin, { secret, redis: redis.url, keyPrefix: prefix(), ...options }) })
      await until('the connections to be closed', async () => await connections() === before)
    }
  }
})

t.test('the password of Redis is in no error and no log line when Redis refuses it or does not answer', async (t) => {
  const redis = await startRedis(t)
  const wire = await startWire(t, redis)
  const password = 'the-password-of-redis'
  const url = wire.url.replace('redis://', `redis://ada:${password}@`)
  const said: string[] = []
  const start = async (error: string) => {
    wire.error = error
    const app = Fastify({ logger: { level: 'trace', stream: { write: (line: string) => { said.push(line) } } } })
    t.teardown(() => app.close())
    return await app.register(sessionPlugin, { secret, redis: url }).then(() => null, (failure: unknown) => failure)
  }
  const refused = await start('WRONGPASS invalid username-password pair or user is disabled.')
  t.match(refused, { code: 'ERR_SESSION_INVALID_OPTIONS' })
  const loading = await start('LOADING Redis is loading the dataset in memory')
  t.match(wire.sent, password, 'which was sent')
  said.push(inspect([refused, loading], { depth: 20, showHidden: true }), JSON.stringify([refused, loading]))
  t.notMatch(said.join('\n'), password)
})

t.test('the files of replies that could not be sent for want of Redis are closed', async (t) => {
  const redis = await startRedis(t)
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix() })
  const files: ReadStream[] = []
  app.post('/file', async (request, reply) => {
    const file = createReadStream(import.meta.filename)
    files.push(file)
    await once(file, 'open')
    request.session.cart = ['book']
    return await reply.send(file)
  })
  t.equal((await new Browser(app).post('/file')).statusCode, 200)
  await redis.stop()
  const responses = await Promise.all(Array.from({ length: 50 }, () => new Browser(app).post('/file')))
  t.strictSame(new Set(responses.map(({ statusCode }) => statusCode)), new Set([503]))
  t.equal(files.length, 51)
  await until('the files to be closed', () => files.every(({ closed }) => closed))
  t.ok(files.every(({ closed }) => closed))
})
