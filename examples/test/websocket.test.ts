import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { buildApp } from '../websocket/server.ts'
import { secret } from '../../test/helpers/app.ts'
import { freePort, root, startProgram } from '../../test/helpers/process.ts'
import { age } from '../../test/helpers/redis-store.ts'
import { startRedis, until } from '../../test/helpers/redis.ts'
import type { TestRedis } from '../../test/helpers/redis.ts'

const MINUTE = 60_000

interface Server { url: string, app: FastifyInstance }

async function startServer (t: Test, redis: TestRedis, options: { touchEveryMs?: number } = {}): Promise<Server> {
  const app = await buildApp({ redis: redis.url, secret, ...options })
  t.teardown(async () => { await app.close() })
  return { app, url: await app.listen({ host: '127.0.0.1', port: 0 }) }
}

interface Person {
  cookie: string
  /** Of the session. */
  id: string
}

async function signIn (url: string, username = 'ada', password = 'lovelace'): Promise<Person> {
  const response = await fetch(`${url}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username, password }) })
  const { session } = await response.json() as { session: { id: string } }
  return { cookie: response.headers.get('set-cookie')?.split(';')[0] ?? '', id: session.id }
}

interface Live {
  socket: WebSocket
  closed: Promise<{ code: number, reason: string }>
  /** The server's next message. */
  next: () => Promise<string>
}

/** Opens the socket and hears the greeting. */
async function open (t: Test, url: string, { cookie, origin = url }: { cookie: string, origin?: string }): Promise<Live & { greeting: string }> {
  const socket = connect(t, url, { cookie, origin })
  const closed = once(socket, 'close').then(([code, reason]) => ({ code: Number(code), reason: String(reason) }))
  const next = async () => String((await once(socket, 'message'))[0])
  return { socket, closed, next, greeting: await next() }
}

/** The HTTP answer of an upgrade that is refused, after which the connection is closed. */
async function refused (t: Test, url: string, headers: Record<string, string> = {}): Promise<{ status: number | undefined, code: string }> {
  const socket = connect(t, url, headers)
  const [, response] = await once(socket, 'unexpected-response') as [unknown, IncomingMessage]
  const closed = response.socket.closed ? null : once(response.socket, 'close')
  let body = ''
  for await (const chunk of response) body += String(chunk)
  await closed
  return { status: response.statusCode, code: (JSON.parse(body) as { code: string }).code }
}

function connect (t: Test, url: string, headers: Record<string, string>): WebSocket {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/live`, { headers })
  t.teardown(() => {
    socket.on('error', () => {})
    socket.terminate()
  })
  return socket
}

const ENDED = { code: 4401, reason: 'the session has ended' }

test('ada opens a socket with her cookie, and it knows her', async (t) => {
  const { url } = await startServer(t, await startRedis(t))
  const { cookie } = await signIn(url)
  const { socket, greeting, next } = await open(t, url, { cookie })
  t.equal(greeting, 'hello 1')
  socket.send('good morning')
  t.equal(await next(), '1: good morning')
})

test('without a session the upgrade is answered 401, and so it is with one that has ended', async (t) => {
  const { url, app } = await startServer(t, await startRedis(t))
  const UNAUTHENTICATED = { status: 401, code: 'ERR_SESSION_UNAUTHENTICATED' }
  t.same(await refused(t, url), UNAUTHENTICATED)
  t.same(await refused(t, url, { cookie: 'sid=mallory.made.this.up' }), UNAUTHENTICATED)
  const { cookie, id } = await signIn(url)
  await app.sessions.revoke(id)
  t.same(await refused(t, url, { cookie }), UNAUTHENTICATED)
})

test('a page of another site cannot open a socket in ada\'s name', async (t) => {
  const { url } = await startServer(t, await startRedis(t))
  const { cookie } = await signIn(url)
  const CSRF_REJECTED = { status: 403, code: 'ERR_SESSION_CSRF_REJECTED' }
  t.same(await refused(t, url, { cookie, origin: 'https://mallory.example' }), CSRF_REJECTED)
  t.same(await refused(t, url, { cookie, origin: url, 'sec-fetch-site': 'cross-site' }), CSRF_REJECTED)
  t.same(await refused(t, url, { cookie, origin: 'null' }), CSRF_REJECTED)
})

test('when Redis is down the upgrade is answered 503, not 401', async (t) => {
  const redis = await startRedis(t)
  const { url } = await startServer(t, redis)
  const { cookie } = await signIn(url)
  await redis.stop()
  t.same(await refused(t, url, { cookie }), { status: 503, code: 'ERR_SESSION_STORE_UNAVAILABLE' })
})

