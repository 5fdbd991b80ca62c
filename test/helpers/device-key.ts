import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject, SigningOptions } from 'node:crypto'

export const base64url = (bytes: Buffer | string): string => Buffer.from(bytes).toString('base64url')

/** The first two parts of a JWT. What is no text is written as JSON. */
export function unsigned (head: unknown, payload: unknown): string {
  return [head, payload].map((part) => base64url(typeof part === 'string' ? part : JSON.stringify(part))).join('.')
}

/**
 * Node.js 20 stands still for ever where it frees what has made a key while it exports that key as a JWK. So these keys
 * are made of text.
 */
const publicKeyEncoding = { type: 'spki', format: 'pem' } as const
const privateKeyEncoding = { type: 'pkcs8', format: 'pem' } as const

/** The key of a browser, and what the browser says with it. */
export class DeviceKey {
  readonly alg: 'ES256' | 'RS256'
  /** The public half. */
  readonly jwk: Record<string, string>
  readonly publicKey: KeyObject
  readonly #privateKey: KeyObject

  constructor (alg: 'ES256' | 'RS256' = 'ES256', bits = 2_048) {
    const pem = alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256', privateKeyEncoding, publicKeyEncoding }) : generateKeyPairSync('rsa', { modulusLength: bits, privateKeyEncoding, publicKeyEncoding })
    this.alg = alg
    this.publicKey = createPublicKey(pem.publicKey)
    this.#privateKey = createPrivateKey(pem.privateKey)
    this.jwk = this.publicKey.export({ format: 'jwk' }) as Record<string, string>
  }

  /** The public half as one line, as a session's record has it. */
  get line (): string {
    const { x, y, e, n } = this.jwk
    return this.alg === 'ES256' ? `ES256 ${x} ${y}` : `RS256 ${e} ${n}`
  }

  /** The proof that comes with a registration. */
  registration (challenge: string, claims: object = {}): string {
    return this.jwt({ alg: this.alg, jwk: this.jwk, typ: 'dbsc+jwt' }, { jti: challenge, ...claims })
  }

  /** The proof that comes with a refresh. */
  refresh (challenge: string, claims: object = {}): string {
    return this.jwt({ alg: this.alg, typ: 'dbsc+jwt' }, { jti: challenge, ...claims })
  }

  /** A JWT that says this. */
  jwt (head: unknown, payload: unknown): string {
    const text = unsigned(head, payload)
    return `${text}.${base64url(this.sign(text))}`
  }

  sign (text: string, { hash = 'sha256', ...how }: SigningOptions & { hash?: string } = {}): Buffer {
    return sign(hash, Buffer.from(text), { key: this.#privateKey, dsaEncoding: 'ieee-p1363', ...how })
  }
}

/** The order of P-256. */
export const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/** A whole number as 32 bytes. */
export function number (value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(64, '0'), 'hex')
}

/**
 * The other ECDSA signature of the same text by the same key, that anybody can work out of one: `s` is as good as the
 * order less `s`. Neither RFC 7518 nor WebCrypto forbids one of them. It signs nothing else, so it is no forgery.
 */
export function twinOf (signature: Buffer): Buffer {
  const s = BigInt(`0x${signature.subarray(32).toString('hex')}`)
  return Buffer.concat([signature.subarray(0, 32), number(ORDER - s)])
}
