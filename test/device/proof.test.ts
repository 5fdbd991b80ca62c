import { constants, createHmac } from 'node:crypto'
import t from 'tap'
import type { Test } from 'tap'
import { readProof } from '../../lib/device/proof.ts'
import { base64url, DeviceKey, number, ORDER, twinOf, unsigned } from '../helpers/device-key.ts'
import { VECTORS } from '../helpers/device-vectors.ts'

const [ada, adas, mallory] = [new DeviceKey(), new DeviceKey('RS256'), new DeviceKey()]
const HEAD = { typ: 'dbsc+jwt', alg: 'ES256' }

/** What a proof says. */
function said (header: unknown) {
  const proof = readProof(header)
  return proof === null ? null : { key: proof.key, challenge: proof.challenge, audience: proof.audience }
}

/** Reads proofs that ada's browser signed, so that only what they say can be wrong. */
function none (t: Test, heads: unknown[], payload: unknown = { jti: 'c' }): void {
  for (const head of heads) t.equal(readProof(ada.jwt(head, payload)), null, JSON.stringify(head))
}

t.test('the proof of a browser says its challenge, brings its key when it registers, and verifies with that key alone', async (t) => {
  for (const key of [ada, adas]) {
    const [registration, refresh] = [key.registration('challenge'), key.refresh('challenge')]
    t.strictSame(said(registration), { key: key.line, challenge: 'challenge', audience: null })
    t.strictSame(said(refresh), { key: null, challenge: 'challenge', audience: null })
    for (const jwt of [registration, refresh]) {
      for (const other of [ada, adas, mallory]) t.equal(readProof(jwt)?.verify(other.line), other === key, `${key.alg} by ${other.alg}`)
    }
    t.match(key.line, key === ada ? /^ES256 [\w-]{43} [\w-]{43}$/ : /^RS256 AQAB [\w-]{342}$/)
  }
})

t.test('it is read with quotes, as the specification has it, and without, as Chromium sends it', async (t) => {
  const jwt = ada.registration('c', { aud: 'https://app.example/bind', iat: 5, sub: [{}], authorization: 'x' })
  const expected = { key: ada.line, challenge: 'c', audience: 'https://app.example/bind' }
  for (const header of [jwt, `"${jwt}"`, `"${jwt}";a`, `"${jwt}"; a=1;b="c"`]) {
    t.strictSame(said(header), expected, header.slice(-10))
    t.equal(readProof(header)?.verify(ada.line), true)
  }
  for (const header of [`"${jwt}`, `${jwt}"`, `""${jwt}""`, `'${jwt}'`, ` ${jwt}`, `${jwt} `, `${jwt}\n`, `"${jwt}"\n`, `${jwt};a=1`, `"${jwt}" ;a`, `"${jwt}";é`, `${jwt}, ${jwt}`, `"${jwt}", "${jwt}"`, `?${jwt}`, `:${jwt}:`]) t.equal(readProof(header), null, header)
})

t.test('proofs that were made elsewhere verify, by RSA keys up to 4,096 bits too', async (t) => {
  for (const [name, { jwt, key, challenge }] of Object.entries(VECTORS)) {
    t.strictSame(said(jwt), { key, challenge, audience: null }, name)
    const proof = readProof(jwt)
    t.equal(proof?.verify(key), true, name)
    t.equal(proof?.verify(ada.line), false, name)
  }
})

