import swagger from '@fastify/swagger'
import { Type } from '@sinclair/typebox'
import fc from 'fast-check'
import type { FastifyInstance, FastifyRequest, InjectOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes } from '../../lib/index.ts'
import type { AuthRoutesOptions, SessionOptions } from '../../lib/index.ts'
import { fromBearer, idOf, newId, newToken, Signature, toBearer } from '../../lib/session/token.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'
import { DAY, MINUTE } from '../helpers/record.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { times } from '../helpers/scale.ts'
import { SpyStore } from '../helpers/spy-store.ts'

type Headers = Record<string, string>
/** What a test does within a request of its own. */
type Action = (request: FastifyRequest) => unknown

const PASSWORDS: Record<string, string> = { ada: 'lovelace', bob: 'builder' }
const verify: AuthRoutesOptions['verify'] = ({ username, password }) => PASSWORDS[username] === password ? { id: username } : null
const credentials = (username: string) => ({ username, password: PASSWORDS[username] })
const AMBIGUOUS = { statusCode: 400, code: 'ERR_SESSION_AMBIGUOUS_CREDENTIALS', error: 'Bad Request', message: 'A request carries either a bearer token or a session cookie' }

/** A program of a person's: sends its token with every request. What it is told to keep in cookies would be in `cookies`. */
class Program extends Browser {
  token = ''
  scheme = 'Bearer'

  override async request (method: InjectOptions['method'], url: string, options: Omit<InjectOptions, 'method' | 'url'> = {}): Promise<TestResponse> {
    return await super.request(method, url, { ...options, headers: { ...this.token !== '' && { authorization: `${this.scheme} ${this.token}` }, ...options.headers } })
  }
}

interface Service {
  app: FastifyInstance
  store: SpyStore
  age: (ms: number) => void
  browser: () => Browser
  /** A program that has a token of this user's. */
  program: (username?: string) => Promise<Program>
  /** Has a client send a request that does `action`. */
  act: (client: Browser, action: Action) => Promise<TestResponse>
}

async function open (t: Test, options: Partial<SessionOptions> = {}, routes: Partial<AuthRoutesOptions> = {}): Promise<Service> {
  let now = Date.now()
  const store = new SpyStore({ now: () => now })
  const app = await startApp(t, { store, bearer: true, ...options })
  await app.register(authRoutes, { verify, ...routes })
  let action: Action = () => {}
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth())
  app.get('/auth', async (request) => ({ auth: request.auth }))
  app.get('/plain', async () => 'welcome')
  app.get('/data', async (request) => ({ ...request.session, cookie: undefined }))
  app.post('/do', async (request) => ({ result: await action(request) ?? null }))
  const program = async (username = 'ada') => {
    const each = new Program(app)
    each.token = (await each.post('/token', credentials(username))).json().token
    return each
  }
  const act = async (client: Browser, next: Action) => {
    action = next
    return await client.post('/do')
  }
  return { app, store, age: (ms) => { now += ms }, browser: () => new Browser(app), program, act }
}

const idOfBearer = ({ token }: Program): string => idOf(fromBearer(token) ?? '')

// -- POST /token ---------------------------------------------------------------------------------------------------

t.test('a program signs in for a token, and is given no cookie', async (t) => {
  const { app } = await open(t)
  const ada = new Program(app)
  const response = await ada.post('/token', credentials('ada'))
  t.equal(response.statusCode, 200)
  t.equal(response.headers['cache-control'], 'no-store')
  t.equal(response.headers.vary, 'Cookie')
  t.strictSame(response.setCookies, [])
  const { token, user, session, ...more } = response.json()
  t.strictSame(more, {})
  t.match(token, /^fus_[\w-]{22}\.[\w-]{32}\.[\w-]{6}$/)
  t.strictSame(user, { id: 'ada' })
  t.strictSame(Object.keys(session).sort(), ['actor', 'authenticatedAt', 'createdAt', 'deviceBound', 'endsAt', 'expiresAt', 'id', 'label', 'lastSeenAt', 'methods', 'remembered'])
  t.ok(token.startsWith(`fus_${session.id}.`))
  t.equal(session.expiresAt, session.createdAt + 30 * MINUTE)
})

