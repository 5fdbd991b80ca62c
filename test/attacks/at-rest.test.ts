import { createHash } from 'node:crypto'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, sessionRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { watchRandomSource } from '../helpers/random-source.ts'
import { assertions, prefix, startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'

const KEY = 'k'.repeat(32)
const OLD = 'o'.repeat(32)
const ADA = { username: 'ada', password: 'lovelace' }

/** Every secret that this process has drawn. */
const drawn: string[] = []
watchRandomSource((secret) => drawn.push(secret))

async function startShop (t: Test, options: Partial<SessionOptions>) {
  const app = await startApp(t, { bearer: true, ...options })
  await app.register(authRoutes, { verify: ({ username, password }) => password === 'lovelace' ? { id: username } : null })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  app.post<{ Params: { key: string } }>('/put/:key', async (request) => {
    request.session[request.params.key] = 'a-very-rare-book'
  })
  app.post('/move', async ({ session }) => { await session.regenerate(['cart']) })
  return app
}

/** Everything that is in Redis: names, values, members, scores. */
async function dump ({ client }: TestRedis): Promise<string[]> {
  const found: string[] = []
  for (const key of await client.keys('*')) {
    const type = await client.type(key)
    found.push(key, ...type === 'string' ? [await client.get(key) ?? ''] : await client.zrange(key, '0', '-1', 'WITHSCORES'))
  }
  return found
}

for (const [how, options] of Object.entries({ plain: {}, encrypted: { encryption: { keys: [KEY] } } })) {
  t.test(`[16.2.5, 7.2.1, CVE-2023-20866] no token and no secret is in Redis, in no key, list, count or message (${how})`, async (t) => {
    const redis = await startRedis(t)
    const listener = assertions(redis.port)
    const watcher = assertions(redis.port)
    const monitor = await watcher.monitor()
    t.teardown(() => [listener, watcher, monitor].forEach((each) => each.disconnect()))
    const messages: string[] = []
    const commands: string[] = []
    listener.on('pmessage', (_pattern, channel, message) => messages.push(channel, message))
    monitor.on('monitor', (_time: string, args: string[]) => commands.push(args.join(' ')))
    await listener.psubscribe('*')
    const from = drawn.length
    const app = await startShop(t, { redis: redis.url, maxSessionsPerUser: 3, ...options })
    const [ada, bob, visitor] = [new Browser(app), new Browser(app), new Browser(app)]
    const dumps: string[] = []
    await visitor.post('/put/cart')
    await ada.post('/put/cart')
    for (const browser of [ada, bob, ada]) {
      await browser.post('/login', { username: 'ada', password: 'wrong' })
      await browser.post('/login', { ...ADA, remember: true })
      await browser.post('/put/cart')
      await browser.post('/move')
      dumps.push(...await dump(redis))
    }
    const token = (await new Browser(app).post('/token', ADA)).json().token as string
    await app.inject({ method: 'POST', url: '/put/cart', headers: { authorization: `Bearer ${token}` } })
    const { session } = await app.sessions.create({ userId: 'ada', data: { cart: 'a-very-rare-book' } })
    dumps.push(...await dump(redis))
    await app.sessions.touch(session.id)
    await app.sessions.revoke(session.id)
    await bob.request('DELETE', '/sessions')
    await bob.post('/logout')
    await app.sessions.revokeUser('ada')
    dumps.push(...await dump(redis))
    await until('what was published', () => messages.some((message) => message.includes('"revoked"')))
    const secrets = drawn.slice(from)
    t.ok(secrets.length > 8)
    for (const [what, texts] of Object.entries({ dumps, messages, commands })) {
      t.ok(texts.length > 5, what)
      const all = texts.join('\n')
      for (const secret of secrets) {
        for (const form of [secret, Buffer.from(secret).toString('hex'), Buffer.from(secret).toString('base64url').slice(0, 40), Buffer.from(secret, 'base64url').toString('hex')]) t.notOk(all.includes(form), what)
      }
      t.notOk(all.includes('lovelace') || all.includes(KEY), what)
      if (how === 'encrypted') t.notMatch(all, 'rare', what)
    }
    // What proves a token stands in its session and nowhere else.
    const elsewhere = [...messages, ...dumps.filter((text) => !text.startsWith('{"s":'))].join('\n')
    for (const secret of secrets) for (const encoding of ['base64url', 'hex', 'base64'] as const) t.notOk(elsewhere.includes(createHash('sha256').update(secret).digest(encoding)))
    t.ok(dumps.some((text) => secrets.some((secret) => text.includes(createHash('sha256').update(secret).digest('base64url')))), 'where it is expected it is seen')
  })
}

for (const [how, options] of Object.entries({ plain: {}, encrypted: { encryption: { keys: [KEY] } } })) {
  t.test(`[7.2.1, 14.2.4] whoever may write to Redis moves no session to their own cookie (${how})`, async (t) => {
    const redis = await startRedis(t)
    const app = await startShop(t, { redis: redis.url, ...options })
    const [ada, mallory] = [new Browser(app), new Browser(app)]
    await ada.post('/login', ADA)
    await ada.post('/put/role')
    await mallory.post('/login', { ...ADA, username: 'mallory' })
    const keyOf = ({ cookies }: Browser): string => `sess:${cookies.get('sid')?.slice(0, 22)}`
    const [hers, theirs] = [await redis.client.get(keyOf(ada)) as string, await redis.client.get(keyOf(mallory)) as string]
    await redis.client.mset(keyOf(mallory), hers, keyOf(ada), theirs)
    for (const browser of [ada, mallory]) t.strictSame((await browser.get('/me')).json(), { userId: null, data: {} }, 'swapped, they are nobody\'s')
    if (how === 'encrypted') {
      const line = (text: string, index: number): string => text.split('\n')[index] as string
      for (const forged of [`${line(theirs, 0)}\n${line(hers, 1)}`, `${line(theirs, 0).replace('"u":"mallory"', '"u":"ada"')}\n${line(theirs, 1)}`, `${line(theirs, 0)}\n{"userId":"ada","role":"admin"}`]) {
        await redis.client.set(keyOf(mallory), forged)
        t.strictSame((await mallory.get('/me')).json(), { userId: null, data: {} })
      }
    }
    await redis.client.mset(keyOf(mallory), theirs, keyOf(ada), hers)
    t.equal((await ada.get('/me')).json().userId, 'ada', 'put back, they are whose they were')
    t.equal((await mallory.get('/me')).json().userId, 'mallory')
  })
}

t.test('[14.2.4] what encryption does not notice is an older state of the same session, and its times', async (t) => {
  const redis = await startRedis(t)
  const app = await startShop(t, { redis: redis.url, encryption: { keys: [KEY] } })
  app.get('/recent', { preHandler: app.requireRecentLogin('10m') }, async () => 'ok')
  const ada = new Browser(app)
  await ada.post('/login', ADA)
  const key = `sess:${ada.cookies.get('sid')?.slice(0, 22)}`
  const older = await redis.client.get(key) as string
  await ada.post('/put/cart')
  await redis.client.set(key, older)
  t.strictSame((await ada.get('/me')).json(), { userId: 'ada', data: { userId: 'ada' } })
  const times = (by: number): string => older.replace(/("[scea]":)(\d+)/g, (_all, name: string, instant: string) => name + String(Number(instant) + by))
  await redis.client.set(key, times(-3_600_000 + 60_000 * 45))
  t.equal((await ada.get('/recent')).statusCode, 401)
  await redis.client.set(key, times(86_400_000))
  t.equal((await ada.get('/recent')).body, 'ok')
  await redis.client.set(key, `${older.split('\n')[0]}\n${older.split('\n')[1]?.replace('.', '.A')}`)
  t.strictSame((await ada.get('/me')).json(), { userId: null, data: {} }, 'but data that it never had')
})

t.test('[14.2.4] one process that does not have the encryption yet loses the data of whom it serves: all have to begin at once', async (t) => {
  const redis = await startRedis(t)
  const keyPrefix = prefix()
  const yet = await startShop(t, { redis: redis.url, keyPrefix })
  const begun = await startShop(t, { redis: redis.url, keyPrefix, encryption: { keys: [KEY], acceptPlain: true } })
  const ada = new Browser(begun)
  await ada.post('/login', ADA)
  const headers = { cookie: ada.header }
  t.strictSame(Object.keys((await yet.inject({ url: '/me', headers })).json().data), ['sealed'])
  t.equal((await ada.get('/me')).json().userId, 'ada')
  await yet.inject({ method: 'POST', url: '/put/cart', headers })
  t.equal((await ada.get('/me')).json().userId, null)
})

t.test('[14.2.4] concurrent changes of encrypted data all stay, also where a new key is being brought in', async (t) => {
  const redis = await startRedis(t)
  const keyPrefix = prefix()
  const before = await startShop(t, { redis: redis.url, keyPrefix, encryption: { keys: [OLD] } })
  const ada = new Browser(before)
  await ada.post('/login', ADA)
  const during = await startShop(t, { redis: redis.url, keyPrefix, encryption: { keys: [OLD, KEY] } })
  const after = await startShop(t, { redis: redis.url, keyPrefix, encryption: { keys: [KEY, OLD] } })
  const keys = Array.from({ length: 20 }, (_, index) => `key${index}`)
  const headers = { cookie: ada.header }
  await Promise.all(keys.map(async (key, index) => await (index % 2 === 0 ? during : after).inject({ method: 'POST', url: `/put/${key}`, headers })))
  const { data } = (await after.inject({ url: '/me', headers })).json()
  t.strictSame(Object.keys(data).sort(), [...keys, 'userId'].sort())
  await after.inject({ method: 'POST', url: '/put/last', headers })
  const last = await startShop(t, { redis: redis.url, keyPrefix, encryption: { keys: [KEY] } })
  t.equal((await last.inject({ url: '/me', headers })).json().userId, 'ada', 'once it was changed under the new key')
  const forgotten = await startShop(t, { redis: redis.url, keyPrefix, encryption: { keys: [OLD] } })
  t.equal((await forgotten.inject({ url: '/me', headers })).json().userId, null, 'the old one opens it no more')
})

t.test('[14.2.4] encryption beside another library, which could not read it, is refused at boot without a word of the key', async (t) => {
  for (const beside of [{ expressSession: 'share' }, { expressSession: 'adopt' }, { adopt: '@fastify/session' }] as const) {
    const error = await startShop(t, { redis: 'redis://127.0.0.1:1', ...beside, bearer: false, encryption: { keys: [KEY] } }).then(() => null, (error: unknown) => error as Error & { code: string })
    t.equal(error?.code, 'ERR_SESSION_INVALID_OPTIONS')
    t.match(error?.message, /encryption cannot be given together with (expressSession|adopt)/)
    t.notOk(error?.message.includes(KEY))
  }
})
