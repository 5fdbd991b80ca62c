/*
 * What a session takes: in Redis, index included, beside connect-redis with the same data, and on the heap of Node.
 *
 *     npm run bench:memory
 *
 * 10,000 sessions of people who signed in with a browser, three each; in a near-cache 100,000. Prints a table in Markdown
 * and writes bench/results/memory.json. In Redis by `used_memory` before and after, on the heap by what is left after collection.
 */
import type { AddressInfo } from 'node:net'
import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import type { SessionOptions } from '../lib/options/types.ts'
import { startRedis } from '../test/helpers/redis.ts'
import { Load } from './cost/load.ts'
import { userOf } from './cost/variants.ts'
import { cookieOf, fill, userOf as filledUserOf } from './fill.ts'
import { lib } from './lib.ts'
import { machineOf, sayMachine, writeResult } from './machine.ts'
import { infoNumber, liveBytes, markdown } from './numbers.ts'

const SESSIONS = 10_000
const PER_USER = 3
const GOAL = 1.15
/** Bytes that a session may take. */
const GOALS = { redis: 420, memory: 700, near: 600 }
const NEAR = { from: 20_000, to: 100_000, portion: 10_000 }
const COOKIE = 'sid'
const SECRET = 'only for measuring, and 32 characters long'
const USER_AGENT = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36'
/** What our record says of such a browser, in as many characters. */
const DEVICE = 'Chrome 130 on Windows'

interface Login { Querystring: { user: string } }
interface Row { what: string, bytes: number, goal?: number }

const teardowns: Array<() => unknown> = []
const owner = { teardown: (callback: () => unknown) => { teardowns.push(callback) } }
try {
  const { client } = await startRedis(owner)
  const machine = await machineOf(client)
  const index = 'fastify-user-sessions, index included'
  const same = 'connect-redis 8, the same data'
  const redis = [
    { ...await inRedis(index, async (url) => await ours({ redis: url })), goal: GOALS.redis },
    await inRedis(same, async (_url, client) => await theirs(new ConnectRedisStore({ client }), { everything: true })),
    await inRedis('connect-redis 8, the user\'s id alone', async (_url, client) => await theirs(new ConnectRedisStore({ client }), { everything: false }))
  ]
  const heap = [
    { ...await onHeap('`MemoryStore`, index included', async () => await ours({ store: new lib.MemoryStore() })), goal: GOALS.memory },
    { ...await inNearCache(), goal: GOALS.near },
    await onHeap('the MemoryStore of @fastify/session, the user\'s id alone', async () => await theirs(undefined, { everything: false }))
  ]
  const [{ bytes: our }, { bytes: their }] = redis as [Row, Row]
  const ratio = Math.round(100 * our / their) / 100
  const times = (bytes: number): string => (bytes / our).toFixed(2)
  console.log(`${sayMachine(machine)} · ${SESSIONS.toLocaleString('en')} sessions, ${PER_USER} of each user\n`)
  console.log(markdown(['in Redis', 'bytes per session', 'goal', '× ours'], redis.map(({ what, bytes, goal }) => [what, String(Math.round(bytes)), atMost(goal), times(bytes)])))
  console.log(`\nOurs takes ${ratio} times what connect-redis takes for the same data; the goal is no more than ${GOAL}${ratio > GOAL ? ': missed' : ''}.\n`)
  console.log(markdown(['on the heap of Node', 'bytes per session', 'goal'], heap.map(({ what, bytes, goal }) => [what, String(Math.round(bytes)), atMost(goal)])))
  writeResult('memory.json', { machine, sessions: SESSIONS, perUser: PER_USER, redis, heap, ratio, goal: GOAL })
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}

function atMost (goal: number | undefined): string {
  return goal === undefined ? '' : `≤ ${goal}`
}