t.test('every token is another, and each ends on its own', async (t) => {
  const { program } = await open(t)
  const [phone, tablet] = [await program(), await program()]
  t.not(phone.token, tablet.token)
  t.equal((await phone.post('/logout')).statusCode, 204)
  t.equal((await phone.get('/me')).statusCode, 401)
  t.equal((await tablet.get('/me')).statusCode, 200)
})

t.test('wrong credentials get no token, and a reply that says nothing of why', async (t) => {
  const { app, store } = await open(t)
  const replies = await Promise.all([{ username: 'ada', password: 'wrong' }, { username: 'nobody', password: 'lovelace' }].map((payload) => new Browser(app).post('/token', payload)))
  for (const each of replies) {
    t.strictSame(each.json(), { statusCode: 401, code: 'ERR_SESSION_INVALID_CREDENTIALS', error: 'Unauthorized', message: 'Invalid credentials' })
    t.strictSame(each.rawPayload, replies[0]?.rawPayload)
  }
  t.equal((await new Browser(app).post('/token', { username: 'ada' })).statusCode, 400)
  t.strictSame(store.calls, [])
})

t.test('a program whose token has ended gets a new one, though it still sends the old', async (t) => {
  const { program } = await open(t)
  const ada = await program()
  await ada.post('/logout')
  const response = await ada.post('/token', credentials('ada'))
  t.equal(response.statusCode, 200)
  ada.token = response.json().token
  t.equal((await ada.get('/me')).statusCode, 200)
})

t.test('a browser that asks for a token stays signed in as it was', async (t) => {
  const { browser } = await open(t)
  const ada = browser()
  await ada.post('/login', credentials('ada'))
  const before = ada.header
  const response = await ada.post('/token', credentials('bob'))
  t.equal(response.json().user.id, 'bob')
  t.strictSame(response.setCookies, [])
  t.equal(ada.header, before)
  t.equal((await ada.get('/me')).json().userId, 'ada')
})

t.test('a page of another site cannot ask for a token', async (t) => {
  const asked: unknown[] = []
  const { app, store } = await open(t, {}, { verify: (body) => { asked.push(body); return { id: 'ada' } } })
  for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { origin: 'https://evil.example' }, { origin: 'null' }] as Headers[]) {
    const response = await new Browser(app).post('/token', credentials('ada'), { headers })
    t.equal(response.statusCode, 403)
    t.equal(response.json().code, 'ERR_SESSION_CSRF_REJECTED')
  }
  t.strictSame(asked, [])
  t.strictSame(store.calls, [])
})

t.test('remember and onLogin say how a token\'s session begins', async (t) => {
  const { program, app, store, age } = await open(t, {}, {
    onLogin: (user) => user.id === 'bob' ? { label: 'bob\'s robot', meta: { app: '2.1' }, idleTimeout: '5m', absoluteTimeout: '1h' } : undefined
  })
  const session = (await new Browser(app).post('/token', credentials('bob'), { headers: { 'user-agent': 'robot/1.0' } })).json().session
  t.equal(session.label, 'bob\'s robot')
  t.equal(session.expiresAt, session.createdAt + 5 * MINUTE)
  t.match(await store.peek(session.id), { kind: 'bearer', meta: '{"app":"2.1"}', endsAt: session.createdAt + 60 * MINUTE, ip: '127.0.0.1', userAgent: 'robot/1.0' })
  const remembered = (await new Browser(app).post('/token', { ...credentials('ada'), remember: true })).json().session
  t.equal(remembered.expiresAt, remembered.createdAt + 30 * DAY)
  const ada = await program()
  age(31 * MINUTE)
  t.equal((await ada.get('/me')).statusCode, 401, 'without it the ordinary timeouts')
})

t.test('of a user only what the schema names is shown beside the token', async (t) => {
  const stored = { id: 7, name: 'Ada', passwordHash: 'LEAKED', token: 'LEAKED', session: 'LEAKED' }
  for (const additionalProperties of [false, true]) {
    const user = Type.Object({ id: Type.String(), name: Type.String() }, { additionalProperties })
    const { app } = await open(t, {}, { verify: () => stored, findUser: () => stored, user })
    const response = await new Browser(app).post('/token', credentials('ada'))
    t.strictSame(response.json().user, { id: '7', name: 'Ada' })
    t.notMatch(response.body, 'LEAKED')
  }
})