test('a session that is revoked on one server closes its sockets on the other with 4401, at once, and no others', async (t) => {
  const redis = await startRedis(t)
  const [one, other] = await Promise.all([startServer(t, redis), startServer(t, redis)])
  const [ada, bob] = await Promise.all([signIn(one.url), signIn(one.url, 'bob', 'builder')])
  const [first, second, bobs] = await Promise.all([open(t, one.url, ada), open(t, one.url, ada), open(t, one.url, bob)])
  const revokedAt = performance.now()
  t.equal(await other.app.sessions.revoke(ada.id), true)
  t.same(await Promise.all([first?.closed, second?.closed]), [ENDED, ENDED])
  t.ok(performance.now() - revokedAt < 1_000, 'by a message, not by the look that is taken every five seconds')
  bobs?.socket.send('still here')
  t.equal(await bobs?.next(), '2: still here')
})

test('a logout over HTTP closes the socket with 4401', async (t) => {
  const { url } = await startServer(t, await startRedis(t))
  const { cookie } = await signIn(url)
  const { closed } = await open(t, url, { cookie })
  t.equal((await fetch(`${url}/auth/logout`, { method: 'POST', headers: { cookie } })).status, 204)
  t.same(await closed, ENDED)
})

test('a socket in one process is closed by a logout in another', async (t) => {
  const redis = await startRedis(t)
  const port = await freePort()
  const [here] = await Promise.all([startServer(t, redis), startProgram(t, `${root}examples/websocket/server.ts`, port, { REDIS_URL: redis.url, SESSION_SECRET: secret })])
  const there = `http://127.0.0.1:${port}`
  const { cookie, id } = await signIn(here.url)
  const { closed } = await open(t, here.url, { cookie })
  t.equal((await fetch(`${there}/auth/logout`, { method: 'POST', headers: { cookie } })).status, 204)
  t.same(await closed, ENDED)
  const again = await signIn(here.url)
  t.not(again.id, id)
  const { closed: closedThere } = await open(t, there, { cookie: again.cookie })
  await here.app.sessions.revoke(again.id)
  t.same(await closedThere, ENDED)
})

test('an open socket alone does not keep a session alive: after the idle timeout it is closed', async (t) => {
  const redis = await startRedis(t)
  const { url } = await startServer(t, redis)
  const { cookie } = await signIn(url)
  const { closed } = await open(t, url, { cookie })
  await age(redis.client, 'sess:', 31 * MINUTE)
  t.same(await closed, ENDED)
})

test('a message keeps the session alive', async (t) => {
  const redis = await startRedis(t)
  const { url, app } = await startServer(t, redis, { touchEveryMs: 0 })
  const ada = await signIn(url)
  const { socket } = await open(t, url, ada)
  await age(redis.client, 'sess:', 20 * MINUTE)
  t.ok(await redis.client.pttl(`sess:${ada.id}`) <= 10 * MINUTE)
  socket.send('hello')
  await until('the touch', async () => await redis.client.pttl(`sess:${ada.id}`) > 29 * MINUTE)
  t.ok(((await app.sessions.get(ada.id))?.expiresAt ?? 0) > Date.now() + 29 * MINUTE)
})

test('many messages in a row write nothing to Redis', async (t) => {
  const { url, app } = await startServer(t, await startRedis(t))
  let touches = 0
  app.sessions.touch = async () => ++touches > 0
  const { socket, next } = await open(t, url, await signIn(url))
  for (const message of ['one', 'two', 'three']) {
    socket.send(message)
    t.equal(await next(), `1: ${message}`)
  }
  t.equal(touches, 0)
})

test('an outage of Redis closes no socket, and a message during it ends nothing', async (t) => {
  const redis = await startRedis(t)
  const { url } = await startServer(t, redis, { touchEveryMs: 0 })
  const { cookie } = await signIn(url)
  const { socket, next } = await open(t, url, { cookie })
  await redis.stop()
  socket.send('are you there')
  t.equal(await next(), '1: are you there')
  t.equal(socket.readyState, WebSocket.OPEN)
})

test('a server that closes takes its sockets along, and leaves no connection to Redis', async (t) => {
  const redis = await startRedis(t)
  const { url, app } = await startServer(t, redis)
  const { cookie } = await signIn(url)
  const lives = await Promise.all([open(t, url, { cookie }), open(t, url, { cookie })])
  t.equal(app.websocketServer.clients.size, 2)
  await app.close()
  t.match(await Promise.all(lives.map(async ({ closed }) => await closed)), [{ code: 1005 }, { code: 1005 }], 'closed in order, and not as if the session had ended')
  await until('the sockets to be let go', () => app.websocketServer.clients.size === 0)
  t.equal(app.server.listening, false)
  await until('Redis to be left', async () => (await redis.client.client('LIST') as string).trim().split('\n').length === 1)
})
