import { verify } from 'node:crypto'
import fc from 'fast-check'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import t from 'tap'
import { kContext } from '../../lib/http/context.ts'
import type { PluginContext } from '../../lib/http/context.ts'
import { MemoryStore } from '../../lib/index.ts'
import { DeviceSeals } from '../../lib/device/seals.ts'
import { pendingKey, readBoundKey } from '../../lib/session/bound-key.ts'
import type { BoundKey } from '../../lib/session/bound-key.ts'
import { secret, startApp } from '../helpers/app.ts'
import { DeviceKey } from '../helpers/device-key.ts'
import { none, tryAll } from '../helpers/fuzz.ts'
import { values } from '../helpers/mutations.ts'
import { isSoak, report, times } from '../helpers/scale.ts'

if (isSoak) t.setTimeout(0)
const MINUTE = 60_000

/** A session that is bound, or was, with all that its browser was given. */
interface Victim { name: string, token: string, id: string, key: DeviceKey, bound: BoundKey, cookie: string, challenge: string }

const app: FastifyInstance = await startApp(t, { store: new MemoryStore(), deviceBound: true, cookie: { secure: true }, touchAfter: false }, { logger: false, trustProxy: '127.0.0.1' })
app.get('/me', async ({ auth }) => ({ user: auth?.userId ?? null, bound: auth?.deviceBound ?? false }))
app.get('/money', { preHandler: app.requireDeviceBound }, async () => 'yours')
await app.ready()
// No type says what stands under the name of this symbol.
const { core } = (app as unknown as { [kContext]: PluginContext })[kContext]
const now = Date.now()
const seals = new DeviceSeals([secret])
const others = new DeviceSeals(['another-secret-of-another-registration-of-it'])

/** Begins a session that was bound a minute ago, and confirmed. */
async function bind (name: string, userId: string): Promise<Victim> {
  const key = new DeviceKey()
  const { token, session: { id } } = await app.sessions.create({ userId })
  const boundKey = `c${pendingKey(key.line, now - MINUTE).slice(1)}`
  const bound = readBoundKey(boundKey)
  const record = await core.get(id)
  if (bound === null || record === null || await core.bind(record, boundKey) === null) throw new Error('it could not be bound')
  return { name, token, id, key, bound, cookie: seals.cookie(bound, now + 60 * MINUTE), challenge: seals.challenge(bound.identifier, now + 60 * MINUTE) }
}

const ada = await bind('ada', 'ada')
const victims = [ada, await bind('ada elsewhere', 'ada'), await bind('bob', 'bob'), await bind('ended', 'carol')]
await app.sessions.revokeUser('carol')
const live = victims.slice(0, 3)
// Whose session is not bound, and for which no good registration is sent.
const free = await app.sessions.create({ userId: 'dave' })
const mallory = new DeviceKey()
const keys = [...victims.map(({ key }) => key), mallory]

const tokens = [...victims.map(({ token }) => token), free.token]
const cookies = [
  ...victims.map(({ cookie }) => cookie),
  ...victims.flatMap(({ bound, challenge }) => [challenge, seals.cookie(bound, now - 1), others.cookie(bound, now + MINUTE)])
]
const challenges = victims.flatMap(({ bound, challenge, cookie, id }) => [
  challenge, cookie, seals.challenge(bound.identifier, now - 1), seals.challenge(id, now + 60 * MINUTE), others.challenge(bound.identifier, now + MINUTE)
])
/** Proofs, and by whom they are good for a refresh of which session. */
const refreshes = new Map<string, Victim>()
const proofs: string[] = []
for (const key of keys) {
  for (const challenge of challenges) {
    const refresh = key.refresh(challenge)
    const owner = live.find((each) => each.key === key && each.challenge === challenge)
    // That it brings another key along changes nothing: it is verified with the one that the session has.
    const withKey = key.jwt({ typ: 'dbsc+jwt', alg: 'ES256', jwk: mallory.jwk }, { jti: key === mallory ? 'x' : challenge })
    if (owner !== undefined) refreshes.set(refresh, owner).set(withKey, owner)
    proofs.push(refresh, key.refresh(challenge, { aud: 'https://evil.example/device-bound/refresh' }), key.jwt({ typ: 'JWT', alg: 'ES256' }, { jti: challenge }))
    proofs.push(withKey, mallory.registration(challenge))
  }
}
for (const jti of ['__proto__', '', '\u0000', 'é'.repeat(50), 'x'.repeat(6_000)]) proofs.push(ada.key.refresh(jti), mallory.registration(jti))