t.test('login never answers a token, and is not for who sends one', async (t) => {
  const { browser, program, store, app } = await open(t)
  const ada = browser()
  const response = await ada.post('/login', credentials('ada'))
  t.strictSame(Object.keys(response.json()), ['user', 'session'])
  t.notMatch(response.body, /fus_/)
  const robot = await program()
  for (const token of [robot.token, 'garbage', '']) {
    const client = new Browser(app)
    const refused = await client.post('/login', credentials('bob'), { headers: { authorization: `Bearer ${token}` } })
    t.strictSame(refused.json(), AMBIGUOUS)
    t.strictSame(refused.setCookies, [])
  }
  t.strictSame(await store.listByUser('bob'), [])
  t.equal((await robot.get('/me')).json().userId, 'ada', 'whose token is as good as before')
})

// -- the token in use ----------------------------------------------------------------------------------------------

t.test('a token opens what needs somebody signed in, whatever the case of the scheme', async (t) => {
  const { program } = await open(t)
  const ada = await program()
  for (ada.scheme of ['Bearer', 'bearer', 'BEARER', 'bEaReR', 'Bearer  ']) {
    const me = await ada.get('/me')
    t.equal(me.statusCode, 200, ada.scheme)
    t.match(me.json(), { userId: 'ada', kind: 'bearer', id: idOfBearer(ada) })
    t.strictSame((await ada.get('/auth')).json().auth, me.json())
    t.strictSame(me.setCookies, [])
  }
})

t.test('info tells a program who it is', async (t) => {
  const { program } = await open(t)
  const ada = await program()
  const info = await ada.get('/info')
  t.match(info.json(), { authenticated: true, user: { id: 'ada' }, session: { id: idOfBearer(ada) } })
  t.equal(info.headers['cache-control'], 'no-store')
  t.notMatch(info.body, /fus_/)
  ada.token = toBearer(newToken(idOfBearer(ada)).token)
  t.strictSame((await ada.get('/info')).json(), { authenticated: false }, 'another secret for the same id')
})

t.test('logout ends a token, and speaks of no cookie', async (t) => {
  const { program, store, act, app } = await open(t)
  const ada = await program()
  const response = await ada.post('/logout')
  t.equal(response.statusCode, 204)
  t.strictSame(response.setCookies, [])
  t.equal((await ada.get('/me')).statusCode, 401)
  t.equal(await store.peek(idOfBearer(ada)), null)
  const again = await ada.post('/logout', undefined, { headers: { cookie: 'sid=garbage' } })
  t.equal(again.statusCode, 204)
  t.strictSame(again.setCookies, [])
  const byHand = await program()
  t.strictSame((await act(byHand, (request) => app.logout(request))).setCookies, [])
  t.equal((await byHand.get('/me')).statusCode, 401)
  const destroyed = await program()
  t.equal((await act(destroyed, (request) => request.session.destroy())).statusCode, 200)
  t.equal((await destroyed.get('/me')).statusCode, 401)
})

t.test('a token that was revoked is worth nothing at once', async (t) => {
  const { app, program } = await open(t)
  const ada = await program()
  t.equal(await app.sessions.revokeUser('ada'), 1)
  t.equal((await ada.get('/me')).statusCode, 401)
})

t.test('a cookie\'s token is no bearer token, and a bearer token no cookie', async (t) => {
  const { app, browser, program } = await open(t)
  const signature = new Signature([secret])
  const ada = browser()
  await ada.post('/login', credentials('ada'))
  const inCookie = signature.verify(ada.cookies.get('sid') ?? '')?.value ?? ''
  t.match(inCookie, /^[\w-]{22}\.[\w-]{32}$/)
  const thief = new Program(app)
  for (thief.token of [toBearer(inCookie), inCookie, ada.cookies.get('sid') ?? '']) t.equal((await thief.get('/me')).statusCode, 401)
  const robot = await program()
  const forger = browser()
  for (const value of [fromBearer(robot.token) ?? '', robot.token]) {
    forger.cookies.set('sid', signature.sign(value))
    t.equal((await forger.get('/me')).statusCode, 401, 'though it is properly signed')
  }
  t.equal((await ada.get('/me')).statusCode, 200)
  t.equal((await robot.get('/me')).statusCode, 200)
})

