import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { fromBearer, idOf, newId, newToken, Signature, toBearer } from '../../lib/session/token.ts'
import { secret, startApp } from '../helpers/app.ts'
import { none, tryAll } from '../helpers/fuzz.ts'
import { Issued } from '../helpers/issued.ts'
import { claims } from '../helpers/mutations.ts'
import type { Claim } from '../helpers/mutations.ts'
import { exchange } from '../helpers/raw-http.ts'
import { commandsDuring, contentsOf, counts, looks } from '../helpers/redis-commands.ts'
import { startRedis, until } from '../helpers/redis.ts'
import { isSoak, report, times } from '../helpers/scale.ts'

const NAMES = ['__Host-sid', 'old-sid']
const redis = await startRedis(t)
if (isSoak) t.setTimeout(0)

/** An application where ada and bob are signed in, each in a browser and with a token; whoever asks is told who they are. */
async function startService (t: Test) {
  // A fuzzer's requests are read by nobody.
  const app: FastifyInstance = await startApp(t, { redis: redis.url, cookieName: NAMES, cookie: { secure: true }, bearer: true, touchAfter: false }, { logger: false, trustProxy: true })
  app.get('/whoami', async (request) => ({ userId: request.auth?.userId ?? null }))
  await app.ready()
  const [cookies, tokens] = [new Map<string, string>(), new Map<string, string>()]
  const published = async () => (await counts(redis.client)).get('publish') ?? 0
  const before = await published()
  for (const userId of ['ada', 'bob']) {
    cookies.set((await app.sessions.create({ userId })).token, userId)
    tokens.set((await app.sessions.create({ userId, kind: 'bearer' })).token, userId)
  }
  // Nobody waits for the news of a sign-in; what is counted begins after it.
  await until('other processes to be told', async () => await published() === before + 4)
  const issued = new Issued({ cookies, tokens, names: NAMES })
  return { app, issued, cookies: [...cookies.keys()], tokens: [...tokens.keys()], real: [...cookies.keys(), ...tokens.keys()] }
}

/** What Redis was asked: how often which command, and for how many keys. */
interface Cost { commands: Record<string, number>, looked: number }

async function costOf (action: () => Promise<unknown>): Promise<Cost> {
  const before = await looks(redis.client)
  const commands = await commandsDuring(redis.client, action)
  return { commands, looked: await looks(redis.client) - before }
}

/** How often a busy machine made Redis late: what asks it is asked again then, and costs as much more. */
class Late {
  times = 0

  async wait (): Promise<void> {
    if (this.times++ > 10_000) throw new Error('Redis does not answer')
    await redis.client.ping()
  }

  /** Nothing but what is real was looked up, once each, though at one time for several. */
  costs (t: Test, { commands, looked }: Cost, real: number): void {
    if (this.times === 0) t.strictSame(Object.keys(commands), ['mget'])
    t.ok(looked > 0 && looked <= real + this.times, `${looked} of ${real}`)
  }
}

/** What a request comes to, by what `app.sessions` says of it: the very code that serves requests. */
async function verdictOf (app: FastifyInstance, headers: Claim, late: Late): Promise<string | null> {
  try {
    return (await app.sessions.fromRequest({ headers }))?.userId ?? null
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === 'ERR_SESSION_AMBIGUOUS_CREDENTIALS') return 'ambiguous'
    if (code !== 'ERR_SESSION_STORE_UNAVAILABLE') throw error
    await late.wait()
    return await verdictOf(app, headers, late)
  }
}

/** The same over HTTP. */
async function whoami (app: FastifyInstance, headers: Claim, late: Late): Promise<LightMyRequestResponse> {
  for (;;) {
    const response = await app.inject({ url: '/whoami', headers: { ...headers, 'x-forwarded-proto': 'https' } })
    if (response.statusCode !== 503) return response
    await late.wait()
  }
}

/** Counts verdicts, and who was taken for somebody they were not. */
class Tally {
  tries = 0
  /** Found in the store, as they had to be. */
  real = 0
  readonly wrong: string[] = []

