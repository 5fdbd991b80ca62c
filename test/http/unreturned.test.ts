import { EventEmitter, once } from 'node:events'
import { Readable } from 'node:stream'
import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import type { SessionStore } from '@fastify/session'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { RedisStore } from '../../lib/express/redis-store.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { secret, startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { listen, Visitor } from '../helpers/visitor.ts'

/*
 * Async routes that call `reply.send()` and do not return it. Fastify sends such a reply twice, and leaves the status
 * 500 behind where the first has gone out as 200. Only a real socket shows it.
 */

const redis = await startRedis(t)

type Route = (request: FastifyRequest, reply: FastifyReply) => Promise<void>

interface Site { app: FastifyInstance & { lines: LogLine[] }, visitor: () => Visitor, url: string }

async function open (t: Test, routes: Record<string, Route>, options: Partial<SessionOptions> = {}, hooks = (_app: FastifyInstance): void => {}): Promise<Site> {
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix(), ...options })
  hooks(app)
  for (const [name, route] of Object.entries(routes)) app.post(`/${name}`, route)
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  const url = await listen(app)
  return { app, url, visitor: () => new Visitor(url) }
}

/** Sends a request, and waits until the server has done with it. */
async function post ({ app }: { app: FastifyInstance }, visitor: Visitor, path: string): Promise<{ status: number, body: string }> {
  const done = once(app.server, 'request').then(async ([, response]) => { if (!response.closed) await once(response, 'close') })
  const answer = await visitor.post(path)
  await done
  return answer
}

async function who (visitor: Visitor): Promise<unknown> {
  return JSON.parse((await visitor.get('/me')).body).userId
}

t.test('a sign-in by assignment holds in a route that does not return its reply', async (t) => {
  const site = await open(t, {
    send: async ({ session }, reply) => {
      session.userId = 7
      reply.send('ok')
    },
    code: async ({ session }, reply) => {
      session.userId = 7
      reply.code(201).send({ ok: true })
    },
    redirect: async ({ session }, reply) => {
      session.userId = 7
      reply.redirect('/me')
    },
    regenerate: async (request, reply) => {
      await request.session.regenerate()
      request.session.userId = 7
      reply.send('ok')
    },
    saved: async (request, reply) => {
      request.session.userId = 7
      await request.session.save()
      reply.send('ok')
    },
    nothing: async ({ session }, reply) => {
      session.userId = 7
      reply.code(204).send()
    }
  })
  const seen: unknown[] = []
  for (const name of ['send', 'code', 'redirect', 'regenerate', 'saved', 'nothing']) {
    const ada = site.visitor()
    const { status } = await post(site, ada, `/${name}`)
    seen.push([name, status, await who(ada), await who(ada)])
  }
  t.strictSame(seen, [
    ['send', 200, '7', '7'], ['code', 201, '7', '7'], ['redirect', 302, '7', '7'],
    ['regenerate', 200, '7', '7'], ['saved', 200, '7', '7'], ['nothing', 204, '7', '7']
  ])
})

t.test('and so where a hook of the application holds the reply up until the route has ended', async (t) => {
  const hook = new EventEmitter()
  const site = await open(t, {
    send: async ({ session }, reply) => {
      session.userId = 7
      const held = once(hook, 'held')
      reply.send('ok')
      await held
    }
  }, {}, (app) => {
    app.addHook('onSend', async (_request, _reply, payload) => {
      const both = once(hook, 'both')
      // The route waits for the first of the two; the second lets both go on.
      if (!hook.emit('held')) hook.emit('both')
      await both
      return payload
    })
  })
  const ada = site.visitor()
  t.match(await post(site, ada, '/send'), { status: 200 })
  t.strictSame([await who(ada), await who(ada)], ['7', '7'])
})

t.test('and so with userIdFrom, and in an error handler', async (t) => {
  const site = await open(t, {
    user: async ({ session }, reply) => {
      session.account = { number: 7 }
      reply.send('ok')
    }
  }, { userIdFrom: (data) => (data.account as { number?: number } | undefined)?.number })
  const ada = site.visitor()
  await post(site, ada, '/user')
  t.equal(await who(ada), '7')

  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix() })
  app.setErrorHandler(async (_error, request, reply) => {
    request.session.userId = 7
    reply.code(200).send('a guest')
  })
  app.post('/fails', async () => { throw new Error('not a guest') })
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null }))
  const url = await listen(app)
  const guest = new Visitor(url)
  t.equal((await post({ app }, guest, '/fails')).status, 200)
  t.equal(await who(guest), '7')
})

