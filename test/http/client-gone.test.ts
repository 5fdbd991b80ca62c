import { once } from 'node:events'
import { request as get } from 'node:http'
import type { ServerResponse } from 'node:http'
import { connect } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance, FastifyRequest, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { sessionRoutes } from '../../lib/index.ts'
import type { SecurityLogEntry, UseAfterEnd } from '../../lib/index.ts'
import { UNANSWERED_MS } from '../../lib/util/timings.ts'
import { startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { until } from '../helpers/redis.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'
import { listen, Visitor } from '../helpers/visitor.ts'

/** Sends a request whose client leaves while its route is held at a gate, which opens when the server has `closed`. */
async function leaveAt (gate: Gate, url: string, { headers = {}, closed }: { headers?: Record<string, string>, closed: () => Promise<unknown> }): Promise<void> {
  const client = get(url, { method: 'POST', headers })
  client.on('error', () => {})
  client.end()
  await gate.reached
  client.destroy()
  await closed()
  gate.open()
}

t.test('a client that goes away before it is signed in leaves no session behind, in routes of your own as well', async (t) => {
  const store = new SpyStore()
  const app = await startApp(t, { store })
  const ways: Record<string, (request: FastifyRequest) => unknown> = {
    login: (request) => app.login(request, { id: 'ada' }),
    assignment: ({ session }) => { session.userId = 'ada' },
    save: async ({ session }) => {
      session.cart = ['book']
      await session.save()
    }
  }
  const outcomes: unknown[] = []
  let gate = new Gate()
  let gone: Promise<unknown> = Promise.resolve()
  for (const [name, act] of Object.entries(ways)) {
    app.post(`/${name}`, async (request) => {
      gone = once(request.socket, 'close')
      await gate.pass()
      const outcome = (async () => await act(request))().then(() => 'nothing', ({ code }: { code: string }) => code)
      outcomes.push(await outcome)
      return {}
    })
  }
  const url = await listen(app)
  for (const name of Object.keys(ways)) {
    gate = new Gate()
    await leaveAt(gate, `${url}/${name}`, { closed: async () => await gone })
    while (outcomes.length < Object.keys(ways).indexOf(name) + 1) await new Promise((resolve) => setImmediate(resolve))
  }
  t.strictSame(outcomes, ['ERR_SESSION_CLIENT_GONE', 'nothing', 'ERR_SESSION_CLIENT_GONE'])
  await app.close()
  t.equal(store.calls.includes('begin'), false)
})

t.test('a client that goes away before its session gets another id keeps the one that it has: the other would reach nobody', async (t) => {
  const app = await startApp(t)
  const gate = new Gate()
  let [gone, outcome] = [Promise.resolve<unknown>(undefined), (_code: string): void => {}]
  const saved = new Promise<string>((resolve) => { outcome = resolve })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.get('/me', async ({ auth }) => ({ userId: auth?.userId ?? null }))
  app.post('/regenerate', async (request) => {
    gone = once(request.socket, 'close')
    await gate.pass()
    await request.session.regenerate(['userId'])
    outcome(await request.session.save().then(() => 'saved', ({ code }: { code: string }) => code))
  })
  const ada = new Visitor(await listen(app))
  await ada.post('/login')
  const cookie = [...ada.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  await leaveAt(gate, `${ada.url}/regenerate`, { headers: { cookie }, closed: async () => await gone })
  t.equal(await saved, 'ERR_SESSION_CLIENT_GONE')
  t.equal(JSON.parse((await ada.get('/me')).body).userId, 'ada')
  t.equal((await app.sessions.listByUser('ada')).length, 1)
})

interface Sent { method?: 'GET' | 'POST', headers?: Record<string, string> }

interface Site {
  app: FastifyInstance & { lines: LogLine[] }
  store: SpyStore
  /** Each use after an end so far. */
  used: UseAfterEnd[]
  /** The security log. */
  entries: SecurityLogEntry[]
  /** Cookie of a session that was revoked. */
  ended: () => Promise<Record<string, string>>
  /** Sends a request. Returns what has its client leave. */
  send: (path: string, sent?: Sent) => () => void
  /** Sends a request whose client has gone before the gate opens. */
  leave: (path: string, gate: Gate, sent?: Sent) => Promise<void>
}

async function open (t: Test, isHttp2: boolean): Promise<Site> {
  const store = new SpyStore()
  const entries: SecurityLogEntry[] = []
  const securityLog = (entry: SecurityLogEntry): void => { entries.push(entry) }
  const app = await startApp(t, { store, endedFor: '1h', securityLog }, isHttp2 ? { http2: true } as FastifyServerOptions : {})
  const used: UseAfterEnd[] = []
  app.sessions.on('used-after-end', (event) => { used.push(event) })
  app.get('/public', async () => 'a page')
  const origin = (): string => `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  const send: Site['send'] = (path, { method = 'GET', headers = {} } = {}) => {
    if (!isHttp2) {
      const client = get(`${origin()}${path}`, { method, headers, agent: false })
      client.on('error', () => {}).end()
      return () => { client.destroy() }
    }
    const client = connect(origin())
    client.on('error', () => {})
    client.request({ ':path': path, ':method': method, ...headers }).on('error', () => {}).resume().end()
    t.teardown(() => { client.destroy() })
    return () => { client.destroy() }
  }
  const leave: Site['leave'] = async (path, gate, sent) => {
    const gone = new Promise<void>((resolve) => {
      app.server.once('request', (_request, reply: ServerResponse) => { reply.once('close', () => resolve()) })
    })
    const goAway = send(path, sent)
    await gate.reached
    goAway()
    await gone
    gate.open()
  }
  const ended = async (): Promise<Record<string, string>> => {
    const { session, headers } = await app.sessions.create({ userId: 'ada' })
    await app.sessions.revoke(session.id)
    return headers as Record<string, string>
  }
  return { app, store, used, entries, ended, send, leave }
}

for (const isHttp2 of [false, true]) {
  const over = isHttp2 ? 'HTTP/2' : 'HTTP/1.1'

  t.test(`over ${over}: a sign-out that is sent again is no use after the end, though its browser leaves before it is done`, async (t) => {
    const { app, used, ended, send, leave } = await open(t, isHttp2)
    let gate = new Gate()
    let done = 0
    app.post('/logout', async (request) => {
      await gate.pass()
      await app.logout(request)
      done++
      return {}
    })
    app.post('/silent', async (request) => {
      await gate.pass()
      await app.logout(request)
      done++
    })
    await listen(app)
    for (const path of ['/logout', '/silent']) {
      const headers = await ended()
      gate = new Gate()
      const before = [done, used.length]
      await leave(path, gate, { method: 'POST', headers })
      await until('the sign-out', () => done > Number(before[0]))
      t.equal(used.length, before[1], path)
      const close = send('/public', { headers })
      await until('what is no sign-out', () => used.length > Number(before[1]))
      close()
    }
  })

  t.test(`over ${over}: a use after the end is told, also where its client leaves before the session was looked for`, async (t) => {
    const { app, store, used, ended, leave } = await open(t, isHttp2)
    await listen(app)
    const { ended: howEnded } = store
    for (const when of ['find', 'ended'] as const) {
      const headers = await ended()
      const gate = new Gate()
      if (when === 'find') store.gates.set('find', gate)
      else {
        store.ended = async (id) => {
          await gate.pass()
          return await howEnded.call(store, id)
        }
      }
      const before = used.length
      await leave('/public', gate, { headers })
      await until(`the use, with a client that leaves at ${when}`, () => used.length > before)
      store.gates.clear()
    }
    t.strictSame(used.map(({ network }) => network), ['127.0.0.1', '127.0.0.1'])
  })

  t.test(`over ${over}: the security log has the address of a client that leaves before its sign-in has failed, or before it is signed out`, async (t) => {
    const { app, store, entries, leave } = await open(t, isHttp2)
    const gate = new Gate()
    app.post('/login', async (request) => await app.attemptLogin(request, 'ada', async () => {
      await gate.pass()
      return null
    }))
    app.post('/logout', async (request) => { await app.logout(request) })
    await app.register(sessionRoutes, { prefix: '/mine' })
    await listen(app)
    const addresses = async (event: string): Promise<unknown[]> => {
      await until(event, () => entries.some((entry) => entry.event === event))
      return entries.splice(0).filter((entry) => entry.event === event).map((entry) => entry.source_ip)
    }
    await leave('/login', gate, { method: 'POST' })
    t.strictSame(await addresses('authn_login_fail'), ['127.0.0.1'])
    const { headers } = await app.sessions.create({ userId: 'ada' })
    const { session: other } = await app.sessions.create({ userId: 'ada' })
    for (const [path, event] of [[`/mine/${other.id}/revoke`, 'session_expired'], ['/logout', 'session_logout']] as const) {
      const loading = new Gate()
      store.gates.set('find', loading)
      await leave(path, loading, { method: 'POST', headers: headers as Record<string, string> })
      t.strictSame(await addresses(event), ['127.0.0.1'], path)
      store.gates.clear()
    }
  })

  t.test(`over ${over}: a use after the end is told later, where its client has gone and its route never answers`, async (t) => {
    const later: Array<() => void> = []
    const { setTimeout: start } = globalThis
    t.teardown(() => { globalThis.setTimeout = start })
    // The types of timers have more than a call.
    globalThis.setTimeout = ((callback: () => void, ms: number, ...others: []) => {
      if (ms === UNANSWERED_MS) later.push(callback)
      return start(callback, ms, ...others)
    }) as typeof setTimeout
    const { app, used, ended, leave } = await open(t, isHttp2)
    const gate = new Gate()
    let answered = false
    app.get('/silent', async () => { await gate.pass() })
    app.addHook('onSend', async () => { answered = true })
    await listen(app)
    await leave('/silent', gate, { headers: await ended() })
    await until('the wait', () => later.length > 0)
    await new Promise((resolve) => setImmediate(resolve))
    t.strictSame([answered, used.length], [false, 0])
    for (const tell of later) tell()
    await until('the use', () => used.length > 0)
  })

  t.test(`over ${over}: the log reports a call that fails after a reply whose client has gone, and that nobody waits for`, async (t) => {
    const { app, store, leave } = await open(t, isHttp2)
    const gate = new Gate()
    let late: FastifyRequest['session'] | undefined
    let sent = 0
    app.post('/cart', async ({ session }) => {
      session.cart = ['book']
      late = session
      await gate.pass()
      return {}
    })
    app.addHook('onSend', async () => { sent++ })
    await listen(app)
    const { headers } = await app.sessions.create({ userId: 'ada' })
    await leave('/cart', gate, { method: 'POST', headers: headers as Record<string, string> })
    await until('the reply', () => sent > 0)
    store.failing.add('update')
    Object.assign(late ?? {}, { cart: [] })
    void late?.save()
    await until('the line', () => app.lines.some(({ msg }) => msg === 'a call about the session failed, and nobody waited for it'))
  })
}
