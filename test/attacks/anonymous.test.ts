import { randomBytes } from 'node:crypto'
import type { FastifyInstance, InjectOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, sessionRoutes } from '../../lib/index.ts'
import { newId, newToken, Signature, toBearer } from '../../lib/session/token.ts'
import { startApp } from '../helpers/app.ts'
import { inBatches } from '../helpers/batches.ts'
import { commandsDuring } from '../helpers/redis-commands.ts'
import { startRedis } from '../helpers/redis.ts'
import { isSoak, report, times } from '../helpers/scale.ts'

const redis = await startRedis(t)

if (isSoak) t.setTimeout(0)

/** A shop: it shows its visitors what they have in their carts, which is nothing. */
async function startShop (t: Test): Promise<FastifyInstance> {
  // A line for each of so many requests is nothing that anybody reads.
  const app = await startApp(t, { redis: redis.url, bearer: true }, { logger: false })
  await app.register(authRoutes, { prefix: '/auth', verify: () => null })
  await app.register(sessionRoutes, { prefix: '/auth/sessions' })
  app.get('/', async () => 'welcome')
  app.get('/auth', async (request) => ({ auth: request.auth }))
  app.get('/cart', async (request) => ({ cart: request.session.cart ?? [], saved: request.session.isSaved() }))
  app.post('/cart', async (request) => { request.session.cart = ['tea'] })
  app.post('/empty', async (request) => {
    request.session.flash = {}
    request.session.cart = []
    await request.session.save()
    return 'nothing to keep'
  })
  app.post('/leave', async (request) => {
    await request.session.destroy()
    return 'bye'
  })
  app.post('/app-logout', async (request, reply) => {
    await app.logout(request, reply)
    return 'bye'
  })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.auth)
  app.get('/orders', { preHandler: app.authenticatePage }, async () => 'orders')
  app.get('/login', { preHandler: app.guestOnly }, async () => 'the form')
  await app.ready()
  return app
}

interface Visit { status: number, method: 'GET' | 'HEAD' | 'POST' | 'DELETE', url: string }
const visit = (status: number, method: Visit['method'], url: string): Visit => ({ status, method, url })
const VISITS = [
  visit(200, 'GET', '/'), visit(200, 'GET', '/auth'), visit(200, 'GET', '/cart'), visit(401, 'GET', '/me'), visit(200, 'GET', '/auth/info'),
  visit(200, 'GET', '/login'), visit(200, 'HEAD', '/cart'), visit(200, 'POST', '/empty'), visit(404, 'GET', '/nowhere'), visit(401, 'GET', '/auth/sessions'), visit(401, 'DELETE', '/auth/sessions')
]
const SIGN_OUTS = [visit(204, 'POST', '/auth/logout'), visit(200, 'POST', '/leave'), visit(200, 'POST', '/app-logout')]

/** Headers that look as if they carried a session; none was ever issued. */
const BAD: Array<() => Record<string, string>> = [
  () => ({ cookie: 'sid=' }),
  () => ({ cookie: `sid=${randomBytes(60).toString('base64url')}` }),
  () => ({ cookie: `sid=${newToken(newId()).token}` }),
  () => ({ cookie: `sid=${new Signature(['a-secret-that-mallory-made-up-for-this']).sign(newToken(newId()).token)}` }),
  () => ({ cookie: `sid=s%3A${newId()}.${randomBytes(32).toString('base64')}` }),
  () => ({ cookie: `sid=${toBearer(newToken(newId()).token)}` }),
  () => ({ cookie: `connect.sid=${newId()}; __Host-sid=${newToken(newId()).token}; theme=dark` }),
  () => ({ cookie: `sid=${'x'.repeat(4_000)}` }),
  () => ({ authorization: `Bearer ${randomBytes(40).toString('base64url')}` }),
  () => ({ authorization: `Bearer ${newToken(newId()).token}` }),
  () => ({ authorization: `Bearer fus_${newToken(newId()).token}.AAAAAA` }),
  () => ({ authorization: 'Bearer', cookie: 'sid' })
]

