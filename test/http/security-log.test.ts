import { createHmac, hkdfSync } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import Fastify from 'fastify'
import type { FastifyBaseLogger, FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import ts from 'typescript'
import { adminRoutes, authRoutes, MemoryStore, SessionManager, sessionPlugin } from '../../lib/index.ts'
import type { LoginOptions, SecurityLogEntry, SessionOptions } from '../../lib/index.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { root } from '../helpers/process.ts'
import { MINUTE } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { age, keysOf, openStore } from '../helpers/redis-store.ts'

/*
 * What the security log has of what happens, and what it must not have.
 */

const redis = await startRedis(t)
const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0'
const HOME = '203.0.113.7'

/** A program without its types. */
const stripTypes = (code: string): string => ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2022 } }).outputText

/** As docs/security/log.md has it. */
const key = Buffer.from(hkdfSync('sha256', secret, '', 'fastify-user-sessions security log', 32))
const nameOf = (name: string): string => createHmac('sha256', key).update(name).digest('base64url').slice(0, 22)

/** A person's browser, with an address and a name. */
class Person extends Browser {
  override async request (...[method, url, options]: Parameters<Browser['request']>) {
    return await super.request(method, url, { remoteAddress: HOME, ...options, headers: { 'user-agent': FIREFOX, ...options?.headers } })
  }
}

interface Process {
  app: Awaited<ReturnType<typeof startApp>>
  entries: SecurityLogEntry[]
  /** What was added, when it is as many, and nothing comes after them. */
  added: (count: number) => Promise<SecurityLogEntry[]>
}

/** A process that keeps a security log. */
async function open (t: Test, options: Partial<SessionOptions> = {}, isLogged = false, server: FastifyServerOptions = {}): Promise<Process> {
  const entries: SecurityLogEntry[] = []
  const app = await startApp(t, { bearer: true, endedFor: '1h', securityLog: isLogged || ((entry) => { entries.push(entry) }), ...options }, server)
  await app.register(authRoutes, { verify: ({ username, password }) => password === 'lovelace' ? { id: username } : null })
  app.post<{ Body: LoginOptions & { id: string } }>('/sign-in', async (request) => {
    const { id, ...others } = request.body
    await app.login(request, { id }, others)
  })
  app.post('/move', async (request) => { await request.session.regenerate(['userId']) })
  app.post('/assign', async (request) => { request.session.userId = 'bob' })
  app.post('/cart', async (request) => { request.session.cart = 'book' })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  const added = async (count: number): Promise<SecurityLogEntry[]> => {
    await until(`${count} entries`, () => entries.length >= count)
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
    return entries.splice(0)
  }
  return { app, entries, added }
}

async function signedIn (app: FastifyInstance, id = 'ada', options: LoginOptions = {}): Promise<Person> {
  const person = new Person(app)
  const { statusCode, body } = await person.post('/sign-in', { id, ...options })
  if (statusCode !== 200) throw new Error(body)
  return person
}

const idOf = (browser: Browser): string => browser.cookies.get('sid')?.split('.')[0] ?? ''
/** A browser with the cookies of another. */
function thiefOf (app: FastifyInstance, browser: Browser): Person {
  const thief = new Person(app)
  for (const [name, value] of browser.cookies) thief.cookies.set(name, value)
  return thief
}
/** The names of events, with their reasons. */
const names = (entries: SecurityLogEntry[]): string[] => entries.map(({ event, reason }) => reason === undefined ? event : `${event} ${reason}`)

