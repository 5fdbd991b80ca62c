import { setImmediate } from 'node:timers/promises'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { MemoryStore, sessionPlugin } from '../../lib/index.ts'
import { secret } from '../helpers/app.ts'
import { none, tryAll } from '../helpers/fuzz.ts'
import { anything, fickle, made, MARK, Theirs } from '../helpers/hostile.ts'
import { isSoak, times } from '../helpers/scale.ts'

if (isSoak) t.setTimeout(0)

/** Ada, signed in, asks for something. */
interface Scene {
  app: FastifyInstance
  request: FastifyRequest
  /** Her session. */
  id: string
  token: string
  headers: Record<string, string>
}

type Call = (...args: unknown[]) => unknown

/** Something public: how it is called, and what arguments of it that are objects may have in them. */
interface Method {
  usual: (scene: Scene) => unknown[]
  call: (scene: Scene) => Call
  members?: string[]
}

const NEW = ['userId', 'kind', 'data', 'label', 'meta', 'idp', 'methods', 'actor', 'idleTimeout', 'absoluteTimeout', '__proto__', 'constructor']
const LOGIN = ['id', 'label', 'meta', 'remember', 'keep', 'idp', 'methods', 'actor', 'idleTimeout', 'absoluteTimeout', '__proto__', 'constructor', 'headers', 'raw']

// Type assertions because plain JavaScript can pass anything.
const sessions = (name: keyof FastifyInstance['sessions']) => ({ app }: Scene): Call => (app.sessions[name] as Call).bind(app.sessions)
const onApp = (name: 'login' | 'attemptLogin' | 'logout' | 'authenticate' | 'authenticatePage' | 'takeReturnPath' | 'requireRecentLogin') => ({ app }: Scene): Call => app[name] as Call

const METHODS: Record<string, Method> = {
  'app.sessions.create': { call: sessions('create'), usual: () => [{ userId: 'ada' }], members: NEW },
  'app.sessions.find': { call: sessions('find'), usual: ({ token }) => [token, { touch: true }], members: ['touch'] },
  'app.sessions.fromRequest': { call: sessions('fromRequest'), usual: ({ headers }) => [{ headers }, { touch: true }], members: ['headers', 'touch', 'cookie', 'authorization', 'get'] },
  'app.sessions.fromCookieHeader': { call: sessions('fromCookieHeader'), usual: ({ headers }) => [headers.cookie, { touch: true }], members: ['touch'] },
  'app.sessions.fromBearer': { call: sessions('fromBearer'), usual: () => ['Bearer x', { touch: true }], members: ['touch'] },
  'app.sessions.get': { call: sessions('get'), usual: ({ id }) => [id] },
  'app.sessions.data': { call: sessions('data'), usual: ({ id }) => [id] },
  'app.sessions.update': { call: sessions('update'), usual: ({ id }) => [id, () => ({ userId: 'ada', cart: 2 })] },
  'the change of app.sessions.update': { call: ({ app, id }) => (data) => app.sessions.update(id, () => data as undefined), usual: () => [{ userId: 'ada', cart: 2 }], members: ['userId', 'cart', 'toJSON', '__proto__'] },
  'app.sessions.touch': { call: sessions('touch'), usual: ({ id }) => [id] },
  'app.sessions.listByUser': { call: sessions('listByUser'), usual: ({ id }) => ['ada', { limit: 10, before: { id, createdAt: 1 } }], members: ['limit', 'before'] },
  'app.sessions.revoke': { call: sessions('revoke'), usual: ({ id }) => [id, { userId: 'ada', reason: 'stolen', actor: 'eve' }], members: ['userId', 'reason', 'actor'] },
  'app.sessions.revokeUser': { call: sessions('revokeUser'), usual: ({ id }) => ['ada', { except: id, reason: 'stolen', actor: 'eve' }], members: ['except', 'reason', 'actor'] },
  'app.sessions.unlock': { call: sessions('unlock'), usual: () => ['ada'] },
  'app.sessions.on': { call: ({ app }) => (name, listener) => app.sessions.on(name as 'store-up', listener as () => void).off(name as 'store-up', listener as () => void), usual: () => ['store-up', () => {}] },
  'app.sessions.off': { call: sessions('off'), usual: () => ['store-up', () => {}] },
  'app.login': { call: onApp('login'), usual: ({ request }) => [request, { id: 'ada' }, { label: 'phone' }], members: LOGIN },
  'app.attemptLogin': { call: onApp('attemptLogin'), usual: ({ request }) => [request, 'ada', () => ({ id: 'ada' })] },
  'app.logout': { call: onApp('logout'), usual: ({ request }) => [request, undefined, { reason: 'closed', actor: 'eve' }], members: ['headers', 'raw', 'method', 'reason', 'actor'] },
  'app.authenticate': { call: onApp('authenticate'), usual: ({ request }) => [request, {}] },
  'app.authenticatePage': { call: onApp('authenticatePage'), usual: ({ request }) => [request, {}] },
  // Ada is sent to another page, and what follows never runs.
  'app.guestOnly': { call: ({ app }) => async (...args) => await Promise.race([(app.guestOnly as Call)(...args), setImmediate()]), usual: ({ request }) => [request, {}] },
  'app.takeReturnPath': { call: onApp('takeReturnPath'), usual: ({ request }) => [request] },
  'app.requireRecentLogin': { call: onApp('requireRecentLogin'), usual: () => ['10m', { methods: ['otp'] }], members: ['methods'] },
  'the hook of app.requireRecentLogin': { call: ({ app }) => app.requireRecentLogin('10m') as Call, usual: ({ request }) => [request, {}] }
}

