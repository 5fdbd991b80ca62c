import { PassThrough } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { MemoryStore, sessionPlugin } from '../../lib/index.ts'
import type { SessionFork, SessionOptions } from '../../lib/index.ts'
import { secret, startApp } from '../helpers/app.ts'
import { BoundBrowser, PAGE } from '../helpers/bound-browser.ts'
import { until } from '../helpers/redis.ts'
import type { Owner } from '../helpers/redis.ts'
import { isSoak, report, times } from '../helpers/scale.ts'

if (isSoak) t.setTimeout(0)
const MINUTE = 60_000
/** How long after a use the next one is written down, here. */
const TOUCH_AFTER = 5 * MINUTE

type Jar = Map<string, string>

interface Answer {
  status: number
  body: { code?: string, user?: string | null }
  setCookies: string[]
  cacheControl: unknown
}

interface Place {
  app: FastifyInstance
  store: MemoryStore
  /** Lets time go by for the store. */
  age: (ms: number) => void
  forks: SessionFork[]
  /** Lets the replies of `/slow` go. */
  release: () => void
}

/** An application that nothing is looked at of, for very many requests. */
async function plainApp (t: Owner, options: Partial<SessionOptions>): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(async () => { await app.close() })
  await app.register(sessionPlugin, { secret, cookie: { secure: false }, ...options })
  return app
}

async function start (t: Owner, forkDetection: SessionOptions['forkDetection'] = true, make: typeof plainApp = startApp): Promise<Place> {
  let aged = 0
  const store = new MemoryStore({ now: () => Date.now() + aged })
  const app = await make(t, { store, forkDetection, touchAfter: TOUCH_AFTER, idleTimeout: '30d', absoluteTimeout: '3650d' })
  const forks: SessionFork[] = []
  app.sessions.on('session-forked', (event) => forks.push(event))
  const waiting: Array<() => void> = []
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/logout', async (request) => { await app.logout(request) })
  app.post('/regenerate', async (request) => { await request.session.regenerate(['userId']) })
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ user: request.requireAuth().userId }))
  app.get('/money', { preHandler: app.requireRecentLogin('3650d') }, async () => 'yours')
  app.get('/slow', { preHandler: app.authenticate }, async () => {
    await new Promise<void>((resolve) => { waiting.push(resolve) })
    return {}
  })
  app.get('/hijacked', { preHandler: app.authenticate }, async (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, { 'content-type': 'text/plain' }).end('hello')
  })
  app.get('/events', { preHandler: app.authenticate }, async (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n')
    waiting.push(() => reply.raw.end())
  })
  app.post('/regenerate-slowly', { preHandler: app.authenticate }, async (request) => {
    await new Promise<void>((resolve) => { waiting.push(resolve) })
    await request.session.regenerate(['userId'])
    return {}
  })
  app.get('/quiet-but-used', { preHandler: app.authenticate, config: { session: { touch: false } } }, async (request) => {
    request.session.touch()
    return {}
  })
  app.get('/stream', { preHandler: app.authenticate }, async (_request, reply) => {
    const stream = new PassThrough()
    waiting.push(() => stream.end('hello'))
    return reply.send(stream)
  })
  app.get('/asset', { preHandler: app.authenticate }, async (_request, reply) => reply.header('cache-control', 'public, max-age=31536000, immutable').send('body'))
  app.post('/regenerate-and-pay', { preHandler: app.authenticate }, async (request) => {
    await request.session.regenerate(['userId'])
    await request.session.save()
    await app.requireRecentLogin('3650d').call(app, request, {} as FastifyReply)
    return {}
  })
  app.post('/save-and-pay', { preHandler: app.authenticate }, async (request) => {
    request.session.visits = Math.random()
    await request.session.save()
    await request.session.reload()
    await app.requireRecentLogin('3650d').call(app, request, {} as FastifyReply)
    return {}
  })
  app.post('/short', async (request) => { await app.login(request, { id: 'ada' }, { idleTimeout: '5m' }) })
  app.get('/quiet', { preHandler: app.authenticate, config: { session: { touch: false } } }, async () => ({}))
  return { app, store, age: (ms) => { aged += ms }, forks, release: () => { for (const resolve of waiting.splice(0)) resolve() } }
}

