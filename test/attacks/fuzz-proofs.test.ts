import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { confirmed, pendingKey, readBoundKey } from '../../lib/session/bound-key.ts'
import type { BoundKey } from '../../lib/session/bound-key.ts'
import { readProof } from '../../lib/device/proof.ts'
import type { Proof } from '../../lib/device/proof.ts'
import { DeviceSeals } from '../../lib/device/seals.ts'
import { base64url, DeviceKey, number, ORDER, twinOf, unsigned } from '../helpers/device-key.ts'
import { none, tryAll } from '../helpers/fuzz.ts'
import { values } from '../helpers/mutations.ts'
import { isSoak, report, times } from '../helpers/scale.ts'

if (isSoak) t.setTimeout(0)
const KEY = /^(?:ES256 [\w-]{43} [\w-]{43}|RS256 [\w-]{2,6} [\w-]{342,683})$/

/** Keys of ada's browsers; mallory has seen all that they ever sent, and has browsers of her own. */
const adas = [new DeviceKey(), new DeviceKey(), new DeviceKey('RS256')]
const mallorys = [new DeviceKey(), new DeviceKey('RS256')]

/** What ada's browsers signed, and which of them. */
const issued = new Map<string, DeviceKey>()
for (const key of adas) {
  for (const jwt of [key.registration('first'), key.refresh('first'), key.refresh('second', { aud: 'https://app.example/bind/refresh' })]) {
    issued.set(jwt, key)
    const [head = '', payload = '', signature = ''] = jwt.split('.')
    // It signs the same text, and anybody can make it: no forgery. An RSA signature has none.
    if (key.alg === 'ES256') issued.set(`${head}.${payload}.${base64url(twinOf(Buffer.from(signature, 'base64url')))}`, key)
  }
}
const real = [...issued.keys()]

/** Whose the proof in a header is: quotes, and parameters after them, are nothing of it. */
function signerOf (header: string): DeviceKey | undefined {
  return issued.get(/^"([^"]*)"(?:;[ -~]*)?$/.exec(header)?.[1] ?? header)
}

class Tally {
  tries = 0
  /** Read as a proof, so that only the signature could be wrong. */
  read = 0
  /** Signed by ada's browser, as it was sent. */
  real = 0
  readonly wrong: string[] = []

  /** A header is taken for a proof of ada's browser, or for that of a browser that registers. */
  add (header: string): void {
    this.tries++
    let proof: Proof | null = null
    try {
      proof = readProof(header)
      if (proof !== null) this.read++
      const signer = signerOf(header)
      if (signer !== undefined) this.real++
      for (const key of adas) if ((proof?.verify(key.line) ?? false) !== (key === signer)) this.wrong.push(`${key.line} ${header}`)
      // Whoever registers a key has signed with it: mallory with hers, nobody with another.
      const registers = proof?.key ?? null
      if (registers !== null && proof?.verify(registers) === true && ![signer, ...mallorys].some((key) => key?.line === registers)) this.wrong.push(`registers ${header}`)
      if (registers !== null && !KEY.test(registers)) this.wrong.push(`brings ${header}`)
    } catch (error) {
      this.wrong.push(`${(error as Error).message}: ${header}`)
    }
  }

  report (scenario: string): void {
    report({ scenario, on: 'this process', tries: this.tries, accepted: this.wrong.length, failed: 0 })
  }
}

/** One of these with a bit turned in its head, its payload or its signature, so that it is still a JWT. */
const turned = fc.tuple(fc.constantFrom(...real), fc.nat(2), fc.nat(), fc.nat(7)).map(([jwt, part, at, bit]) => jwt.split('.').map((text, index) => {
  const bytes = Buffer.from(text, 'base64url')
  if (index === part) bytes.writeUInt8(bytes.readUInt8(at % bytes.length) ^ (1 << bit), at % bytes.length)
  return base64url(bytes)
}).join('.'))

t.test('of proofs that were altered anywhere none is taken for one of the browser, and none makes an error', async (t) => {
  const tally = new Tally()
  await tryAll(times(100_000, 30_000), 100, fc.oneof({ weight: 2, arbitrary: values(real) }, { weight: 1, arbitrary: turned }), async (batch) => {
    for (const header of batch) tally.add(header)
    none(tally.wrong)
  })
  t.ok(tally.real > tally.tries / 50, 'what stays real all the same is accepted')
  t.ok(tally.real < tally.tries / 2, 'most of it is not')
  t.ok(tally.read > tally.real + tally.tries / 10, 'of many only the signature is wrong')
  tally.report('altered proofs of a browser\'s key')
})

