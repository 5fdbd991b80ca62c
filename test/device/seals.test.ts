import { createHmac, hkdfSync } from 'node:crypto'
import t from 'tap'
import { confirmed, pendingKey, readBoundKey } from '../../lib/session/bound-key.ts'
import type { BoundKey } from '../../lib/session/bound-key.ts'
import { DeviceSeals } from '../../lib/device/seals.ts'
import { Signature } from '../../lib/session/token.ts'
import { liveBytes } from '../../bench/numbers.ts'

const secret = 'a secret of more than 32 characters'
const old = 'an older secret of more than 32 characters'
const now = 1_796_000_000_000
const MINUTE = 60_000
const line = `ES256 ${'x'.repeat(43)} ${'y'.repeat(43)}`

function bound (key = line, boundAt = now): BoundKey {
  const read = readBoundKey(pendingKey(key, boundAt))
  if (read === null) throw new Error(key)
  return read
}

/** The same, and how often it was asked for its identifier, which is hashed. */
function watched (key: BoundKey) {
  let asked = 0
  const { boundAt, isConfirmed, key: line, identifier } = key
  return { key: { boundAt, isConfirmed, key: line, get identifier () { asked++; return identifier } }, asked: () => asked }
}

t.test('the short cookie is good for its binding until it ends', async (t) => {
  const seals = new DeviceSeals([secret])
  const value = seals.cookie(bound(), now + 10 * MINUTE)
  t.match(value, /^[0-9a-z]+\.[\w-]{43}$/, 'and needs no encoding')
  t.notMatch(value, bound().identifier)
  const derived = Buffer.from(hkdfSync('sha256', secret, '', 'fastify-user-sessions device cookie', 32)).toString('hex')
  const ends = (now + 10 * MINUTE).toString(36)
  t.equal(value, `${ends}.${createHmac('sha256', derived).update(`${ends} ${bound().identifier}`).digest('base64url')}`)
  // Once worked out, once remembered.
  for (let times = 0; times < 2; times++) {
    t.equal(seals.verifyCookie(value, bound(), now), true)
    t.equal(seals.verifyCookie(value, bound(), now + 10 * MINUTE - 1), true)
    t.equal(seals.verifyCookie(value, bound(), now + 10 * MINUTE), false)
    t.equal(seals.verifyCookie(value, bound(`${line.slice(0, -1)}z`), now), false, 'not for another key')
    t.equal(seals.verifyCookie(value, bound(line, now + 1), now), false, 'nor for the same that came at another time')
  }
  const confirmedKey = readBoundKey(confirmed(pendingKey(line, now)))
  t.equal(confirmedKey !== null && seals.verifyCookie(value, confirmedKey, now), true, 'it stays good as the browser shows the key')
  const uneven = seals.cookie(bound(), now + 1.5)
  t.strictSame([now, now + 1].map((at) => seals.verifyCookie(uneven, bound(), at)), [true, false], 'an end between two milliseconds is the first')
})

t.test('any secret verifies it, the first makes it', async (t) => {
  const value = new DeviceSeals([old]).cookie(bound(), now + MINUTE)
  t.equal(new DeviceSeals([secret, old]).verifyCookie(value, bound(), now), true)
  t.equal(new DeviceSeals([secret]).verifyCookie(value, bound(), now), false)
  t.equal(new DeviceSeals([secret, old]).cookie(bound(), now + MINUTE), new DeviceSeals([secret]).cookie(bound(), now + MINUTE))
  const challenge = new DeviceSeals([old]).challenge('ada', now + MINUTE)
  t.equal(new DeviceSeals([secret, old]).verifyChallenge(challenge, 'ada', now), true)
  t.equal(new DeviceSeals([secret]).verifyChallenge(challenge, 'ada', now), false)
  t.equal(new DeviceSeals([secret, old]).challenge('ada', now), new DeviceSeals([secret]).challenge('ada', now))
})