/** In an empty Redis of its own. */
async function inRedis (what: string, start: (url: string, client: Redis) => Promise<FastifyInstance>): Promise<Row> {
  const { url, client: admin } = await startRedis(owner)
  const client = new Redis(url)
  const app = await start(url, client)
  // Whoever connects, and what is loaded once, is there before.
  await signIn(app, 0, PER_USER)
  const used = async (): Promise<number> => infoNumber(await admin.info('memory'), 'used_memory')
  const [before, first] = [await used(), await admin.dbsize()]
  await signIn(app, PER_USER, SESSIONS)
  const bytes = (await used() - before) / SESSIONS
  if (await admin.dbsize() - first < SESSIONS) throw new Error('not every session is there')
  await app.close()
  client.disconnect()
  return { what, bytes }
}

async function onHeap (what: string, start: () => Promise<FastifyInstance>): Promise<Row> {
  const app = await start()
  // So that all code has been compiled.
  await signIn(app, 0, 1_500)
  const before = await settledBytes()
  await signIn(app, 1_500, SESSIONS)
  const bytes = (await settledBytes() - before) / SESSIONS
  await app.close()
  return { what, bytes }
}

/** Of sessions that were read from Redis. What remembers credentials, up to a number of them, is full before. */
async function inNearCache (): Promise<Row> {
  const { url, client: admin } = await startRedis(owner)
  await fill(admin, 0, NEAR.to)
  const app = await ours({ redis: url, nearCache: { maxEntries: NEAR.to } })
  const load = await Load.open(await portOf(app))
  const read = async (from: number, to: number): Promise<void> => {
    for (; from < to; from += NEAR.portion) {
      await load.run(Array.from({ length: NEAR.portion }, (_, index) => ({
        request: `GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ${USER_AGENT}\r\nCookie: ${COOKIE}=${cookieOf(from + index, SECRET)}\r\n\r\n`,
        body: JSON.stringify({ user: filledUserOf(from + index) })
      })), { patient: true })
    }
  }
  await read(0, NEAR.from)
  const before = await settledBytes()
  await read(NEAR.from, NEAR.to)
  const bytes = (await settledBytes() - before) / (NEAR.to - NEAR.from)
  load.close()
  await app.close()
  return { what: `the near-cache, of ${NEAR.to.toLocaleString('en')}`, bytes }
}

/** What is left when replies and timers are done with. */
async function settledBytes (): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  return liveBytes()
}

/** Signs in `count` times, after the users of the first `from` sessions. Over HTTP: some stores keep the request. */
async function signIn (app: FastifyInstance, from: number, count: number): Promise<void> {
  const load = await Load.open(await portOf(app))
  await load.run(Array.from({ length: count }, (_, index) => ({
    request: `POST /login?user=${userOf(Math.floor((from + index) / PER_USER))} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ${USER_AGENT}\r\nContent-Length: 0\r\n\r\n`,
    body: JSON.stringify({ ok: true })
  })), { patient: true })
  load.close()
}

async function portOf (app: FastifyInstance): Promise<number> {
  if (!app.server.listening) await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

async function ours (where: Pick<SessionOptions, 'redis' | 'store' | 'nearCache'>): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(lib.sessionPlugin, { secret: SECRET, cookie: { secure: false }, cookieName: COOKIE, ...where })
  app.get('/', { preHandler: app.authenticate }, async (request) => ({ user: request.requireAuth().userId }))
  app.post<Login>('/login', async (request) => {
    await app.login(request, { id: request.query.user })
    return { ok: true }
  })
  return app
}

/** `everything`: what our record says of a session, as an application would write it down by itself. */
async function theirs (store: ConnectRedisStore | undefined, { everything }: { everything: boolean }): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(fastifyCookie)
  await app.register(fastifySession, {
    secret: SECRET,
    cookie: { secure: false, maxAge: 30 * 60_000 },
    ...store !== undefined && { store }
  })
  app.post<Login>('/login', async (request) => {
    request.session.userId = request.query.user
    if (everything) Object.assign(request.session, { createdAt: Date.now(), authenticatedAt: Date.now(), lastSeenAt: Date.now(), ip: request.ip, userAgent: DEVICE })
    return { ok: true }
  })
  return app
}
