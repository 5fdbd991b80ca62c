import t from 'tap'
import type { Test } from 'tap'
import { confirmed, pendingKey } from '../../lib/session/bound-key.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { inRedis } from '../helpers/managers.ts'
import { operate, start } from '../helpers/operate.ts'
import type { Given, Said } from '../helpers/operate.ts'
import { startRedis, until } from '../helpers/redis.ts'

const redis = await startRedis(t)
const other = 'another-secret-of-the-tests-with-32-characters'
const bySecret = (SESSION_SECRET?: string) => ({ REDIS_URL: redis.url, SESSION_SECRET })

/** Asks why, for people and for programs, and checks that no secret half comes back. */
async function ask (t: Test, stdin: string, keyPrefix: string, given: Given = {}, ...args: string[]): Promise<Said & { answer: any }> {
  const call = async (...more: string[]) => await operate(['why', '--prefix', keyPrefix, ...args, ...more], { env: bySecret(secret), stdin, ...given })
  const [said, asJson] = [await call(), await call('--json')]
  t.equal(said.code, asJson.code)
  for (const [, half = ''] of stdin.matchAll(/\.([\w-]{32})/g)) t.notOk((said.out + said.err + asJson.out).includes(half), 'no secret half')
  return { ...said, answer: asJson.json()[0] }
}

t.test('a good cookie or token signs in, however it was copied', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis, { bearer: true })
  const { token, session } = await sessions.create({ userId: 'ada', label: 'laptop' })
  const { token: bearer } = await sessions.create({ userId: 'bob', kind: 'bearer' })
  const names = ['--cookie-name', 'sid']
  for (const text of [
    token, `${token}\n`, `"${token}"`, `sid=${token}`, `theme=dark; sid=${token}; x=y`, `Cookie: theme=dark; sid=${token}`, `> cookie: sid=${token}\r\n> host: example.com\r\n`,
    `Set-Cookie: sid=${token}; Path=/; HttpOnly; SameSite=Lax`, `< set-cookie: sid=${token}; Secure`, `${token.slice(0, 40)}\n${token.slice(40)}`
  ]) {
    const { code, out, answer } = await ask(t, text, keyPrefix, {}, ...names)
    t.match(answer, { signedIn: true, reason: null, kind: 'cookie', signedBy: 1, id: session.id, isProven: true, session: { userId: 'ada', label: 'laptop' }, todo: null }, text)
    t.equal(code, 0)
    t.match(out, /carried by a cookie\nsigned by {2}secret 1\nsession {4}.*\nuser {7}ada\n.*signed in\.\n$/s)
  }
  for (const text of [bearer, `Bearer ${bearer}`, `Authorization: Bearer ${bearer}`, `> authorization: bearer ${bearer}`]) {
    t.match((await ask(t, text, keyPrefix)).answer, { signedIn: true, kind: 'bearer', signedBy: null, session: { userId: 'bob' }, todo: /option bearer/ }, text)
  }
  t.match((await ask(t, `__Host-sid=${token}`, keyPrefix)).answer, { signedIn: true }, 'the default name over https')
})

t.test('which of the secrets has signed it is said, also without any', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  const { token } = await sessions.create({ userId: 'ada' })
  for (const [text, signedBy, todo] of [[secret, 1, null], [`${other},${secret}`, 2, /first secret/], [`${other}\n${secret}\n`, 2, /first secret/], [undefined, null, /set SESSION_SECRET/]] as const) {
    t.match((await ask(t, token, keyPrefix, { env: bySecret(text) })).answer, { signedIn: true, signedBy, todo, session: { userId: 'ada' } }, String(text))
  }
  const { code, answer, out } = await ask(t, token, keyPrefix, { env: bySecret(other) })
  t.equal(code, 1)
  t.match(answer, { signedIn: false, reason: 'bad-signature', isProven: true, says: /its session lives/, todo: /present, former/ })
  t.match(out, /signed by {2}no secret/)
  const withCommas = 'a,secret,with,commas,and,more,than,32,characters'
  const commas = await inRedis(t, redis, { secret: withCommas })
  const hers = await commas.sessions.create({ userId: 'ada' })
  t.match((await ask(t, hers.token, commas.keyPrefix, { env: bySecret(withCommas) })).answer, { signedIn: true, signedBy: 1 })
})

t.test('of a session that is bound to a device it is said what else the application asks for', async (t) => {
  const { sessions, store, keyPrefix } = await inRedis(t, redis)
  const { token, session } = await sessions.create({ userId: 'ada' })
  let stored = await store.find(session.id)
  const key = pendingKey(`ES256 ${'x'.repeat(43)} ${'y'.repeat(43)}`, store.now())
  for (const [boundKey, todo] of [[key, null], [confirmed(key), /short cookie as well/]] as const) {
    if (stored !== null) stored = await store.bind?.(stored, boundKey) ?? null
    t.equal(stored?.boundKey, boundKey)
    t.match((await ask(t, token, keyPrefix)).answer, { signedIn: true, todo })
  }
})

