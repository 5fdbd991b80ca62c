import { createHash } from 'node:crypto'
import { inspect } from 'node:util'
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify'
import pino from 'pino'
import t from 'tap'
import { authRoutes, MemoryStore } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { Sight } from '../helpers/leak-hunt.ts'
import { freePort, prefix, startRedis } from '../helpers/redis.ts'
import { startWire } from '../helpers/wire.ts'

/*
 * Every test file whose applications come from test/helpers/app.ts hunts for leaks (test/helpers/leak-hunt.ts). Here
 * is what no other file comes by, and that the hunt finds what there is to find.
 */

const KEY = 'the-key-of-these-tests-for-data-at-rest'
const ADA = { username: 'ada', password: 'lovelace' }

type Show = (what: { token: string, secret: string, app: FastifyInstance }, request: FastifyRequest, reply: FastifyReply) => unknown

const hash = (text: string, encoding: 'hex' | 'base64' | 'base64url'): string => createHash('sha256').update(text).digest(encoding)

/** What the hunt says of an application that shows something of the session it has just begun. */
async function huntOn (show: Show): Promise<string> {
  const teardowns: Array<() => unknown> = []
  const app = await startApp({ teardown: (handler: () => unknown) => { teardowns.unshift(handler) } } as Parameters<typeof startApp>[0], { encryption: { keys: [KEY] }, store: new MemoryStore(), bearer: true })
  await app.register(authRoutes, { verify: () => ({ id: 'ada' }) })
  app.get('/show', async (request, reply) => {
    const { token } = await app.sessions.create({ userId: 'ada' })
    return await show({ token, secret: token.split('.')[1] ?? '', app }, request, reply) ?? 'ok'
  })
  const ada = new Browser(app)
  await ada.post('/login', ADA)
  await new Browser(app).post('/token', ADA)
  await ada.get('/show')
  try {
    for (const teardown of teardowns) await teardown()
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

const shown: Record<string, [show: Show, found: string]> = {
  'a token in a log line': [({ token, app }) => app.log.trace({ token }, 'here'), 'the secret of a token in the log line "here"'],
  'a token in the log of an error': [({ token, app }) => app.log.error(new Error('outer', { cause: new Error(token) }), 'failed'), 'the secret of a token in the log line "failed"'],
  'the hash of a secret in a log line': [({ secret, app }) => app.log.info({ hash: hash(secret, 'base64url') }, 'here'), 'the hash of a token\'s secret in the log line "here"'],
  'that hash in hexadecimal': [({ secret, app }) => app.log.info({ hash: hash(secret, 'hex') }, 'here'), 'the hash of a token\'s secret'],
  'that hash in a path': [({ secret, app }) => app.log.info({ url: `/a/${hash(secret, 'base64')}/b` }, 'here'), 'the hash of a token\'s secret'],
  'a token in a body': [({ token }) => ({ token }), 'the secret of a token in the body of GET /show'],
  'a token in a body of bytes': [({ token }) => Buffer.from(token), 'the secret of a token in the body of GET /show'],
  'a token in a header': [({ token }, _request, reply) => { reply.header('x-session', token) }, 'the secret of a token in the header x-session of GET /show'],
  'a token in another cookie': [({ token }, _request, reply) => { reply.header('set-cookie', `copy=${token}`) }, 'the secret of a token in the header set-cookie of GET /show'],
  'a token in an attribute of the session cookie': [({ token }, _request, reply) => { reply.header('set-cookie', `sid=x; Path=/${token}`) }, 'the secret of a token in the header set-cookie of GET /show'],
  'the secret of the options in a body': [() => ({ secret }), 'a secret of the options in the body of GET /show'],
  'the key of the options in a log line': [({ app }) => app.log.info({ key: KEY }, 'here'), 'a key of the options in the log line "here"']
}

for (const [what, [show, found]] of Object.entries(shown)) {
  t.test(`[16.2.5, CVE-2023-20866] the hunt finds ${what}, and says where without repeating it`, async (t) => {
    let made = ''
    const said = await huntOn((what, ...others) => {
      made = what.secret
      return show(what, ...others)
    })
    t.match(said, found)
    t.notMatch(said, made)
    t.notMatch(said, KEY)
    t.notMatch(said, secret)
  })
}

t.test('[16.2.5, CVE-2023-20866] the hunt lets pass what belongs there: the session cookie, the token of POST /token, the public id', async (t) => {
  t.equal(await huntOn(({ app }, request) => {
    app.log.info({ auth: request.auth, session: request.session })
    return request.auth
  }), '')
})

// -- what the driver says -------------------------------------------------------------------------------------

/** An application on a Redis that is in trouble one way or another; it logs what it is answered as careless ones do. */
async function startCareless (t: Parameters<typeof startApp>[0], options: Partial<SessionOptions>) {
  const app = await startApp(t, { bearer: true, ...options })
  await app.register(authRoutes, { verify: () => ({ id: 'ada' }) })
  app.post('/cart', async ({ session }) => { session.cart = ['book'] })
  app.post('/move', async ({ session }) => { await session.regenerate(['cart']) })
  app.setErrorHandler(async (error: Error, request, reply) => {
    request.log.error({ err: error, text: inspect(error, { depth: Infinity, showHidden: true }), json: JSON.stringify(error) }, 'failed')
    return await reply.code(503).send({ message: error.message, cause: inspect(error.cause, { depth: Infinity }) })
  })
  return app
}

async function doAll (app: FastifyInstance, ada: Browser): Promise<number[]> {
  const statuses: number[] = []
  for (const url of ['/cart', '/login', '/move', '/token', '/logout']) statuses.push((await ada.post(url, ADA)).statusCode)
  await app.sessions.listByUser('ada').catch((error: unknown) => app.log.error(error))
  await app.sessions.revokeUser('ada').catch((error: unknown) => app.log.error(error))
  return statuses
}

for (const refusal of ['ERR out of order', 'WRONGTYPE Operation against a key holding the wrong kind of value', 'OOM command not allowed when used memory > \'maxmemory\'.', 'READONLY You can\'t write against a read only replica.', 'LOADING Redis is loading the dataset in memory']) {
  t.test(`[16.2.5, 16.5] errors that Redis answers are logged without what was asked: ${refusal.split(' ')[0]}`, async (t) => {
    const redis = await startRedis(t)
    const wire = await startWire(t, redis)
    const app = await startCareless(t, { redis: wire.url, keyPrefix: prefix() })
    const ada = new Browser(app)
    t.strictSame(await doAll(app, ada), [200, 200, 200, 200, 204])
    await ada.post('/login', ADA)
    wire.error = refusal
    for (const browser of [ada, new Browser(app)]) t.ok((await doAll(app, browser)).includes(503))
    await wire.cut()
    t.ok((await doAll(app, ada)).includes(503))
    t.ok(app.lines.some(({ msg }) => msg === 'failed'))
  })
}

t.test('[16.2.5] a Redis that does not know a command repeats what it was given, and that is not logged', async (t) => {
  for (const command of ['SET', 'GET', 'EVALSHA', 'ZREM', 'ZRANGE', 'PUBLISH', 'SUBSCRIBE']) {
    const redis = await startRedis(t, { args: ['--rename-command', command, ''] })
    const app = await startCareless(t, { redis: redis.url, keyPrefix: prefix() })
    app.sessions.on('revoked', () => {})
    const ada = new Browser(app)
    await doAll(app, ada)
    await doAll(app, ada)
    const said = app.lines.map((line) => JSON.stringify(line)).join('\n')
    if (['SET', 'EVALSHA'].includes(command)) t.match(said, new RegExp(`unknown command '${command}'`, 'i'), 'what Redis does not know is said')
    if (command === 'ZRANGE') t.match(said, /unknown redis command called from script/i, 'also within a script')
    t.notOk(said.includes('beginning with'), command)
  }
})

t.test('[16.2.5] a password that Redis refuses, or an address that is none, is not in what is said of it', async (t) => {
  const password = 'the-password-of-this-redis-is-long'
  const redis = await startRedis(t)
  await redis.client.config('SET', 'requirepass', 'another one')
  const targets: Array<Partial<SessionOptions>['redis']> = [
    `redis://:${password}@127.0.0.1:${redis.port}`,
    { host: '127.0.0.1', port: redis.port, password },
    { cluster: [{ host: '127.0.0.1', port: redis.port }], password },
    { cluster: [{ host: '127.0.0.1', port: await freePort() }], password },
    `http://:${password}@127.0.0.1`,
    `redis://:${password}@[::1`
  ]
  for (const target of targets) {
    const lines: string[] = []
    const say = (error: unknown): void => { lines.push(inspect(error, { depth: Infinity, showHidden: true }), JSON.stringify(pino.stdSerializers.err(error as Error))) }
    await startApp(t, { redis: target }).then((app) => app.lines.forEach((line) => lines.push(JSON.stringify(line))), say)
    t.ok(lines.length > 0)
    t.notOk(lines.join('\n').includes(password), Object.keys(target ?? {}).join())
  }
})

// -- what applications log and send --------------------------------------------------------------------------

t.test('[16.2.5, 15.3.1] whatever of this package an application inspects, logs or sends shows no token, hash or secret', async (t) => {
  const redis = await startRedis(t)
  const places: Array<Partial<SessionOptions>> = [
    { store: new MemoryStore() },
    { redis: redis.url, keyPrefix: prefix(), encryption: { keys: [KEY] } },
    { redis: redis.url, keyPrefix: prefix(), adopt: 'express-session' },
    { redis: redis.url, keyPrefix: prefix(), adopt: '@fastify/session' },
    { redis: redis.url, keyPrefix: prefix(), expressSession: 'share' }
  ]
  for (const options of places) {
    const app = await startApp(t, options)
    app.post('/login', async (request) => {
      const info = await app.login(request, { id: 'ada' })
      request.session.cart = ['book']
      return info
    })
    app.get('/show', async (request) => {
      const { session, auth, server } = request
      const found = await app.sessions.get(auth?.id ?? '')
      const things = { session, cookie: session.cookie, auth, signal: auth?.signal, sessions: app.sessions, found, listed: await app.sessions.listByUser('ada'), server, app }
      const texts = Object.values(things).flatMap((thing) => thing === server || thing === app ? [inspect(thing, { depth: 4 })] : [inspect(thing, { depth: 6 }), JSON.stringify(thing)])
      app.log.info({ texts })
      app.log.info({ session, auth, found, all: { ...session } })
      return { session, auth, found, all: { ...session }, texts: texts.filter((text) => text.length < 20_000) }
    })
    const ada = new Browser(app)
    await ada.post('/login')
    const shown = await ada.get('/show')
    t.equal(shown.statusCode, 200)
    t.match(shown.json().auth, { userId: 'ada' })
    t.match(shown.json().texts.join('\n'), /ada/)
  }
})

t.test('[16.2.5] who logs whole requests and replies leaves out three headers, as the docs say', async (t) => {
  for (const redact of [['req.headers.cookie', 'req.headers.authorization', 'res.headers["set-cookie"]'], []]) {
    const sight = new Sight()
    const stream = { write: (line: string) => { sight.see(() => 'a log line', line) } }
    const serializers = {
      req: ({ method, headers }: FastifyRequest) => ({ method, headers }),
      res: (reply: Partial<FastifyReply>) => ({ statusCode: reply.statusCode, headers: reply.getHeaders?.() })
    }
    const app = await startApp(t, { bearer: true }, { logger: { level: 'trace', stream, redact, serializers } } as FastifyServerOptions)
    await app.register(authRoutes, { verify: () => ({ id: 'ada' }) })
    const ada = new Browser(app)
    await ada.post('/login', ADA)
    await ada.get('/info')
    const { token } = (await new Browser(app).post('/token', ADA)).json()
    await app.inject({ url: '/info', headers: { authorization: `Bearer ${token}` } })
    t.strictSame(sight.leaks, redact.length > 0 ? [] : ['the secret of a token in a log line'])
  }
})