t.test('the reply that was sent first goes out, also while only the use of the session is written down', async (t) => {
  const site = await open(t, {
    login: async (request) => { await site.app.login(request, { id: 'ada' }) },
    send: async (_request, reply) => { reply.send('all of it') }
  }, { touchAfter: 0 })
  const ada = site.visitor()
  await post(site, ada, '/login')
  t.match(await post(site, ada, '/send'), { status: 200, body: 'all of it' })
})

t.test('a sign-in that fails in such a route says why, and one that does not logs no error', async (t) => {
  const site = await open(t, {
    send: async ({ session }, reply) => {
      session.userId = 7
      reply.send('ok')
    }
  })
  const refused = await site.visitor().post('/send', { origin: 'https://mallory.example' })
  t.equal(refused.status, 403)
  t.match(JSON.parse(refused.body), { code: 'ERR_SESSION_CSRF_REJECTED', message: 'Cross-site request rejected' })
  site.app.lines.length = 0
  t.equal((await post(site, site.visitor(), '/send')).status, 200)
  t.strictSame(site.app.lines.filter(({ level }) => level >= 40), [])
})

t.test('of what is sent while the reply waits the first goes out, whole, as without sessions; a route that returns nothing has sent nothing', async (t) => {
  const site = await open(t, {
    throws: async ({ session }, reply) => {
      session.userId = 7
      reply.send('ok')
      throw new Error('too late')
    },
    returns: async ({ session }, reply) => {
      session.userId = 7
      reply.code(202).send({ first: true })
      return 'the second' as never
    },
    redirects: async ({ session }, reply) => {
      session.userId = 7
      reply.redirect('/elsewhere')
      reply.redirect('/somewhere-else')
      return { second: true } as never
    },
    caches: async ({ session }, reply) => {
      session.userId = 7
      reply.header('x-first', 'yes').send('hers')
      reply.header('cache-control', 'public, max-age=3600').header('x-second', 'yes').removeHeader('x-first').send('for everybody')
    },
    creates: async ({ session }, reply) => {
      session.userId = 7
      reply.code(201)
      session.save(() => { reply.send({ id: 5 }) })
    },
    // An async route that returns nothing is a reply without a body, and the callback's is another.
    saves: async ({ session }, reply) => {
      session.userId = 7
      session.save((error?: Error) => { reply.send(error ?? 'saved') })
    },
    same: async ({ session }, reply) => {
      session.userId = 7
      const stream = Readable.from(['all ', 'of it'])
      reply.type('text/csv').send(stream)
      return stream as never
    },
    streams: async ({ session }, reply) => {
      session.userId = 7
      reply.header('content-type', 'text/csv').send(Readable.from(['all ', 'of it']))
      reply.code(203).type('text/html').send(Readable.from(['nobody', 'reads', 'this']))
    }
  })
  const seen: unknown[] = []
  for (const name of ['throws', 'returns', 'redirects', 'creates', 'saves', 'same', 'streams']) {
    const { status, body, headers } = await site.visitor().post(`/${name}`)
    seen.push([name, status, body, headers.get('content-type'), headers.get('content-length'), headers.get('location')])
  }
  t.strictSame(seen, [
    ['throws', 200, 'ok', 'text/plain; charset=utf-8', '2', null],
    ['returns', 202, '{"first":true}', 'application/json; charset=utf-8', '14', null],
    ['redirects', 302, '', null, '0', '/elsewhere'],
    ['creates', 201, '{"id":5}', 'application/json; charset=utf-8', '8', null],
    ['saves', 200, 'saved', 'text/plain; charset=utf-8', '5', null],
    ['same', 200, 'all of it', 'text/csv', null, null],
    ['streams', 200, 'all of it', 'text/csv', null, null]
  ])
  const { body, headers } = await site.visitor().post('/caches')
  t.strictSame([body, ...['cache-control', 'x-first', 'x-second'].map((name) => headers.get(name))], ['hers', 'no-store', 'yes', null])
  t.match(await site.visitor().post('/saves', { origin: 'https://mallory.example' }), { status: 403, body: /"code":"ERR_SESSION_CSRF_REJECTED"/ })
})