/** Sends requests, and tells what was not as it has to be: a status of another kind, or a cookie that is set. */
async function send (app: FastifyInstance, count: number, requestOf: (index: number) => InjectOptions & { status: number, takesBack?: boolean }): Promise<string[]> {
  const wrong: string[] = []
  await inBatches(count, async (index) => {
    const { status, takesBack = false, ...request } = requestOf(index)
    const { statusCode, headers } = await app.inject(request)
    const setCookie = headers['set-cookie']
    const isRight = statusCode === status && (takesBack ? /^sid=; Max-Age=0;/.test(String(setCookie)) : setCookie === undefined)
    if (!isRight) wrong.push(JSON.stringify([request, statusCode, setCookie]))
  })
  return wrong
}

/** Nothing of what was sent was answered wrongly, told Redis to do anything, or left a key there. */
async function costsNothing (t: Test, scenario: string, tries: number, requestOf: Parameters<typeof send>[2]): Promise<void> {
  const app = await startShop(t)
  const keys = await redis.client.dbsize()
  let wrong: string[] = []
  const commands = await commandsDuring(redis.client, async () => { wrong = await send(app, tries, requestOf) })
  const more = await redis.client.dbsize() - keys
  t.strictSame(wrong.slice(0, 10), [])
  t.strictSame(commands, {})
  t.equal(more, 0)
  report({ scenario, on: 'one Redis', tries, costly: wrong.length + more + Object.values(commands).reduce((sum, calls) => sum + calls, 0) })
}

const pick = <T>(choices: readonly T[], index: number): T => choices[index % choices.length] as T

t.test('[7.6.2] visitors cost no Redis command, no key and no cookie', async (t) => {
  await costsNothing(t, 'requests of visitors', times(100_000), (index) => pick(VISITS, index))
})

t.test('[7.6.2] visitors of a guarded page are sent to the login page, which costs no command and no key', async (t) => {
  const app = await startShop(t)
  const keys = await redis.client.dbsize()
  const seen = new Set<string>()
  const commands = await commandsDuring(redis.client, async () => {
    await inBatches(times(10_000), async (index) => {
      const headers = index % 2 === 0 ? {} : pick(BAD.slice(0, 8), index >> 1)()
      const { statusCode, headers: { location, 'set-cookie': cookie } } = await app.inject({ url: `/orders?page=${index}`, headers })
      seen.add(`${statusCode} ${location} ${String(cookie).replace(/=.*/, '')}`)
    })
  })
  t.strictSame([...seen], ['303 /login sid-return'])
  t.strictSame(commands, {})
  t.equal(await redis.client.dbsize(), keys)
})

t.test('[7.6.2, 7.2.1] nor do those who bring a cookie or a token that was never issued', async (t) => {
  await costsNothing(t, 'requests with a made-up cookie or token', times(10_000), (index) => ({ ...pick(VISITS, index), headers: pick(BAD, Math.floor(index / VISITS.length))() }))
})

t.test('[7.6.2, CVE-2015-5963, CVE-2015-5964] signing out creates no session for who has none', async (t) => {
  await costsNothing(t, 'sign-outs of visitors', times(1_000), (index) => pick(SIGN_OUTS, index))
})

t.test('[7.6.2, CVE-2015-5963, CVE-2015-5964] signing out with a cookie that was never issued takes that back, and no more', async (t) => {
  await costsNothing(t, 'sign-outs with a made-up cookie', times(1_000), (index) => ({ ...pick(SIGN_OUTS, index), headers: { cookie: `sid=${newToken(newId()).token}` }, takesBack: true }))
})

t.test('[7.6.2] a visitor who puts something into the cart costs one command, one key and one cookie', async (t) => {
  const app = await startShop(t)
  const keys = await redis.client.dbsize()
  const commands = await commandsDuring(redis.client, async () => {
    t.match((await app.inject({ method: 'POST', url: '/cart' })).headers['set-cookie'], /^sid=/)
  })
  t.strictSame(commands, { set: 1 })
  t.equal(await redis.client.dbsize(), keys + 1)
})
