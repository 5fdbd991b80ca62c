import { createReadStream } from 'node:fs'
import { inspect } from 'node:util'
import Fastify from 'fastify'
import type { FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionPlugin } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { run } from '../helpers/process.ts'
import { record } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'

const redis = await startRedis(t)
const ADA = { username: 'ada', password: 'lovelace' }
const JSON_TYPE = { headers: { 'content-type': 'application/json' } }

/** Beyond where Node's JSON gives up reading, writing, or neither. */
const DEPTHS = [200, 500, 1000, 1500, ...Array.from({ length: 23 }, (_, index) => 1600 + 200 * index)]
const objects = (depth: number): string => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth)
const arrays = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)

type Action = (request: FastifyRequest, reply: FastifyReply) => unknown

/** An application that keeps what it is sent, and does to the session what a test says. */
async function startService (t: Test, options: Partial<SessionOptions> = {}) {
  const app = await startApp(t, { store: new SpyStore(), ...options })
  const actions: Record<string, Action> = {
    keep ({ session, body }) { session.cart = body },
    async save ({ session, body }) {
      session.cart = body
      await session.save()
    },
    async reload ({ session, body }) {
      session.cart = body
      await session.reload()
    }
  }
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }, { keep: true }) })
  app.post<{ Params: { name: string } }>('/do/:name', async (request, reply) => {
    await actions[request.params.name]?.(request, reply)
    return { done: request.params.name }
  })
  return { app, actions }
}

/** Waits for what a method of the session tells its callback. */
async function called (method: (callback: (error?: unknown) => void) => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    method((error) => {
      if (error == null) resolve()
      else reject(error instanceof Error ? error : new Error('no error', { cause: error }))
    })
  })
}

async function isNobody (t: Test, browser: Browser, message: string): Promise<void> {
  t.equal((await browser.get('/me')).json().userId, null, message)
}

// -- data that JSON cannot bear ------------------------------------------------------------------------------

for (const [shape, nested] of Object.entries({ objects, arrays })) {
  t.test(`${shape} nested too deep are refused in words, and the next request is as good as ever`, async (t) => {
    const { app } = await startService(t)
    const ada = new Browser(app)
    await ada.post('/do/keep', '["book"]', JSON_TYPE)
    for (const depth of DEPTHS) {
      for (const url of ['/do/keep', '/do/save']) {
        const visitor = new Browser(app)
        const refused = await visitor.post(url, nested(depth), JSON_TYPE)
        t.equal(refused.statusCode, 500, `${url} ${depth} levels`)
        t.match(refused.json().message, /nested more than 100 levels/, `${url} ${depth} levels`)
        t.equal(visitor.cookies.size, 0)
        t.equal((await ada.post(url, nested(depth), JSON_TYPE)).statusCode, 500)
      }
      t.equal((await ada.post('/do/reload', nested(depth), JSON_TYPE)).statusCode, 200, 'what was not saved is forgotten')
      t.strictSame((await ada.get('/me')).json().data, { cart: ['book'] })
    }
  })
}

t.test('a sign-in that would keep data nested too deep is refused, and nobody is signed in', async (t) => {
  const { app, actions } = await startService(t)
  for (const [name, signIn] of Object.entries<Action>({
    login: async (request) => await app.login(request, { id: 'ada' }, { keep: true }),
    assigned ({ session }) { session.userId = 'ada' },
    async regenerated ({ session }) {
      await session.regenerate(['cart'])
      session.userId = 'ada'
    }
  })) {
    actions[name] = async (request, reply) => {
      request.session.cart = request.body
      await signIn(request, reply)
    }
    for (const depth of [200, 2000, 4000, 6000]) {
      const visitor = new Browser(app)
      const refused = await visitor.post(`/do/${name}`, objects(depth), JSON_TYPE)
      t.equal(refused.statusCode, 500, `${name}, ${depth} levels`)
      t.match(refused.json().message, /nested more than 100 levels/, `${name}, ${depth} levels`)
      await isNobody(t, visitor, name)
    }
  }
})

t.test('data nested less deep than the limit is kept', async (t) => {
  const { app } = await startService(t)
  const ada = new Browser(app)
  t.equal((await ada.post('/do/save', objects(99), JSON_TYPE)).statusCode, 200)
  t.equal(JSON.stringify((await ada.get('/me')).json().data.cart), objects(99))
})