for (const where of ['memory', 'Redis'] as const) {
  const optionsOf = (): Partial<SessionOptions> => where === 'Redis' ? { redis: redis.url, keyPrefix: prefix() } : { store: new MemoryStore() }

  t.test(`[16.3, 16.3.1] in ${where}: what happens to sessions is one entry each, in OWASP's words`, async (t) => {
    const { app, added } = await open(t, { ...optionsOf(), maxSessionsPerUser: 2 })
    const happens = async (expected: string[], doing: () => Promise<unknown>): Promise<void> => {
      await doing()
      t.strictSame(names(await added(expected.length)).sort(), expected.sort())
    }
    let ada = new Person(app)
    await happens([], async () => { await ada.get('/me'); await ada.post('/cart') })
    await happens(['authn_login_success'], async () => { ada = await signedIn(app) })
    await happens(['authn_login_success', 'session_expired replaced'], () => ada.post('/login', { username: 'ada', password: 'lovelace' }))
    await happens(['session_renewed', 'session_expired replaced'], () => ada.post('/move'))
    await happens(['authn_login_success', 'session_expired replaced'], () => ada.post('/assign'))
    await happens(['session_logout logout'], () => ada.post('/logout'))
    await happens([], () => ada.post('/logout'))
    let session = { id: '' }
    await happens(['session_created'], async () => { session = (await app.sessions.create({ userId: 'ada' })).session })
    await happens(['session_expired revoked'], () => app.sessions.revoke(session.id))
    await happens([], () => app.sessions.revoke(session.id))
    await happens(['authn_login_success', 'authn_login_success', 'authn_login_success', 'excess_sessions_exceeded evicted'], async () => { for (let each = 0; each < 3; each++) await signedIn(app) })
    await happens(['session_expired revoked', 'session_expired revoked'], () => app.sessions.revokeUser('ada'))
    let token = ''
    await happens(['authn_token_created'], async () => { token = (await app.inject({ method: 'POST', url: '/token', payload: { username: 'ada', password: 'lovelace' } })).json<{ token: string }>().token })
    await happens(['authn_token_revoked revoked'], () => app.sessions.revokeUser('ada'))
    await happens(['authn_token_reuse revoked'], () => app.inject({ url: '/me', headers: { authorization: `Bearer ${token}` } }))
    await happens(['authn_login_success', 'authz_admin impersonation', 'session_expired replaced'], async () => {
      const carol = await signedIn(app, 'carol')
      await carol.post('/sign-in', { id: 'ada', actor: 'carol' })
    })
    await happens(['authz_admin unlock'], () => app.sessions.unlock('ada'))
  })

  t.test(`[16.3, 16.3.3] in ${where}: failed logins, and what the limits refuse, are one entry each`, async (t) => {
    const { app, added } = await open(t, { ...optionsOf(), attempts: { accountNetwork: { max: 2 } } })
    const guess = async (username: string) => await new Person(app).post('/login', { username, password: 'wrong' })
    for (let each = 0; each < 3; each++) await guess('ada')
    const [first, second, third] = await added(3)
    t.strictSame(names([first, second, third] as SecurityLogEntry[]), ['authn_login_fail', 'authn_login_fail', 'authn_login_fail_max accountNetwork'])
    t.match(third, { level: 'warn', account: nameOf('ADA'), source_ip: HOME, useragent: 'Firefox 131 on Windows', request_id: String })
    t.equal(third?.user, undefined)
    t.equal((await new Person(app).post('/sign-in', { id: 'ada' }, { headers: { origin: 'https://evil.example' } })).statusCode, 403)
    t.match(await added(1), [{ event: 'malicious_csrf', level: 'warn', source_ip: HOME }])
  })

  t.test(`in ${where}: a request of another site is told once, however often its route tries`, async (t) => {
    const { app, added } = await open(t, optionsOf())
    app.post('/try', async (request) => {
      const failed: unknown[] = []
      for (let each = 0; each < 3; each++) await app.login(request, { id: 'ada' }).catch((error: { code: string }) => failed.push(error.code))
      return failed
    })
    const foreign = { headers: { origin: 'https://evil.example' } }
    const replies = [await new Person(app).post('/try', {}, foreign), await new Person(app).post('/try', {}, foreign)]
    for (const reply of replies) t.strictSame(reply.json(), Array.from({ length: 3 }, () => 'ERR_SESSION_CSRF_REJECTED'))
    t.strictSame(names(await added(2)), ['malicious_csrf', 'malicious_csrf'])
  })

  t.test(`[16.3, 16.3.3] in ${where}: the cookie of a session that was signed out is one critical line, however often it is used`, async (t) => {
    const { app } = await open(t, optionsOf(), true)
    const ada = await signedIn(app)
    const thief = thiefOf(app, ada)
    const id = idOf(ada)
    await ada.post('/logout')
    for (let each = 0; each < 3; each++) t.equal((await thief.get('/me', { remoteAddress: '198.51.100.1' })).statusCode, 401)
    const lines = () => app.lines.filter(({ security }) => security !== undefined)
    await until('all lines', () => lines().length >= 3)
    await thief.get('/me')
    t.strictSame(names(lines().map(({ security }) => security as SecurityLogEntry)), ['authn_login_success', 'session_logout logout', 'session_use_after_expire logout'])
    const [line, ...others] = lines().filter(({ security }) => (security as SecurityLogEntry).level === 'critical')
    t.strictSame(others, [])
    t.match(line, { level: 50, msg: 'A session was used after it was ended', security: { session_id: id, user: nameOf('ada'), source_ip: '198.51.100.1', ended_at: /Z$/ } })
    const asked = app.lines.find(({ msg, req }) => msg === 'incoming request' && (req as { remoteAddress: string }).remoteAddress === '198.51.100.1')
    t.equal((line?.security as SecurityLogEntry).request_id, asked?.reqId, 'as in the lines of its request')
  })
}

