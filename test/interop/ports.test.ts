import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import express from 'express'
import expressSession from 'express-session'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyPluginCallback } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { sessionPlugin } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { Jar } from '../helpers/express-app.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { identity, shop } from './ports/express-session.ts'
import { byLogin, bySessionCookie, cluster, communityMap, ormApi, school } from './ports/fastify-session.ts'
import { ada, bob } from './ports/port.ts'
import type { Port } from './ports/port.ts'
import { accounts, byDelete, byDestroy, byOptions, dbConsole } from './ports/secure-session.ts'

const redis = await startRedis(t)

type At = { url: string }

/** The store that these applications have. */
const connectRedis = (keyPrefix: string) => new ConnectRedisStore({ client: redis.client, prefix: keyPrefix }) as never

/** Starts the application on the library that it was written for. */
async function startTheirs (t: Test, port: Port, keyPrefix: string): Promise<At> {
  return port.express === undefined ? await startOnFastify(t, port, keyPrefix) : await startOnExpress(t, port, keyPrefix)
}

async function startOnExpress (t: Test, { theirs, express: routes }: Port, keyPrefix: string): Promise<At> {
  const app = express()
  app.use(expressSession({ ...theirs, store: connectRedis(keyPrefix) } as never))
  app.use(express.json())
  routes?.(app)
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

async function startOnFastify (t: Test, { library, theirs, routes, published = routes }: Port, keyPrefix: string): Promise<At> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(fastifyCookie)
  if (library === '@fastify/session') await app.register(fastifySession, { ...theirs, store: connectRedis(keyPrefix) } as never)
  else await app.register(await secureSession(), theirs)
  await published(app as unknown as FastifyInstance)
  return { url: await app.listen({ port: 0, host: '127.0.0.1' }) }
}

/** Loads @fastify/secure-session where TypeScript does not see it: its types are no others' `request.session`. */
async function secureSession (): Promise<FastifyPluginCallback> {
  const name: string = '@fastify/secure-session'
  return (await import(name)).default
}

type Ported = FastifyInstance & At & { lines: LogLine[] }

/** Starts the same routes here. */
async function startPorted (t: Test, { theirs, routes, options }: Port, keyPrefix: string): Promise<Ported> {
  const secret = theirs.secret as string
  const app = await startApp(t, { secret, redis: redis.url, keyPrefix, ...options }, { forceCloseConnections: true })
  await routes(app)
  return Object.assign(app, { url: await app.listen({ port: 0, host: '127.0.0.1' }) })
}

const warningsOf = ({ lines }: Ported): string[] => lines.filter(({ level }) => level === 40).map(({ msg }) => msg)

const errorsOf = ({ lines }: Ported): string[] => lines.filter(({ level }) => level >= 50).map(({ msg }) => msg)

const sessionsOf = async ({ sessions }: Ported, userId: string): Promise<number> => (await sessions.listByUser(userId)).length

const PORTS: Port[] = [
  communityMap,
  ormApi,
  cluster,
  { ...school(byLogin), published: school(bySessionCookie).routes },
  identity,
  shop,
  { ...dbConsole(byDestroy), published: dbConsole(byDelete).routes },
  { ...accounts(byDestroy, () => {}), published: accounts(byDelete, byOptions).routes }
]

