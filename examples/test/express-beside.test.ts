import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'tap'
import type { Test } from 'tap'
import { buildExpress } from '../express-beside/express.ts'
import { buildFastify } from '../express-beside/server.ts'
import { secret } from '../../test/helpers/app.ts'
import { Jar } from '../../test/helpers/express-app.ts'
import { freePort, root, startProgram } from '../../test/helpers/process.ts'
import { startRedis, until } from '../../test/helpers/redis.ts'
import type { TestRedis } from '../../test/helpers/redis.ts'

interface Side { url: string, login: string, logout: string }
interface Sides { redis: TestRedis, express: Side, fastify: Side }

const EXPRESS = { login: '/login', logout: '/logout' }
const FASTIFY = { login: '/auth/login', logout: '/auth/logout' }
const ada = { username: 'ada', password: 'lovelace' }

/** Both applications, on a Redis of their own. */
async function startBoth (t: Test): Promise<Sides> {
  const redis = await startRedis(t)
  const server = buildExpress({ client: redis.client, secret }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const app = await buildFastify({ redis: redis.url, secret })
  t.teardown(async () => { await app.close() })
  return {
    redis,
    express: { ...EXPRESS, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    fastify: { ...FASTIFY, url: await app.listen({ host: '127.0.0.1', port: 0 }) }
  }
}

/** The answers of both applications to who is signed in. */
async function me (jar: Jar, { express, fastify }: Pick<Sides, 'express' | 'fastify'>): Promise<Array<{ status: number, userId?: string, by?: string }>> {
  return await Promise.all([express, fastify].map(async (side) => {
    const { status, body } = await jar.get(side, '/me')
    return status === 200 ? { status, ...body } : { status }
  }))
}

const KNOWN = (userId: string) => [{ status: 200, userId, by: 'Express' }, { status: 200, userId, by: 'Fastify' }]
const UNKNOWN = [{ status: 401 }, { status: 401 }]

test('whoever signs in on either is signed in on both, and signed out on both wherever they sign out', async (t) => {
  const both = await startBoth(t)
  for (const first of ['express', 'fastify'] as const) {
    for (const last of ['express', 'fastify'] as const) {
      const browser = new Jar()
      t.strictSame(await me(browser, both), UNKNOWN)
      t.equal((await browser.post(both[first], both[first].login, ada)).status, 200)
      t.strictSame([...browser.cookies.keys()], ['connect.sid'])
      t.strictSame(await me(browser, both), KNOWN('1'), `signed in at ${first}`)
      const copy = browser.copy()
      t.equal((await browser.post(both[last], both[last].logout)).status, 204)
      for (const each of [browser, copy]) t.strictSame(await me(each, both), UNKNOWN, `signed out at ${last}`)
    }
  }
})

test('signing out everywhere ends sessions of both, and nobody else\'s', async (t) => {
  const both = await startBoth(t)
  const [laptop, phone, bob] = [new Jar(), new Jar(), new Jar()]
  await laptop.post(both.express, both.express.login, ada)
  await phone.post(both.fastify, both.fastify.login, ada)
  await bob.post(both.express, both.express.login, { username: 'bob', password: 'builder' })
  t.strictSame(await Promise.all([laptop, phone, bob].map(async (each) => await me(each, both))), [KNOWN('1'), KNOWN('1'), KNOWN('2')])
  t.match(await phone.post(both.fastify, '/logout-everywhere'), { status: 200, body: { signedOut: 2 } })
  t.strictSame(await Promise.all([laptop, phone, bob].map(async (each) => await me(each, both))), [UNKNOWN, UNKNOWN, KNOWN('2')])
})

test('a wrong password, an unknown name and a body that is none sign nobody in', async (t) => {
  const both = await startBoth(t)
  const mallory = new Jar()
  for (const side of [both.express, both.fastify]) {
    for (const body of [{ ...ada, password: 'builder' }, { ...ada, username: 'mallory' }]) {
      t.match(await mallory.post(side, side.login, body), { status: 401, setCookies: [] })
    }
  }
  t.equal((await mallory.post(both.express, both.express.login)).status, 401)
  t.equal(mallory.cookies.size, 0)
  t.strictSame(await both.redis.client.keys('sess:*'), [])
})

test('run by hand it starts both, as its README says', async (t) => {
  const redis = await startRedis(t)
  const [port, expressPort] = [await freePort(), await freePort()]
  const env = { NODE_ENV: 'development', REDIS_URL: redis.url, SESSION_SECRET: undefined, EXPRESS_PORT: String(expressPort) }
  const { output } = await startProgram(t, `${root}examples/express-beside/server.ts`, port, env)
  await until('the line it prints', () => new RegExp(`^Express at \\S+:${expressPort}, Fastify at \\S+:${port}$`, 'm').test(output()))
  const both = { express: { ...EXPRESS, url: `http://127.0.0.1:${expressPort}` }, fastify: { ...FASTIFY, url: `http://127.0.0.1:${port}` } }
  const browser = new Jar()
  await browser.post(both.express, both.express.login, ada)
  t.strictSame(await me(browser, both), KNOWN('1'))
  t.match(await browser.post(both.fastify, '/logout-everywhere'), { status: 200, body: { signedOut: 1 } })
  t.strictSame(await me(browser, both), UNKNOWN)
})