async function ask (app: FastifyInstance, jar: Jar, url: string, { method = 'GET', ...more }: { method?: 'GET' | 'POST', ip?: string, headers?: Record<string, string> } = {}): Promise<Answer> {
  const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
  const { headers = {}, ip = '203.0.113.7' } = more
  const response = await app.inject({ method, url, remoteAddress: ip, headers: { ...headers, ...cookie !== '' && { cookie } } })
  const setCookies = [response.headers['set-cookie'] ?? []].flat()
  return { status: response.statusCode, body: response.body.startsWith('{') ? response.json() : {}, setCookies, cacheControl: response.headers['cache-control'] }
}

/** What a browser does with a reply that has arrived. */
function keep (jar: Jar, { setCookies }: Answer): void {
  for (const line of setCookies) {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    if (/max-age=0(;|$)/i.test(line)) jar.delete(name)
    else jar.set(name, value)
  }
}

async function use (place: Place, jar: Jar, url = '/me', options: Parameters<typeof ask>[3] = {}): Promise<Answer> {
  const answer = await ask(place.app, jar, url, options)
  keep(jar, answer)
  return answer
}

async function signIn (place: Place, jar: Jar = new Map()): Promise<Jar> {
  await use(place, jar, '/login', { method: 'POST' })
  return jar
}

/** Lets enough time go by for the next use to be written down, and uses the session. */
async function next (place: Place, jar: Jar, url?: string, options?: Parameters<typeof ask>[3]): Promise<Answer> {
  place.age(TOUCH_AFTER)
  return await use(place, jar, url, options)
}

const twinOf = (jar: Jar): string | undefined => jar.get('sid-twin')?.split('.')[0]

t.test('a use that is written down changes the twin cookie, and no other does', async (t) => {
  const place = await start(t)
  const jar = await signIn(place)
  t.strictSame([...jar.keys()], ['sid'])
  t.strictSame((await use(place, jar)).setCookies, [])
  const first = await next(place, jar)
  t.match(first.setCookies, [/^sid-twin=1\.[\w-]{43}; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Lax$/])
  t.match(first.cacheControl, /no-store|private/)
  t.strictSame((await use(place, jar)).setCookies, [])
  t.strictSame((await use(place, jar, '/quiet')).setCookies, [])
  await next(place, jar)
  t.equal(twinOf(jar), '2')
  place.age(TOUCH_AFTER)
  t.strictSame((await use(place, jar, '/quiet')).setCookies, [], 'nor what is no use')
  await next(place, jar)
  t.equal(twinOf(jar), '3')
  t.equal((await use(place, jar, '/logout', { method: 'POST' })).status, 200)
  t.strictSame([...jar.keys()], [], 'a logout takes it back')
  t.strictSame(place.forks, [])
})

t.test('two browsers that go on with one cookie are noticed at the latest when one uses it that has used it before the other', async (t) => {
  const place = await start(t, true, plainApp)
  const wrong: string[] = []
  let tries = 0
  for (let before = 0; before < 3; before++) {
    for (const copies of ['all', 'without the twin']) {
      for (let orders = 0; orders < 64; orders++) {
        place.forks.length = 0
        const owner = await signIn(place)
        for (let each = 0; each < before; each++) await next(place, owner)
        const thief = new Map(owner)
        if (copies !== 'all') thief.delete('sid-twin')
        const seen = { owner: 0, thief: 0 }
        const order: string[] = []
        let changes = 0
        for (let turn = 0; turn < 6 && place.forks.length === 0; turn++) {
          const who = (orders >> turn) % 2 === 0 ? 'owner' : 'thief'
          if (order.length > 0 && order.at(-1) !== who) changes++
          order.push(who)
          seen[who]++
          await next(place, who === 'owner' ? owner : thief)
          await setImmediate()
          // Where both have a twin, neither uses the session unnoticed for a second time.
          const isLate = changes >= 2 || (copies === 'all' && before > 0 && seen.owner >= 2 && seen.thief >= 2)
          if (isLate && place.forks.length === 0) wrong.push(`${before} ${copies} ${order.join(' ')}`)
        }
        if (seen.owner > 0 && seen.thief > 0) tries++
        else if (place.forks.length > 0) wrong.push(`nobody else: ${order.join(' ')}`)
      }
    }
  }
  t.strictSame(wrong, [])
  report({ scenario: 'two browsers that go on with one cookie; failed: not noticed at the second use', on: 'memory', tries, failed: wrong.length })
})