for (const port of PORTS) {
  const { kind, library, theirs, login, seen, logout, idOf } = port
  t.test(`${kind}: its registration is refused at boot, each option with what to write`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    const { message } = await app.register(sessionPlugin, theirs as never).then(() => ({ message: '' }), (error: Error) => error)
    const faults = message.replace('Invalid session options: ', '').split(/; (?!set it)/)
    t.strictSame(faults.map((fault) => fault.split(' ')[0]).sort(), port.faults)
    for (const fault of faults) t.match(fault, /(: | is required)/)
  })

  t.test(`${kind}: who signed in on ${library} ${library === '@fastify/secure-session' ? 'signs in once more' : 'is signed in here'}, and out`, async (t) => {
    const keyPrefix = prefix()
    const before = await startTheirs(t, port, keyPrefix)
    const [laptop, phone, guess] = [new Jar(), new Jar(), new Jar()]
    for (const jar of [laptop, phone]) t.ok((await login(jar, before, ada)).status < 400)
    t.equal(await seen(laptop, before), 'ada')
    const app = await startPorted(t, port, keyPrefix)
    if (library === '@fastify/secure-session') {
      t.equal(await seen(laptop, app), null)
      for (const jar of [laptop, phone]) t.ok((await login(jar, app, ada)).status < 400)
    }
    t.strictSame([await seen(laptop, app), await seen(phone, app), await seen(new Jar(), app)], ['ada', 'ada', null])
    t.equal(await sessionsOf(app, idOf(ada)), 2)
    t.ok((await login(guess, app, ada, 'guess')).status >= 400)
    t.equal(await seen(guess, app), null, 'a wrong password')
    const tablet = new Jar()
    t.ok((await login(tablet, app, bob)).status < 400)
    t.strictSame([await seen(tablet, app), await sessionsOf(app, idOf(bob))], ['bob', 1])
    const copy = laptop.copy()
    t.ok((await logout(laptop, app)).status < 400)
    t.strictSame([await seen(laptop, app), await seen(copy, app), await seen(phone, app)], [null, null, 'ada'], 'one is signed out, with every copy')
    t.ok((await login(laptop, app, ada)).status < 400)
    t.equal(await seen(laptop, app), 'ada', 'and in again')
    t.equal(await app.sessions.revokeUser(idOf(ada)), 2)
    t.strictSame([await seen(laptop, app), await seen(phone, app), await seen(tablet, app)], [null, null, 'bob'])
    t.strictSame(errorsOf(app), [])
    t.match(warningsOf(app), port.warnings ?? [])
    t.equal(warningsOf(app).length, port.warnings?.length ?? 0)
  })
}

/** An application with these options in place of its own; `undefined` leaves one out. */
const withOptions = (port: Port, options: Port['options']): Port => ({ ...port, options: { ...port.options, ...options } })

t.test('without userIdFrom the log names the member that signs nobody in', async (t) => {
  const members = [[cluster, 'uid'], [school(() => {}), 'admin'], [dbConsole(byDestroy), 'user'], [accounts(byDestroy, () => {}), 'user']] as const
  for (const [port, member] of members) {
    const app = await startPorted(t, withOptions(port, { userIdFrom: undefined }), prefix())
    const browser = new Jar()
    t.ok((await port.login(browser, app, ada)).status < 400)
    t.equal(await port.seen(browser, app), 'ada', 'its own guard lets her pass')
    t.match(warningsOf(app), [`request.session.${member} was set, and nobody is signed in by that: set request.session.userId, or say with userIdFrom where the user's id is`])
  }
})

t.test('an id of MongoDB in userId says what to pass, and signs nobody in', async (t) => {
  const app = await startPorted(t, withOptions(shop, { userIdFrom: undefined }), prefix())
  const browser = new Jar()
  t.match(await shop.login(browser, app, ada), { status: 500, body: { message: /userId must be a string .*; pass String\(id\)/ } })
  t.equal(await shop.seen(browser, app), null)
})

t.test('"remember me" by the cookie of the session says what to write, and signs nobody in', async (t) => {
  const port = school(bySessionCookie)
  const app = await startPorted(t, port, prefix())
  const browser = new Jar()
  t.match(await port.login(browser, app, ada), { status: 500, body: { code: 'ERR_SESSION_UNSUPPORTED', message: /request\.session\.cookie: give remember or timeouts to login/ } })
  t.equal(await port.seen(browser, app), null)
  const mended = school(byLogin)
  const ported = await startPorted(t, mended, prefix())
  t.ok((await mended.login(browser, ported, ada)).status < 400)
  const [session] = await ported.sessions.listByUser(mended.idOf(ada))
  t.equal((session?.expiresAt ?? 0) - (session?.createdAt ?? 0), 30 * 24 * 60 * 60 * 1000)
})

