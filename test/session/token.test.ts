import { createHash } from 'node:crypto'
import t from 'tap'
import { idOf, isSameHash, isToken, newId, newToken, secretHashOf } from '../../lib/session/token.ts'

t.test('a token is the id and 192 bits that no two tokens share', async (t) => {
  const ids = new Set(Array.from({ length: 1000 }, newId))
  t.equal(ids.size, 1000)
  const id = newId()
  t.equal(Buffer.from(id, 'base64url').length, 16)
  const tokens = Array.from({ length: 1000 }, () => newToken(id).token)
  t.equal(new Set(tokens).size, 1000)
  t.strictSame(tokens.filter((token) => !isToken(token) || idOf(token) !== id || !token.startsWith(`${id}.`)), [])
  t.strictSame(tokens.filter((token) => Buffer.from(token.slice(23), 'base64url').length !== 24), [])
})

t.test('what is kept of a token is the hash of its secret, which proves it and no other', async (t) => {
  const id = newId()
  const { token, secretHash } = newToken(id)
  t.equal(secretHash, createHash('sha256').update(token.slice(23)).digest('base64url'))
  t.equal(isSameHash(secretHashOf(token), secretHash), true)
  t.equal(isSameHash(secretHashOf(newToken(id).token), secretHash), false)
  t.equal(isSameHash(secretHashOf(token), newToken(id).secretHash), false)
  for (const hash of ['', 'x', `${secretHash}=`, secretHash.slice(1), secretHash.toLowerCase(), 'é'.repeat(43), token.slice(23)]) t.equal(isSameHash(secretHashOf(token), hash), false, hash)
})

t.test('nothing else has the shape of a token', async (t) => {
  const { token } = newToken(newId())
  for (const value of ['', '.', token.slice(1), `${token}x`, `${token}\n`, ` ${token}`, token.replace('.', '-'), token.replace('.', '..'), `${token.slice(0, 22)}.${'+'.repeat(32)}`, token.replace(/.$/, '='), null, undefined, 5, {}, [token], { toString: () => token }]) {
    t.equal(isToken(value), false, String(value))
  }
})