/** An application, what its store holds, and how many failed logins it has counted. */
async function open (t: Test) {
  const store = new MemoryStore()
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(sessionPlugin, { secret, store, cookie: { secure: false }, bearer: true })
  const count = store.attempts.count.bind(store.attempts)
  let attempts = 0
  store.attempts.count = async (...args) => {
    attempts++
    return await count(...args)
  }
  let use = async (_request: FastifyRequest): Promise<void> => {}
  app.get('/', async (request) => { await use(request) })
  const contents = async (): Promise<string> => {
    const records: unknown[] = []
    for await (const record of store.listAll()) records.push(record)
    return JSON.stringify([records, attempts])
  }
  return {
    app,
    /** What `act` does to Ada's request, and what that changed in the store. Her session and all others are gone then. */
    async scene (act: (scene: Scene) => Promise<void>): Promise<{ before: string, after: string }> {
      const { session: { id }, token, headers } = await app.sessions.create({ userId: 'ada', data: { cart: 1 } })
      const before = await contents()
      let after = ''
      use = async (request) => {
        await act({ app, request, id, token, headers: headers as Record<string, string> })
        after = await contents()
      }
      await app.inject({ url: '/', headers: headers as Record<string, string> })
      for await (const { id } of store.listAll()) await store.delete(id)
      store.attempts.clearAll()
      return { before, after }
    }
  }
}

/** How every `TypeError` of this package begins, and none of the engine, which names no argument. */
const OURS = /^(session data|[a-z][a-zA-Z]*(\.[a-z][a-zA-Z]*)?) (must|needs|cannot|is longer than) /

/** Whether it is what the application's own code threw, while it was asked or called. */
function isTheirs (error: unknown): boolean {
  return error instanceof Theirs || (error instanceof TypeError && /^Class constructor/.test(error.message))
}

/** What is wrong with how a call was refused. */
function faultsOf (error: unknown): string[] {
  const { code, message, stack } = error as { code?: string, message: string, stack: string }
  if (message.includes(MARK)) return [`a value is repeated: ${message.slice(0, 300)}`]
  return code?.startsWith('ERR_SESSION_') === true || (error instanceof TypeError && OURS.test(message)) ? [] : [stack]
}

/** Arguments of which one or more are something else; fast-check only ever sees what makes them. */
function argumentsOf ({ usual, members = [] }: Method, count: number): fc.Arbitrary<(scene: Scene) => unknown[]> {
  const name = members.length === 0 ? fc.string() : fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...members) }, { weight: 1, arbitrary: fc.string() })
  const object = fc.dictionary(name, anything, { maxKeys: 2 })
  const change = fc.oneof(
    anything.map((make) => () => make()),
    // The usual ones with some members beside or in place of theirs.
    object.map((members) => (value: unknown) => ({ ...value as object, ...made(members) }))
  )
  const changes = fc.tuple(fc.nat(count - 1), change)
  return fc.array(changes, { minLength: 1, maxLength: 2 }).map((changed) => (scene) => {
    const args = usual(scene)
    for (const [index, change] of changed) args[index] = (change as (value: unknown) => unknown)(args[index])
    return args
  })
}

const stray: unknown[] = []
const onStray = (reason: unknown): void => { stray.push(reason) }
process.on('unhandledRejection', onStray)
t.teardown(() => process.off('unhandledRejection', onStray))