t.test('a token beside a cookie that verifies is refused: whose request is it?', async (t) => {
  const { browser, program, store, app } = await open(t)
  const bob = browser()
  await bob.post('/login', credentials('bob'))
  const ada = await program('ada')
  const dead = new Signature([secret]).sign(newToken(newId()).token)
  for (const cookie of [bob.header, `sid=${dead}`]) {
    for (const authorization of [`Bearer ${ada.token}`, 'Bearer garbage', 'Bearer ', 'Bearer', 'bearer\t']) {
      const asked = await store.during(async () => {
        for (const [method, url] of [['GET', '/me'], ['GET', '/plain'], ['GET', '/info'], ['POST', '/logout'], ['POST', '/login'], ['POST', '/token'], ['POST', '/do']] as const) {
          const response = await new Browser(app).request(method, url, { headers: { cookie, authorization } })
          t.strictSame(response.json(), AMBIGUOUS, `${method} ${url}`)
          t.strictSame(response.setCookies, [])
        }
      })
      t.strictSame(asked, [])
    }
  }
  t.equal((await bob.get('/me')).statusCode, 200)
  t.equal((await ada.get('/me')).statusCode, 200)
})

t.test('a token beside cookies that are none of ours is taken', async (t) => {
  const { program } = await open(t)
  const ada = await program()
  for (const cookie of ['sid=garbage', 'sid=', `sid=${newToken(newId()).token}.${'x'.repeat(43)}`, 'theme=dark', ';;;']) {
    const me = await ada.get('/me', { headers: { cookie } })
    t.equal(me.statusCode, 200, cookie)
    t.strictSame(me.setCookies, [], 'nor is it taken back')
  }
})

t.test('other schemes beside a cookie are none of our business', async (t) => {
  const { browser } = await open(t)
  const ada = browser()
  await ada.post('/login', credentials('ada'))
  for (const authorization of ['Basic c3RhZ2luZzpwcm94eQ==', 'Digest username="x"', 'BearerToken x', 'Bearer_x', 'Token bearer x', '']) {
    t.equal((await ada.get('/me', { headers: { authorization } })).json().kind, 'cookie', authorization)
  }
})

t.test('without the option Authorization is somebody else\'s', async (t) => {
  for (const bearer of [false, undefined]) {
    const { app, browser, store } = await open(t, { bearer })
    const ada = browser()
    await ada.post('/login', credentials('ada'))
    const { token, headers } = await app.sessions.create({ userId: 'bob', kind: 'bearer' })
    for (const authorization of [`Bearer ${token}`, 'Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl', 'Bearer']) {
      t.equal((await ada.get('/me', { headers: { authorization } })).json().userId, 'ada')
      const asked = await store.during(async () => {
        t.equal((await browser().get('/me', { headers: { authorization } })).statusCode, 401)
      })
      t.strictSame(asked, [], 'it is not even read')
      const login = browser()
      t.equal((await login.post('/login', credentials('ada'), { headers: { authorization } })).setCookies.length, 1)
    }
    t.equal((await browser().post('/token', credentials('ada'))).statusCode, 404)
    t.equal((await browser().get('/me', { headers: headers as Headers })).statusCode, 401)
    const crossSite = { authorization: `Bearer ${token}`, 'sec-fetch-site': 'cross-site' }
    t.equal((await ada.post('/do', undefined, { headers: crossSite })).statusCode, 403, 'nor does it excuse a page of another site')
  }
})

const CROSS_SITE: Headers[] = ['cross-site', 'same-site', 'none', 'same-origin', 'bogus', undefined].flatMap((site) => ['https://evil.example', 'null', '', undefined].map((origin) => ({
  ...site !== undefined && { 'sec-fetch-site': site }, ...origin !== undefined && { origin }
})))

