import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { SpyStore } from '../helpers/spy-store.ts'
import { listen, Visitor } from '../helpers/visitor.ts'

/*
 * Calls about the session that nobody awaits. Their failure is the reply's to tell, and never the process' end: a
 * stranger can make each of them fail.
 */

const FOREIGN = { origin: 'https://evil.example' }
const NONSENSE = { authorization: 'Bearer nonsense' }

type Route = (request: FastifyRequest, reply: FastifyReply) => unknown

interface Site { app: FastifyInstance & { lines: LogLine[] }, store: SpyStore, visitor: Visitor, thrown: string[] }

/** An application with a route for each action, and Ada signed in to it. What ends a process is collected in `thrown`. */
async function open (t: Test, routes: Record<string, Route>, options: Partial<SessionOptions> = {}): Promise<Site> {
  const thrown: string[] = []
  const onThrow = (error: Error): void => { thrown.push(error.message) }
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    process.on(event, onThrow)
    t.teardown(() => { process.off(event, onThrow) })
  }
  const store = new SpyStore()
  const app = await startApp(t, { store, bearer: true, ...options })
  for (const [name, route] of Object.entries(routes)) app.post(`/${name}`, route as never)
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null }))
  const visitor = new Visitor(await listen(app))
  await visitor.post('/login')
  return { app, store, visitor, thrown }
}

async function who (visitor: Visitor): Promise<unknown> {
  return JSON.parse((await visitor.get('/me')).body).userId
}

/** Waits until a rejection that nobody handles would have been told. */
const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
}

t.test('a call that a stranger makes fail is told by the reply, and the process lives', async (t) => {
  const { app, store, visitor, thrown } = await open(t, {
    save: ({ session }) => {
      session.userId = 'bob'
      void session.save()
      return 'ok'
    },
    regenerate: ({ session }) => {
      void session.regenerate()
      return 'ok'
    },
    signIn: (request) => {
      void app.login(request, { id: 'bob' })
      return 'ok'
    },
    signOut: (request) => {
      void app.logout(request)
      return 'ok'
    },
    guard: (request, reply) => {
      void app.authenticate(request, reply)
      return 'a secret'
    },
    recent: (request, reply) => {
      void app.requireRecentLogin('10m')(request, reply)
      return 'a secret'
    },
    attempt: (request) => {
      void app.attemptLogin(request, 'ada', () => { throw Object.assign(new Error('wrong'), { statusCode: 401 }) })
      return 'ok'
    },
    nobody: (request) => {
      void app.login(request, {} as { id: string })
      return 'ok'
    }
  })
  const stranger = new Visitor(visitor.url)
  const seen: unknown[] = []
  for (const [name, headers] of [['save', FOREIGN], ['signIn', FOREIGN], ['signOut', FOREIGN], ['save', NONSENSE], ['regenerate', NONSENSE], ['signIn', NONSENSE], ['guard', {}], ['recent', {}], ['attempt', {}], ['nobody', {}]] as const) {
    const { status, body, cookies } = await stranger.post(`/${name}`, headers)
    await turns()
    seen.push([name, status, body.includes('secret'), cookies.length, thrown.splice(0)])
  }
  t.strictSame(seen, [
    ['save', 403, false, 0, []], ['signIn', 403, false, 0, []], ['signOut', 403, false, 0, []],
    ['save', 401, false, 0, []], ['regenerate', 401, false, 0, []], ['signIn', 401, false, 0, []],
    ['guard', 401, false, 0, []], ['recent', 401, false, 0, []], ['attempt', 401, false, 0, []], ['nobody', 500, false, 0, []]
  ])
  t.equal(store.calls.filter((each) => each === 'begin').length, 1, 'only Ada\'s own session was begun')
})