t.test('the example of the specification is read, though the key beside its payload did not sign it', async (t) => {
  const head = 'eyJhbGciOiJFUzI1NiIsInR5cCI6ImRic2Mrand0In0'
  const payload = 'eyJhdWQiOiJodHRwczovL2V4YW1wbGUuY29tL3JlZyIsImp0aSI6ImN2IiwiaWF0IjoiMTcyNTU3OTA1NSIsImp3ayI6eyJrdHkiOiJFQyIsImNydiI6IlAtMjU2IiwieCI6IjZfR0Iydm9RMHFyb01oNk9sREZDRlNfU0pyaVFpMVBUdnZCT2hHWjNiSEkiLCJ5IjoiSWVnT0pVTHlFN1N4SF9DZDFLQ0VSN2xXQnZHRkhRLWgweHlqelVqRUlXRSJ9LCJhdXRob3JpemF0aW9uIjoiYWMifQ'
  const signature = '6Fb_vVBDmfNghQiBmIGe8o7tBfYPbPCywhQruP0vIhxgmcJmuNTaMHeVn_M8ZnOm1_bzIitbZqCWEn-1Qzmtyw'
  const proof = readProof(`"${head}.${payload}.${signature}"`)
  t.strictSame(said(`"${head}.${payload}.${signature}"`), { key: null, challenge: 'cv', audience: 'https://example.com/reg' })
  const { jwk } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { jwk: { x: string, y: string } }
  t.equal(proof?.verify(`ES256 ${jwk.x} ${jwk.y}`), false)
})

t.test('what is no JWT of three parts is none, and no larger text is looked at', async (t) => {
  const jwt = ada.registration('c')
  const [head = '', payload = '', signature = ''] = jwt.split('.')
  for (const header of [undefined, null, 5, true, [], [jwt], [jwt, jwt], {}, { toString: () => jwt }, Symbol('x'), () => jwt]) t.equal(readProof(header), null)
  for (const header of ['', '.', '..', '...', '""', '".."', head, `${head}.${payload}`, `${jwt}.`, `${jwt}.${signature}`, `.${payload}.${signature}`, `${head}..${signature}`, `${payload}.${head}.${signature}`]) t.equal(readProof(header), null, header)
  t.equal(readProof(`${head}.${payload}.`)?.verify(ada.line), false)
  const longest = `"${jwt}";`.padEnd(8_192)
  t.equal(readProof(longest)?.challenge, 'c')
  t.equal(readProof(`${longest} `), null)
  t.equal(readProof(jwt.repeat(100_000)), null)
  const large = readProof(ada.registration('x'.repeat(5_000)))
  t.equal(large?.challenge.length, 5_000)
})

t.test('type and algorithm are these exactly', async (t) => {
  t.not(readProof(ada.jwt(HEAD, { jti: 'c' })), null)
  none(t, [undefined, null, '', 'JWT', 'jwt', 'DBSC+JWT', 'dbsc', 'application/dbsc+jwt', 'dbsc+jwt ', 'dpop+jwt', 'dbsc+aik', 5, true, ['dbsc+jwt'], { dbsc: 'jwt' }].map((typ) => ({ ...HEAD, typ })))
  none(t, [undefined, null, '', 'none', 'None', 'NONE', 'es256', 'ES256 ', 'ES256K', 'ES384', 'ES512', 'RS384', 'RS512', 'PS256', 'EdDSA', 'HS256', 'RS1', 5, ['ES256'], {}].map((alg) => ({ ...HEAD, alg })))
  none(t, [[], ['b64'], null, 'b64', 0].map((crit) => ({ ...HEAD, crit, b64: false })))
})

t.test('its head and its payload are objects, of JSON in UTF-8, written in the one right way', async (t) => {
  none(t, ['', '5', 'null', '"x"', '[]', `[${JSON.stringify(HEAD)}]`, '{', `${JSON.stringify(HEAD)}x`, `\ufeff${JSON.stringify(HEAD)}`, "{'typ':'dbsc+jwt','alg':'ES256'}", '{"typ":"dbsc+jwt","alg":"ES256",}', '['.repeat(4_000), '{"a":'.repeat(800)])
  for (const payload of ['', '5', 'null', '"c"', '[]', '["jti"]', '{"jti":"c"', '{"jti":"c"}}', '\ufeff{"jti":"c"}']) none(t, [HEAD], payload)
  none(t, [HEAD], '{"jti":"c","x":1e}')
  const signed = (head: string, payload: string) => `${head}.${payload}.${base64url(ada.sign(`${head}.${payload}`))}`
  const [head = '', payload = ''] = unsigned(HEAD, { jti: 'c' }).split('.')
  t.strictSame(said(signed(head, payload)), { key: null, challenge: 'c', audience: null })
  const latin1 = base64url(Buffer.from('{"jti":"c","x":"\xe9"}', 'latin1'))
  // What decodes to the same, for who is lenient.
  const alias = payload.replace(/.$/, (last) => String.fromCharCode(last.charCodeAt(0) + 1))
  t.equal(base64url(Buffer.from(alias, 'base64url')), payload)
  const dashed = base64url('{"jti":"c","x":"~~~???"}')
  t.match(dashed, /[-_]/)
  for (const other of [latin1, alias, `${payload}=`, `${payload}==`, `${payload.slice(0, 4)}\n${payload.slice(4)}`, ` ${payload}`, `${payload}A`, dashed.replaceAll('-', '+').replaceAll('_', '/')]) t.equal(readProof(signed(head, other)), null, other)
  for (const other of [`${head}=`, `${head} `, `${head}A`]) t.equal(readProof(signed(other, payload)), null, other)
})