t.test('what honest browsers go through looks like no fork', async (t) => {
  const place = await start(t, true, plainApp)
  const { app, age, release, forks } = place
  const jar = await signIn(place)
  const below = (most: number): number => Math.floor(Math.random() * most)
  /** What the browser has written to its disk, which a crash brings back. */
  let disk = new Map(jar)
  let idleMs = 0
  let requests = 0
  let slow: Array<Promise<Answer>> = []
  const total = times(1_000_000, 20_000)
  const pass = (ms: number): void => {
    age(ms)
    idleMs += ms
    if (idleMs >= 30_000) [disk, idleMs] = [new Map(jar), 0]
  }
  while (requests < total && forks.length === 0) {
    // Also none at all: several tabs of one page ask at once.
    pass([0, 0, 0, 1, 20_000, TOUCH_AFTER - 1, TOUCH_AFTER, 3 * TOUCH_AFTER][below(8)] ?? 0)
    const kind = below(12)
    if (kind === 0 && slow.length < 3) slow.push(ask(app, jar, '/slow'))
    else if (kind === 1) {
      release()
      for (const answer of await Promise.all(slow)) if (below(4) > 0) keep(jar, answer)
      slow = []
    } else if (kind === 2) {
      jar.clear()
      for (const [name, value] of disk) jar.set(name, value)
    } else if (kind === 3) {
      const answer = await ask(app, jar, ['/regenerate', '/login'][below(2)] ?? '', { method: 'POST' })
      keep(jar, answer)
      // What a crash would bring back of before is an ended session.
      disk = new Map(jar)
    } else if (kind === 4) {
      jar.delete('sid-twin')
      disk.delete('sid-twin')
    }
    const answers = await Promise.all(Array.from({ length: 1 + below(4) }, () => ask(app, jar, '/me')))
    // What Node.js keeps until the end of a turn can go.
    await setImmediate()
    requests += answers.length
    // Replies come in any order, and some are lost.
    for (const answer of answers.sort(() => Math.random() - 0.5)) if (below(4) > 0) keep(jar, answer)
    if (answers.some(({ status }) => status !== 200)) {
      t.fail(`status ${answers.map(({ status }) => status).join(', ')}`)
      break
    }
  }
  release()
  await Promise.all(slow)
  await setImmediate()
  t.strictSame(forks, [])
  t.ok(requests >= total)
  report({ scenario: 'honest browsers: lost replies, several tabs, crashes, slow replies, sign-ins; accepted: alarms', on: 'memory', tries: requests, accepted: forks.length })
})

/** Has two browsers use a session until that is noticed: by the owner. */
async function fork (place: Place, thiefs: Parameters<typeof ask>[3] = {}, { url = '/me', method = 'GET' as 'GET' | 'POST' } = {}): Promise<{ owner: Jar, thief: Jar, noticed: Answer }> {
  const owner = await signIn(place)
  await next(place, owner)
  const thief = new Map(owner)
  await next(place, owner)
  await next(place, thief, '/me', thiefs)
  return { owner, thief, noticed: await next(place, owner, url, { method }) }
}