t.test('[16.2.1, 16.2.2, 16.3.1] an entry says when, who, from where, how and in which request', async (t) => {
  const now = Date.parse('2026-11-30T00:53:20.250Z')
  const { app, added } = await open(t, { store: new MemoryStore({ now: () => now }), knownDevices: '90d' })
  const ada = await signedIn(app, 'ada', { methods: ['pwd', 'otp'] })
  const [entry] = await added(1)
  t.strictSame({ ...entry, request_id: '' }, {
    event: 'authn_login_success',
    level: 'info',
    datetime: '2026-11-30T00:53:20.250Z',
    description: 'A user signed in',
    session_id: idOf(ada),
    user: nameOf('ada'),
    kind: 'cookie',
    new_device: false,
    new_network: false,
    methods: ['pwd', 'otp'],
    source_ip: HOME,
    useragent: 'Firefox 131 on Windows',
    request_id: ''
  })
  t.ok(entry?.request_id)
  await app.sessions.revoke(idOf(ada), { reason: 'stolen', actor: 'carol' })
  t.match(await added(1), [{ event: 'session_expired', reason: 'revoked', stated_reason: 'stolen', actor: nameOf('carol'), user: nameOf('ada') }])
})

t.test('[16.3] what an administrator ends says by whom, from where and why', async (t) => {
  const { app, added } = await open(t)
  await app.register(adminRoutes, { prefix: '/admin', guard: async () => {} })
  const [ada, carol] = [await signedIn(app), await signedIn(app, 'carol')]
  await added(2)
  t.equal((await carol.request('DELETE', `/admin/sessions/${idOf(ada)}?reason=stolen`)).statusCode, 204)
  t.match(await added(1), [{ event: 'session_expired', reason: 'revoked', stated_reason: 'stolen', user: nameOf('ada'), actor: nameOf('carol'), source_ip: HOME, request_id: String }])
})

t.test('[16.3] a session that runs out is one entry, of the process that notices', async (t) => {
  const keyPrefix = prefix()
  const [here, there] = [await open(t, { redis: redis.url, keyPrefix }), await open(t, { redis: redis.url, keyPrefix })]
  await signedIn(here.app)
  t.strictSame(names(await here.added(1)), ['authn_login_success'])
  await age(redis.client, keyPrefix, 31 * MINUTE)
  await there.app.sessions.listByUser('ada')
  await here.app.sessions.listByUser('ada')
  t.match(await there.added(1), [{ event: 'session_expired', reason: 'timeout', user: nameOf('ada') }])
  t.strictSame(here.entries, [])
})