const mostly = <T>(good: fc.Arbitrary<T>, ...others: Array<fc.Arbitrary<T>>) => fc.oneof({ weight: 8, arbitrary: good }, ...others.map((arbitrary) => ({ weight: 1, arbitrary })))
const strange = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom(undefined, '', 5, ['ES256'], {}))
/** Of the public members of keys, in any mixture. */
const part = fc.constantFrom(...[...adas, ...mallorys].flatMap(({ jwk }) => Object.values(jwk)))
const jwk = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...[...adas, ...mallorys].map(({ jwk }) => jwk as object)) },
  { weight: 2, arbitrary: fc.record({ kty: fc.constantFrom('EC', 'RSA', 'oct'), crv: fc.constantFrom('P-256', 'P-384'), x: part, y: part, e: part, n: part, d: part, k: part }, { requiredKeys: ['kty', 'x', 'y', 'e', 'n'], noNullPrototype: true }) },
  { weight: 1, arbitrary: strange }
)
const typ = mostly<unknown>(fc.constant('dbsc+jwt'), fc.constantFrom('JWT', 'DBSC+JWT', 'dpop+jwt'), strange)
const alg = mostly<unknown>(fc.constantFrom('ES256', 'RS256'), fc.constantFrom('none', 'HS256', 'ES384', 'PS256', 'es256'), strange)
const nothing = fc.constant(undefined)
const head = fc.record({ typ, alg, jwk: fc.oneof(nothing, jwk), crit: mostly<unknown>(nothing, strange), kid: strange }, { noNullPrototype: true })
const jti = mostly<unknown>(fc.constantFrom('first', 'second', 'third'), strange)
const payload = fc.record({ jti, aud: mostly<unknown>(nothing, fc.webUrl(), strange), sub: strange }, { noNullPrototype: true })

/** The same as JSON, now and then with members twice, or under names that mean something to JavaScript. */
function json (object: fc.Arbitrary<object>): fc.Arbitrary<string> {
  const plain = object.map((value) => JSON.stringify(value))
  const joined = fc.tuple(plain, plain).map(([one, other]) => `${one.slice(0, -1)},${other.slice(1)}`)
  const inherited = fc.tuple(plain, plain, fc.constantFrom('__proto__', 'constructor', 'prototype', 'toJSON')).map(([one, other, name]) => `${one.slice(0, -1)},"${name}":${other}}`)
  const alone = plain.map((text) => `{"__proto__":${text}}`)
  return fc.oneof({ weight: 6, arbitrary: plain }, { weight: 2, arbitrary: joined }, { weight: 1, arbitrary: inherited }, { weight: 1, arbitrary: alone })
}

type Signer = (text: string, at: number) => Buffer

const old = real.map((jwt) => Buffer.from(jwt.split('.')[2] ?? '', 'base64url'))
const pick = <T>(from: readonly T[], at: number): T => from[at % from.length] as T
const secretsOf = ({ line, jwk, publicKey }: DeviceKey) => [line, JSON.stringify(jwk), publicKey.export({ type: 'spki', format: 'pem' }), publicKey.export({ type: 'spki', format: 'der' })]
const secrets = adas.flatMap(secretsOf)
const EDGES = [number(0n), number(1n), number(ORDER), number(ORDER - 1n), Buffer.alloc(32, 255)]

/** What mallory can put where the signature stands. */
const SIGNERS: Signer[] = [
  (text, at) => pick(mallorys, at).sign(text),
  (text, at) => pick(mallorys, at).sign(text, { dsaEncoding: 'der' }),
  (text) => twinOf((mallorys[0] as DeviceKey).sign(text)),
  (text, at) => createHmac('sha256', pick(secrets, at)).update(text).digest(),
  (_text, at) => pick(old, at),
  (_text, at) => pick(old, at).subarray(at % 5),
  (_text, at) => Buffer.concat([pick(old, at), Buffer.alloc(at % 5)]),
  (_text, at) => Buffer.concat([pick(EDGES, at), pick(old, at).subarray(32)]),
  (_text, at) => Buffer.concat([pick(old, at).subarray(0, 32), pick(EDGES, at)]),
  (_text, at) => Buffer.concat([pick(EDGES, at), pick(EDGES, Math.floor(at / 7))]),
  (_text, at) => Buffer.alloc(at % 600, at % 256)
]