const mostly = <T>(good: fc.Arbitrary<T>, other: fc.Arbitrary<T>, weight = 3) => fc.oneof({ weight, arbitrary: good }, { weight: 1, arbitrary: other })
const identifiers = victims.map(({ bound }) => bound.identifier)
const strange = fc.constantFrom('', '__proto__', 'constructor', '"', '""', 'é', '\u{1f600}', 'x'.repeat(20_000), ';', 'a=b')
/** One of the sessions and what belongs to it, or anything else. */
const sent = fc.record({
  url: fc.constantFrom('/device-bound', '/device-bound/refresh', '/device-bound/refresh', '/me', '/money'),
  victim: fc.constantFrom(...victims),
  token: fc.option(mostly(fc.constantFrom(...tokens), values(tokens), 8)),
  short: fc.option(fc.oneof(fc.constantFrom(...cookies), values(cookies), strange)),
  second: fc.option(fc.constantFrom(...cookies), { freq: 8 }),
  identifier: fc.option(fc.oneof(fc.constantFrom(...identifiers), values(identifiers), strange)),
  proof: mostly<string | null>(fc.constant(null), fc.oneof(fc.constantFrom(...proofs, ...refreshes.keys()), fc.constantFrom(...refreshes.keys()), values(proofs), strange), 1),
  /** Where no proof is given: who signs which challenge. */
  signer: fc.option(fc.constantFrom(...keys)),
  challenge: fc.option(fc.constantFrom(...challenges)),
  quotes: fc.boolean(),
  skipped: mostly<string | undefined>(fc.constant(undefined), fc.oneof(strange, fc.constantFrom('unreachable;session_identifier="x"', 'quota_exceeded', 'server_error;session_identifier=__proto__')))
}, { noNullPrototype: true })
type Sent = typeof sent extends fc.Arbitrary<infer T> ? T : never

const NAME = '__Host-sid'

/** What a request really says. `null` members are those of `victim`. */
function said ({ victim, ...given }: Sent): { url: string, headers: Record<string, string>, token: string, shorts: string[], identifier: string, proof: string } {
  const token = given.token ?? victim.token
  const shorts = [given.short ?? victim.cookie, ...given.second === null ? [] : [given.second]]
  const identifier = given.identifier ?? victim.bound.identifier
  const proof = given.proof ?? (given.signer ?? victim.key).refresh(given.challenge ?? victim.challenge)
  const headers: Record<string, string> = {
    'x-forwarded-proto': 'https',
    cookie: [`${NAME}=${token}`, ...shorts.map((value) => `${NAME}-bound=${value}`)].join('; '),
    'sec-secure-session-id': given.quotes ? `"${identifier}"` : identifier,
    'secure-session-response': given.quotes ? `"${proof}"` : proof,
    ...given.skipped !== undefined && { 'secure-session-skipped': given.skipped }
  }
  return { url: given.url, headers, token, shorts, identifier, proof }
}