t.test('of members that stand there twice the last counts, and none is inherited', async (t) => {
  t.not(readProof(ada.jwt('{"typ":"jwt","alg":"none","typ":"dbsc+jwt","alg":"ES256"}', { jti: 'c' })), null)
  t.equal(readProof(ada.jwt(HEAD, '{"jti":"a","jti":"b"}'))?.challenge, 'b')
  none(t, [
    '{"typ":"dbsc+jwt","alg":"ES256","alg":"none"}', '{"typ":"dbsc+jwt","alg":"ES256","typ":"jwt"}', '{"__proto__":{"typ":"dbsc+jwt","alg":"ES256"}}', '{"constructor":{"prototype":{"typ":"dbsc+jwt"}},"alg":"ES256"}',
    `{"typ":"dbsc+jwt","alg":"ES256","jwk":${JSON.stringify(ada.jwk)},"jwk":null}`, `{"typ":"dbsc+jwt","alg":"ES256","jwk":{"__proto__":${JSON.stringify(ada.jwk)}}}`
  ])
  none(t, [HEAD], '{"__proto__":{"jti":"c"}}')
  t.equal(readProof(ada.jwt('{"typ":"dbsc+jwt","alg":"ES256","__proto__":{"alg":"none","jwk":5,"crit":["x"]}}', '{"jti":"c","__proto__":{"aud":5}}'))?.challenge, 'c')
  t.equal(({} as { aud?: unknown }).aud, undefined)
})

t.test('challenge and audience are texts', async (t) => {
  for (const jti of [undefined, null, 5, true, [], ['c'], {}]) none(t, [HEAD], { jti })
  for (const aud of [null, 5, true, [], ['https://app.example'], {}]) none(t, [HEAD], { jti: 'c', aud })
  t.strictSame(said(ada.jwt(HEAD, { jti: '', aud: '' })), { key: null, challenge: '', audience: '' })
  t.equal(readProof(ada.jwt(HEAD, '{"jti":"\\ud800\\u0000é"}'))?.challenge, '\ud800\u0000é')
})

/** A point of P-256 whose x is so small that x and x more than the field's size have 256 bits both. */
function smallPoint () {
  const field = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n
  const b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn
  const power = (base: bigint, by: bigint): bigint => by === 0n ? 1n : power(base * base % field, by / 2n) * (by % 2n === 1n ? base : 1n) % field
  for (let x = 1n; ; x++) {
    const square = (x ** 3n - 3n * x + b) % field
    const y = power(square, (field + 1n) / 4n)
    if (y * y % field === square) return { x, y, field }
  }
}

