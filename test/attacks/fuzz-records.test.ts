import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, sessionRoutes } from '../../lib/index.ts'
import type { SessionInfo, SessionOptions } from '../../lib/index.ts'
import { secret, startApp } from '../helpers/app.ts'
import { contents, listContents, put } from '../helpers/contents.ts'
import type { Content } from '../helpers/contents.ts'
import { none, tryAll } from '../helpers/fuzz.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { isSoak, report, times } from '../helpers/scale.ts'

const redis = await startRedis(t)
if (isSoak) t.setTimeout(0)

const KINDS: Array<[name: string, options: Partial<SessionOptions>]> = [
  ['one Redis', {}],
  ['one Redis, encrypted', { encryption: { keys: [secret] } }]
]

/** An application that does all there is to do with a session; ada and bob are signed in. */
async function startService (t: Test, options: Partial<SessionOptions>) {
  const keyPrefix = prefix()
  const app = await startApp(t, { redis: redis.url, keyPrefix, touchAfter: 0, attempts: false, ...options }, { logger: false })
  await app.register(authRoutes, { prefix: '/auth', verify: () => ({ id: 'ada' }) })
  await app.register(sessionRoutes, { prefix: '/auth/sessions' })
  app.get('/whoami', async (request) => ({ userId: request.auth?.userId ?? null }))
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.auth)
  app.get('/data', async (request) => ({ data: request.session, saved: request.session.isSaved() }))
  app.post('/change', async (request) => { request.session.cart = (Number(request.session.cart) || 0) + 1 })
  app.post('/save', async (request) => {
    request.session.cart = 'tea'
    await request.session.save()
    await request.session.reload()
  })
  app.post('/regenerate', async (request) => { await request.session.regenerate(['cart', 'userId']) })
  app.post('/assign', async (request) => { request.session.userId = 'ada' })
  app.post('/keep', async (request) => { await app.login(request, { id: 'ada' }, { keep: true }) })
  app.post('/switch', async (request) => { await app.login(request, { id: 'carol' }, { keep: true }) })
  app.post('/destroy', async (request) => { await request.session.destroy() })
  await app.ready()
  const [ada, bob] = [await app.sessions.create({ userId: 'ada', data: { cart: 1 }, label: 'phone', meta: { app: '2.1' } }), await app.sessions.create({ userId: 'bob', data: { cart: 2 } })]
  const keyOf = (id: string) => keyPrefix + id
  const text = async (id: string) => await redis.client.get(keyOf(id)) ?? ''
  return { app, keyPrefix, keyOf, ada, bob, adasText: await text(ada.session.id), bobsText: await text(bob.session.id) }
}

type Service = Awaited<ReturnType<typeof startService>>

/** What a browser asks for, and programs of `app.sessions`. */
const REQUESTS = ['GET /me', 'GET /data', 'GET /auth/info', 'GET /auth/sessions', 'DELETE /auth/sessions', 'POST /change', 'POST /save', 'POST /regenerate', 'POST /assign', 'POST /keep', 'POST /switch', 'POST /destroy', 'POST /auth/logout', 'POST /auth/login'] as const
const CALLS: Record<string, (service: Service, id: string) => Promise<unknown>> = {
  get: async ({ app }, id) => await app.sessions.get(id),
  data: async ({ app }, id) => await app.sessions.data(id),
  update: async ({ app }, id) => await app.sessions.update(id, (data) => ({ ...data, seen: true })),
  touch: async ({ app }, id) => await app.sessions.touch(id),
  revoke: async ({ app }, id) => await app.sessions.revoke(id, { userId: 'ada' }),
  revokeUser: async ({ app }) => await app.sessions.revokeUser('ada'),
  listByUser: async ({ app }) => await app.sessions.listByUser('ada'),
  listAll: async ({ app }) => { for await (const session of app.sessions.listAll()) JSON.stringify(session) },
  create: async ({ app }) => await app.sessions.create({ userId: 'ada' })
}
const action = fc.constantFrom(...REQUESTS, ...Object.keys(CALLS))

/**
 * Whom the content of a session's key signs in, at the most: a first line that is a JSON object, has the hash of the
 * secret in this very cookie, and names a user.
 */
function userIn (content: Content, token: string): string | null {
  if (!Buffer.isBuffer(content)) return null
  const hash = createHash('sha256').update(token.split('.')[1] ?? '').digest('base64url')
  try {
    const head = JSON.parse(content.toString().split('\n')[0] ?? '') as { h?: unknown, u?: unknown } | null
    return head?.h === hash && typeof head.u === 'string' ? head.u : null
  } catch {
    return null
  }
}

/** Ada's browser, or a program, does something; what fails is told. */
async function act (service: Service, what: string): Promise<string[]> {
  const { app, ada } = service
  const call = CALLS[what]
  if (call !== undefined) return await call(service, ada.session.id).then(() => [], (error: Error) => [`app.sessions.${what}: ${error.message}`])
  const [method, url] = what.split(' ') as ['GET', string]
  const payload = url === '/auth/login' ? { username: 'ada', password: 'lovelace' } : undefined
  const response = await app.inject({ method, url, headers: ada.headers as Record<string, string>, ...payload !== undefined && { payload } })
  return response.statusCode >= 500 ? [`${what}: ${response.statusCode} ${response.body}`] : []
}