t.test('no page of another site has the token, so that where a request comes from does not matter', async (t) => {
  const { program, act, app } = await open(t)
  const ada = await program()
  for (const headers of CROSS_SITE) {
    const why = JSON.stringify(headers)
    t.equal((await ada.post('/do', undefined, { headers })).statusCode, 200, why)
    t.equal((await ada.get('/me', { headers: { ...headers, connection: 'Upgrade', upgrade: 'websocket' } })).statusCode, 200, why)
    t.equal((await ada.post('/logout', undefined, { headers: { ...headers, cookie: 'sid=garbage' } })).statusCode, 204, why)
    t.equal((await ada.get('/me')).statusCode, 401)
    ada.token = (await new Browser(app).post('/token', credentials('ada'))).json().token
  }
  t.equal((await act(ada, () => 'done')).json().result, 'done')
})

t.test('what is no token by its form costs no look at the store', async (t) => {
  const { program, app, store } = await open(t)
  const { token } = await program()
  const malformed = [
    '', 'x', 'fus_', '.', '..', token.slice(0, -1), token.slice(1), `${token}x`, `x${token}`, token.replace('fus_', 'FUS_'), token.replace('fus_', ''), token.replace(/.$/, (last) => last === 'A' ? 'B' : 'A'),
    token.toLowerCase(), token.toUpperCase(), token.replaceAll('.', '_'), `${token} ${token}`, `${token},${token}`, `"${token}"`, `${token}=`, encodeURIComponent(`${token} `), 'fus_'.padEnd(66, 'A'), 'x'.repeat(10_000),
    'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl', '__proto__', '../../etc/passwd', '*', 'null'
  ]
  const asked = await store.during(async () => {
    for (const each of malformed) {
      for (const scheme of ['Bearer ', 'bearer ', 'Bearer   ']) t.equal((await new Browser(app).get('/me', { headers: { authorization: scheme + each } })).statusCode, 401, each)
    }
    for (const authorization of [token, `Bearer${token}`, `Token ${token}`, `Basic ${token}`, `Bearer:${token}`, `,Bearer ${token}`, `Basic x, Bearer ${token}`]) {
      t.equal((await new Browser(app).get('/me', { headers: { authorization } })).statusCode, 401, authorization)
    }
  })
  t.strictSame(asked, [])
})

t.test('of thousands of tokens that somebody made up or changed none is taken, and none is an error', async (t) => {
  const { program, app, store } = await open(t)
  const { token } = await program()
  const characters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const at = fc.integer({ min: 0, max: token.length - 1 })
  const mutated = fc.oneof(
    fc.tuple(at, fc.constantFrom(...characters, '.', ' ', '=', '%', '\t')).map(([index, each]) => token.slice(0, index) + each + token.slice(index + 1)),
    fc.tuple(at, at).map(([from, to]) => token.slice(0, from) + token.slice(to)),
    fc.tuple(at, fc.string({ minLength: 1, maxLength: 5 })).map(([index, text]) => token.slice(0, index) + text + token.slice(index)),
    // The right form and checksum around what is not the secret.
    fc.tuple(fc.integer({ min: 0, max: 54 }), fc.constantFrom(...characters)).map(([index, each]) => {
      const inner = fromBearer(token) ?? ''
      return toBearer(inner.slice(0, index) + each + inner.slice(index + 1))
    }),
    fc.string({ maxLength: 200 }),
    fc.constantFrom('fus_', token + token).chain((start) => fc.string().map((rest) => start + rest))
  ).filter((each) => each.trim() !== token && !/[^\t\x20-\x7e]/.test(each))
  const count = times(100_000, 20_000)
  const wrong: string[] = []
  let sent = 0
  await fc.assert(fc.asyncProperty(mutated, async (each) => {
    sent++
    const { statusCode } = await app.inject({ url: '/me', headers: { authorization: `Bearer ${each}` } })
    if (statusCode !== 401) wrong.push(`${statusCode} ${each}`)
  }), { numRuns: count })
  t.equal(sent, count)
  t.strictSame(wrong, [])
  t.equal((await app.inject({ url: '/me', headers: { authorization: `Bearer ${token}` } })).statusCode, 200)
  t.strictSame(new Set(store.calls), new Set(['begin', 'find']))
})

// -- time ------------------------------------------------------------------------------------------------------------