t.test('a key for ES256 is a point of P-256, in the one right way, and nothing of the private half', async (t) => {
  const { x = '', y = '' } = ada.jwk
  const good = { kty: 'EC', crv: 'P-256', x, y }
  const keyOf = (jwk: unknown) => readProof(ada.jwt({ ...HEAD, jwk }, { jti: 'c' }))?.key ?? null
  t.equal(keyOf(good), ada.line)
  t.equal(keyOf({ ...good, use: 'sig', alg: 'ES256', kid: 5, ext: true, key_ops: ['verify'], x5c: [] }), ada.line, 'what else it says is ignored')
  const point = smallPoint()
  const coordinate = (value: bigint) => base64url(number(value))
  t.equal(keyOf({ ...good, x: coordinate(point.x), y: coordinate(point.y) }), `ES256 ${coordinate(point.x)} ${coordinate(point.y)}`)
  const alias = x.replace(/.$/, (last) => String.fromCharCode(last.charCodeAt(0) + 1))
  const other = mallory.jwk
  for (const jwk of [
    null, '', 'x', 5, true, [], [good], {}, JSON.stringify(good), { keys: [good] },
    ...[undefined, null, 'ec', 'RSA', 'OKP', 'oct', 5, ['EC']].map((kty) => ({ ...good, kty })),
    ...[undefined, null, 'p-256', 'P256', 'P-384', 'P-521', 'secp256k1', 'prime256v1', 5, ['P-256']].map((crv) => ({ ...good, crv })),
    ...[undefined, null, '', 5, {}, [x], x.slice(1), `A${x}`, `${x}A`, `${x}=`, ` ${x}`, `${x.slice(1)} `, alias, `${'+'.repeat(42)}A`, 'A'.repeat(43), '_'.repeat(42) + '8', other.x, coordinate(point.x + point.field), `AA${x}`].map((x) => ({ ...good, x })),
    ...[undefined, null, '', 5, [y], y.slice(1), `${y}=`, `${y} `, `${y} ${y}`, other.y, 'A'.repeat(43)].map((y) => ({ ...good, y })),
    { ...good, x: 'A'.repeat(43), y: 'A'.repeat(43) }, { ...good, x: y, y: x }, { ...good, x: coordinate(point.x + point.field), y: coordinate(point.y) },
    ...['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'].flatMap((name) => [{ ...good, [name]: x }, { ...good, [name]: null }])
  ]) t.equal(readProof(ada.jwt({ ...HEAD, jwk }, { jti: 'c' })), null, JSON.stringify(jwk))
  t.equal(readProof(ada.jwt({ ...HEAD, jwk: adas.jwk }, { jti: 'c' })), null, 'one for RS256')
})

/** A number of so many bits, odd. It is no product of two primes, which nobody can see. */
function modulus (bits: number, bytes = Math.ceil(bits / 8)): string {
  return base64url(Buffer.from((2n ** BigInt(bits - 1) + 1n).toString(16).padStart(2 * bytes, '0'), 'hex'))
}

t.test('a key for RS256 has from 2,048 to 4,096 bits and an odd exponent from 3 to 32 bits', async (t) => {
  const { n = '' } = adas.jwk
  const good = { kty: 'RSA', e: 'AQAB', n }
  const keyOf = (jwk: unknown) => readProof(adas.jwt({ ...HEAD, alg: 'RS256', jwk }, { jti: 'c' }))?.key ?? null
  t.equal(keyOf(good), adas.line)
  t.equal(keyOf({ ...good, use: 'sig', alg: 'RS256' }), adas.line)
  for (const bits of [2_048, 2_049, 3_072, 4_095, 4_096]) t.equal(keyOf({ ...good, n: modulus(bits) }), `RS256 AQAB ${modulus(bits)}`, String(bits))
  for (const e of ['Aw', 'BQ', 'AQAB', '_____w']) t.equal(keyOf({ ...good, e }), `RS256 ${e} ${n}`, e)
  // 0, 1, 2, 4, 65,536 and 2^32 - 2; 2^32 + 1 and 2^64 + 1.
  const exponents = ['AA', 'AQ', 'Ag', 'BA', 'AQAA', '_____g', 'AQAAAAE', 'AQAAAAAAAAAB']
  for (const jwk of [
    ...[512, 1_024, 2_040, 2_047, 4_097, 4_104, 8_192].map((bits) => ({ ...good, n: modulus(bits) })),
    { ...good, n: modulus(2_048, 257) }, { ...good, n: modulus(2_040, 256) }, { ...good, n: modulus(1_024, 300) },
    ...[undefined, null, '', 5, [n], `${n}=`, `${n}==`, `${n} `, `${n}A`, n.slice(4), modulus(2_049).replace(/.$/, 'A'), n.replace(/.$/, (last) => String.fromCharCode(last.charCodeAt(0) + 1))].map((n) => ({ ...good, n })),
    ...[undefined, null, '', 5, 65_537, ['AQAB'], 'A', 'AQABA', 'AAEAAQ', 'AAAAAw', 'AQ==', 'AR', 'AQAB ', 'AQAB AQAB', '65537', ...exponents].map((e) => ({ ...good, e })),
    ...['EC', 'rsa', 'RSA-PSS', undefined].map((kty) => ({ ...good, kty })),
    ...['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'].map((name) => ({ ...good, [name]: 'AQAB' })),
    ada.jwk, null, [], 'x'
  ]) t.equal(readProof(adas.jwt({ ...HEAD, alg: 'RS256', jwk }, { jti: 'c' })), null, JSON.stringify(jwk))
  t.equal(readProof(new DeviceKey('RS256', 1_024).registration('c')), null)
})