t.test('of proofs that mallory writes none is taken for one of ada\'s browser, whatever she signs them with', async (t) => {
  const tally = new Tally()
  const text = fc.oneof(
    { weight: 4, arbitrary: fc.tuple(json(head), json(payload)).map(([one, other]) => unsigned(one, other)) },
    { weight: 1, arbitrary: fc.constantFrom(...real.map((jwt) => jwt.split('.').slice(0, 2).join('.'))) },
    { weight: 1, arbitrary: fc.tuple(fc.constantFrom(...real), fc.constantFrom(...real)).map(([one, other]) => `${one.split('.')[0]}.${other.split('.')[1]}`) }
  )
  const forged = fc.tuple(text, fc.constantFrom(...SIGNERS), fc.nat(1_000_000)).map(([text, signer, at]) => `${text}.${base64url(signer(text, at))}`)
  await tryAll(times(100_000, 30_000), 100, forged, async (batch) => {
    for (const header of batch) tally.add(header)
    none(tally.wrong)
  })
  t.ok(tally.read > tally.tries / 5, 'of many only the signature is wrong')
  t.ok(tally.real < tally.tries / 10)
  tally.report('proofs forged for a browser\'s key')
})

t.test('whatever a browser that holds the key says beside the challenge, it is read as the proof it is or as none', async (t) => {
  const [ada] = adas as [DeviceKey]
  const deep = fc.tuple(fc.constantFrom('[', '{"a":', '{"jti":', '[{"__proto__":'), fc.nat(1_500)).map(([text, count]) => text.repeat(count))
  const text = fc.oneof(json(head), json(payload), fc.json(), fc.string({ unit: 'binary' }), deep, fc.double().map(String), fc.nat(8_000).map((length) => JSON.stringify({ jti: 'x'.repeat(length) })))
  const good = fc.constant(JSON.stringify({ typ: 'dbsc+jwt', alg: 'ES256' }))
  const counts = { tries: 0, read: 0 }
  const wrong: string[] = []
  await tryAll(times(100_000, 20_000), 100, fc.tuple(fc.oneof(good, json(head), text), fc.oneof(json(payload), text)), async (batch) => {
    for (const [one, other] of batch) {
      const jwt = ada.jwt(one, other)
      counts.tries++
      try {
        const proof = readProof(jwt)
        if (proof === null) continue
        counts.read++
        const { key, challenge, audience } = proof
        const says = JSON.parse(one) as { alg?: unknown }
        const isRight = (key === null || KEY.test(key)) && typeof challenge === 'string' && (audience === null || typeof audience === 'string')
        if (!isRight || jwt.length > 8_192 || proof.verify(ada.line) !== (says.alg === 'ES256')) wrong.push(jwt)
      } catch (error) {
        wrong.push(`${(error as Error).message}: ${jwt}`)
      }
    }
    none(wrong)
  })
  t.ok(counts.read > counts.tries / 10)
  report({ scenario: 'proofs with any JSON in them', on: 'this process', tries: counts.tries, accepted: wrong.length, failed: 0 })
})

const secret = 'a secret of more than 32 characters'
const older = 'an older secret of more than 32 characters'
const now = 1_796_000_000_000
const bind = (key: DeviceKey, boundAt: number) => readBoundKey(confirmed(pendingKey(key.line, boundAt))) as BoundKey

t.test('of altered short cookies and challenges none is good but what was issued, for what it was', async (t) => {
  const seals = new DeviceSeals([secret, older])
  const bindings = [...adas.map((key) => bind(key, now)), bind(adas[0] as DeviceKey, now + 1), bind(mallorys[0] as DeviceKey, now)]
  const subjects = ['ada', 'ada 1', 'bob', '']
  const [cookies, challenges] = [new Map<string, BoundKey>(), new Map<string, string>()]
  for (const makers of [seals, new DeviceSeals([older])]) {
    for (const binding of bindings) cookies.set(makers.cookie(binding, now + 600_000), binding)
    for (const subject of subjects) challenges.set(makers.challenge(subject, now + 600_000), subject)
  }
  const [first] = bindings as [BoundKey]
  const dead = [seals.cookie(first, now), seals.challenge('ada', now), new DeviceSeals(['another secret of 32 characters at least']).cookie(first, now + 600_000)]
  const counts = { tries: 0, real: 0 }
  const wrong: string[] = []
  await tryAll(times(100_000, 30_000), 100, values([...cookies.keys(), ...challenges.keys(), ...dead]), async (batch) => {
    for (const value of batch) {
      counts.tries++
      if (cookies.has(value) || challenges.has(value)) counts.real++
      try {
        for (const binding of bindings) if (seals.verifyCookie(value, binding, now) !== (cookies.get(value) === binding)) wrong.push(`cookie ${value}`)
        for (const subject of subjects) if (seals.verifyChallenge(value, subject, now) !== (challenges.get(value) === subject)) wrong.push(`challenge ${value}`)
      } catch (error) {
        wrong.push(`${(error as Error).message}: ${value}`)
      }
    }
    none(wrong)
  })
  t.ok(counts.real > counts.tries / 50)
  t.ok(counts.real < counts.tries / 2)
  report({ scenario: 'altered short cookies and challenges', on: 'this process', tries: counts.tries, accepted: wrong.length, failed: 0 })
})