t.test('a fork is told once, and by default has no other effect', async (t) => {
  const place = await start(t)
  const { owner, thief, noticed } = await fork(place)
  t.equal(noticed.status, 200)
  t.strictSame(noticed.setCookies, [], 'nobody gets another twin from then on')
  for (const jar of [owner, thief, owner]) t.equal((await next(place, jar)).status, 200)
  const [event] = place.forks
  t.equal(place.forks.length, 1)
  const [{ id } = { id: '' }] = await place.app.sessions.listByUser('ada')
  t.match(event, { id, userId: 'ada', network: '203.0.113.7', networkDiffers: false, device: 'lightMyRequest', requestId: 'req-5', local: true })
  t.ok(Object.isFrozen(event))
  t.equal((await next(place, thief, '/money')).status, 200)
})

t.test('an event says whether it was noticed in another network than the session began in', async (t) => {
  const place = await start(t)
  const owner = await signIn(place)
  await next(place, owner)
  const thief = new Map(owner)
  await next(place, owner)
  await next(place, owner)
  await next(place, thief, '/me', { ip: '198.51.100.9', headers: { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0' } })
  t.match(place.forks, [{ network: '198.51.100.9', networkDiffers: true, device: 'Firefox 131 on Linux' }])
})

t.test('reauthenticate: neither browser passes what needs a sign-in of late, until one signs in again', async (t) => {
  const place = await start(t, { onFork: 'reauthenticate' })
  const owner = await signIn(place)
  await next(place, owner)
  const thief = new Map(owner)
  await next(place, owner)
  t.equal((await next(place, thief, '/money')).status, 200, 'not noticed yet')
  const refused = await next(place, owner, '/money')
  t.match(refused, { status: 401, body: { code: 'ERR_SESSION_REAUTH_REQUIRED' } }, 'noticed by this very request')
  t.equal((await use(place, thief, '/money')).body.code, 'ERR_SESSION_REAUTH_REQUIRED')
  t.equal((await use(place, owner)).status, 200, 'they are signed in')
  await use(place, owner, '/login', { method: 'POST' })
  t.equal((await use(place, owner, '/money')).status, 200)
  t.equal((await use(place, thief, '/money')).body.code, 'ERR_SESSION_UNAUTHENTICATED', 'whose session has ended by that')
  await next(place, owner)
  await next(place, owner)
  t.equal(place.forks.length, 1)
  t.equal(twinOf(owner), '2')
})

t.test('a regeneration keeps what was noticed, also in the request that notices it', async (t) => {
  for (const url of ['/me', '/regenerate', '/regenerate-and-pay', '/save-and-pay']) {
    const place = await start(t, { onFork: 'reauthenticate' })
    const method = url === '/me' ? 'GET' : 'POST'
    const { owner, noticed } = await fork(place, {}, { url, method })
    if (url.endsWith('pay')) t.equal(noticed.body.code, 'ERR_SESSION_REAUTH_REQUIRED', url)
    t.equal(place.forks.length, 1)
    t.equal((await use(place, owner, '/regenerate-and-pay', { method: 'POST' })).body.code, 'ERR_SESSION_REAUTH_REQUIRED', url)
    owner.delete('sid-twin')
    await next(place, owner)
    t.equal((await next(place, owner, '/money')).body.code, 'ERR_SESSION_REAUTH_REQUIRED', url)
    t.equal(place.forks.length, 1, 'and it is told once')
  }
})

t.test('revoke: the session ends, for both', async (t) => {
  const place = await start(t, { onFork: 'revoke' })
  const revoked: unknown[] = []
  place.app.sessions.on('revoked', ({ reason, statedReason }) => revoked.push([reason, statedReason]))
  const { owner, thief, noticed } = await fork(place)
  t.match(noticed, { status: 401, body: { code: 'ERR_SESSION_UNAUTHENTICATED' } })
  for (const jar of [owner, thief]) t.equal((await use(place, jar)).status, 401)
  await setImmediate()
  t.equal(place.forks.length, 1)
  t.strictSame(revoked, [['revoked', 'session-forked']])
})

t.test('revoke: the request that notices it is told how the session ended, and is no use after the end', async (t) => {
  let aged = 0
  const app = await startApp(t, { store: new MemoryStore({ now: () => Date.now() + aged }), forkDetection: { onFork: 'revoke' }, endedFor: '1h' })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.get('/me', { preHandler: app.authenticate }, async () => ({}))
  const late: unknown[] = []
  app.sessions.on('used-after-end', (use) => late.push(use))
  const owner: Jar = new Map()
  keep(owner, await ask(app, owner, '/login', { method: 'POST' }))
  const later = async (jar: Jar): Promise<number> => {
    aged += TOUCH_AFTER
    const answer = await ask(app, jar, '/me')
    keep(jar, answer)
    return answer.status
  }
  await later(owner)
  const thief = new Map(owner)
  for (const jar of [owner, owner]) await later(jar)
  app.lines.length = 0
  t.equal(await later(thief), 401)
  t.match(app.lines.find((line) => 'reason' in line), { reason: 'ended', ended: 'revoked' })
  t.strictSame(late, [])
  t.equal(await later(thief), 401)
  t.match(late, [{ reason: 'revoked', statedReason: 'session-forked' }])
})

t.test('revoke: whatever notices it, nothing of the session goes on', async (t) => {
  let aged = 0
  const app = await startApp(t, { store: new MemoryStore({ now: () => Date.now() + aged }), forkDetection: { onFork: 'revoke' }, userIdFrom: () => null })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }, { data: { street: 'Main street 1' } }) })
  app.get('/me', async ({ auth, session }) => ({ user: auth?.userId ?? null, street: session.street ?? null }))
  app.get('/poll', { preHandler: app.authenticate, config: { session: { touch: false } } }, async (request) => {
    request.session.seen = Math.random()
    request.session.touch()
    return { user: request.auth?.userId ?? null }
  })
  const owner: Jar = new Map()
  keep(owner, await ask(app, owner, '/login', { method: 'POST' }))
  const later = async (jar: Jar, url = '/me'): Promise<Answer['body']> => {
    aged += TOUCH_AFTER
    const answer = await ask(app, jar, url)
    keep(jar, answer)
    return answer.body
  }
  await later(owner)
  const thief = new Map(owner)
  for (const jar of [owner, owner]) await later(jar)
  t.strictSame(await later(thief, '/poll'), { user: null })
  t.strictSame(await later(thief), { user: null, street: null })
})