t.test('[CVE-2018-0114] the key that a proof brings along says nothing about whose it is', async (t) => {
  const forged = readProof(mallory.registration('c'))
  t.equal(forged?.key, mallory.line)
  t.equal(forged?.verify(ada.line), false)
  const stolen = readProof(mallory.jwt({ ...HEAD, jwk: ada.jwk }, { jti: 'c' }))
  t.equal(stolen?.key, ada.line)
  t.equal(stolen?.verify(ada.line), false)
})

t.test('[CVE-2015-9235] the public key is no secret to sign with, and no signature is none', async (t) => {
  for (const key of [ada, adas]) {
    const secrets = [key.line, JSON.stringify(key.jwk), key.publicKey.export({ type: 'spki', format: 'pem' }), key.publicKey.export({ type: 'spki', format: 'der' })]
    for (const alg of ['HS256', 'none', key.alg, key === ada ? 'RS256' : 'ES256']) {
      const text = unsigned({ ...HEAD, alg }, { jti: 'c' })
      for (const signature of ['', ...secrets.map((secret) => createHmac('sha256', secret).update(text).digest('base64url'))]) {
        const proof = readProof(`${text}.${signature}`)
        if (['HS256', 'none'].includes(alg)) t.equal(proof, null)
        else t.equal(proof?.verify(key.line), false)
      }
    }
  }
})

t.test('a signature of another kind of key than the proof says is none, though the key made it', async (t) => {
  const [asRsa, asEc] = [unsigned({ ...HEAD, alg: 'RS256' }, { jti: 'c' }), unsigned(HEAD, { jti: 'c' })]
  for (const dsaEncoding of ['der', 'ieee-p1363'] as const) t.equal(readProof(`${asRsa}.${base64url(ada.sign(asRsa, { dsaEncoding }))}`)?.verify(ada.line), false)
  t.equal(readProof(`${asEc}.${base64url(adas.sign(asEc))}`)?.verify(adas.line), false)
})

t.test('[CVE-2022-21449] an ECDSA signature is two numbers of 32 bytes, neither of them nothing', async (t) => {
  const text = unsigned(HEAD, { jti: 'c' })
  const verdict = (signature: Buffer) => readProof(`${text}.${base64url(signature)}`)?.verify(ada.line)
  const good = ada.sign(text)
  const [r, s] = [good.subarray(0, 32), good.subarray(32)]
  const zero = number(0n)
  t.equal(verdict(good), true)
  for (const [what, signature] of Object.entries({
    DER: ada.sign(text, { dsaEncoding: 'der' }),
    'r of 0': Buffer.concat([zero, s]),
    's of 0': Buffer.concat([r, zero]),
    'both 0': Buffer.concat([zero, zero]),
    'both 1': Buffer.concat([number(1n), number(1n)]),
    'r of the order': Buffer.concat([number(ORDER), s]),
    's of the order': Buffer.concat([r, number(ORDER)]),
    'both of the order': Buffer.concat([number(ORDER), number(ORDER)]),
    'all ones': Buffer.alloc(64, 255),
    'the wrong way round': Buffer.concat([s, r]),
    'one byte less': good.subarray(1),
    'one byte more': Buffer.concat([good, Buffer.alloc(1)]),
    'a byte more for each': Buffer.concat([Buffer.alloc(1), r, Buffer.alloc(1), s]),
    nothing: Buffer.alloc(0),
    'of another text': ada.sign(`${text}.`),
    'another browser\'s': mallory.sign(text)
  })) t.equal(verdict(signature), false, what)
})