t.test('each reason why a cookie is refused is named, with what to do', async (t) => {
  const { sessions, store, keyPrefix } = await inRedis(t, redis, { bearer: true })
  const { token, session } = await sessions.create({ userId: 'ada' })
  const { token: bearer } = await sessions.create({ userId: 'ada', kind: 'bearer' })
  const ended = await sessions.create({ userId: 'ada' })
  await sessions.revoke(ended.session.id)
  const [id, half] = [session.id, token.slice(23, 55)]
  const mac = 'm'.repeat(43)
  const cases: Array<[string, object]> = [
    [ended.token, { reason: 'unknown-session', isProven: null, id: ended.session.id, session: null, todo: /--prefix/ }],
    [`${id}.${'x'.repeat(32)}.${mac}`, { reason: 'bad-signature', isProven: false, session: null }],
    [`${'x'.repeat(22)}.${half}.${mac}`, { reason: 'bad-signature', isProven: null, todo: /another application/ }],
    [token.slice(0, -1), { reason: 'malformed' }],
    ['nothing', { reason: 'malformed' }],
    [`sid=${token}; sid=${token}`, { reason: 'two-cookies' }],
    [`session=${token}; __Secure-sid=1`, { reason: 'other-name', says: /__Secure-sid/ }],
    ['Cookie: theme=dark', { reason: 'no-cookie' }],
    [`sid=s%3Aabcdef.${'a'.repeat(43)}`, { reason: 'other-library', says: /express-session/, todo: /adopt/ }],
    [`sid=abcdef.${'a'.repeat(42)}%2F`, { reason: 'other-library', says: /@fastify\/session/ }],
    [`sid=${bearer}`, { reason: 'bearer-in-cookie' }],
    [`Bearer ${token}`, { reason: 'cookie-in-bearer' }],
    [`${bearer.slice(0, -1)}!`, { reason: 'malformed' }]
  ]
  for (const [text, expected] of cases) {
    const { code, answer } = await ask(t, text, keyPrefix)
    t.equal(code, 1)
    t.match(answer, { signedIn: false, ...expected }, text.slice(0, 30))
  }
  const stored = await store.find(id)
  await store.begin({ ...stored as any, id: 'n'.repeat(22), userId: null, authenticatedAt: null })
  t.match((await ask(t, `${'n'.repeat(22)}.${half}.${mac}`, keyPrefix, { env: bySecret() })).answer, { signedIn: false, reason: 'no-user', session: { userId: null } })
  t.match((await ask(t, bearer.slice(4, 59) + `.${mac}`, keyPrefix, { env: bySecret() })).answer, { signedIn: false, reason: 'unknown-session', says: /of the kind bearer/ })
})

t.test('how a session ended is told to who proves it, in words and as JSON', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis, { bearer: true, endedFor: '1h', maxSessionsPerUser: 1 })
  const app = await startApp(t, { redis: redis.url, keyPrefix, endedFor: '1h' })
  app.post('/login', async (request) => { await app.login(request, { id: 'carol' }) })
  app.post('/logout', async (request) => { await app.logout(request) })
  const signIn = async () => {
    const browser = new Browser(app)
    await browser.post('/login')
    return { browser, token: browser.cookies.get('sid') ?? '' }
  }
  const revoked = await sessions.create({ userId: 'ada' })
  await sessions.revoke(revoked.session.id, { reason: 'lost laptop', actor: 'support:bob' })
  const { code, out, answer } = await ask(t, revoked.token, keyPrefix)
  t.equal(code, 1)
  const about = { kind: 'cookie', userId: 'ada', reason: 'revoked', statedReason: 'lost laptop', actor: 'support:bob' }
  t.match(answer, { signedIn: false, reason: 'ended', isProven: true, id: revoked.session.id, session: null, ended: about, todo: null })
  t.strictSame(Object.keys(answer.ended).sort(), [...Object.keys(about), 'at'].sort(), 'no hash')
  t.ok(answer.ended.at > revoked.session.createdAt - 1_000)
  t.match(out, new RegExp(`^carried by a cookie\nsigned by {2}secret 1\nsession {4}${revoked.session.id}\nuser {7}ada\nkind {7}cookie\nended {6}.*ago\\)\nended by {3}support:bob\nreason {5}lost laptop\n\nnot signed in: the session was ended: .*operator`))

  const [evicted] = [await sessions.create({ userId: 'bob' }), await sessions.create({ userId: 'bob' })]
  t.match((await ask(t, evicted.token, keyPrefix)).answer, { says: /maxSessionsPerUser/, ended: { reason: 'evicted', userId: 'bob', statedReason: null, actor: null } })
  const { browser, token } = await signIn()
  await browser.post('/login')
  t.match((await ask(t, token, keyPrefix)).answer, { says: /later sign-in/, ended: { reason: 'replaced', userId: 'carol' } })
  const again = await signIn()
  await again.browser.post('/logout')
  t.match((await ask(t, again.token, keyPrefix)).answer, { says: /has signed out/, ended: { reason: 'logout' } })
  const bearer = await sessions.create({ userId: 'dave', kind: 'bearer' })
  await sessions.revoke(bearer.session.id)
  t.match((await ask(t, bearer.token, keyPrefix)).answer, { reason: 'ended', ended: { kind: 'bearer' } })
  t.match((await ask(t, revoked.token, keyPrefix, { env: bySecret(other) })).answer, { reason: 'bad-signature', isProven: true, says: /its session has ended/, ended: about })
})