t.test('a token nobody uses ends at its idle timeout, one in use does not', async (t) => {
  const { program, store, age } = await open(t, { idleTimeout: '30m', touchAfter: 0 })
  const [idle, busy] = [await program('ada'), await program('bob')]
  age(29 * MINUTE)
  t.strictSame(await store.during(() => busy.get('/me')), ['find', 'touch'])
  age(MINUTE)
  t.equal((await idle.get('/me')).statusCode, 401)
  t.equal(await store.peek(idOfBearer(idle)), null)
  t.equal((await busy.get('/me')).statusCode, 200)
  age(30 * MINUTE)
  t.equal((await busy.get('/me')).statusCode, 401)
})

t.test('a token in use is extended as often as touchAfter says', async (t) => {
  const { program, store, age } = await open(t, { idleTimeout: '30m', touchAfter: '5m' })
  const ada = await program()
  age(5 * MINUTE - 1)
  t.strictSame(await store.during(() => ada.get('/me')), ['find'])
  age(1)
  const touched = await ada.get('/me')
  t.strictSame(touched.setCookies, [])
  t.strictSame(await store.during(() => ada.get('/me')), ['find'], 'once')
  const { lastSeenAt, createdAt } = await store.peek(idOfBearer(ada)) ?? {}
  t.equal(Number(lastSeenAt) - Number(createdAt), 5 * MINUTE)
})

t.test('a busy token still ends at its absolute timeout', async (t) => {
  const { program, age } = await open(t, { idleTimeout: '30m', absoluteTimeout: '1h', touchAfter: 0 })
  const ada = await program()
  for (let minutes = 15; minutes < 60; minutes += 15) {
    age(15 * MINUTE)
    t.equal((await ada.get('/me')).statusCode, 200, `${minutes} minutes`)
  }
  age(15 * MINUTE)
  t.equal((await ada.get('/me')).statusCode, 401)
})

t.test('a new secret ends cookies that the old one signed, and no token', async (t) => {
  const { program, browser, store } = await open(t)
  const ada = browser()
  await ada.post('/login', credentials('ada'))
  const { token } = await program()
  const rotated = await startApp(t, { store, bearer: true, secret: 'quite another secret with its 32 characters' })
  rotated.get('/me', { preHandler: rotated.authenticate }, async (request) => request.requireAuth())
  const robot = new Program(rotated)
  robot.token = token
  t.equal((await robot.get('/me')).json().userId, 'ada')
  t.equal((await rotated.inject({ url: '/me', headers: { cookie: ada.header } })).statusCode, 401)
})

// -- the session behind a token --------------------------------------------------------------------------------------

t.test('what would begin a session with a cookie is refused to a program, which keeps the one it has', async (t) => {
  for (const [name, options] of [['userId', {}], ['another place for the user', { userIdFrom: (data: Record<string, unknown>) => data.owner }]] as const) {
    const { app, program, store, act } = await open(t, options)
    const user = name === 'userId' ? 'userId' : 'owner'
    const actions: Record<string, Action> = {
      'app.login': (request) => app.login(request, { id: 'bob' }),
      'app.login of the same user': (request) => app.login(request, { id: 'ada' }),
      'assigning the user': (request) => { request.session[user] = 'bob' },
      'assigning the user, and save': async (request) => {
        request.session[user] = 'bob'
        await request.session.save()
      },
      'assigning the same user': (request) => {
        // Where the user is kept elsewhere, only a value that appears or changes is a sign-in.
        request.session[user] = name === 'userId' ? 'ada' : 'bob'
      },
      regenerate: (request) => request.session.regenerate(),
      'regenerate, keeping the user': (request) => request.session.regenerate([user])
    }
    for (const [what, action] of Object.entries(actions)) {
      const ada = await program()
      const before = await store.peek(idOfBearer(ada))
      const asked = await store.during(async () => {
        const response = await act(ada, action)
        t.equal(response.statusCode, 500, `${name}: ${what}`)
        t.match(response.json(), { code: 'ERR_SESSION_UNSUPPORTED', message: new RegExp(`^Not supported: ${what.startsWith('app.login') ? 'login' : '.*'} in a bearer request: its client keeps no cookies$`) }, `${name}: ${what}`)
        t.strictSame(response.setCookies, [])
      })
      t.strictSame(asked, ['find'], `${name}: ${what}`)
      t.same(await store.peek(idOfBearer(ada)), before)
      t.equal((await ada.get('/me')).json().userId, 'ada')
    }
  }
})