t.test('of one ECDSA signature anybody can make its twin, which signs the same text and no other', async (t) => {
  const text = unsigned(HEAD, { jti: 'c' })
  const good = ada.sign(text)
  const twin = twinOf(good)
  t.notSame(twin, good)
  t.equal(readProof(`${text}.${base64url(twin)}`)?.verify(ada.line), true)
  t.equal(readProof(`${unsigned(HEAD, { jti: 'd' })}.${base64url(twin)}`)?.verify(ada.line), false)
})

t.test('an RSA signature is PKCS #1 v1.5 over SHA-256, as long as the modulus and less than it', async (t) => {
  const text = unsigned({ ...HEAD, alg: 'RS256' }, { jti: 'c' })
  const verdict = (signature: Buffer) => readProof(`${text}.${base64url(signature)}`)?.verify(adas.line)
  const good = adas.sign(text)
  const [value, order] = [good, Buffer.from(adas.jwk.n ?? '', 'base64url')].map((bytes) => BigInt(`0x${bytes.toString('hex')}`)) as [bigint, bigint]
  const more = (value + order).toString(16)
  t.equal(verdict(good), true)
  for (const [what, signature] of Object.entries({
    'over SHA-1': adas.sign(text, { hash: 'sha1' }),
    'over SHA-512': adas.sign(text, { hash: 'sha512' }),
    PSS: adas.sign(text, { padding: constants.RSA_PKCS1_PSS_PADDING }),
    'the same and once the modulus': Buffer.from(more.padStart(more.length + more.length % 2, '0'), 'hex'),
    'a zero before it': Buffer.concat([Buffer.alloc(1), good]),
    'one byte less': good.subarray(1),
    'one byte more': Buffer.concat([good, Buffer.alloc(1)]),
    0: Buffer.alloc(256),
    1: Buffer.concat([Buffer.alloc(255), Buffer.from([1])]),
    'all ones': Buffer.alloc(256, 255),
    nothing: Buffer.alloc(0),
    'of another text': adas.sign(`${text}.`),
    'by a key for ES256': ada.sign(text)
  })) t.equal(verdict(signature), false, what)
})

t.test('no text that stands for a key makes it throw', async (t) => {
  const { x = '', y = '' } = ada.jwk
  for (const jwt of [ada.refresh('c'), adas.refresh('c')]) {
    const proof = readProof(jwt)
    for (const key of [
      '', ' ', 'ES256', 'RS256', 'ES256 ', 'RS256 ', 'ES256  ', `ES256 ${x}`, `ES256 ${x} `, `ES256 ${y} ${x}`, `ES256  ${x} ${y}`, `ES256 ${x} ${y} `, `ES256 ${x} ${y} ${y}`, `ES256 ${x} ${y}\n`, `es256 ${x} ${y}`, `ES256\t${x}\t${y}`,
      `RS256 ${x} ${y}`, adas.line.replace('RS', 'ES'), ada.line.replace('ES', 'RS'), `ES256 ${'A'.repeat(43)} ${'A'.repeat(43)}`, `ES256 ${'!'.repeat(43)} ${'!'.repeat(43)}`, `RS256 AQAB ${modulus(1_024)}`, `RS256 AQ ${adas.jwk.n}`, `RS256 AQAB ${modulus(2_048).replace(/.$/, 'A')}`,
      `RS256 AQAB ${'x'.repeat(1e6)}`, JSON.stringify(ada.jwk), '-----BEGIN PUBLIC KEY-----', '\u0000', '\ud800'
    ]) t.equal(proof?.verify(key), false, JSON.stringify(key.slice(0, 100)))
  }
})
