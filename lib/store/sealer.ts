import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto'

const ALGORITHM = 'aes-256-gcm'
const IV_BYTES = 12
const TAG_BYTES = 16
/** What sealed data looks like: a JSON object, as all data of sessions. */
const SEALED = /^\{"sealed":"([\w-]{6})\.([\w-]{38,})"\}$/

interface Key {
  name: string
  cipher: Buffer
  iv: Buffer
}

/**
 * Text at rest: AES-256-GCM, bound to what is said to be its owner. The IV is an HMAC of owner and text (as in
 * RFC 5297's synthetic IV), so that the same text of the same owner looks the same: what is stored can be
 * compared without being opened, and no IV is ever used for two texts.
 */
export class Sealer {
  readonly #keys: [Key, ...Key[]]

  /** The first key seals, all open. Each is a secret of 32 characters or more. */
  constructor (secrets: readonly string[]) {
    this.#keys = secrets.map(keyOf) as [Key, ...Key[]]
  }

  seal (owner: string, text: string): string {
    const [key] = this.#keys
    const iv = createHmac('sha256', key.iv).update(`${owner.length}:${owner}`).update(text).digest().subarray(0, IV_BYTES)
    const cipher = createCipheriv(ALGORITHM, key.cipher, iv, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(owner))
    const sealed = Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
    return `{"sealed":"${key.name}.${sealed.toString('base64url')}"}`
  }

  /** The text, or `null` when it is not what was sealed for this owner, or under none of the keys. */
  open (owner: string, sealed: string): string | null {
    const [, name, value = ''] = SEALED.exec(sealed) ?? []
    const key = this.#keys.find((each) => each.name === name)
    if (key === undefined) return null
    const bytes = Buffer.from(value, 'base64url')
    const end = bytes.length - TAG_BYTES
    const decipher = createDecipheriv(ALGORITHM, key.cipher, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES }).setAAD(Buffer.from(owner)).setAuthTag(bytes.subarray(end))
    try {
      return decipher.update(bytes.subarray(IV_BYTES, end), undefined, 'utf8') + decipher.final('utf8')
    } catch {
      return null
    }
  }
}

function keyOf (secret: string): Key {
  const derived = Buffer.from(hkdfSync('sha256', secret, '', 'fastify-user-sessions data at rest', 68))
  return { cipher: derived.subarray(0, 32), iv: derived.subarray(32, 64), name: derived.subarray(64).toString('base64url') }
}