t.test('[16.3] in several processes each thing is in the log of one, and none of them listens to others for it', async (t) => {
  const keyPrefix = prefix()
  const [here, there] = [await open(t, { redis: redis.url, keyPrefix }), await open(t, { redis: redis.url, keyPrefix })]
  const ada = await signedIn(here.app)
  await there.app.sessions.revoke(idOf(ada))
  await signedIn(there.app, 'bob')
  t.strictSame(names(await there.added(2)), ['session_expired revoked', 'authn_login_success'])
  t.strictSame(names(await here.added(1)), ['authn_login_success'])
  t.strictSame(await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`), [`@${keyPrefix}events`, 0])
})

t.test('a sign-in that the limit refuses is one entry', async (t) => {
  const { app, added } = await open(t, { maxSessionsPerUser: 1, onLimit: 'reject' })
  await signedIn(app)
  t.equal((await new Person(app).post('/sign-in', { id: 'ada' })).statusCode, 409)
  t.match(await added(2), [{ event: 'authn_login_success' }, { event: 'excess_sessions_exceeded', level: 'warn', reason: 'refused', user: nameOf('ada'), source_ip: HOME }])
})

t.test('[16.3] a sign-in by a request is one whatever id the request has, and whatever a client makes of that', async (t) => {
  const { app, added } = await open(t, {}, false, { genReqId: ({ headers }) => headers['x-request-id'] as string })
  await signedIn(app)
  const [entry] = await added(1)
  t.match(entry, { event: 'authn_login_success', source_ip: HOME })
  t.equal(entry?.request_id, undefined)
})

t.test('[16.3] who acts as a user is named where that ends, and somebody else where that is stated', async (t) => {
  const { app, added } = await open(t)
  app.post('/leave', async (request, reply) => { await app.logout(request, reply, { actor: 'dave' }) })
  for (const [url, actor] of [['/logout', 'carol'], ['/leave', 'dave']] as const) {
    const carol = await signedIn(app, 'ada', { actor: 'carol' })
    await carol.post(url)
    t.match(await added(2), [{ reason: 'impersonation', actor: nameOf('carol') }, { event: 'session_logout', user: nameOf('ada'), actor: nameOf(actor) }])
  }
  await (await signedIn(app)).post('/logout')
  t.equal((await added(2))[1]?.actor, undefined)
})

t.test('what unlocks nobody is no entry', async (t) => {
  const { app, added } = await open(t)
  // As callers without types do.
  await app.sessions.unlock(null as unknown as string)
  await app.sessions.unlock(undefined as unknown as string)
  await app.sessions.unlock('ada')
  t.match(await added(1), [{ reason: 'unlock', account: nameOf('ADA') }])
})

t.test('entries of what happens just before the end are there when everything is closed', async (t) => {
  for (const store of [new MemoryStore(), await openStore(t, redis.url, { prefix: prefix() })]) {
    const entries: SecurityLogEntry[] = []
    const sessions = new SessionManager({ secret, store, securityLog: (entry) => { entries.push(entry) } })
    const { session } = await sessions.create({ userId: 7 })
    await sessions.revoke(session.id)
    await sessions.close()
    t.strictSame(names(entries), ['session_created', 'session_expired revoked'])
  }
})

t.test('whatever a store says of an end, it harms nobody', async (t) => {
  class Odd extends MemoryStore {
    readonly said: object = {}
    override async ended (id: string) {
      const end = await super.ended(id)
      return end && { ...end, ...this.said }
    }
  }
  for (const said of [{ userId: 7 }, { actor: {} }]) {
    const { app, added } = await open(t, { store: Object.assign(new Odd(), { said }) })
    const ada = await signedIn(app)
    const thief = thiefOf(app, ada)
    await ada.post('/logout')
    t.equal((await thief.get('/me')).statusCode, 401)
    const failure = () => app.lines.filter(({ msg }) => msg.startsWith('securityLog threw'))
    await until('the line', () => failure().length > 0)
    await signedIn(app)
    t.strictSame(names(await added(3)), ['authn_login_success', 'session_logout logout', 'authn_login_success'])
    t.equal(failure().length, 1)
  }
})

t.test('a mark of an end with an odd time, which somebody has changed in Redis, harms nobody and hides no use', async (t) => {
  const keyPrefix = prefix()
  const { app, added } = await open(t, { redis: redis.url, keyPrefix })
  for (const time of ['9e99', '-1e16', '8640000000000001']) {
    const ada = await signedIn(app)
    const thief = thiefOf(app, ada)
    await ada.post('/logout')
    const key = (await keysOf(redis.client, keyPrefix)).find((each) => each.includes(idOf(thief)) && each.endsWith(':ended')) ?? ''
    const mark = await redis.client.get(key) ?? ''
    await redis.client.set(key, mark.replace(/"e":\d+/, `"e":${time}`))
    t.equal((await thief.get('/me')).statusCode, 401)
    const entries = await added(3)
    t.strictSame(names(entries), ['authn_login_success', 'session_logout logout', 'session_use_after_expire logout'])
    t.notOk('ended_at' in (entries[2] ?? {}))
  }
})

t.test('a client writes nothing of its own into the log by its User-Agent', async (t) => {
  const { app, added } = await open(t)
  for (const userAgent of ['https://x/?token=my-secret', 'my-secret/1 (Windows NT 10.0)', '']) {
    await new Person(app).post('/sign-in', { id: 'ada' }, { headers: { 'user-agent': userAgent } })
    const [entry] = await added(1)
    t.equal(entry?.useragent, undefined)
  }
})

t.test('the page says how to find a user', async (t) => {
  const page = await readFile(`${root}docs/security/log.md`, 'utf8')
  const [, program = ''] = /<!-- script: name-of\.ts -->\n```ts\nimport .+\n([^]+?)```/.exec(page) ?? []
  const told: string[] = []
  const console = { log: (...words: string[]) => { told.push(words.join(' ')) } }
  runInNewContext(stripTypes(program), { process: { env: { SESSION_SECRET: secret } }, console, Buffer, createHmac, hkdfSync })
  const { app, added } = await open(t)
  await signedIn(app, '7')
  await new Person(app).post('/login', { username: ' Ada', password: 'wrong' })
  const [success, failure] = await added(2)
  t.strictSame(told, [`user ${success?.user}`, `account ${failure?.account}`])
})

t.test('[16.2.5] no line holds a token or the name of anybody, whatever people call themselves, and none is forged', async (t) => {
  const { app } = await open(t, {}, true)
  const security = () => app.lines.filter((line) => line.security !== undefined)
  const nasty = fc.oneof(
    fc.string({ unit: 'grapheme', minLength: 4, maxLength: 60 }),
    fc.constantFrom('ada\n{"level":60,"msg":"forged"}', '","event":"authz_admin', 'ada\u2028bob', '\u001b[2Jadam', '__proto__', 'ADA@EXAMPLE.COM', 'constructor', '%s%o%j', 'ß'.repeat(40))
  )
  let told = 0
  const wrong: string[] = []
  await fc.assert(fc.asyncProperty(nasty, async (name) => {
    const before = security().length
    const browser = new Browser(app)
    const headers = { 'user-agent': `x ${encodeURIComponent(name)}`.slice(0, 30), 'x-name': 'y' }
    await browser.post('/login', { username: name, password: 'wrong' }, { headers })
    const isId = (await browser.post('/sign-in', { id: name.slice(0, 255) })).statusCode === 200
    const thief = thiefOf(app, browser)
    if (isId) {
      await browser.post('/logout')
      await thief.get('/me')
    }
    const count = isId ? 4 : 1
    await until('the lines', () => security().length >= before + count)
    const lines = security().slice(before)
    told += lines.length
    if (lines.length !== count) wrong.push(`${lines.length} lines for ${JSON.stringify(name)}`)
    const token = thief.cookies.get('sid') ?? ''
    for (const line of lines) {
      const { useragent: _, ...entry } = line.security as SecurityLogEntry
      const text = JSON.stringify(entry)
      for (const part of [name, name.toUpperCase().normalize('NFKC'), ...token.split('.').slice(1)]) {
        // Letters that any word has are no name.
        const isName = part.trim().length >= 4 && !/^[a-z_]+$/.test(part)
        if (isName && text.includes(JSON.stringify(part).slice(1, -1))) wrong.push(`${JSON.stringify(part)} in ${text}`)
      }
      if (/\p{Cc}/u.test(text)) wrong.push(text)
    }
  }), { numRuns: 60 })
  t.strictSame(wrong, [])
  t.ok(told > 100)
})

t.test('names are plain for whom they shall be, in one line', async (t) => {
  const entries: SecurityLogEntry[] = []
  const { app } = await open(t, { securityLog: { write: (entry) => { entries.push(entry) }, accounts: 'plain' } })
  await new Person(app).post('/login', { username: 'ada\u2028\nb', password: 'wrong' })
  await signedIn(app, 'ada@example.com')
  await until('both', () => entries.length === 2)
  t.match(entries, [{ account: 'ADA B' }, { user: 'ada@example.com' }])
  entries.length = 0
  const carol = await signedIn(app, 'a\u202Egpj\u2066\u200Bb', { actor: 'car\u202Eol' })
  await app.sessions.revoke(idOf(carol), { reason: 'a\u202Eb' })
  await until('both', () => entries.length === 2)
  t.match(entries, [{ user: 'a gpj b', actor: 'car ol' }, { user: 'a gpj b', stated_reason: 'a b' }])
})

t.test('a function that throws or rejects harms nobody, and that is logged once', async (t) => {
  for (const fail of [() => { throw new Error('the disk is full') }, async () => { throw new Error('the disk is full') }, () => Promise.reject(new Error('the disk is full'))]) {
    let calls = 0
    const { app } = await open(t, { securityLog: () => { calls++; return fail() } })
    for (let each = 0; each < 3; each++) await signedIn(app)
    await until('three calls', () => calls === 3)
    const said = () => app.lines.filter(({ msg }) => msg.startsWith('securityLog threw'))
    await until('the line', () => said().length > 0)
    await new Promise((resolve) => setImmediate(resolve))
    t.match(said(), [{ level: 50, err: { message: 'the disk is full' } }])
    t.equal(said().length, 1)
  }
})

t.test('so it is whatever a function returns, and where the logger throws as well', async (t) => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const fails = new Map<string, () => unknown>([
    ['a promise that is odd', () => Object.assign(Promise.reject(new Error('the disk is full')), { catch: 7, then: 7 })],
    ['a function with then', () => Object.assign(() => {}, { then: (_: unknown, reject: (error: Error) => void) => { reject(new Error('the disk is full')) } })],
    ['a getter that throws', () => ({ get then () { throw new Error('the disk is full') } })],
    ['what is no object any more', () => proxy]
  ])
  for (const [name, fail] of fails) {
    const { app } = await open(t, { securityLog: fail })
    await signedIn(app)
    await until(name, () => app.lines.some(({ msg }) => msg.startsWith('securityLog threw')))
  }
  for (const fail of [() => { throw new Error('no logger') }, async () => { throw new Error('no logger') }]) {
    let told = 0
    const quiet = (): void => {}
    const loggerInstance: FastifyBaseLogger = {
      level: 'info',
      silent: quiet,
      fatal: quiet,
      trace: quiet,
      debug: quiet,
      warn: quiet,
      info: (details: unknown) => typeof details === 'object' && details !== null && 'security' in details ? fail() : undefined,
      error: () => { told++; return fail() },
      child: () => loggerInstance
    }
    const app = Fastify({ loggerInstance })
    t.teardown(() => app.close())
    await app.register(sessionPlugin, { secret, store: new MemoryStore(), cookie: { secure: false }, securityLog: true })
    for (let each = 0; each < 3; each++) await app.sessions.create({ userId: each })
    await until('the error', () => told > 0)
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
    t.equal(told, 1)
  }
})

t.test('without Fastify a function is needed, and gets the same', async (t) => {
  const store = await openStore(t, redis.url, { prefix: prefix() })
  for (const securityLog of [true, {}, { accounts: 'plain' }] as const) {
    t.throws(() => new SessionManager({ secret, store, securityLog }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /securityLog needs a function/ })
  }
  const entries: SecurityLogEntry[] = []
  const sessions = new SessionManager({ secret, store, securityLog: (entry) => { entries.push(entry); throw new Error('the disk is full') } })
  t.teardown(() => sessions.close())
  const warned = once(process, 'warning')
  const { session } = await sessions.create({ userId: 7 })
  await sessions.revoke(session.id)
  await until('both', () => entries.length === 2)
  t.match(entries, [{ event: 'session_created', user: nameOf('7') }, { event: 'session_expired', reason: 'revoked' }])
  t.match((await warned)[0], { message: /^securityLog threw/ })
})

t.test('without the option nothing is logged', async (t) => {
  for (const securityLog of [undefined, false]) {
    const { app, entries } = await open(t, { securityLog })
    await signedIn(app)
    await new Person(app).post('/login', { username: 'ada', password: 'wrong' })
    t.notOk(app.lines.some(({ security }) => security !== undefined))
    t.strictSame(entries, [])
  }
})