  add (claim: unknown, actual: unknown, expected: string | boolean | null): void {
    this.tries++
    if (typeof expected === 'string' && expected !== 'ambiguous') this.real++
    if (actual !== expected) this.wrong.push(JSON.stringify({ claim, actual, expected }))
  }
}

t.test('[7.2.1] of a million mutated cookies and tokens none is accepted but what was issued, and none costs a Redis command', async (t) => {
  const { app, issued, real } = await startService(t)
  const before = await contentsOf(redis.client)
  const [tally, late] = [new Tally(), new Late()]
  const cost = await costOf(async () => {
    await tryAll(times(1_000_000), 100, claims(real, NAMES), async (batch) => {
      const verdicts = await Promise.all(batch.map(async (headers) => await verdictOf(app, headers, late)))
      for (const [index, headers] of batch.entries()) tally.add(headers, verdicts[index], issued.verdict(headers))
      none(tally.wrong)
    })
  })
  t.ok(tally.real > 0, 'what stays real all the same is accepted')
  t.ok(tally.real < tally.tries / 5, 'most of it is not')
  late.costs(t, cost, tally.real)
  t.strictSame(await contentsOf(redis.client), before)
  report({ scenario: 'mutated cookies and bearer tokens', on: 'one Redis', tries: tally.tries, accepted: tally.wrong.length, costly: Math.max(0, cost.looked - tally.real - late.times) })
})

t.test('[7.2.1] a real cookie or token with any one byte changed, missing or doubled is none', async (t) => {
  const { app, issued, real, cookies } = await startService(t)
  const [tally, late] = [new Tally(), new Late()]
  const commands = await commandsDuring(redis.client, async () => {
    for (const value of real) {
      const changed = [...value].flatMap((character, at) => {
        const bytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)).filter((byte) => byte !== character)
        return ['', character + character, ...bytes].map((instead) => value.slice(0, at) + instead + value.slice(at + 1))
      })
      for (const other of changed) {
        const headers = cookies.includes(value) ? { cookie: `__Host-sid=${other}` } : { authorization: `Bearer ${other}` }
        tally.add(headers, await verdictOf(app, headers, late), issued.verdict(headers))
      }
    }
  })
  t.strictSame(tally.wrong, [])
  t.ok(tally.tries > 60_000)
  t.equal(tally.real, 0)
  t.strictSame(commands, {})
})

t.test('[7.2.1] over HTTP a mutated cookie or token gets no session, no cookie and no error of the server', async (t) => {
  const { app, issued, real } = await startService(t)
  const [tally, late] = [new Tally(), new Late()]
  const failed: string[] = []
  const cost = await costOf(async () => {
    await tryAll(times(50_000), 100, claims(real, NAMES), async (batch) => {
      const responses = await Promise.all(batch.map(async (headers) => await whoami(app, headers, late)))
      for (const [index, { statusCode, headers, body }] of responses.entries()) {
        const claim = batch[index] as Claim
        const expected = issued.verdict(claim)
        const answer = JSON.parse(body) as { userId?: string | null, code?: string }
        tally.add(claim, statusCode === 400 && answer.code === 'ERR_SESSION_AMBIGUOUS_CREDENTIALS' ? 'ambiguous' : answer.userId, expected)
        // Only a cookie that is real is issued again, under today's name.
        const isRight = statusCode === (expected === 'ambiguous' ? 400 : 200) && (headers['set-cookie'] === undefined || (expected !== null && claim.cookie?.includes('old-sid') === true))
        if (!isRight) failed.push(JSON.stringify({ claim, statusCode, setCookie: headers['set-cookie'] }))
      }
      none(failed)
      none(tally.wrong)
    })
  })
  t.ok(tally.real > 0)
  late.costs(t, cost, tally.real)
  report({ scenario: 'mutated cookies and bearer tokens, over HTTP', on: 'one Redis', tries: tally.tries, accepted: tally.wrong.length, failed: failed.length, costly: Math.max(0, cost.looked - tally.real - late.times) })
})

/** A request as bytes: lines of headers that may hold anything, in UTF-8 or with one byte for each character. */
interface Wired { cookies: string[], authorizations: string[], encoding: 'utf8' | 'latin1' }

