import { createHmac } from 'node:crypto'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { MemoryStore } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import { BoundBrowser, PAGE } from '../helpers/bound-browser.ts'
import { DeviceKey } from '../helpers/device-key.ts'
import type { Owner } from '../helpers/redis.ts'

const MINUTE = 60_000
const HALF_A_MINUTE = 30_000

interface Place {
  app: FastifyInstance
  ada: BoundBrowser
  age: (ms: number) => void
}

/** An application whose sessions are bound, and ada, who is signed in and not bound yet. */
async function start (t: Owner, deviceBound: SessionOptions['deviceBound'] = true, options: Partial<SessionOptions> = {}): Promise<Place> {
  let aged = 0
  const store = new MemoryStore({ now: () => Date.now() + aged })
  const app = await startApp(t, { cookie: { secure: true }, deviceBound, idleTimeout: '7d', ...options, store }, { trustProxy: '127.0.0.1' })
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  // Routes for who is signed in, such as one that gives the session another label.
  app.post('/again', { preHandler: app.authenticate }, async (request) => await app.login(request, { id: 'ada' }))
  app.post('/assign', { preHandler: app.authenticate }, async ({ session }) => { session.userId = 'ada' })
  app.post('/regenerate', async ({ session }) => { await session.regenerate(['userId']) })
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ bound: request.requireAuth().deviceBound }))
  app.get('/page', { preHandler: app.authenticatePage }, async () => 'a page')
  app.get('/money', { preHandler: app.requireDeviceBound }, async () => 'yours')
  app.get('/visit', async (request) => {
    request.session.cart = ['tea']
    return 'kept'
  })
  const ada = new BoundBrowser(app)
  await ada.post('/login')
  return { app, ada, age: (ms) => { aged += ms } }
}

/** The same, after she has bound it, and more than the time has passed in which any request of hers passes. */
async function startBound (...args: Parameters<typeof start>): Promise<Place> {
  const place = await start(...args)
  const { ada, age } = place
  await ada.register()
  await ada.get('/me')
  age(MINUTE)
  await ada.refresh()
  return place
}

/** What a copy of cookies is good for: the statuses of a page of the user, and of what only the device may do. */
async function worth (thief: BoundBrowser, headers: Record<string, string> = {}): Promise<number[]> {
  return [(await thief.get('/me', headers)).statusCode, (await thief.get('/money', headers)).statusCode]
}

/** Posts a text as the proof of a refresh, in ada's name. */
async function refreshed ({ ada }: Place, proof: string): Promise<number> {
  const headers = { 'sec-secure-session-id': ada.bound?.id ?? '', 'secure-session-response': proof }
  return (await ada.post('/device-bound/refresh', undefined, headers)).statusCode
}