t.test('stored data nested too deep reads as none, with a line in the log', async (t) => {
  for (const depth of [200, 2000, 4000, 6000, 20_000]) {
    const store = new SpyStore()
    const { app } = await startService(t, { store })
    const ada = new Browser(app)
    await ada.post('/login')
    const stored = await store.peek(ada.cookies.get('sid')?.split('.')[0])
    await store.update(stored ?? record(), () => `{"cart":${objects(depth)}}`)
    const response = await ada.get('/me')
    t.strictSame([response.statusCode, response.json()], [200, { userId: 'ada', data: {} }], `${depth} levels`)
    t.ok(app.lines.some(({ level, msg }) => level === 40 && /data of a session/.test(msg)), 'said so')
    t.equal((await ada.post('/do/reload', '1', JSON_TYPE)).statusCode, 200)
    t.equal((await ada.post('/do/keep', '["book"]', JSON_TYPE)).statusCode, 200)
    t.same((await ada.get('/me')).json().data.cart, ['book'])
  }
})

const boom = (): never => { throw new Error('boom') }
const cycle: Record<string, unknown> = {}
cycle.itself = cycle

t.test('a session object that cannot be written down is an error of its request alone', async (t) => {
  const store = new SpyStore()
  const { app, actions } = await startService(t, { store })
  const harms: Record<string, (session: FastifyRequest['session']) => void> = {
    getter: (session) => { Object.defineProperty(session, 'cart', { enumerable: true, configurable: true, get: boom }) },
    innerGetter: (session) => { session.cart = { get price () { return boom() } } },
    toJSON: (session) => { session.cart = { toJSON: boom } },
    proxy: (session) => { session.cart = new Proxy({}, { ownKeys: boom }) },
    cycle: (session) => { session.cart = cycle },
    bigint: (session) => { session.cart = 1n }
  }
  const ada = new Browser(app)
  await ada.post('/login')
  for (const [name, harm] of Object.entries(harms)) {
    actions[name] = ({ session }) => harm(session)
    actions[`${name}-save`] = async ({ session }) => {
      harm(session)
      await session.save()
    }
    actions[`${name}-after-save`] = async ({ session }) => {
      session.visits = name
      const gate = new Gate()
      store.gates.set('update', gate)
      const saved = session.save()
      await gate.reached
      harm(session)
      store.gates.delete('update')
      gate.open()
      await saved
      delete session.cart
    }
    actions[`${name}-callback`] = async ({ session }) => {
      harm(session)
      await called((callback) => session.save(callback))
    }
    for (const url of [`/do/${name}`, `/do/${name}-save`, `/do/${name}-callback`]) {
      t.equal((await ada.post(url)).statusCode, 500, url)
      t.equal((await new Browser(app).post(url)).statusCode, 500, `${url}, not signed in`)
      t.equal((await ada.get('/me')).json().userId, 'ada')
    }
    t.equal((await ada.post(`/do/${name}-after-save`)).statusCode, 200, `${name}, gone before the reply`)
  }
})

t.test('a frozen session is answered, and nothing of it is lost', async (t) => {
  const { app, actions } = await startService(t)
  actions.freeze = ({ session }) => { Object.freeze(session) }
  actions.freezeAndSave = async ({ session }) => {
    session.cart = ['book']
    Object.freeze(session)
    await session.save()
  }
  actions.freezeAndLogin = async (request) => {
    Object.freeze(request.session)
    await app.login(request, { id: 'bob' }, { keep: true })
  }
  actions.freezeAfterAssignment = ({ session }) => {
    session.userId = 'carol'
    Object.freeze(session)
  }
  const ada = new Browser(app)
  await ada.post('/login')
  const cart = ['book']
  // Nobody kept it for Carol.
  const afterwards: Record<string, unknown> = {
    freeze: { userId: 'ada' },
    freezeAndSave: { userId: 'ada', cart },
    freezeAndLogin: { userId: 'bob', cart },
    freezeAfterAssignment: { userId: 'carol' }
  }
  for (const [name, expected] of Object.entries(afterwards)) {
    t.equal((await ada.post(`/do/${name}`)).statusCode, 200, name)
    const { userId, data } = (await ada.get('/me')).json()
    t.strictSame(data, expected, name)
    t.equal(userId, data.userId, name)
  }
})