t.test('where that fails, a route may go on with the session there is', async (t) => {
  const { app, program, act } = await open(t)
  const ada = await program()
  const caught: unknown[] = []
  const refused = async (action: () => unknown) => {
    try { await action() } catch (error) { caught.push((error as { code: string }).code) }
  }
  const response = await act(ada, async (request) => {
    await refused(() => app.login(request, { id: 'bob' }))
    await refused(() => { request.session.userId = 'bob' })
    await refused(() => request.session.regenerate())
    request.session.cart = ['book']
    return request.auth?.userId
  })
  t.equal(response.statusCode, 200)
  t.equal(response.json().result, 'ada')
  t.strictSame(caught, Array(3).fill('ERR_SESSION_UNSUPPORTED'))
  t.strictSame((await ada.get('/data')).json(), { userId: 'ada', cart: ['book'] })
})

t.test('a program that is not signed in can keep nothing and sign in nowhere but at /token', async (t) => {
  const { app, act, store } = await open(t)
  const nobody = new Program(app)
  for (const token of ['garbage', toBearer(newToken(newId()).token)]) {
    nobody.token = token
    const actions: Record<string, Action> = {
      data: (request) => { request.session.cart = ['book'] },
      'data, and save': async (request) => {
        request.session.cart = ['book']
        await request.session.save()
      },
      'a user': (request) => { request.session.userId = 'ada' },
      'app.login': (request) => app.login(request, { id: 'ada' })
    }
    for (const [what, action] of Object.entries(actions)) {
      const response = await act(nobody, action)
      t.equal(response.statusCode, 401, what)
      t.equal(response.json().code, 'ERR_SESSION_UNAUTHENTICATED', what)
      t.strictSame(response.setCookies, [])
    }
    t.equal((await act(nobody, ({ session }) => { session.cart = []; void session.cart })).statusCode, 200, 'nothing to keep is no fault')
  }
  t.equal(store.calls.includes('begin'), false)
})

t.test('what changes in the session of a token is saved, and no cookie is sent', async (t) => {
  const { program, act, store } = await open(t)
  const ada = await program()
  const changed = await act(ada, (request) => { request.session.cart = ['book'] })
  t.equal(changed.statusCode, 200)
  t.strictSame(changed.setCookies, [])
  const saved = await act(ada, async (request) => {
    request.session.visits = 1
    await request.session.save()
  })
  t.strictSame(saved.setCookies, [])
  t.strictSame((await ada.get('/data')).json(), { userId: 'ada', cart: ['book'], visits: 1 })
  t.match(await store.peek(idOfBearer(ada)), { kind: 'bearer', userId: 'ada' })
  t.equal(store.calls.filter((each) => each === 'begin').length, 1)
})

t.test('a user taken out of the session of a token is signed out', async (t) => {
  const { program, act, store } = await open(t)
  for (const action of [(request) => { request.session.userId = null }, (request) => { delete request.session.userId }] as Action[]) {
    const ada = await program()
    const response = await act(ada, action)
    t.equal(response.statusCode, 200)
    t.strictSame(response.setCookies, [])
    t.equal(await store.peek(idOfBearer(ada)), null)
    t.equal((await ada.get('/me')).statusCode, 401)
  }
})

t.test('where the user is kept elsewhere, a token speaks for its user and its data changes as ever', async (t) => {
  const { program, act } = await open(t, { userIdFrom: (data) => (data.user as { id?: unknown } | undefined)?.id })
  const ada = await program()
  t.match((await ada.get('/me')).json(), { userId: 'ada', kind: 'bearer' })
  t.equal((await act(ada, (request) => { request.session.cart = ['book'] })).statusCode, 200)
  t.strictSame((await ada.get('/data')).json(), { cart: ['book'] })
  t.equal((await ada.get('/me')).json().userId, 'ada')
})

// -- around it ---------------------------------------------------------------------------------------------------------