/** Makes a JWT of its parts. */
function jwt (head: object, payload: object, sign: (text: string) => string): string {
  const text = [head, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${text}.${sign(text)}`
}

t.test('[10.3.5] the long cookie alone is nobody\'s, and both are for the life of the short one and half a minute', async (t) => {
  const { ada, age } = await startBound(t)
  const thief = ada.thief()
  const longAlone = ada.thief()
  longAlone.loseShortCookie()
  t.strictSame(await worth(longAlone), [401, 401])
  age(10 * MINUTE + HALF_A_MINUTE - 5_000)
  t.strictSame(await worth(thief), [200, 200])
  age(5_000)
  t.strictSame(await worth(thief), [401, 401])
  await thief.get('/page', PAGE)
  t.equal(thief.asked, undefined, 'nobody asks it to bind anything')
  t.equal((await ada.refresh()).statusCode, 200)
  t.strictSame(await worth(ada), [200, 200], 'while ada goes on')
})

t.test('[10.3.5] who has copied the whole profile says that it has skipped, and passes nothing that asks for the device', async (t) => {
  for (const [required, status] of [[false, 200], [true, 403]] as const) {
    const { ada } = await startBound(t, { required })
    const thief = ada.thief()
    thief.loseShortCookie()
    const skipped = { 'secure-session-skipped': `unreachable;session_identifier="${ada.bound?.id ?? ''}"` }
    t.strictSame(await worth(thief, skipped), [status, 403], `required: ${required}`)
  }
})

t.test('a route that signs the same user in again takes the key from no session, also for who comes without the device', async (t) => {
  for (const path of ['/again', '/assign']) {
    for (const how of ['skipped', 'under way'] as const) {
      const { ada, age } = await start(t)
      const thief = ada.thief()
      await ada.register()
      await ada.get('/me')
      if (how === 'skipped') age(MINUTE)
      const headers: Record<string, string> = how === 'skipped' ? { 'secure-session-skipped': `unreachable;session_identifier="${ada.bound?.id ?? ''}"` } : {}
      t.equal((await thief.post(path, undefined, headers)).statusCode, 200, `${path}, ${how}`)
      await thief.get('/page', { ...PAGE, ...headers })
      t.equal(thief.asked, undefined, 'it is asked to bind nothing')
      t.equal((await thief.get('/money', headers)).statusCode, 403)
      age(MINUTE)
      t.strictSame(await worth(thief), [401, 401])
      // Ada's session is the one that the thief has the cookie of now: with it, her key is good.
      ada.cookies.set('__Host-sid', thief.cookies.get('__Host-sid') ?? '')
      t.equal((await ada.refresh()).statusCode, 200)
      t.strictSame(await worth(ada), [200, 200])
    }
  }
})

t.test('a cookie that was copied before it is bound is worth the session until then, and half a minute longer', async (t) => {
  const { ada, age } = await start(t)
  const thief = ada.thief()
  t.strictSame(await worth(thief), [200, 403])
  await ada.register()
  await ada.get('/me')
  t.strictSame(await worth(thief), [200, 403])
  age(HALF_A_MINUTE + 1)
  t.strictSame(await worth(thief), [401, 401])
  const never = await start(t)
  never.age(24 * 60 * MINUTE)
  t.strictSame(await worth(never.ada.thief()), [200, 403], 'as long as nobody binds it, to its end')
})

t.test('a session that nobody has bound can be bound by who has copied its cookie, unless bindExisting is off', async (t) => {
  for (const bindExisting of [true, false]) {
    const { ada, age } = await start(t, { bindExisting })
    age(MINUTE)
    const thief = ada.thief()
    await thief.get('/page', PAGE)
    t.equal(thief.asked !== undefined, bindExisting)
    thief.asked ??= 'path="/device-bound";challenge="made-up"'
    t.equal((await thief.register()).statusCode, bindExisting ? 200 : 400)
    t.strictSame(await worth(thief), [200, bindExisting ? 200 : 403])
    age(MINUTE)
    t.strictSame(await worth(ada), bindExisting ? [401, 401] : [200, 403], 'its owner is out then, and so learns of it')
  }
})

t.test('with bindExisting off a session that moves is bound only soon after its sign-in', async (t) => {
  const { ada, age } = await start(t, { bindExisting: false })
  const regenerated = async (): Promise<boolean> => {
    ada.asked = undefined
    t.equal((await ada.post('/regenerate')).statusCode, 200)
    return ada.asked !== undefined
  }
  age(9 * MINUTE)
  t.ok(await regenerated(), 'the registration that the sign-in asked for may have met it')
  age(2 * MINUTE)
  t.notOk(await regenerated(), 'a thief could have it asked')
  await ada.post('/again')
  t.ok(ada.asked, 'by a sign-in it is asked')
})

t.test('[9.2.1] a recorded proof is good until its challenge ends, for one more short cookie', async (t) => {
  const { ada, age } = await startBound(t)
  const [id, challenge] = [ada.bound?.id ?? '', ada.bound?.challenge ?? '']
  const recorded = { 'sec-secure-session-id': id, 'secure-session-response': ada.proof({ jti: challenge }) }
  const thief = ada.thief()
  thief.loseShortCookie()
  age(10 * MINUTE - 5_000)
  t.equal((await thief.post('/device-bound/refresh', undefined, recorded)).statusCode, 200)
  age(5_000)
  t.equal((await thief.post('/device-bound/refresh', undefined, recorded)).statusCode, 403)
  t.strictSame(await worth(thief), [200, 200])
  age(10 * MINUTE + HALF_A_MINUTE)
  t.strictSame(await worth(thief), [401, 401])
})

t.test('[9.1.1, 9.1.2, 9.1.3, 9.2.2, 9.2.3, CVE-2018-0114, CVE-2015-9235, CVE-2022-21449] a proof that is not exactly one of the device\'s is refused', async (t) => {
  const place = await startBound(t)
  const { app, ada } = place
  const payload = { jti: ada.bound?.challenge ?? '' }
  const mallory = new BoundBrowser(app)
  const good = ada.proof(payload)
  const [head = '', claims = '', signature = ''] = good.split('.')
  const lines = new DeviceKey().jwk
  const refused: Record<string, string> = {
    'another key': mallory.proof(payload),
    'another key that it brings along': mallory.proof(payload, { jwk: lines }),
    'no algorithm': jwt({ typ: 'dbsc+jwt', alg: 'none' }, payload, () => ''),
    'a hash with what everybody may know': jwt({ typ: 'dbsc+jwt', alg: 'HS256' }, payload, (text) => createHmac('sha256', JSON.stringify(lines)).update(text).digest('base64url')),
    'a signature of nothing': `${head}.${claims}.${Buffer.alloc(64).toString('base64url')}`,
    'another algorithm': ada.proof(payload, { alg: 'ES384' }),
    'another type': ada.proof(payload, { typ: 'JWT' }),
    'another address': ada.proof({ ...payload, aud: 'https://evil.example/device-bound/refresh' }),
    'another text': `${head}.${Buffer.from(JSON.stringify({ ...payload, x: 1 })).toString('base64url')}.${signature}`,
    'half of it': good.slice(0, -4),
    'too long': ada.proof({ ...payload, x: 'x'.repeat(9_000) })
  }
  for (const [name, proof] of Object.entries(refused)) t.equal(await refreshed(place, proof), 400, name)
  const other = await startBound(t)
  t.equal(await refreshed(place, ada.proof({ jti: other.ada.bound?.challenge ?? '' })), 403, 'the challenge of another session')
  t.equal(await refreshed(place, good), 200)
})

t.test('[3.5.1] a page of another site signs nobody out by having something kept for a visitor', async (t) => {
  const { ada } = await startBound(t)
  ada.loseShortCookie()
  const image = { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }
  const { statusCode, headers } = await ada.get('/visit', image)
  t.equal(headers['set-cookie'], undefined)
  t.equal(statusCode, 401)
  t.equal((await ada.refresh()).statusCode, 200)
  t.strictSame(await worth(ada), [200, 200])
})

t.test('a value of the cookie that the application looks up by itself is no use without the device', async (t) => {
  const { app, ada } = await startBound(t, { onMismatch: 'revoke' })
  t.equal(await app.sessions.find(ada.cookies.get('__Host-sid') ?? ''), null)
  t.strictSame(await worth(ada), [200, 200])
})