/** A process of its own, with a session in memory; it says how each request went, and what ended the process elsewhere. */
function program (bodies: Record<string, string>): string {
  return `
    import Fastify from 'fastify'
    import { MemoryStore, sessionPlugin } from './lib/index.ts'
    const thrown = []
    const called = {}
    for (const event of ['uncaughtException', 'unhandledRejection']) process.on(event, (error) => { thrown.push([event, error.message]) })
    const app = Fastify()
    await app.register(sessionPlugin, { secret: '${secret}', cookie: { secure: false }, store: new MemoryStore() })
    const count = (name) => { called[name] = (called[name] ?? 0) + 1 }
    ${Object.entries(bodies).map(([name, body]) => `app.post('/${name}', (request, reply) => {
      const { session } = request
      session.visits = 1
      ${body}
    })`).join('\n')}
    app.get('/', async ({ session }) => session)
    const said = {}
    for (const name of ${JSON.stringify(Object.keys(bodies))}) {
      const response = await app.inject({ method: 'POST', url: '/' + name })
      said[name] = [response.statusCode, response.json().message, called[name], (await app.inject('/')).statusCode, thrown.splice(0)]
    }
    await app.close()
    console.log(JSON.stringify(said))`
}

t.test('what the application\'s callbacks throw, once or later, is answered 500, and the process lives', async (t) => {
  const bodies: Record<string, string> = {}
  for (const method of ['save', 'reload', 'destroy', 'regenerate']) {
    bodies[method] = `session.${method}(() => { count('${method}'); throw new Error('from ${method}') })`
    bodies[`${method}Async`] = `session.${method}(async () => { count('${method}Async'); await null; throw new Error('from ${method}Async') })`
  }
  const { code, output } = await run(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program(bodies)])
  t.equal(code, 0, output)
  const said = JSON.parse(output.trim().split('\n').at(-1) ?? '')
  t.strictSame(said, Object.fromEntries(Object.keys(bodies).map((name) => [name, [500, `from ${name}`, 1, 200, []]])))
})

t.test('a callback that lengthens the cookie, as public code does, is a 500 that names remember', async (t) => {
  const bodies = { login: 'session.regenerate(() => { request.session.userId = 7; request.session.cookie.maxAge = 1000; reply.send(\'ok\') })' }
  const { code, output } = await run(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program(bodies)])
  t.equal(code, 0, output)
  const { login: [status, message, , after, thrown] } = JSON.parse(output.trim().split('\n').at(-1) ?? '')
  t.strictSame([status, after, thrown], [500, 200, []])
  t.match(message, /remember/)
})

t.test('a save that fails with nobody waiting for it is told by the reply', async (t) => {
  const { app, actions } = await startService(t)
  actions.unheard = ({ session }) => {
    session.cart = 1n
    session.save(() => {})
  }
  t.equal((await new Browser(app).post('/do/unheard')).statusCode, 500)
  t.equal((await new Browser(app).post('/do/keep', '1', JSON_TYPE)).statusCode, 200)
})

// -- replies that fail after the sign-in -----------------------------------------------------------------------

t.test('whoever a failed reply would have signed in is not', async (t) => {
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix() })
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  const assign = async ({ session }: FastifyRequest): Promise<object> => {
    session.userId = 1
    return { id: 1 }
  }
  const onSend = {
    throws: async () => boom(),
    throwsLate: async () => await new Promise((_resolve, reject) => setImmediate(() => reject(new Error('boom')))),
    fails: async (_request: FastifyRequest, reply: FastifyReply, payload: unknown) => {
      reply.code(500)
      return payload
    }
  }
  for (const [name, hook] of Object.entries(onSend)) app.post(`/${name}`, { onSend: hook }, assign)
  app.post('/stream', async (request, reply) => {
    request.session.userId = 1
    return await reply.send(createReadStream('/nope/nope'))
  })
  app.post('/saved', { onSend: onSend.throws }, async (request) => {
    request.session.userId = 1
    await request.session.save()
    return {}
  })
  for (const name of [...Object.keys(onSend), 'stream', 'saved']) {
    const visitor = new Browser(app)
    const response = await visitor.post(`/${name}`)
    t.ok(response.statusCode >= 400, name)
    // Each cookie by itself: one may be taken back by another line of the reply.
    for (const cookie of [visitor.header, ...response.setCookies.map((line) => line.split(';')[0] ?? '')]) {
      const who = async (): Promise<unknown> => (await app.inject({ url: '/me', headers: { cookie } })).json().userId
      // What a hook after the plugin's own makes of the reply is known only when that is out.
      await until(`nobody after ${name}`, async () => await who() === null, 3_000).then(() => t.pass(name), (error: Error) => t.fail(error.message))
    }
  }
})

