import { once } from 'node:events'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { until } from '../helpers/redis.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'
import { listen, Visitor } from '../helpers/visitor.ts'

type Route = (request: FastifyRequest, reply: FastifyReply) => unknown

interface Site { app: FastifyInstance & { lines: LogLine[] }, store: SpyStore, url: string }

async function open (t: Test, routes: Record<string, Route>): Promise<Site> {
  const store = new SpyStore()
  const app = await startApp(t, { store })
  for (const [name, route] of Object.entries(routes)) app.post(`/${name}`, route as never)
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null }))
  return { app, store, url: await listen(app) }
}

async function who (visitor: Visitor): Promise<unknown> {
  return JSON.parse((await visitor.get('/me')).body).userId
}

t.test('the cookie of a sign-in goes out with a hijacked reply, however its head is written', async (t) => {
  const ways: Record<string, (reply: FastifyReply) => void> = {
    plain: ({ raw }) => { raw.end('ok') },
    written: ({ raw }) => {
      raw.write('o')
      raw.end('k')
    },
    headers: ({ raw }) => { raw.writeHead(200, { 'Set-Cookie': 'theme=dark', 'Cache-Control': 'public, max-age=60', vary: 'accept' }).end('ok') },
    message: ({ raw }) => { raw.writeHead(200, 'Fine', { 'set-cookie': ['theme=dark', 'size=large'] }).end('ok') },
    list: ({ raw }) => { raw.writeHead(200, ['set-cookie', 'theme=dark', 'x-one', '1']).end('ok') },
    set: ({ raw }) => {
      raw.setHeader('set-cookie', 'theme=dark')
      raw.writeHead(200).end('ok')
    }
  }
  const site = await open(t, Object.fromEntries(Object.entries(ways).map(([name, send]): [string, Route] => [name, async (request, reply) => {
    await site.app.login(request, { id: 'ada' })
    reply.hijack()
    send(reply)
  }])))
  const seen: unknown[] = []
  for (const name of Object.keys(ways)) {
    const visitor = new Visitor(site.url)
    const { status, body, headers, cookies } = await visitor.post(`/${name}`)
    seen.push([name, status, body, await who(visitor), cookies.map((line) => line.split('=')[0]).sort(), headers.get('cache-control'), headers.get('vary')])
  }
  t.strictSame(seen, [
    ['plain', 200, 'ok', 'ada', ['sid'], 'no-store', 'Cookie'],
    ['written', 200, 'ok', 'ada', ['sid'], 'no-store', 'Cookie'],
    ['headers', 200, 'ok', 'ada', ['sid', 'theme'], 'no-store', 'accept, Cookie'],
    ['message', 200, 'ok', 'ada', ['sid', 'size', 'theme'], 'no-store', 'Cookie'],
    ['list', 200, 'ok', 'ada', ['sid', 'theme'], 'no-store', 'Cookie'],
    ['set', 200, 'ok', 'ada', ['sid', 'theme'], 'no-store', 'Cookie']
  ])
  t.strictSame(site.app.lines.filter(({ level }) => level > 30), [])
})

t.test('a sign-out takes the cookie back with a hijacked reply', async (t) => {
  const site = await open(t, {
    out: async (request, reply) => {
      await site.app.logout(request)
      reply.hijack()
      reply.raw.end('bye')
    }
  })
  const ada = new Visitor(site.url)
  await ada.post('/login')
  t.match((await ada.post('/out')).cookies, [/^sid=; Max-Age=0;/])
})

t.test('a sign-in that is done after the head has gone leaves no session, and is warned of once', async (t) => {
  const outcomes: unknown[] = []
  const site = await open(t, {
    early: async (request, reply) => {
      const gate = new Gate()
      site.store.gates.set('begin', gate)
      const signingIn = site.app.login(request, { id: 'ada' })
      reply.hijack()
      await gate.reached
      reply.raw.flushHeaders()
      gate.open()
      site.store.gates.clear()
      await signingIn.catch((error: { code: string }) => outcomes.push(error.code))
      reply.raw.end('ok')
    },
    late: async (request, reply) => {
      reply.hijack()
      reply.raw.flushHeaders()
      await site.app.login(request, { id: 'ada' }).catch((error: { code: string }) => outcomes.push(error.code))
      reply.raw.end('ok')
    }
  })
  const visitor = new Visitor(site.url)
  for (const path of ['/early', '/early', '/late']) t.strictSame((await visitor.post(path)).cookies, [])
  t.strictSame(outcomes, ['ERR_SESSION_UNSUPPORTED', 'ERR_SESSION_UNSUPPORTED', 'ERR_SESSION_UNSUPPORTED'])
  t.strictSame(await site.app.sessions.listByUser('ada'), [])
  t.equal(site.app.lines.filter(({ level, msg }) => level === 40 && msg.includes('its reply had gone')).length, 1)
})

