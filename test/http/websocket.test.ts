import { once } from 'node:events'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { startApp } from '../helpers/app.ts'
import { SpyStore } from '../helpers/spy-store.ts'
import { listen, Visitor } from '../helpers/visitor.ts'

type Begin = (app: FastifyInstance, request: FastifyRequest) => Promise<unknown>

/** The ways to begin a session, or to go on with one under a new id. */
const WAYS: Record<string, Begin> = {
  login: async (app, request) => await app.login(request, { id: 'bob' }),
  assignment: async (_app, { session }) => {
    session.userId = 'bob'
    await session.save()
  },
  regenerate: async (_app, request) => {
    await request.session.regenerate(['userId'])
    await request.session.save()
  },
  visit: async (_app, { session }) => {
    session.cart = ['tea']
    await session.save()
  }
}

async function openSite (t: Test): Promise<{ store: SpyStore, url: string }> {
  const store = new SpyStore()
  const app = await startApp(t, { store })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.get('/me', async (request) => request.auth?.userId ?? 'nobody')
  await app.register(async (live) => {
    await live.register(websocket)
    for (const [way, begin] of Object.entries(WAYS)) {
      live.get(`/${way}`, { websocket: true }, (socket, request) => {
        socket.on('message', () => {
          begin(app, request).then(() => 'done', ({ code }: { code: string }) => code).then((said) => { socket.send(said) }, () => {})
        })
      })
    }
    live.get('/refused', {
      websocket: true,
      preValidation: async ({ session }, reply) => {
        session.tries = 1
        return await reply.code(401).send('no')
      }
    }, (socket) => { socket.close() })
    live.get('/guarded', { websocket: true, preHandler: async (request) => { await app.login(request, { id: 'bob' }) } }, (socket) => { socket.close() })
  })
  return { store, url: await listen(app) }
}

function socketOf (t: Test, visitor: Visitor, path: string): WebSocket {
  const cookie = [...visitor.cookies].map((pair) => pair.join('=')).join('; ')
  const socket = new WebSocket(`${visitor.url.replace('http', 'ws')}/${path}`, { headers: { cookie } })
  t.teardown(() => {
    socket.on('error', () => {})
    socket.terminate()
  })
  return socket
}

t.test('a session that begins in a WebSocket, where no cookie can be set, is refused, and the one there is goes on', async (t) => {
  const { store, url } = await openSite(t)
  for (const way of Object.keys(WAYS)) {
    const visitor = new Visitor(url)
    if (way !== 'visit') await visitor.post('/login')
    store.calls.length = 0
    const socket = socketOf(t, visitor, way)
    await once(socket, 'open')
    socket.send('begin')
    t.equal(String((await once(socket, 'message'))[0]), 'ERR_SESSION_UNSUPPORTED', way)
    const closed = once(socket, 'close')
    socket.close()
    await closed
    t.strictSame(store.calls.filter((call) => !['find', 'touch'].includes(String(call))), [], way)
    t.equal((await visitor.get('/me')).body, way === 'visit' ? 'nobody' : 'ada', way)
  }
})

t.test('a sign-in before the upgrade of a WebSocket refuses the upgrade, and signs nobody out', async (t) => {
  const { url } = await openSite(t)
  const ada = new Visitor(url)
  await ada.post('/login')
  const socket = socketOf(t, ada, 'guarded')
  const [, response] = await once(socket, 'unexpected-response')
  t.equal(response.statusCode, 500)
  response.destroy()
  t.equal((await ada.get('/me')).body, 'ada')
})

t.test('a handshake that a guard refuses is a reply as any other, and keeps what it stored', async (t) => {
  const { url } = await openSite(t)
  const socket = socketOf(t, new Visitor(url), 'refused')
  const [, response] = await once(socket, 'unexpected-response')
  t.equal(response.statusCode, 401)
  t.match(response.headers['set-cookie'], [/^sid=/])
  response.destroy()
})

t.test('a server without WebSockets signs in also where a proxy adds the header of an upgrade to every request', async (t) => {
  const app = await startApp(t)
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  await listen(app)
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const { port } = app.server.address() as AddressInfo
    request({ port, host: '127.0.0.1', method: 'POST', path: '/login', headers: { connection: 'Upgrade', upgrade: 'websocket' } }, resolve).on('error', reject).end()
  })
  answer.resume()
  t.equal(answer.statusCode, 200)
  t.match(answer.headers['set-cookie'], [/^sid=/])
})