t.test('a challenge is good for its subject until it ends', async (t) => {
  const seals = new DeviceSeals([secret])
  const value = seals.challenge('ada', now + 5 * MINUTE)
  t.match(value, /^[0-9a-z]+\.[\w-]{43}$/, 'and needs no escaping in a header')
  t.equal(seals.verifyChallenge(value, 'ada', now + 5 * MINUTE - 1), true)
  t.equal(seals.verifyChallenge(value, 'ada', now + 5 * MINUTE), false)
  for (const subject of ['', 'bob', 'ada ', ' ada', 'Ada', 'ada bob']) t.equal(seals.verifyChallenge(value, subject, now), false, subject)
})

t.test('a cookie is no challenge, a challenge no cookie, and nothing else signed with the secret is either', async (t) => {
  const seals = new DeviceSeals([secret])
  const { identifier } = bound()
  const [cookie, challenge] = [seals.cookie(bound(), now + MINUTE), seals.challenge(identifier, now + MINUTE)]
  t.equal(seals.verifyChallenge(cookie, identifier, now), false)
  t.equal(seals.verifyCookie(challenge, bound(), now), false)
  const ends = (now + MINUTE).toString(36)
  for (const signature of [new Signature([secret]), Signature.of([secret], 'return path sid')]) {
    for (const value of [signature.sign(ends), `${ends}.${signature.seal(`${ends} ${identifier}`)}`]) {
      t.equal(seals.verifyCookie(value, bound(), now), false)
      t.equal(seals.verifyChallenge(value, identifier, now), false)
    }
  }
})

t.test('what was changed anywhere is neither', async (t) => {
  const seals = new DeviceSeals([secret])
  const values = [seals.cookie(bound(), now + MINUTE), seals.challenge('ada', now + MINUTE)]
  for (const value of values) {
    const changed = [...value].flatMap((character, at) => {
      return ['', character + character, character === 'a' ? 'b' : 'a', ' ', '\u0100', '='].map((instead) => value.slice(0, at) + instead + value.slice(at + 1))
    }).filter((each) => each !== value)
    const [ends = '', mac = ''] = value.split('.')
    changed.push('', '.', ends, mac, `${ends}.`, `.${mac}`, `${mac}.${ends}`, `0${value}`, `${value}\n`, ` ${value}`, `zzzzzzzzz.${mac}`, `${ends.toUpperCase()}.${mac}`, value.repeat(2), `${ends}.${'é'.repeat(43)}`, 'x'.repeat(1e6))
    for (const each of changed) {
      t.equal(seals.verifyCookie(each, bound(), now), false, each.slice(0, 60))
      t.equal(seals.verifyChallenge(each, 'ada', now), false, each.slice(0, 60))
    }
  }
})

t.test('a good cookie is hashed once, one that is not good each time', async (t) => {
  const seals = new DeviceSeals([secret])
  const { key, asked } = watched(bound())
  const value = seals.cookie(bound(), now + MINUTE)
  for (let times = 0; times < 5; times++) t.equal(seals.verifyCookie(value, key, now), true)
  t.equal(asked(), 1)
  const wrong = value.replace(/.$/, (last) => last === 'A' ? 'E' : 'A')
  for (let times = 0; times < 5; times++) t.equal(seals.verifyCookie(wrong, key, now), false)
  t.equal(asked(), 6)
  for (const shapeless of ['', 'x', 'x'.repeat(53), 'x'.repeat(54)]) seals.verifyCookie(shapeless, key, now)
  t.equal(asked(), 6, 'and what has not even the form is not')
})

t.test('[CWE-770] good cookies of any number fill no memory', async (t) => {
  const seals = new DeviceSeals([secret])
  const before = liveBytes()
  let good = 0
  for (let number = 0; number < 50_000; number++) {
    const key = bound(line, now + number)
    if (seals.verifyCookie(seals.cookie(key, now + MINUTE), key, now)) good++
  }
  t.equal(good, 50_000)
  t.ok(liveBytes() - before < 20_000 * 700)
  t.equal(seals.verifyCookie(seals.cookie(bound(), now + MINUTE), bound(), now), true)
})