t.test('who does not prove a session is not told how it ended, nor whose it was', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis, { endedFor: '1h' })
  const { token, session } = await sessions.create({ userId: 'ada' })
  await sessions.revoke(session.id, { reason: 'lost laptop' })
  const guess = `${session.id}.${'x'.repeat(32)}.${'m'.repeat(43)}`
  for (const SESSION_SECRET of [secret, undefined]) {
    const { answer, out } = await ask(t, guess, keyPrefix, { env: bySecret(SESSION_SECRET) })
    t.match(answer, { signedIn: false, isProven: false, session: null, ended: null, says: /has ended, with another secret half/ })
    t.notMatch(out + JSON.stringify(answer), /ada|lost laptop/)
  }
  const asBearer = `fus_${token.slice(0, 55)}`
  t.match((await ask(t, asBearer, keyPrefix)).answer, { signedIn: false }, 'a cookie is no bearer token, ended or not')
})

t.test('of a session that left no mark, it is not said that it has expired', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  const { token, session } = await sessions.create({ userId: 'ada' })
  await sessions.revoke(session.id)
  const { answer } = await ask(t, token, keyPrefix)
  t.match(answer, { reason: 'unknown-session', ended: null, says: /has expired, or was ended longer ago than the endedFor .*, or without endedFor, or lies elsewhere$/ })
})

t.test('texts in a mark cannot command a terminal, and what is no mark is none', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis, { endedFor: '1h' })
  const { token, session } = await sessions.create({ userId: 'ada' })
  await sessions.revoke(session.id)
  const key = `@{${keyPrefix}${session.id}}:ended`
  const mark = JSON.parse(await redis.client.get(key) ?? '') as object
  await redis.client.set(key, JSON.stringify({ ...mark, u: 'a\u001b]0;da', w: 'lost\u202e', o: 'eve\n', e: 1e300 }))
  const { out, answer } = await ask(t, token, keyPrefix)
  t.match(out, /user {7}a\\u001b\]0;da\n(.*\n)ended {6}unknown\nended by {3}eve\\u000a\nreason {5}lost\\u202e\n/)
  t.match(answer, { ended: { userId: 'a\u001b]0;da' } })
  for (const value of ['x', '{}', JSON.stringify({ ...mark, r: 'moved' })]) {
    await redis.client.set(key, value)
    t.match((await ask(t, token, keyPrefix)).answer, { reason: 'unknown-session', ended: null }, value)
  }
  await redis.client.del(key)
  await redis.client.zadd(key, 1, 'x')
  t.match((await ask(t, token, keyPrefix)).answer, { reason: 'unknown-session' })
})

t.test('what no store need be asked for is said without Redis', async (t) => {
  t.match(await operate(['why'], { stdin: 'Cookie: theme=dark' }), { code: 1, out: /no session cookie/ })
  t.match(await operate(['why'], { stdin: ' \n' }), { code: 2, err: /nothing came/ })
  t.match(await operate(['why'], { stdin: 'x'.repeat(70_000) }), { code: 2, err: /longer than 64 KB/ })
})

t.test('a person at a terminal is told what to paste, and a line is enough', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  const { token } = await sessions.create({ userId: 'ada' })
  const running = start(['why', '--prefix', keyPrefix], { env: bySecret(secret), isTty: true })
  await until('the question', () => running.said().err.includes('Paste'))
  running.stdin.write(`${token}\n`)
  t.match(await running.ended, { code: 0, out: /signed in\.\n$/ })

  const interruption = new AbortController()
  for (const isTty of [true, false]) {
    const waiting = start(['why'], { isTty, signal: interruption.signal })
    interruption.abort()
    t.match(await waiting.ended, { code: 130 }, 'Ctrl+C')
  }
})

t.test('an account is unlocked, however its name is typed', async (t) => {
  const { keyPrefix } = await inRedis(t, redis)
  const app = await startApp(t, { redis: redis.url, keyPrefix, attempts: { account: { max: 2 } } })
  app.post('/try', async (request) => await app.attemptLogin(request, 'Ada@example.com', async () => null))
  const attempt = async () => (await app.inject({ method: 'POST', url: '/try' })).statusCode
  while (await attempt() !== 429);
  t.match(await operate(['unlock', ' ada@EXAMPLE.com', '--prefix', keyPrefix], { env: bySecret() }), { code: 0 })
  t.not(await attempt(), 429)
})