// -- asked too early ---------------------------------------------------------------------------------------------

t.test('a hook before the plugin that reads the session is told so, and nothing of it is lost', async (t) => {
  const early: Record<string, Action> = {
    auth: (request) => request.auth,
    session: (request) => request.session.userId,
    write: (request) => { request.session.cart = ['pen'] },
    requireAuth: (request) => request.requireAuth()
  }
  for (const [name, read] of Object.entries(early)) {
    const store = new SpyStore()
    const app = Fastify()
    t.teardown(() => app.close())
    app.addHook('onRequest', async (request, reply) => { if (request.headers.early !== undefined) await read(request, reply) })
    await app.register(sessionPlugin, { secret, cookie: { secure: false }, store })
    app.post('/login', async (request) => {
      request.session.cart = ['book']
      await app.login(request, { id: 'ada' }, { keep: true })
    })
    app.get('/me', { preHandler: app.authenticate }, async (request) => request.session)
    const ada = new Browser(app)
    await ada.post('/login')
    const response = await ada.get('/me', { headers: { early: '1' } })
    t.strictSame([response.statusCode, response.json().code], [500, 'ERR_SESSION_SKIPPED'], name)
    t.match(response.json().message, /register the plugin before/)
    t.strictSame(response.setCookies, [], 'and keeps the cookie')
    t.same((await ada.get('/me')).json(), { userId: 'ada', cart: ['book'] }, 'and everything')
  }
})

// -- a planted CSRF secret ----------------------------------------------------------------------------------------

t.test('a CSRF secret planted before a sign-in does not outlive it, wherever the user is kept and whatever is carried over', async (t) => {
  const assignUser = ({ session }: FastifyRequest): void => { Object.assign(session, { userId: 42, passport: 42 }) }
  /** The data of before: without the cookie, which no session lets itself be given. */
  const dataOf = ({ session }: FastifyRequest): object => JSON.parse(JSON.stringify(session))
  const signIns: Record<string, Action> = {
    regenerateAll: async (request) => {
      await request.session.regenerate(Object.keys(request.session))
      assignUser(request)
    },
    regenerateSecret: async (request) => {
      await request.session.regenerate(['_csrf'])
      assignUser(request)
    },
    assignOldAfterRegenerate: async (request) => {
      const old = dataOf(request)
      await request.session.regenerate()
      assignUser(request)
      Object.assign(request.session, old)
    },
    assignOldAfterUser: (request) => {
      const old = dataOf(request)
      assignUser(request)
      Object.assign(request.session, old)
    },
    regenerateAfter: async (request) => {
      assignUser(request)
      await request.session.regenerate(['userId', 'passport', '_csrf'])
    },
    savedBetween: async (request) => {
      await request.session.regenerate(['_csrf'])
      await request.session.save()
      assignUser(request)
    },
    savedBeforeRegenerate: async (request) => {
      assignUser(request)
      await request.session.save()
      await request.session.regenerate(['userId', 'passport', '_csrf'])
    }
  }
  for (const options of [{}, { userIdFrom: ({ passport }: Record<string, unknown>) => passport }]) {
    const { app, actions } = await startService(t, options)
    actions.plant = ({ session }) => { session._csrf = 'planted' }
    Object.assign(actions, signIns)
    for (const name of Object.keys(signIns)) {
      const ada = new Browser(app)
      await ada.post('/do/plant')
      t.equal((await ada.get('/me')).json().data._csrf, 'planted')
      t.equal((await ada.post(`/do/${name}`)).statusCode, 200)
      const { userId, data } = (await ada.get('/me')).json()
      t.strictSame([userId, data._csrf], ['42', undefined], `${name}, ${inspect(options)}`)
    }
  }
})

// -- cookies and stored values of strangers --------------------------------------------------------------------