t.test('whatever reaches the routes that bind, and the requests of bound sessions, nobody passes for a device but who has its cookie or its key', async (t) => {
  const wrong: string[] = []
  const counts = { tries: 0, refreshed: 0, proven: 0, refused: 0 }
  const mine = [secret, ...victims.flatMap(({ cookie, token }) => [cookie, token])]
  const judge = (each: Sent, { statusCode, body, headers }: LightMyRequestResponse): void => {
    const request = said(each)
    const fail = (why: string): void => { wrong.push(`${why}: ${statusCode} ${JSON.stringify(request)}`) }
    counts.tries++
    if (statusCode >= 500) fail('an error of the server')
    if (mine.some((value) => body.includes(value))) fail('a secret in the body')
    // As RFC 6265bis divides the header, whoever put a semicolon into a value.
    const pairs = (request.headers.cookie ?? '').split(';').map((pair) => pair.replace(/^[ \t]+|[ \t]+$/g, ''))
    const values = (name: string): string[] => pairs.filter((pair) => pair.split('=')[0]?.replace(/[ \t]+$/, '') === name).map((pair) => pair.slice(pair.indexOf('=') + 1).replace(/^[ \t]+/, ''))
    const [one, ...more] = values(NAME)
    const owner = more.length > 0 ? undefined : live.find(({ token }) => token === one)
    const isShown = owner !== undefined && values(`${NAME}-bound`).includes(owner.cookie)
    if (each.url === '/money' || each.url === '/me') {
      const isBound = each.url === '/money' ? statusCode === 200 : statusCode === 200 && JSON.parse(body).bound === true
      if (isBound !== isShown) fail('taken for a device, or not')
      if (isBound) counts.proven++
      else counts.refused++
      return
    }
    if (each.url === '/device-bound') {
      // Nobody sends a good registration, and what is bound stays so.
      if (statusCode === 200 || headers['set-cookie'] !== undefined) fail('registered')
      return
    }
    const identifier = (request.headers['sec-secure-session-id'] ?? '').replace(/^"(.*)"$/, '$1')
    const proof = /^"([^"]*)"(?:;[ -~]*)?$/.exec(request.headers['secure-session-response'] ?? '')?.[1] ?? request.headers['secure-session-response'] ?? ''
    const isGood = owner !== undefined && identifier === owner.bound.identifier && signedFor(proof) === owner
    if ((statusCode === 200) !== isGood) fail('refreshed, or not')
    if (!isGood && headers['set-cookie'] !== undefined) fail('given a cookie')
    if (isGood) counts.refreshed++
  }
  const keysBefore = await Promise.all([...live.map(({ id }) => id), free.session.id].map(async (id) => (await core.get(id))?.boundKey))
  const attempt = async (batch: Sent[]): Promise<void> => {
    const responses = await Promise.all(batch.map(async (each) => {
      const { url, headers } = said(each)
      return await app.inject({ method: url.startsWith('/device') ? 'POST' : 'GET', url, headers })
    }))
    for (const [index, response] of responses.entries()) judge(batch[index] as Sent, response)
    none(wrong)
  }
  // What is good, from each of them: a thousand examples may hold none.
  await attempt(live.flatMap((victim) => (['/device-bound/refresh', '/me', '/money'] as const).map((url) => ({
    url, victim, token: null, short: null, second: null, identifier: null, proof: null, signer: null, challenge: null, quotes: true, skipped: undefined
  }))))
  t.strictSame(counts, { tries: 9, refreshed: 3, proven: 6, refused: 0 })
  await tryAll(times(100_000, 10_000), 50, sent, attempt)
  t.strictSame(await Promise.all([...live.map(({ id }) => id), free.session.id].map(async (id) => (await core.get(id))?.boundKey)), keysBefore)
  t.ok(counts.refused > counts.proven && counts.refreshed < counts.tries / 4, 'most of it is not')
  report({ scenario: 'what is sent to the routes and requests of bound sessions', on: 'memory', tries: counts.tries, accepted: wrong.length, failed: 0 })
})

/** Whose session a proof refreshes. An application may sign the same challenge any number of times. */
function signedFor (proof: string): Victim | undefined {
  return refreshes.get(proof) ?? live.find(({ key, challenge }) => {
    const [head = '', payload = '', signature = '', ...more] = proof.split('.')
    const [genuineHead, genuinePayload] = key.refresh(challenge).split('.')
    if (more.length > 0 || head !== genuineHead || payload !== genuinePayload) return false
    return key.publicKey.asymmetricKeyType === 'ec' && verifies(key, `${head}.${payload}`, signature)
  })
}

function verifies ({ publicKey }: DeviceKey, text: string, signature: string): boolean {
  const bytes = Buffer.from(signature, 'base64url')
  return bytes.toString('base64url') === signature && bytes.length === 64 && verify('sha256', Buffer.from(text), { key: publicKey, dsaEncoding: 'ieee-p1363' }, bytes)
}
