import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { confirmed, pendingKey, readBoundKey } from '../../lib/session/bound-key.ts'

const key = `ES256 ${'x'.repeat(43)} ${'-_Y'.repeat(14)}y`
const rsa = `RS256 AQAB ${'n'.repeat(683)}`
const boundAt = 1_796_000_000_123

t.test('what a record holds says which key, since when, and whether the browser has shown it', async (t) => {
  for (const each of [key, rsa]) {
    const text = pendingKey(each, boundAt)
    t.equal(text, `p ${boundAt.toString(36)} ${each}`)
    const { isConfirmed, boundAt: at, key: read } = readBoundKey(text) ?? {}
    t.strictSame({ isConfirmed, at, read }, { isConfirmed: false, at: boundAt, read: each })
    t.equal(confirmed(text), `c ${boundAt.toString(36)} ${each}`)
    t.equal(readBoundKey(confirmed(text))?.isConfirmed, true)
    t.equal(confirmed(confirmed(text)), confirmed(text))
  }
  t.equal(readBoundKey(null), null)
  t.equal(readBoundKey(pendingKey(key, 0))?.boundAt, 0)
  t.equal(readBoundKey(pendingKey(key, boundAt + 0.75))?.boundAt, boundAt, 'by a clock with fractions too')
})

t.test('its identifier is that of the key and of when it came, confirmed or not', async (t) => {
  const text = pendingKey(key, boundAt)
  const identifier = readBoundKey(text)?.identifier
  t.equal(identifier, createHash('sha256').update(`${boundAt.toString(36)} ${key}`).digest('base64url').slice(0, 22))
  t.equal(readBoundKey(confirmed(text))?.identifier, identifier)
  t.not(readBoundKey(pendingKey(key, boundAt + 1))?.identifier, identifier)
  t.not(readBoundKey(pendingKey(rsa, boundAt))?.identifier, identifier)
  const bound = readBoundKey(text)
  t.equal(bound?.identifier, bound?.identifier)
})

t.test('anything else that a record may hold is no key', async (t) => {
  const good = pendingKey(key, boundAt)
  const at = boundAt.toString(36)
  for (const text of [
    '', ' ', 'p', 'c', key, `x${good.slice(1)}`, `P${good.slice(1)}`, ` ${good}`, `${good} `, `${good}\n`, `${good} x`, good.replace('p ', 'p  '),
    `p  ${key}`, `p -1 ${key}`, `p 0${at} ${key}`, `p 00 ${key}`, `p 1.5 ${key}`, `p ${at.toUpperCase()} ${key}`, `p zzzzzzzzzz ${key}`, `p ${at} ES256 x`, `p ${at} ES256  y`,
    `p ${at} ES384 x y`, `p ${at} HS256 x y`, `p ${at} none x y`, `p ${at} es256 x y`, `p ${at} ES256 x+ y`, `p ${at} ES256 x= y`, `p ${at} RS256 AQAB ${'n'.repeat(684)}`,
    pendingKey(key, -1), pendingKey(key, NaN), pendingKey(key, Infinity), pendingKey(key, 36 ** 9), '{"kty":"EC"}', 'null'
  ]) t.equal(readBoundKey(text), null, text)
  fc.assert(fc.property(fc.string({ unit: 'binary' }), fc.nat(good.length), (text, cut) => {
    for (const each of [text, good.slice(0, cut) + text, text + good.slice(cut)]) {
      const bound = readBoundKey(each)
      if (bound !== null && `${bound.isConfirmed ? 'c' : 'p'} ${bound.boundAt.toString(36)} ${bound.key}` !== each) return false
    }
    return true
  }), { numRuns: 2_000 })
})