t.test('a cookie whose name begins with a byte that browsers count as part of it is not ours', async (t) => {
  const { app } = await startService(t, { store: new MemoryStore() })
  const ada = new Browser(app)
  await ada.post('/login')
  for (const blank of ['\xa0', '\x0b', '\x0c', '\x85']) {
    for (const cookie of [blank + ada.header, ada.header.replace('=', `${blank}=`), `a=b;${blank}${ada.header}`]) {
      t.equal((await app.inject({ url: '/me', headers: { cookie } })).json().userId, null, JSON.stringify(blank))
    }
    t.equal((await app.inject({ url: '/me', headers: { cookie: `${ada.header}; ${blank}sid=planted` } })).json().userId, 'ada', 'nor one too many')
  }
  for (const blank of [' ', '\t']) {
    t.equal((await app.inject({ url: '/me', headers: { cookie: blank + ada.header } })).json().userId, 'ada', 'RFC 6265bis has these not count')
  }
})

t.test('what strangers wrote into Redis is never an error to who reads, and signing in goes on', async (t) => {
  const keyPrefix = prefix()
  const { app, actions } = await startService(t, { store: undefined, redis: redis.url, keyPrefix, touchAfter: 0 })
  await app.register(authRoutes, { prefix: '/auth', verify: ({ username }) => ({ id: username }) })
  actions.regenerate = async ({ session }) => { await session.regenerate(['userId']) }
  const users = `@${keyPrefix}user:ada`
  const head = (change: object) => (stored: string) => {
    const [line = '', data = ''] = stored.split('\n')
    return `${JSON.stringify({ ...JSON.parse(line), ...change })}\n${data}`
  }
  const data = (text: string) => (stored: string) => `${stored.split('\n')[0] ?? ''}\n${text}`
  const values: Record<string, (stored: string) => string> = {
    nothing: () => '',
    'a number': () => '5',
    'no data': data(''),
    'broken data': data('{abc}'),
    'two data': data('{}{}'),
    'deep data': data(`{"a":${arrays(20_000)}}`),
    'a user who is an object': data('{"userId":{"a":1}}'),
    'a user who is a list': data('{"userId":[1]}'),
    'another user': data('{"userId":"mallory"}'),
    'reserved names': data('{"cookie":5,"save":1,"regenerate":2,"sessionId":"x","toJSON":1,"get":1,"set":1,"__proto__":{"polluted":1},"constructor":1}'),
    'deep meta': head({ m: `{"a":${arrays(20_000)}}` }),
    'deep meta that is short': head({ m: `{"a":${arrays(1_500)}}` }),
    'meta that is no object': head({ m: '[]' }),
    'a huge label': head({ l: 'x'.repeat(1_000_000) }),
    'a label that is an object': head({ l: {} }),
    'a user id that is empty': head({ u: '' }),
    'a user id that is a number': head({ u: 5 }),
    'instants beyond all bounds': head({ e: 1e300, s: -1, i: 1e300 }),
    'a carriage return': (stored) => stored.replace('\n', '\r\n'),
    'a hash of nobody': head({ h: '' })
  }
  const steps: Array<[string, () => Promise<unknown>]> = Object.entries(values).map(([name, change]) => [name, async () => {
    for (const key of (await redis.client.keys(`${keyPrefix}*`))) await redis.client.set(key, change(await redis.client.get(key) ?? ''), 'KEEPTTL')
  }])
  const others: Array<[string, () => Promise<unknown>]> = [
    ['a session that is a list', async () => { for (const key of await redis.client.keys(`${keyPrefix}*`)) await redis.client.multi().del(key).lpush(key, 'a').exec() }],
    ['a list of the user that is text', async () => await redis.client.set(users, 'x')],
    ['a list of the user that is a hash', async () => await redis.client.multi().del(users).hset(users, 'a', 'b').exec()],
    ['a list of the user with strange members', async () => await redis.client.zadd(users, 'inf', '', '+inf', '+', 9e300, 'x'.repeat(100_000), 5, '\0\n')]
  ]
  for (const [name, write] of [...steps, ...others]) {
    for (const [method, url] of [['GET', '/me'], ['GET', '/auth/info'], ['POST', '/do/reload'], ['POST', '/do/regenerate'], ['POST', '/do/keep'], ['POST', '/auth/login'], ['POST', '/auth/logout']] as const) {
      await redis.client.del(users)
      const ada = new Browser(app)
      t.equal((await ada.post('/auth/login', ADA)).statusCode, 200, `${name}: signing in`)
      await write()
      const { statusCode } = await ada.request(method, url, method === 'POST' ? { payload: ADA } : {})
      t.ok(statusCode < 500, `${name}: ${method} ${url} ${statusCode}`)
      await redis.client.del(...await redis.client.keys(`*${keyPrefix}*`), 'none')
    }
  }
  t.notOk('polluted' in {})
})