t.test('what somebody plants as a twin is none, and a good one counts beside it', async (t) => {
  const place = await start(t)
  const owner = await signIn(place)
  const stranger = await signIn(place)
  await next(place, owner)
  await use(place, stranger)
  await next(place, owner)
  for (const planted of ['', '2', '1.', '99.x', `99.${'A'.repeat(43)}`, stranger.get('sid-twin') ?? '', 'x'.repeat(4_000), '0', '-1.a', '__proto__']) {
    const jar = new Map([['sid-twin', planted], ['sid', owner.get('sid') ?? ''], ['SID-TWIN', planted]])
    place.age(TOUCH_AFTER)
    // Beside the good one, before and after it.
    const cookie = [`sid-twin=${planted}`, `sid=${jar.get('sid')}`, `sid-twin=${owner.get('sid-twin')}`, `sid-twin=${planted}`].join('; ')
    const answer = await ask(place.app, new Map(), '/me', { headers: { cookie } })
    t.equal(answer.status, 200)
    keep(owner, answer)
  }
  t.equal(twinOf(owner), '12', 'each was its own use')
  t.strictSame(place.forks, [])
})

t.test('a late reply sets no twin, as the browser may have a newer one, nor does a stream that begins late', async (t) => {
  for (const url of ['/slow', '/stream']) {
    const place = await start(t)
    const jar = await signIn(place)
    await next(place, jar)
    for (const [ms, sets] of [[29_000, 1], [31_000, 0]] as const) {
      place.age(TOUCH_AFTER)
      const late = ask(place.app, jar, url)
      while ((await ask(place.app, new Map(), '/me')).status !== 401) ;
      await setImmediate()
      place.age(ms)
      place.release()
      t.equal((await late).setCookies.length, sets, url)
    }
  }
})