t.test('methods of @fastify/secure-session that are gone say what to write, and a sign-out by them is no success', async (t) => {
  const [ported, ofOptions] = [dbConsole(byDelete), accounts(byDelete, byOptions)]
  const app = await startPorted(t, ported, prefix())
  const browser = new Jar()
  await ported.login(browser, app, ada)
  t.match(await ported.logout(browser, app), { status: 500, body: { code: 'ERR_SESSION_UNSUPPORTED', message: /await request\.session\.destroy\(\)/ } })
  t.equal(await ported.seen(browser, app), 'ada')
  const other = await startPorted(t, ofOptions, prefix())
  t.match(await ofOptions.login(browser, other, ada), { status: 500, body: { code: 'ERR_SESSION_UNSUPPORTED', message: /request\.session\.cookie/ } })
})

t.test('a form that was open while the application was replaced is sent to the new one', async (t) => {
  const keyPrefix = prefix()
  const before = await startTheirs(t, identity, keyPrefix)
  const browser = new Jar()
  const start = await browser.get(before, '/start-sign-in')
  await browser.post(before, '/start-sign-in', { login: ada.email, _csrf: start.body.csrfToken })
  const form = await browser.get(before, '/sign-in')
  const app = await startPorted(t, identity, keyPrefix)
  const { status, location } = await browser.post(app, '/sign-in', { password: ada.password, _csrf: form.body.csrfToken })
  t.strictSame([status, location, await identity.seen(browser, app)], [302, '/', 'ada'])
})

t.test('the page that sent to the sign-in is the one that follows it', async (t) => {
  const app = await startPorted(t, identity, prefix())
  const browser = new Jar()
  t.equal((await browser.get(app, '/personal-information')).location, '/start-sign-in')
  t.equal((await identity.login(browser, app, ada)).location, '/personal-information')
})

t.test('the cart of a visitor comes along from Express, and through the sign-in', async (t) => {
  const keyPrefix = prefix()
  const before = await startTheirs(t, shop, keyPrefix)
  const browser = new Jar()
  await browser.post(before, '/cart', { item: 'book' })
  const app = await startPorted(t, shop, keyPrefix)
  t.strictSame((await browser.post(app, '/cart', { item: 'pen' })).body, { cart: ['book', 'pen'] })
  await shop.login(browser, app, ada)
  t.strictSame((await browser.get(app, '/profile')).body, { name: 'ada', userId: shop.idOf(ada), cart: ['book', 'pen'] })
})

t.test('a registration that keeps the store of connect-redis finds nobody, and the boot says so', async (t) => {
  const keyPrefix = prefix()
  const before = await startTheirs(t, communityMap, keyPrefix)
  const browser = new Jar()
  await communityMap.login(browser, before, ada)
  const { adopt, ...options } = communityMap.options
  const kept = { ...options, redis: undefined, keyPrefix: undefined, store: connectRedis(keyPrefix) }
  const app = await startPorted(t, { ...communityMap, options: kept }, keyPrefix)
  t.equal(await communityMap.seen(browser, app), null)
  t.match(warningsOf(app), [/^store is one of connect-redis: .* Write redis with its client, keyPrefix with its prefix, and adopt/])
})

t.test('one cookieName that is not the old one finds nobody, and the boot says so; the old one finds everybody', async (t) => {
  const keyPrefix = prefix()
  const before = await startTheirs(t, cluster, keyPrefix)
  const browser = new Jar()
  await cluster.login(browser, before, ada)
  const wrong = await startPorted(t, withOptions(cluster, { cookieName: 'sid' }), keyPrefix)
  t.equal(await cluster.seen(browser, wrong), null)
  t.match(warningsOf(wrong), [/^cookieName is one name, and the cookie of the application before is read under that alone/])
  const old = await startPorted(t, withOptions(cluster, { cookieName: 'cluster' }), keyPrefix)
  t.equal(await cluster.seen(browser, old), 'ada')
})