const shown = (content: Content) => Buffer.isBuffer(content) ? content.toString('latin1').slice(0, 1_500) : JSON.stringify(content)

/** Puts bob back where he was, ada's content where it is to be, and what is beside it; everything else goes. */
async function prepare ({ keyPrefix, keyOf, bob, bobsText }: Service, key: string, content: Content): Promise<void> {
  const keys = await redis.client.keys(`*${keyPrefix}*`)
  if (keys.length > 0) await redis.client.del(keys)
  await redis.client.set(keyOf(bob.session.id), bobsText, 'PX', 600_000)
  await put(redis.client, key, content)
}

/** What is wrong after a few tries: a machine that is busy makes Redis late, and comes to nothing; a content comes to the same again. */
async function wrongAgain (attempt: () => Promise<string[]>): Promise<string[]> {
  let wrong: string[] = []
  for (let tries = 0; tries < 4; tries++) {
    wrong = await attempt()
    if (wrong.length === 0) break
    await until('Redis', async () => await redis.client.ping() === 'PONG')
  }
  return wrong
}

for (const [name, options] of KINDS) {
  t.test(`[7.2.1] whatever lies under a session's key, it signs in nobody else and fails no request, with ${name}`, async (t) => {
    const service = await startService(t, options)
    const { app, keyOf, ada, bob, adasText, bobsText } = service
    // As it was, now and then: else a few tries may hold none that is still hers.
    const content = fc.oneof({ weight: 1, arbitrary: fc.constant(Buffer.from(adasText)) }, { weight: 5, arbitrary: contents([adasText, bobsText]) })
    const example = fc.record({ content, first: action, then: action })
    const tally = { tries: 0, hers: 0, nobodys: 0 }
    await tryAll(times(10_000, 600), 1, example, async ([{ content, first, then } = { content: [], first: '', then: '' }]) => {
      none(await wrongAgain(async () => {
        await prepare(service, keyOf(ada.session.id), content)
        const wrong: unknown[] = []
        const { body } = await app.inject({ url: '/whoami', headers: ada.headers as Record<string, string> })
        const { userId } = JSON.parse(body) as { userId?: string | null }
        const expected = userIn(content, ada.token)
        tally.tries++
        if (userId === null) tally.nobodys++
        // Data is bound to its session where it is encrypted, its user included.
        else if (userId === expected && (userId === 'ada' || options.encryption === undefined)) tally.hers++
        else wrong.push(body, expected)
        for (const what of [first, then]) wrong.push(...await act(service, what))
        const bobs = await app.inject({ url: '/whoami', headers: bob.headers as Record<string, string> })
        if (bobs.body !== '{"userId":"bob"}') wrong.push('bob', bobs.body)
        return wrong.length === 0 ? [] : [JSON.stringify({ content: shown(content), first, then, wrong })]
      }))
    })
    t.ok(tally.hers > tally.tries / 50, 'ada is signed in where her record is still hers')
    t.ok(tally.nobodys > tally.tries / 3)
    report({ scenario: 'random contents under a session\'s key', on: name, tries: tally.tries, accepted: 0, failed: 0 })
  })

  t.test(`[7.2.1] whatever is in a user's list, only sessions of theirs are shown, and no request fails, with ${name}`, async (t) => {
    const service = await startService(t, options)
    const { app, keyPrefix, keyOf, ada, bob, adasText, bobsText } = service
    const ids = [ada.session.id, bob.session.id]
    const example = fc.record({ list: listContents(ids), content: fc.oneof(fc.constant(Buffer.from(adasText)), contents([adasText, bobsText])), then: action })
    const tally = { tries: 0, shown: 0 }
    await tryAll(times(5_000, 300), 1, example, async ([{ list, content, then } = { list: [], content: [], then: '' }]) => {
      none(await wrongAgain(async () => {
        await prepare(service, keyOf(ada.session.id), content)
        await put(redis.client, `@${keyPrefix}user:ada`, list)
        const wrong: unknown[] = []
        const all: SessionInfo[] = []
        try {
          all.push(...await app.sessions.listByUser('ada'))
          for await (const session of app.sessions.listAll()) if (session.userId === 'ada') all.push(session)
        } catch (error) {
          wrong.push((error as Error).message)
        }
        tally.tries++
        tally.shown += all.length
        // No secret is asked for here: the user in the first line is all there is to go by.
        const isHers = Buffer.isBuffer(content) && /"u":\s*"ada"/.test(content.toString().split('\n')[0] ?? '')
        if (all.some(({ id, userId }) => userId !== 'ada' || id !== ada.session.id || !isHers)) wrong.push(all)
        wrong.push(...await act(service, then))
        return wrong.length === 0 ? [] : [JSON.stringify({ list: shown(list), content: shown(content), then, wrong })]
      }))
    })
    t.ok(tally.shown > tally.tries / 5)
    report({ scenario: 'random contents of a user\'s list', on: name, tries: tally.tries, accepted: 0, failed: 0 })
  })
}
