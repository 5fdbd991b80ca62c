import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import { atOnce, hops, Interrupted, pick, rounds as roundsOf, startGrounds, startNearGround } from '../helpers/races.ts'
import { startRedis, until } from '../helpers/redis.ts'
import { report, times } from '../helpers/scale.ts'
import { SpyStore } from '../helpers/spy-store.ts'

const grounds = [...await startGrounds(t), await startNearGround(t)]

/** One process of the application; what its routes do begins after a while of its own. */
async function startProcess (t: Test, options: Partial<SessionOptions>): Promise<FastifyInstance> {
  const app = await startApp(t, { touchAfter: 0, ...options }, { logger: false })
  app.addHook('preHandler', () => hops(4))
  app.sessions.on('store-down', () => down.add(app))
  app.sessions.on('store-up', () => down.delete(app))
  app.addHook('onClose', async () => { down.delete(app) })
  app.post<{ Params: { id: string } }>('/login/:id', async (request) => { await app.login(request, { id: request.params.id }, { keep: true }) })
  app.post<{ Params: { id: string } }>('/assign/:id', async ({ session, params }) => { session.userId = params.id })
  app.post('/logout', async (request) => { await app.logout(request) })
  const add = ({ session, params: { key } }: FastifyRequest<{ Params: { key: string } }>) => { session[key] = Number(session[key] ?? 0) + 1 }
  const whose = ({ auth }: FastifyRequest) => ({ userId: auth?.userId ?? null, data: {} })
  app.post<{ Params: { key: string } }>('/put/:key', async (request) => {
    add(request)
    return whose(request)
  })
  app.post<{ Params: { key: string } }>('/save/:key', async (request) => {
    const reply = whose(request)
    add(request)
    await request.session.save()
    return reply
  })
  app.post<{ Params: { key: string } }>('/drop/:key', async (request) => {
    delete request.session[request.params.key]
    return whose(request)
  })
  app.post('/reload', async ({ session }) => {
    await session.reload()
    session.reloaded = 1
  })
  app.post('/regenerate', async ({ session }) => { await session.regenerate(Object.keys(session)) })
  app.post('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  return app
}

/** Two processes of it, on the same sessions; or one, if that is all there may be. */
async function startService (t: Test, options: Partial<SessionOptions>, processes: 1 | 2): Promise<[FastifyInstance, FastifyInstance]> {
  const first = await startProcess(t, options)
  return [first, processes === 1 ? first : await startProcess(t, options)]
}

/** How long an answer of the store is waited for, about. */
const GIVEN_UP_MS = 450
/** The processes whose store does not answer in time. */
const down = new Set<FastifyInstance>()

/** Few at once: what a request may wait for the store is not to be used up by its neighbours. */
const rounds = async (count: number, race: (round: number) => Promise<void>, atOnce = 8): Promise<void> => { await roundsOf(count, race, { atOnce, isBack: () => down.size === 0 }) }

interface Reply {
  status: number
  /** The session cookie it sets. */
  cookie: string | null
  body: { userId: string | null, data: Record<string, unknown> }
}

async function send (app: FastifyInstance, url: string, cookie?: string | null): Promise<Reply> {
  const sentAt = performance.now()
  const { statusCode, body, headers } = await app.inject({ method: 'POST', url, headers: cookie == null ? {} : { cookie } })
  // The store's deadline, or that of the request: no race makes anybody wait so long.
  if (statusCode === 503 && (performance.now() - sentAt > GIVEN_UP_MS || down.has(app))) throw new Interrupted()
  const [line = ''] = [headers['set-cookie'] ?? ''].flat()
  return { status: statusCode, cookie: /^sid=[^;]/.test(line) ? line.split(';')[0] ?? null : null, body: body.startsWith('{') ? JSON.parse(body) as Reply['body'] : { userId: null, data: {} } }
}

/** A cookie that a sign-in was answered with. */
async function signIn (app: FastifyInstance, userId: string): Promise<string> {
  const { cookie, status } = await send(app, `/login/${userId}`)
  if (cookie === null) throw new Error(`the sign-in was answered ${status}`)
  return cookie
}

const idOf = (cookie: string): string => cookie.slice('sid='.length).slice(0, 22)

/** What went wrong, and how often. */
class Tally {
  readonly wrong: Record<string, number> = {}

  count (what: string): void {
    this.wrong[what] = (this.wrong[what] ?? 0) + 1
  }

  /** No reply tells of a failure; `others` than 200 are those that are told of a session that has ended. */
  check (replies: Reply[], others: number[] = []): void {
    for (const { status } of replies) {
      if (status !== 200 && !others.includes(status)) this.count(`answered ${status}`)
    }
  }
}

type Rival = (app: FastifyInstance, cookie: string) => Promise<Reply | unknown>

const RIVALS: Rival[] = [
  ...['/put/a', '/save/b', '/drop/cart', '/reload', '/regenerate', '/me', '/logout'].map((url): Rival => (app, cookie) => send(app, url, cookie)),
  (app, cookie) => app.sessions.update(idOf(cookie), (data) => { data.updated = 1 }),
  (app, cookie) => app.sessions.touch(idOf(cookie)),
  // What a regeneration answers with is used at once.
  async (app, cookie) => {
    const moved = await send(app, '/regenerate', cookie)
    if (moved.cookie !== null) await Promise.all([send(app, '/put/on', moved.cookie), send(app, '/me', moved.cookie)])
    return moved
  }
]

for (const { name, share, inTests, options, processes = 2 } of grounds) {
  t.test(`[7.4.1, CVE-2025-46336] no cookie signs anybody in once they have signed out, whatever their other tabs do, on ${name}`, async (t) => {
    const both = await startService(t, options(), processes)
    const tries = times(10_000 * share, 1_000 * inTests)
    const tally = new Tally()
    let resurrected = 0
    await rounds(tries, async (round) => {
      const userId = `ada${round}`
      const apps = round % 2 === 0 ? both : [pick(both)]
      const cookie = await signIn(pick(apps), userId)
      const cookies = new Set([cookie])
      await atOnce([
        async () => {
          const out = await send(pick(apps), '/logout', cookie)
          tally.check([out])
          if (out.cookie !== null) tally.count('a logout that sets a cookie')
          if ((await send(pick(apps), '/me', cookie)).body.userId !== null) tally.count('found when the logout was done')
        },
        ...RIVALS.filter(() => Math.random() < 0.35).map((rival) => async () => {
          const reply = await rival(pick(apps), cookie) as Reply | null
          if (reply?.status === undefined) return
          tally.check([reply])
          if (reply.cookie !== null) cookies.add(reply.cookie)
        })
      ])
      const after = await Promise.all([...cookies].flatMap((each) => both.map((app) => send(app, '/me', each))))
      tally.check(after)
      if (after.some(({ body }) => body.userId !== null)) resurrected++
      for (const app of both) if ((await app.sessions.listByUser(userId)).length > 0) tally.count('listed')
    })
    t.strictSame(tally.wrong, {})
    t.equal(resurrected, 0)
    report({ scenario: 'logout against save, touch, read, reload, regenerate, update, over HTTP', on: name, tries, resurrected })
  })

  t.test(`of what requests change of one session at once, each its own key, nothing is lost, on ${name}`, async (t) => {
    const apps = await startService(t, options(), processes)
    const WRITERS = 12
    const sessions = Math.ceil(times(20_000 * share, 2_000 * inTests) / WRITERS)
    const tally = new Tally()
    const lost: string[] = []
    const old = Array.from({ length: WRITERS / 4 }, (_, key) => `old${key}`)
    const fresh = Array.from({ length: WRITERS - old.length }, (_, key) => `new${key}`)
    await rounds(sessions, async (round) => {
      const cookie = await signIn(pick(apps), `ada${round}`)
      await pick(apps).sessions.update(idOf(cookie), (data) => ({ ...data, ...Object.fromEntries(old.map((key) => [key, 1])) }))
      const urls = [...fresh.map((key, index) => `/${index % 2 === 0 ? 'put' : 'save'}/${key}`), ...old.map((key) => `/drop/${key}`)]
      await atOnce([
        ...urls.map((url) => async () => { tally.check([await send(pick(apps), url, cookie)]) }),
        ...Array.from({ length: 5 }, () => async () => { tally.check([await send(pick(apps), '/me', cookie)]) })
      ])
      const { data } = (await send(pick(apps), '/me', cookie)).body
      lost.push(...fresh.filter((key) => data[key] !== 1), ...old.filter((key) => key in data))
    }, 3)
    t.strictSame(tally.wrong, {})
    t.equal(lost.length, 0, `lost: ${lost.slice(0, 5).join()}`)
    report({ scenario: 'requests that change different keys of shared sessions', on: name, tries: sessions * WRITERS, lost: lost.length })
  })

  t.test(`who was signed out everywhere is, though they sign in, save and read at the same time, on ${name}`, async (t) => {
    const apps = await startService(t, options(), processes)
    const tries = times(4_000 * share, 400 * inTests)
    const tally = new Tally()
    let survivors = 0
    await rounds(tries, async (round) => {
      const userId = `ada${round}`
      const dead = await Promise.all([signIn(pick(apps), userId), signIn(pick(apps), userId)])
      const handedOut: string[] = []
      const signsIn = async (from?: string): Promise<void> => {
        const reply = await send(pick(apps), pick([`/login/${userId}`, `/assign/${userId}`]), from)
        tally.check([reply], [401])
        if (reply.cookie !== null) handedOut.push(reply.cookie)
      }
      const uses = (url: string) => async (): Promise<void> => {
        const reply = await send(pick(apps), url, pick(dead))
        tally.check([reply])
        if (reply.cookie !== null) dead.push(reply.cookie)
      }
      await atOnce([
        async () => {
          const before = [...handedOut]
          await pick(apps).sessions.revokeUser(userId)
          dead.push(...before)
        },
        () => signsIn(),
        () => signsIn(),
        () => signsIn(pick(dead)),
        ...['/put/a', '/save/b', '/me', '/regenerate'].map(uses)
      ])
      const alive = async (cookie: string): Promise<boolean> => (await send(pick(apps), '/me', cookie)).body.userId !== null
      if ((await Promise.all(dead.map(alive))).some(Boolean)) survivors++
      const live = (await Promise.all(handedOut.map(async (each) => await alive(each) ? idOf(each) : null))).filter((id) => id !== null)
      for (const app of apps) {
        const listed = (await app.sessions.listByUser(userId)).map(({ id }) => id)
        if (String(listed.sort()) !== String(live.sort())) tally.count('the list and the cookies differ')
      }
    })
    t.strictSame(tally.wrong, {})
    t.equal(survivors, 0)
    report({ scenario: 'revokeUser against sign-ins, save, read, regenerate, over HTTP', on: name, tries, resurrected: survivors })
  })

  t.test(`of two who sign in with one anonymous session, each is signed in, and nobody has the old one, on ${name}`, async (t) => {
    const both = await startService(t, options(), processes)
    const tally = new Tally()
    await rounds(times(2_000 * share, 200 * inTests), async (round) => {
      const apps = round % 2 === 0 ? both : [pick(both)]
      const { cookie: anonymous } = await send(pick(apps), '/put/cart')
      const users = round % 3 === 0 ? [`ada${round}`, `bob${round}`] : [`ada${round}`, `ada${round}`]
      const signedIn: Array<{ cookie: string, userId: string }> = []
      await atOnce(users.map((userId) => async () => {
        const reply = await send(pick(apps), pick([`/login/${userId}`, `/assign/${userId}`]), anonymous)
        tally.check([reply])
        if (reply.cookie === null) tally.count('no cookie')
        else signedIn.push({ cookie: reply.cookie, userId })
      }))
      const replies = await Promise.all(signedIn.map(async ({ cookie }) => await send(pick(both), '/me', cookie)))
      if (replies.some(({ body }, index) => body.userId !== signedIn[index]?.userId)) tally.count('not who signed in')
      if (!replies.some(({ body }) => body.data.cart === 1)) tally.count('what was there before is nowhere')
      const old = await send(pick(both), '/me', anonymous)
      if (old.body.userId !== null || 'cart' in old.body.data) tally.count('the anonymous session is still there')
      for (const userId of new Set(users)) {
        const ids = signedIn.filter((each) => each.userId === userId).map(({ cookie }) => idOf(cookie))
        for (const app of both) {
          if (String((await app.sessions.listByUser(userId)).map(({ id }) => id).sort()) !== String(ids.sort())) tally.count('the list and the cookies differ')
        }
      }
    })
    t.strictSame(tally.wrong, {})
    report({ scenario: 'login against login on one anonymous session', on: name, tries: times(2_000 * share, 200 * inTests), lost: 0 })
  })

  t.test(`a session that is regenerated while other tabs save goes on under one cookie, on ${name}`, async (t) => {
    const both = await startService(t, options(), processes)
    // Of a few, none might come before the move.
    const tries = Math.max(20, times(2_000 * share, 200 * inTests))
    const tally = new Tally()
    const lost: string[] = []
    let changes = 0
    await rounds(tries, async (round) => {
      const userId = `ada${round}`
      const apps = round % 2 === 0 ? both : [pick(both)]
      const before = await signIn(pick(apps), userId)
      for (const key of ['cart', 'a', 'b']) await send(pick(apps), `/put/${key}`, before)
      let after: string | null = null
      const others: string[] = []
      const kept: string[] = []
      await atOnce([
        async () => {
          const reply = await send(pick(apps), '/regenerate', before)
          tally.check([reply])
          after = reply.cookie
        },
        ...['/put/a', '/save/b', '/drop/cart'].map((url) => async () => {
          const reply = await send(pick(apps), url, before)
          tally.check([reply])
          if (reply.body.userId === userId) kept.push(url)
          // Of a tab that came when the session had moved, and began another.
          if (reply.cookie !== null) others.push(reply.cookie)
        })
      ])
      const { userId: who, data } = (await send(pick(both), '/me', after)).body
      if (who !== userId) tally.count('the new cookie does not sign in')
      changes += kept.length
      for (const url of kept) {
        const [, action, key = ''] = url.split('/')
        if (data[key] !== (action === 'drop' ? undefined : 2)) lost.push(`${url} in round ${round}`)
      }
      const old = await Promise.all([before, ...others].map((cookie) => send(pick(both), '/me', cookie)))
      if (old.some(({ body }) => body.userId !== null)) tally.count('another cookie signs in')
      for (const app of both) {
        if (String((await app.sessions.listByUser(userId)).map(({ id }) => id)) !== idOf(after ?? '')) tally.count('the list and the cookies differ')
      }
    })
    t.strictSame(tally.wrong, {})
    t.ok(changes > tries, 'most tabs came while they were signed in')
    t.strictSame(lost, [], 'what they changed goes along')
    report({ scenario: 'regenerate against save', on: name, tries, lost: lost.length })
  })

  t.test(`of two sign-outs at once one ends the session, and both are told that it has ended, on ${name}`, async (t) => {
    const both = await startService(t, options(), processes)
    const tries = times(2_000 * share, 200 * inTests)
    const tally = new Tally()
    const ended: string[] = []
    for (const app of new Set(both)) app.sessions.on('revoked', ({ id, local }) => { if (local) ended.push(id) })
    const ids: string[] = []
    await rounds(tries, async (round) => {
      const userId = `ada${round}`
      const apps = round % 2 === 0 ? both : [pick(both)]
      const cookie = await signIn(pick(apps), userId)
      ids.push(idOf(cookie))
      const logout = async (): Promise<void> => {
        const reply = await send(pick(apps), '/logout', cookie)
        tally.check([reply])
        if ((await send(pick(both), '/me', cookie)).body.userId !== null) tally.count('still signed in')
      }
      await atOnce([logout, logout])
      if ((await pick(both).sessions.listByUser(userId)).length > 0) tally.count('listed')
    })
    t.strictSame(tally.wrong, {})
    t.strictSame(ended.sort(), ids.sort(), 'each end is told once')
    report({ scenario: 'logout against logout', on: name, tries, resurrected: 0 })
  })
}

t.test('a request that only reads a session writes nothing, also beside others that do', async (t) => {
  const redis = await startRedis(t)
  const app = await startProcess(t, { redis: redis.url, touchAfter: '1m' })
  const tries = times(2_000)
  const cookies = await Promise.all(Array.from({ length: 20 }, (_, user) => signIn(app, `ada${user}`)))
  await Promise.all(cookies.map((cookie) => send(app, '/put/cart', cookie)))
  await redis.client.config('RESETSTAT')
  await rounds(tries, async () => {
    const { body } = await send(app, '/me', pick(cookies))
    if (body.data.cart !== 1) t.fail('the cart is not there')
  })
  const stats = [...(await redis.client.info('commandstats')).matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)].map(([, command = '', calls]) => [command, Number(calls)] as const)
  const sent = new Map(stats)
  t.ok(sent.get('mget') as number <= tries)
  // Redis' clock is read once a minute. On a machine that stands still a connection is lost, and made anew.
  const others = ['config|resetstat', 'info', 'time', 'hello', 'ping', 'exists', 'client|setinfo']
  t.strictSame([...sent.keys()].filter((command) => !['mget', ...others].includes(command)), [])
  report({ scenario: 'requests that only read: commands that write', on: 'Redis', tries, lost: 0 })
})

t.test('who signs out while the store confirms nothing is signed out at once, and stays so, whatever their other tabs do', async (t) => {
  const store = new SpyStore()
  const app = await startProcess(t, { store })
  const tries = times(500)
  const tally = new Tally()
  store.failing.add('delete')
  let resurrected = 0
  const cookies: string[] = []
  await rounds(tries, async (round) => {
    const cookie = await signIn(app, `ada${round}`)
    cookies.push(cookie)
    const uses = RIVALS.filter((_rival, index) => index < 4 || index === 5 || index === 7 || index === 8)
    await atOnce([
      async () => { tally.check([await send(app, '/logout', cookie)], [503]) },
      ...uses.filter(() => Math.random() < 0.5).map((rival) => () => rival(app, cookie))
    ])
    if ((await send(app, '/me', cookie)).body.userId !== null) resurrected++
  })
  t.equal(resurrected, 0)
  t.strictSame(tally.wrong, {})
  store.failing.clear()
  await until('the sign-outs to be made up for', async () => (await Promise.all(cookies.map((cookie) => store.peek(idOf(cookie))))).every((each) => each === null))
  report({ scenario: 'logout that the store does not confirm, against save, touch, read', on: 'memory', tries, resurrected })
})