t.test('a guard that answers and does not return its reply is followed by no route, whatever its reply waits for', async (t) => {
  const guards: Record<string, RouteShorthandOptions> = {
    sends: { preHandler: async (_request, reply) => { reply.code(403).send({ error: 'not for you' }) } },
    nothing: { preHandler: async (_request, reply) => { reply.code(401).send() } },
    'calls-back': {
      preHandler: (_request, reply, done) => {
        reply.code(403).send({ error: 'not for you' })
        done()
      }
    },
    redirects: { preHandler: async (_request, reply) => { reply.redirect('/login') } },
    early: { onRequest: async (_request, reply) => { reply.code(403).send({ error: 'not for you' }) } },
    flash: {
      preHandler: async (request, reply) => {
        request.session.flash = 'not for you'
        reply.code(403).send({ error: 'not for you' })
      }
    },
    later: { config: { isGuardedLater: true } as never },
    fine: { preHandler: async () => {} }
  }
  let runs = 0
  const site = await open(t, {
    login: async (request) => { await site.app.login(request, { id: 'ada' }) }
  }, { touchAfter: 0 }, (app) => {
    app.addHook('onRoute', (route) => {
      if ((route.config as { isGuardedLater?: boolean } | undefined)?.isGuardedLater !== true) return
      route.preHandler = async (_request, reply) => { reply.code(403).send({ error: 'not for you' }) }
    })
    for (const [name, guard] of Object.entries(guards)) {
      app.post(`/${name}`, guard, async () => {
        runs++
        return { salaries: [1, 2, 3] }
      })
    }
  })
  const ada = site.visitor()
  await post(site, ada, '/login')
  const seen: unknown[] = []
  for (const name of Object.keys(guards)) {
    const { status, body } = await post(site, ada, `/${name}`)
    seen.push([name, status, body, runs])
  }
  const refused = '{"error":"not for you"}'
  t.strictSame(seen, [
    ['sends', 403, refused, 0], ['nothing', 401, '', 0], ['calls-back', 403, refused, 0], ['redirects', 302, '', 0],
    ['early', 403, refused, 0], ['flash', 403, refused, 0], ['later', 403, refused, 0], ['fine', 200, '{"salaries":[1,2,3]}', 1]
  ])
})

t.test('what comes after the reply is told, and signs nobody in', async (t) => {
  const late = new EventEmitter()
  const routes: Record<string, [Route, { level: number, msg: RegExp }]> = {
    'an assignment': [async ({ session }, reply) => {
      session.visits ??= 0
      await session.save()
      reply.send('ok')
      session.userId = 7
    }, { level: 40, msg: /^request\.session was changed, and that is not saved/ }],
    'an assignment by a visitor': [async (request, reply) => {
      reply.send('ok')
      request.session.userId = 7
    }, { level: 40, msg: /^request\.session was changed, and that is not saved/ }],
    'an assignment when all is over': [async (request, reply) => {
      reply.send('ok')
      await once(late, 'now')
      request.session.userId = 7
    }, { level: 40, msg: /^request\.session was changed, and that is not saved/ }],
    'a login': [async (request, reply) => {
      reply.send('ok')
      await once(late, 'now')
      void request.server.login(request, { id: 7 })
    }, { level: 50, msg: /^a call about the session failed/ }]
  }
  for (const [name, [route, line]] of Object.entries(routes)) {
    const site = await open(t, { late: route })
    const visitor = site.visitor()
    t.equal((await post(site, visitor, '/late')).status, 200, name)
    late.emit('now')
    await until('the log to tell', () => site.app.lines.some(({ level }) => level >= 40))
    t.match(site.app.lines.filter(({ level }) => level >= 40), [line], name)
    t.equal(await who(visitor), null, name)
  }
})

t.test('a route that sends 200 and then throws signs in whom the client was told of, and nobody else', async (t) => {
  const site = await open(t, {
    both: async ({ session }, reply) => {
      session.userId = 7
      reply.send('ok')
      throw new Error('too late')
    },
    refused: async ({ session }, reply) => {
      session.userId = 7
      reply.code(403).send('no')
    }
  })
  for (const name of ['both', 'refused']) {
    const visitor = site.visitor()
    const { status } = await post(site, visitor, `/${name}`)
    t.equal(await who(visitor), status < 400 ? '7' : null, `${name} was answered ${status}`)
  }
})

t.test('under @fastify/session, such a route does not end the process either', async (t) => {
  const app = Fastify()
  const thrown: string[] = []
  const onThrow = (error: Error): void => { thrown.push(error.message) }
  process.on('uncaughtException', onThrow)
  t.teardown(() => { process.off('uncaughtException', onThrow) })
  t.teardown(() => app.close())
  await app.register(fastifyCookie)
  const store = new RedisStore({ client: redis.client, prefix: prefix() }) as unknown as SessionStore
  await app.register(fastifySession, { secret, store, cookie: { secure: false } })
  app.post('/send', async ({ session }, reply) => {
    session.userId = 7
    reply.send('ok')
  })
  app.get('/me', async ({ session }) => ({ userId: session.userId ?? null }))
  const url = await listen(app)
  const ada = new Visitor(url)
  const bodies: string[] = []
  for (let times = 0; times < 5; times++) bodies.push((await post({ app }, ada, '/send')).body)
  t.strictSame(bodies, ['ok', 'ok', 'ok', 'ok', 'ok'])
  t.equal(await who(ada), 7)
  t.strictSame(thrown, [])
})