t.test('a sign-in that nobody awaits is waited for by the reply', async (t) => {
  const { app, visitor, thrown } = await open(t, {
    in: (request) => {
      void app.login(request, { id: 'bob' })
      return 'ok'
    },
    out: (request) => {
      void app.logout(request)
      return 'ok'
    }
  })
  t.equal((await visitor.post('/in')).cookies.length, 1)
  t.equal(await who(visitor), 'bob')
  t.match((await visitor.post('/out')).cookies, [/^sid=; Max-Age=0;/])
  t.equal(await who(visitor), null)
  t.strictSame(thrown, [])
})

t.test('[7.4.1] a sign-out that the store does not confirm is answered 503, however it was asked for', async (t) => {
  const { app, store, visitor, thrown } = await open(t, {
    callback: ({ session }, reply) => { session.destroy(() => reply.send('bye')) },
    'callback that looks': ({ session }, reply) => {
      session.destroy((error) => error ? reply.code(500).send('I saw it') : reply.send('bye'))
    },
    unawaited: ({ session }) => {
      void session.destroy()
      return 'bye'
    },
    decorator: (request) => {
      void app.logout(request)
      return 'bye'
    },
    awaited: async ({ session }) => {
      await session.destroy()
      return 'bye'
    }
  })
  const seen: unknown[] = []
  for (const way of ['callback', 'callback that looks', 'unawaited', 'decorator', 'awaited']) {
    store.failing.delete('delete')
    await visitor.post('/login')
    store.failing.add('delete')
    const { status, cookies } = await visitor.post(`/${encodeURIComponent(way)}`)
    seen.push([way, status, /^sid=; Max-Age=0;/.test(cookies[0] ?? '')])
  }
  t.strictSame(seen, [['callback', 503, true], ['callback that looks', 500, true], ['unawaited', 503, true], ['decorator', 503, true], ['awaited', 503, true]])
  await turns()
  t.strictSame(thrown, [])
})

t.test('a failure that the application has taken is not told again', async (t) => {
  const { store, visitor, thrown } = await open(t, {
    caught: async ({ session }) => {
      await session.reload().catch(() => {})
      return 'as it was'
    },
    callback: ({ session }, reply) => { session.reload(() => reply.send('as it was')) },
    unawaited: ({ session }) => {
      void session.reload()
      return 'ok'
    }
  })
  const seen: unknown[] = []
  for (const name of ['caught', 'callback', 'unawaited']) {
    // The second reading in the request is the one that fails.
    const find = store.find.bind(store)
    let times = 0
    store.find = async (...args) => {
      if (++times === 2) store.failing.add('find')
      return await find(...args).finally(() => store.failing.delete('find'))
    }
    seen.push([name, (await visitor.post(`/${name}`)).status])
    store.find = find
  }
  t.strictSame(seen, [['caught', 200], ['callback', 200], ['unawaited', 503]])
  await turns()
  t.strictSame(thrown, [])
})

t.test('a save that nobody awaits and that fails once is made good by the reply', async (t) => {
  const { store, visitor, thrown } = await open(t, {
    save: ({ session }) => {
      session.cart = ['book']
      void session.save()
      return 'ok'
    }
  })
  const update = store.update.bind(store)
  let times = 0
  store.update = async (...args) => {
    if (++times === 1) store.failing.add('update')
    return await update(...args).finally(() => store.failing.delete('update'))
  }
  t.equal((await visitor.post('/save')).status, 200)
  t.equal(times, 2)
  await turns()
  t.strictSame(thrown, [])
})

t.test('what fails after the reply is in the log', async (t) => {
  const { app, visitor, thrown } = await open(t, {
    late: (request) => {
      setImmediate(() => { void app.login(request, { id: 'bob' }) })
      return 'ok'
    }
  })
  t.equal((await visitor.post('/late')).status, 200)
  const told = (): LogLine | undefined => app.lines.find(({ msg }) => msg === 'a call about the session failed, and nobody waited for it')
  while (told() === undefined) await turns()
  t.match(told(), { level: 50, err: { code: 'ERR_SESSION_UNSUPPORTED' } })
  t.strictSame(thrown, [])
})