t.test('[7.2.1] nor do bytes on the wire that no HTTP client would send', async (t) => {
  const { app, issued, real } = await startService(t)
  // What Node hands to an application of each request: a line break in a value ends the line there.
  const received = new Map<string, Claim>()
  app.server.prependListener('request', ({ headers: { cookie = '', authorization = '', 'x-number': number } }: IncomingMessage) => {
    received.set(String(number), { cookie, authorization })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const claim = claims(real, NAMES)
  const wired: fc.Arbitrary<Wired> = fc.record({
    cookies: fc.array(claim.map(({ cookie = `__Host-sid=${real[0] as string}` }) => cookie), { maxLength: 2, size: 'max' }),
    authorizations: fc.array(claim.map(({ authorization = 'Bearer x' }) => authorization), { maxLength: 1, size: 'max' }),
    encoding: fc.constantFrom('utf8', 'latin1')
  })
  const tally = new Tally()
  const failed: string[] = []
  const statuses = new Map<number, number>()
  await tryAll(times(10_000), 20, wired, async (batch) => {
    received.clear()
    const answers = await Promise.all(batch.map(async ({ cookies, authorizations, encoding }, index) => {
      const lines = [...cookies.map((value) => `Cookie: ${value}`), ...authorizations.map((value) => `Authorization: ${value}`)]
      return await exchange(port, Buffer.from(['GET /whoami HTTP/1.1', 'Host: a.example', 'X-Forwarded-Proto: https', 'Connection: close', `X-Number: ${index}`, ...lines, '', ''].join('\r\n'), encoding))
    }))
    for (const [index, { status, head, body }] of answers.entries()) {
      const sent = batch[index] as Wired
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      const isRefused = [400, 431].includes(status)
      if (!isRefused && status !== 200) failed.push(JSON.stringify({ sent, head }))
      // What Node's own parser does not take for a request is nobody's.
      if (isRefused) tally.add(sent, /set-cookie|"userId":"/i.test(head + body), false)
      else tally.add(sent, (JSON.parse(body) as { userId: string | null }).userId, issued.verdict(received.get(String(index)) ?? {}))
    }
    none(failed)
    none(tally.wrong)
  })
  t.ok((statuses.get(200) ?? 0) > tally.tries / 10)
  t.ok((statuses.get(400) ?? 0) > 0)
  report({ scenario: 'mutated cookies and bearer tokens, as bytes on the wire', on: 'one Redis', tries: tally.tries, accepted: tally.wrong.length, failed: failed.length })
})

t.test('[7.2.1, CVE-2024-38513] credentials in perfect form, signed with the right secret even, that were not issued cost one look and are nobody\'s', async (t) => {
  const { app, cookies, tokens } = await startService(t)
  const signature = new Signature([secret])
  const [ada = '', bob = ''] = cookies.map((value) => signature.verify(value)?.value ?? '')
  const [adas = '', bobs = ''] = tokens.map((value) => fromBearer(value) ?? '')
  const mixed = (one: string, other: string) => idOf(one) + other.slice(idOf(other).length)
  const unissued = [newToken(newId()).token, newToken(idOf(ada)).token, newToken(idOf(adas)).token, mixed(ada, bob), mixed(bob, ada), mixed(adas, bobs), mixed(ada, adas)]
  const forged: Claim[] = [
    ...[...unissued, adas, bobs].map((token) => ({ cookie: `__Host-sid=${signature.sign(token)}` })),
    ...[...unissued, ada, bob].map((token) => ({ authorization: `Bearer ${toBearer(token)}` }))
  ]
  const commands = await commandsDuring(redis.client, async () => {
    for (const headers of forged) {
      const response = await app.inject({ url: '/whoami', headers: { ...headers, 'x-forwarded-proto': 'https' } })
      t.equal(response.statusCode, 200)
      t.strictSame(response.json(), { userId: null })
      t.equal(response.headers['set-cookie'], undefined)
    }
  })
  t.equal(commands.mget, forged.length)
  // Of what is not there, whether it is of another type, for the log.
  t.strictSame(Object.keys(commands).filter((name) => !['mget', 'type'].includes(name)), [])
  t.ok((commands.type ?? 0) <= forged.length)
})