for (const [name, method] of Object.entries(METHODS)) {
  t.test(`[15.3.3] whatever ${name} is called with, it is done or refused in words of ours, and then nothing has happened`, async (t: Test) => {
    const { scene } = await open(t)
    let count = 0
    await scene(async (usual) => { count = method.usual(usual).length })
    await tryAll(method.members === undefined ? times(1_000, 15) : times(5_000, 40), 1, argumentsOf(method, count), async ([make]) => {
      let refused = false
      const faults: string[] = []
      const { before, after } = await scene(async (usual) => {
        const args = make?.(usual) ?? []
        try {
          await method.call(usual)(...args)
        } catch (error) {
          if (isTheirs(error)) return
          refused = true
          faults.push(...faultsOf(error))
        }
      })
      if (refused && after !== before) faults.push(`refused, and yet ${before} is ${after}`)
      none(faults)
    })
    await setImmediate()
    t.strictSame(stray, [])
  })
}

/** What each is refused with: what is wrong is named, and what it must be; its value is not repeated. */
const REFUSED: Array<[says: string, call: (scene: Scene, wrong: any) => unknown, ...wrong: unknown[]]> = [
  ['session must be an object', ({ app }, session) => app.sessions.create(session), null, undefined, MARK, [MARK], Promise.resolve({ userId: 'ada' })],
  ['data must be an object that JSON can hold', ({ app }, data) => app.sessions.create({ userId: 'ada', data }), { count: 1n }],
  ['meta must be an object of at most 4096 bytes of JSON', ({ app }, meta) => app.sessions.create({ userId: 'ada', meta }), deep(), { count: 1n }, Promise.resolve({})],
  ['meta must be an object of at most 4096 bytes of JSON', ({ app, request }, meta) => app.login(request, { id: 'bob' }, { meta }), deep(), { count: 1n }],
  ...(['find', 'fromCookieHeader', 'fromBearer'] as const).flatMap((name): typeof REFUSED => [
    ['options must be an object', ({ app, token }, options) => app.sessions[name](token, options), null, MARK, true, []],
    ['options must be an object', ({ app }, options) => app.sessions[name](null as never, options), null],
    ['touch must be true or false', ({ app, token }, touch) => app.sessions[name](token, { touch }), null, MARK, 1]
  ]),
  ['request must be an object', ({ app }, request) => app.sessions.fromRequest(request), null, undefined, MARK],
  ['request.headers must be an object', ({ app }, headers) => app.sessions.fromRequest({ headers }), undefined, null, MARK],
  ['options must be an object', ({ app, headers }, options) => app.sessions.fromRequest({ headers }, options), null],
  ['change must be a function', ({ app, id }, change) => app.sessions.update(id, change), undefined, null, { cart: MARK }],
  ['change must be a function', ({ app }, change) => app.sessions.update('nobody', change), undefined],
  ['options must be an object', ({ app, id }, options) => app.sessions.revoke(id, options), null, 'ada', () => {}],
  ['userId must be a string of 1 to 255 characters, a number or a bigint', ({ app }, userId) => app.sessions.revoke('nobody', { userId }), undefined, null],
  ['options must be an object', ({ app }, options) => app.sessions.revokeUser('ada', options), null, MARK],
  ['listener must be a function', ({ app }, listener) => app.sessions.on('created', listener), undefined, MARK],
  ['listener must be a function', ({ app }, listener) => app.sessions.off('created', listener), undefined, MARK],
  ['name must be created, revoked, expired, login-failed, used-after-end, device-mismatch, session-forked, store-down or store-up', ({ app }, name) => app.sessions.off(name, () => {}), MARK, undefined],
  ['options must be an object', ({ app, request }, options) => app.login(request, { id: 'bob' }, options), null, 5, [], () => {}],
  ['keep must be true or an array of strings', ({ app, request }, keep) => app.login(request, { id: 'bob' }, { keep }), 'cart', null, false, [1], { 0: 'cart', length: 1 }],
  ['data must be an object', ({ app, request }, data) => app.login(request, { id: 'bob' }, { data }), MARK, null, 1, [MARK], Promise.resolve({})],
  ['data must be an object that JSON can hold', ({ app, request }, data) => app.login(request, { id: 'bob' }, { data }), { count: 1n }],
  ['remember must be true or false', ({ app, request }, remember) => app.login(request, { id: 'bob' }, { remember }), 'yes', null, 1],
  ['verify must be a function', ({ app, request }, verify) => app.attemptLogin(request, 'ada', verify), undefined, null, { id: MARK }],
  ...(['login', 'attemptLogin', 'logout', 'authenticate', 'authenticatePage', 'guestOnly', 'takeReturnPath'] as const).map((name): typeof REFUSED[number] => [
    'request must be a Fastify request of a context that the plugin is registered in',
    ({ app }, request) => (app[name] as Call)(request, name === 'attemptLogin' ? 'ada' : { id: 'bob' }, name === 'attemptLogin' ? () => true : {}),
    undefined, null, MARK, {}, { headers: {} }
  ]),
  ['request must be a Fastify request of a context that the plugin is registered in', ({ app, request }) => app.logout({ ...request }), undefined],
  ['request must be a Fastify request of a context that the plugin is registered in', ({ app, request }) => app.logout(request.raw as never), undefined],
  ['reply must be the reply of the request, or undefined: options come after it', ({ app, request }, reply) => app.logout(request, reply), null, MARK, true, [], () => {}, {}, { reason: 'closed' }, Promise.resolve({})]
]