t.test('a hijacked reply sets a twin', async (t) => {
  const place = await start(t)
  const jar = await signIn(place)
  const hijacked = await next(place, jar, '/hijacked')
  t.equal(hijacked.setCookies.length, 1)
  t.equal(hijacked.cacheControl, 'no-store')
  const { forks } = place
  const thief = new Map(jar)
  for (const each of [jar, thief, jar]) await next(place, each, '/hijacked')
  t.equal(forks.length, 1)
})

t.test('a reply that caches may keep stays as it is', async (t) => {
  const place = await start(t)
  const jar = await signIn(place)
  const asset = await next(place, jar, '/asset')
  t.strictSame([asset.setCookies, asset.cacheControl], [[], 'public, max-age=31536000, immutable'])
  await next(place, jar)
  t.equal(twinOf(jar), '2', 'the next one has it')
})

t.test('no number is given that could not be written down', async (t) => {
  const place = await start(t)
  const jar = await signIn(place)
  const { store } = place
  store.advance = async () => { throw new Error('broken') }
  const failed = await next(place, jar)
  t.strictSame([failed.status, failed.setCookies], [200, []])
  Reflect.deleteProperty(store, 'advance')
  await use(place, jar)
  t.equal(twinOf(jar), '1')
})

t.test('a session with a short timeout of its own is watched, and one that something else keeps alive', async (t) => {
  const short = await start(t)
  const jar: Jar = new Map()
  await use(short, jar, '/short', { method: 'POST' })
  const thief = new Map(jar)
  for (let each = 0; each < 60 && short.forks.length === 0; each++) {
    short.age(10_000)
    await use(short, Math.floor(each / 7) % 2 === 0 ? jar : thief)
  }
  t.equal(short.forks.length, 1)

  const kept = await start(t)
  const owner = await signIn(kept)
  const copy = new Map(owner)
  const [{ id = '' } = {}] = await kept.app.sessions.listByUser('ada')
  for (let each = 0; each < 20 && kept.forks.length === 0; each++) {
    for (let beat = 0; beat < 3; beat++) {
      kept.age(2 * MINUTE)
      await kept.app.sessions.touch(id)
    }
    kept.age(TOUCH_AFTER)
    await use(kept, each % 2 === 0 ? owner : copy)
  }
  t.equal(kept.forks.length, 1)
})

t.test('whoever has each use written down before the other is noticed all the same', async (t) => {
  const place = await start(t)
  const owner = await signIn(place)
  await next(place, owner)
  const thief = new Map(owner)
  for (let each = 0; each < 2 && place.forks.length === 0; each++) {
    await next(place, thief)
    place.age(30_000)
    await use(place, owner)
  }
  t.equal(place.forks.length, 1)

  const quiet = await start(t)
  const jar = await signIn(quiet)
  await next(quiet, jar)
  const copy = new Map(jar)
  for (let each = 0; each < 2; each++) await next(quiet, jar)
  quiet.age(MINUTE)
  await use(quiet, copy, '/quiet')
  t.strictSame(quiet.forks, [])
  await use(quiet, copy, '/quiet-but-used')
  t.equal(quiet.forks.length, 1, 'by a use that the route says')
})

t.test('a session gives a number every five minutes of use, however long it lives', async (t) => {
  let aged = 0
  const app = await startApp(t, { store: new MemoryStore({ now: () => Date.now() + aged }), forkDetection: true, idleTimeout: '30d', absoluteTimeout: '365d' })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.get('/me', { preHandler: app.authenticate }, async () => ({}))
  app.get('/cart', async ({ session }) => { session.cart = 1 })
  for (const [url, numbers] of [['/login', [undefined, '1', '1', '2']], ['/cart', [undefined, undefined, undefined, undefined]]] as const) {
    const jar: Jar = new Map()
    const seen: unknown[] = []
    for (const ms of [4 * MINUTE, MINUTE, 4 * MINUTE, MINUTE]) {
      if (jar.size === 0) keep(jar, await ask(app, jar, url, { method: url === '/login' ? 'POST' : 'GET' }))
      aged += ms
      keep(jar, await ask(app, jar, url === '/login' ? '/me' : url))
      seen.push(twinOf(jar))
    }
    t.strictSame(seen, numbers, url)
  }
})

