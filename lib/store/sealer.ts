import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto'

const ALGORITHM = 'aes-256-gcm'
const IV_BYTES = 12
const TAG_BYTES = 16
/** The form of encrypted data: a JSON object, as all data of sessions is. */
const SEALED = /^\{"sealed":"([\w-]{6})\.([\w-]{38,})"\}$/

interface Key {
  name: string
  cipher: Buffer
  iv: Buffer
}

/**
 * Encrypts text at rest by AES-256-GCM, bound to an owner. The IV is an HMAC of owner and text (as the synthetic IV of
 * RFC 5297), so that the same text of the same owner looks the same: stored data can be compared without being
 * decrypted, and no IV is ever used for two texts.
 */
export class Sealer {
  readonly #keys: [Key, ...Key[]]

  /** The first key encrypts, all decrypt. Each is a secret of 32 characters or more. */
  constructor (secrets: readonly string[]) {
    this.#keys = secrets.map(keyOf) as [Key, ...Key[]]
  }

  /** Encrypts a text for its owner. */
  seal (owner: string, text: string): string {
    const [key] = this.#keys
    const hmac = createHmac('sha256', key.iv).update(`${owner.length}:${owner}`).update(text)
    const iv = hmac.digest().subarray(0, IV_BYTES)
    const cipher = createCipheriv(ALGORITHM, key.cipher, iv, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(owner))
    const sealed = Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
    return `{"sealed":"${key.name}.${sealed.toString('base64url')}"}`
  }

  /** Decrypts a text. Returns `null` when it was not encrypted for this owner, or with none of the keys. */
  open (owner: string, sealed: string): string | null {
    const [, name, value = ''] = SEALED.exec(sealed) ?? []
    const key = this.#keys.find((each) => each.name === name)
    if (key === undefined) return null
    const bytes = Buffer.from(value, 'base64url')
    const end = bytes.length - TAG_BYTES
    const iv = bytes.subarray(0, IV_BYTES)
    const decipher = createDecipheriv(ALGORITHM, key.cipher, iv, { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(owner)).setAuthTag(bytes.subarray(end))
    try {
      return decipher.update(bytes.subarray(IV_BYTES, end), undefined, 'utf8') + decipher.final('utf8')
    } catch {
      return null
    }
  }
}

/** Derives the parts of a key from a secret. */
function keyOf (secret: string): Key {
  const derived = Buffer.from(hkdfSync('sha256', secret, '', 'fastify-user-sessions data at rest', 68))
  const name = derived.subarray(64).toString('base64url')
  return { cipher: derived.subarray(0, 32), iv: derived.subarray(32, 64), name }
}