function deep (): unknown {
  return JSON.parse('{"a":'.repeat(20_000) + '1' + '}'.repeat(20_000))
}

t.test('what is wrong with an argument is said by its name, before anything has happened', async (t) => {
  const { scene } = await open(t)
  for (const [message, call, ...wrong] of REFUSED) {
    for (const value of wrong) {
      const { before, after } = await scene(async (usual) => {
        await t.rejects(async () => await call(usual, value), { name: 'TypeError', message })
      })
      t.equal(after, before)
    }
  }
})

t.test('a misspelt option is refused: without it more would be ended, or less', async (t) => {
  const { scene } = await open(t)
  for (const [members, call] of [
    ['userId', ({ app, id }: Scene) => app.sessions.revoke(id, { userID: 'bob' } as object)],
    ['except', ({ app, id }) => app.sessions.revokeUser('ada', { expect: id } as object)],
    ['touch', ({ app, token }) => app.sessions.find(token, { touched: true } as object)],
    ['label, meta, remember, keep, data, idp, methods, actor, idleTimeout, absoluteTimeout', ({ app, request }) => app.login(request, { id: 'bob' }, { idletimeout: '5m' } as object)]
  ] satisfies Array<[string, (scene: Scene) => unknown]>) {
    const { before, after } = await scene(async (usual) => {
      await t.rejects(async () => await call(usual), { name: 'TypeError', message: `options must have no members but ${members}` })
    })
    t.equal(after, before)
  }
  await scene(async ({ app }) => {
    await t.rejects(app.sessions.create({ userId: 'ada', idletimeout: '5m' } as never), { name: 'TypeError', message: 'session must have no members but userId, kind, label, meta, data, idp, methods, actor, idleTimeout, absoluteTimeout' })
  })
})

t.test('what a client may have sent is nobody\'s, whatever its type', async (t) => {
  const { app } = await open(t)
  for (const wrong of [undefined, null, 5, {}, ['x'], MARK] as never[]) {
    for (const name of ['find', 'fromCookieHeader', 'fromBearer', 'get', 'data'] as const) t.equal(await app.sessions[name](wrong), null)
    t.equal(await app.sessions.update(wrong, () => {}), null)
    t.equal(await app.sessions.touch(wrong), false)
    t.equal(await app.sessions.revoke(wrong), false)
    t.equal(await app.sessions.revokeUser('ada', { except: wrong }), 0)
    t.equal(await app.sessions.fromRequest({ headers: { cookie: wrong, authorization: wrong } }), null)
  }
})

t.test('an option that is undefined is one that was left out', async (t) => {
  const { scene } = await open(t)
  await scene(async ({ app, request, id, token, headers }) => {
    t.ok(await app.sessions.create({ userId: 'ada', kind: undefined, data: undefined, label: undefined, meta: undefined, idleTimeout: undefined, absoluteTimeout: undefined }))
    t.match(await app.sessions.find(token, undefined), { id })
    t.match(await app.sessions.fromRequest({ headers }, { touch: undefined }), { id })
    t.match(await app.login(request, { id: 'ada' }, { label: undefined, meta: undefined, remember: undefined, keep: undefined, idleTimeout: undefined, absoluteTimeout: undefined }), { userId: 'ada' })
    t.match(await app.login(request, { id: 'ada' }, undefined), { userId: 'ada' })
    t.equal(await app.sessions.revoke(id, undefined), false, 'the login ended it')
    t.equal(await app.sessions.revokeUser('ada', { except: undefined }), 2)
    t.equal(await app.sessions.revokeUser('ada', undefined), 0)
  })
})

t.test('a user is who they were when their id was checked', async (t) => {
  const { scene } = await open(t)
  await scene(async ({ app, request }) => {
    const { id } = await app.login(request, fickle('id', 'ada', 'mallory') as { id: string })
    t.match(await app.sessions.data(id), { userId: 'ada' })
  })
})