t.test('what a reply that stays open gives and notices is written down as it begins', async (t) => {
  const place = await start(t, { onFork: 'reauthenticate' })
  const { app, store, forks } = place
  const owner = await signIn(place)
  await next(place, owner)
  const [session] = await app.sessions.listByUser('ada')
  const twin = async (): Promise<string | null | undefined> => (await store.find(session?.id ?? ''))?.twin
  const thief = new Map(owner)

  place.age(TOUCH_AFTER)
  const open = ask(app, owner, '/events')
  await until('the number to be stored', async () => / 1 2 /.test(await twin() ?? ''))
  place.release()
  keep(owner, await open)
  t.equal(twinOf(owner), '2')

  await next(place, owner)
  place.age(TOUCH_AFTER)
  const late = ask(app, thief, '/events')
  await until('the fork to be noticed', () => forks.length > 0)
  await until('the fork to be stored', async () => (await twin())?.endsWith(' forked') === true)
  t.equal((await use(place, owner, '/money')).body.code, 'ERR_SESSION_REAUTH_REQUIRED')
  place.release()
  await late
})

t.test('a regeneration that began before the fork was noticed takes the mark along', async (t) => {
  const place = await start(t, { onFork: 'reauthenticate' })
  const { app, forks } = place
  const owner = await signIn(place)
  await next(place, owner)
  const thief = new Map(owner)
  await next(place, thief)
  const held = ask(app, thief, '/regenerate-slowly', { method: 'POST' })
  await next(place, owner)
  await next(place, thief)
  await next(place, owner)
  t.equal(forks.length, 1)
  place.release()
  keep(thief, await held)
  const { status, body } = await use(place, thief, '/money')
  t.strictSame([status, body.code], [401, 'ERR_SESSION_REAUTH_REQUIRED'])
})

t.test('a browser that shows the key of its session for the first time is a fork all the same', async (t) => {
  let aged = 0
  const store = new MemoryStore({ now: () => Date.now() + aged })
  const app = await startApp(t, { store, forkDetection: { onFork: 'reauthenticate' }, deviceBound: { maxAge: '1h' }, touchAfter: TOUCH_AFTER, idleTimeout: '30d', absoluteTimeout: '365d' }, { trustProxy: true })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.get('/me', { preHandler: app.authenticate }, async () => ({}))
  app.get('/money', { preHandler: app.requireRecentLogin('365d') }, async () => 'yours')
  const owner = new BoundBrowser(app)
  await owner.post('/login')
  const later = async (browser: BoundBrowser, url = '/me'): Promise<string> => {
    aged += TOUCH_AFTER
    return (await browser.get(url)).body
  }
  await later(owner)
  const thief = owner.thief()
  await thief.get('/me', PAGE)
  t.equal((await thief.register()).statusCode, 200)
  for (const browser of [owner, owner]) await later(browser)
  t.match(await later(thief, '/money'), /REAUTH_REQUIRED/)
})

t.test('a fork is written down also where the session has got another twin since it was read', async (t) => {
  const place = await start(t, { onFork: 'reauthenticate' })
  const owner = await signIn(place)
  await next(place, owner)
  const thief = new Map(owner)
  await next(place, owner)
  await next(place, thief)
  const { store } = place
  const findNow = store.findNow.bind(store)
  let id = ''
  // As a copy in memory may be, where another process has written down a use since.
  store.findNow = (named) => {
    const record = findNow(named)
    if (record !== undefined && id === '') {
      id = named
      void store.advance(record, `${record.twin?.slice(0, 12)} 8 9 1`)
    }
    return record
  }
  await next(place, owner)
  t.equal(place.forks.length, 1)
  t.match((await store.find(id))?.twin, / forked$/)
})