t.test('when Redis is down a request with a token answers 503, not 401', async (t) => {
  const redis = await startRedis(t)
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix(), bearer: true })
  await app.register(authRoutes, { verify })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth())
  const ada = new Program(app)
  ada.token = (await ada.post('/token', credentials('ada'))).json().token
  t.match((await ada.get('/me')).json(), { userId: 'ada', kind: 'bearer' })
  await redis.stop()
  for (const [method, url, payload] of [['GET', '/me', undefined], ['GET', '/info', undefined], ['POST', '/token', credentials('ada')]] as const) {
    const response = await ada.request(method, url, payload === undefined ? {} : { payload })
    t.equal(response.statusCode, 503, url)
    t.equal(response.json().code, 'ERR_SESSION_STORE_UNAVAILABLE')
    t.equal(response.headers['retry-after'], '1')
    t.strictSame(response.setCookies, [])
  }
  ada.token = 'garbage'
  t.equal((await ada.get('/me')).statusCode, 401, 'for what is no token nobody has to be asked')
})

interface Schema { description?: string, properties?: Record<string, Schema> }

/** The places in a schema that say nothing of themselves. */
function silent (schema: Schema, path: string): string[] {
  return [...typeof schema.description === 'string' && schema.description.length > 3 ? [] : [path], ...Object.entries(schema.properties ?? {}).flatMap(([name, each]) => silent(each, `${path}.${name}`))]
}

t.test('the API\'s description has the way to a token, and a word on everything in it', async (t) => {
  for (const bearer of [true, false]) {
    const app = await startApp(t, { bearer })
    await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'test', version: '1' } } })
    await app.register(authRoutes, { prefix: '/auth', verify })
    await app.ready()
    interface Content { content?: Record<string, { schema: Schema }> }
    interface Operation { summary?: string, description?: string, requestBody: Content, responses: Record<string, Content & { description: string }> }
    const { paths } = app.swagger() as unknown as { paths: Record<string, { post: Operation }> }
    t.equal('/auth/token' in paths, bearer)
    const post = paths['/auth/token']?.post
    if (post === undefined) continue
    t.match(post, { summary: /.{5}/, description: /.{5}/ })
    t.strictSame(Object.keys(post.responses), ['200', '400', '401', '403', '409', '413', '429', '503'])
    const body = post.requestBody.content?.['application/json']?.schema as Schema
    t.strictSame(Object.keys(body.properties ?? {}), ['username', 'password', 'remember'])
    t.strictSame(silent(body, 'body'), [])
    for (const [status, { description, content }] of Object.entries(post.responses)) {
      t.not(description, 'Default Response', status)
      t.strictSame(silent(content?.['application/json']?.schema as Schema, status), [])
    }
    t.strictSame(Object.keys(post.responses['200']?.content?.['application/json']?.schema.properties ?? {}), ['token', 'user', 'session'])
  }
})

t.test('no token is ever logged', async (t) => {
  const app = await startApp(t, { bearer: true })
  await app.register(authRoutes, { verify })
  const ada = new Program(app)
  ada.token = (await ada.post('/token', credentials('ada'))).json().token
  await ada.get('/info')
  await ada.post('/login', credentials('ada'))
  await ada.post('/logout')
  const [, hidden = ''] = ada.token.split('.')
  t.ok(app.lines.length > 0)
  t.notMatch(JSON.stringify(app.lines), hidden)
})

t.test('who knows only the id of a session cannot end it, also while the store does not answer', async (t) => {
  const store = new SpyStore()
  const app = await startApp(t, { bearer: true, store })
  await app.register(authRoutes, { verify: async ({ username }) => ({ id: username }) })
  app.post('/destroy', async (request) => await request.session.destroy())
  for (const kind of ['cookie', 'bearer'] as const) {
    const { session, headers } = await app.sessions.create({ userId: 'ada', kind })
    const forged = { authorization: `Bearer ${toBearer(newToken(session.id).token)}` }
    for (const url of ['/logout', '/destroy']) {
      t.ok((await app.inject({ method: 'POST', url, headers: forged })).statusCode < 500)
      store.failing.add('find')
      t.equal((await app.inject({ method: 'POST', url, headers: forged })).statusCode, 503)
      store.failing.clear()
    }
    t.equal((await app.inject({ url: '/info', headers })).json().authenticated, true, kind)
    t.not(store.calls.includes('delete'), true)
  }
})