t.test('what was regenerated is gone behind a hijacked reply, also where nothing was saved', async (t) => {
  const site = await open(t, {
    again: async (request, reply) => {
      await request.session.regenerate(['userId'])
      reply.hijack()
      reply.raw.end('ok')
    }
  })
  const ada = new Visitor(site.url)
  await ada.post('/login')
  const done = once(site.app.server, 'request').then(async ([, response]) => { if (!response.closed) await once(response, 'close') })
  await ada.post('/again')
  await done
  t.equal(await who(ada), null)
  t.strictSame(await site.app.sessions.listByUser('ada'), [])
})

t.test('a session that follows a destroyed one is a new one', async (t) => {
  const site = await open(t, {
    fresh: async (request) => {
      const { session } = request
      await session.destroy()
      await session.regenerate()
      request.session.cart = ['book']
      return { userId: request.auth?.userId ?? null }
    },
    cart: async ({ session }) => session
  })
  const ada = new Visitor(site.url)
  await ada.post('/login')
  const before = ada.copy()
  t.match(await ada.post('/fresh'), { status: 200, body: '{"userId":null}' })
  t.equal((await ada.post('/cart')).body, '{"cart":["book"]}')
  t.equal(await who(before), null)
})

t.test('methods reached by a proxy of the session, or by what inherits from it, do what they say', async (t) => {
  const around: Record<string, (session: FastifyRequest['session']) => FastifyRequest['session']> = {
    proxy: (session) => new Proxy(session, {}),
    heir: (session) => Object.create(session) as FastifyRequest['session']
  }
  const seen: unknown[] = []
  for (const [name, wrap] of Object.entries(around)) {
    const site = await open(t, {
      save: async (request) => {
        const session = wrap(request.session)
        session.cart = ['book']
        const changed = session.isModified()
        await session.save()
        return { changed, saved: session.isSaved(), stored: JSON.parse((await site.store.peek(request.session.sessionId))?.data ?? '{}') }
      },
      regenerate: async (request) => {
        const before = request.session.sessionId
        await wrap(request.session).regenerate(['userId'])
        return { isNew: request.session.sessionId !== before }
      },
      reload: async (request) => {
        const { session } = request
        session.cart = ['pen']
        await wrap(session).reload()
        return request.session
      },
      destroy: async (request) => {
        await wrap(request.session).destroy()
        return { gone: request.session === null }
      }
    })
    const ada = new Visitor(site.url)
    await ada.post('/login')
    for (const method of ['save', 'regenerate', 'reload', 'destroy']) seen.push([name, method, JSON.parse((await ada.post(`/${method}`)).body)])
    seen.push([name, await who(ada)])
  }
  t.strictSame(seen, Object.keys(around).flatMap((name) => [
    [name, 'save', { changed: true, saved: true, stored: { userId: 'ada', cart: ['book'] } }],
    [name, 'regenerate', { isNew: true }],
    [name, 'reload', { userId: 'ada' }],
    [name, 'destroy', { gone: true }],
    [name, null]
  ]))
})

t.test('data that cannot be looked at behind a hijacked reply ends neither the process nor the hooks of the application', async (t) => {
  const cyclic: Record<string, unknown> = {}
  cyclic.self = cyclic
  const values: unknown[] = [1n, cyclic, { toJSON () { throw new Error('not me') } }]
  const app = await startApp(t)
  app.get<{ Params: { value: number } }>('/mine/:value', async (request, reply) => {
    reply.hijack()
    request.session.cart = values[request.params.value]
    reply.raw.end('mine')
  })
  let over = 0
  app.addHook('onResponse', async () => { over++ })
  const visitor = new Visitor(await listen(app))
  for (const value of values.keys()) t.equal((await visitor.get(`/mine/${value}`)).body, 'mine')
  await until('the hooks', () => over === values.length)
  t.equal(app.lines.filter(({ msg }) => msg === 'a session could not be looked at after its reply').length, values.length)
})
