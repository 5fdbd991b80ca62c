import { constants, createPublicKey, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/** Longest header that is read, in characters. A proof that brings an RSA key of 4,096 bits has about 2,000. */
const LONGEST = 8_192
/** How RFC 9651 writes a text. Its parameters are ignored, as the specification asks for. */
const QUOTED = /^"(?<text>[\w.-]*)"(?:;[ -~]*)?$/

type Algorithm = 'ES256' | 'RS256'

/**
 * The key that a browser says is its own, and what it signed with it: the JWT of the header `Secure-Session-Response`.
 * Nothing in it is proven before `verify` says so.
 */
export interface Proof {
  /**
   * The key that it brings along, as `ES256 <x> <y>` or `RS256 <e> <n>`: one line, members as in RFC 7518. Whoever sent
   * it chose it: at a refresh the key to verify with is the one that the session has. `null`: it brings none.
   */
  readonly key: string | null
  /** The challenge that it answers. */
  readonly challenge: string
  /** The URL that it was made for; `null` where it names none, as Chromium does not. */
  readonly audience: string | null
  /** Whether this key, written as above, signed it. Never throws. */
  verify (key: string): boolean
}

/**
 * Reads the header `Secure-Session-Response`, with quotes as the specification has it, or without as Chromium sends it.
 * Returns `null` for all that is no proof of the specification: other algorithms and types, a key that is not a good
 * public key for the algorithm, a text that another would decode to the same, critical extensions. Unknown members are
 * ignored; of those that stand there twice the last one counts (RFC 7515, section 4). Never throws.
 * @see https://w3c.github.io/webappsec-dbsc/#format-jwt
 */
export function readProof (header: unknown): Proof | null {
  if (typeof header !== 'string' || header.length > LONGEST) return null
  const [head = '', payload = '', ending, ...more] = (QUOTED.exec(header)?.groups?.text ?? header).split('.')
  if (ending === undefined || more.length > 0) return null
  const [parameters, claims, signature] = [objectIn(head), objectIn(payload), bytesOf(ending)]
  if (parameters === null || claims === null || signature === null) return null
  const { typ, alg, crit, jwk } = parameters
  const { jti: challenge, aud: audience } = claims
  // Who does not know what `crit` names has to refuse it (RFC 7515, section 4.1.11), and there is nothing that we know.
  if (typ !== 'dbsc+jwt' || (alg !== 'ES256' && alg !== 'RS256') || crit !== undefined) return null
  if (typeof challenge !== 'string' || (audience !== undefined && typeof audience !== 'string')) return null
  const key = jwk === undefined ? null : keyIn(jwk, alg)
  if (jwk !== undefined && key === null) return null
  const signed = Buffer.from(`${head}.${payload}`)
  return { key, challenge, audience: audience ?? null, verify: (by) => isSigned(signed, signature, alg, by) }
}

/** Decodes base64url as RFC 7515 writes it. Returns `null` for every other text, also for one of the same bytes. */
function bytesOf (text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : null
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function objectIn (part: string): Record<string, unknown> | null {
  const bytes = bytesOf(part)
  const value = bytes === null ? null : attempt((): unknown => JSON.parse(UTF8.decode(bytes)))
  return isObject(value) ? value : null
}

/** Whether members can be read from it. An array passes, and has none that anybody asks for. */
function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

/** Returns what `action` returns, or `null` when it throws. */
function attempt<T> (action: () => T): T | null {
  try {
    return action()
  } catch {
    return null
  }
}

/** Members that only private and symmetric keys have (RFC 7518, section 6). */
const SECRETS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']

/** Returns the key of a JWK as one line. Returns `null` if it is not a good public key for the algorithm. */
function keyIn (jwk: unknown, alg: Algorithm): string | null {
  if (!isObject(jwk) || SECRETS.some((name) => Object.hasOwn(jwk, name))) return null
  const { kty, crv, x, y, e, n } = jwk
  const [type, first, second] = alg === 'ES256' ? ['EC', x, y] : ['RSA', e, n]
  if (kty !== type || (alg === 'ES256' && crv !== 'P-256')) return null
  if (typeof first !== 'string' || typeof second !== 'string') return null
  const key = `${alg} ${first} ${second}`
  return publicKeyOf(key) === null ? null : key
}

/** Whether the key made this signature: two numbers of 32 bytes on P-256 (RFC 7518, section 3.4), or PKCS #1 v1.5. */
function isSigned (signed: Buffer, signature: Buffer, alg: Algorithm, key: string): boolean {
  if (!key.startsWith(`${alg} `) || (alg === 'ES256' && signature.length !== 64)) return false
  const publicKey = publicKeyOf(key)
  if (publicKey === null) return false
  const how = alg === 'ES256' ? { dsaEncoding: 'ieee-p1363' as const } : { padding: constants.RSA_PKCS1_PADDING }
  return attempt(() => verify('sha256', signed, { key: publicKey, ...how }, signature)) === true
}

/** A key as one line. Of an RSA key the exponent has 4 bytes at most, the modulus 256 to 512. */
const KEY = /^(?:ES256 [\w-]{43} [\w-]{43}|RS256 [\w-]{2,6} [\w-]{342,683})$/

/** Returns the key that is written as one line. Returns `null` if it is not a good one. */
function publicKeyOf (key: string): KeyObject | null {
  if (!KEY.test(key)) return null
  const [alg, first = '', second = ''] = key.split(' ')
  const [one, other] = [bytesOf(first), bytesOf(second)]
  if (one === null || other === null || (alg === 'RS256' && !isRsa(one, other))) return null
  const jwk = alg === 'ES256' ? { kty: 'EC', crv: 'P-256', x: first, y: second } : { kty: 'RSA', e: first, n: second }
  // Throws for a point that is not on the curve.
  return attempt(() => createPublicKey({ format: 'jwk', key: jwk }))
}

/**
 * Whether these are the numbers of an RSA key of 2,048 to 4,096 bits. Browsers use the exponent 65,537; whoever sends a
 * larger one makes the server work for it, and none has more than 32 bits here. Neither begins with a zero (RFC 7518).
 */
function isRsa (exponent: Buffer, modulus: Buffer): boolean {
  const bits = 8 * modulus.length + 24 - Math.clz32(modulus.readUInt8())
  const e = exponent.readUIntBE(0, exponent.length)
  if (exponent.readUInt8() === 0 || modulus.readUInt8() === 0) return false
  const areOdd = e % 2 === 1 && modulus.readUInt8(modulus.length - 1) % 2 === 1
  return areOdd && bits >= 2_048 && bits <= 4_096 && e >= 3
}
