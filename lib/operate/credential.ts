import { bearerOf, cookieValues, isBearer } from '../session/headers.ts'
import type { SessionKind } from '../session/record.ts'
import { noCredential } from '../session/refusals.ts'
import type { Refusal } from '../session/refusals.ts'
import { fromBearer, SignedTokens } from '../session/token.ts'
import type { Token } from '../session/token.ts'
import type { Sample } from './sample.ts'

/** A token that somebody has shown, and what is known of it without the store. */
export interface Presented {
  readonly kind: SessionKind
  readonly token: Token
  /**
   * Place of the secret that has signed the cookie: 1 is the first. `null`: none of them has. `undefined`: bearer
   * tokens are not signed, or there is no secret to check with.
   */
  readonly signedBy: number | null | undefined
}

/** A token and its signature, `<id>.<secret>.<mac>`. */
const SIGNED = /^([\w-]{22}\.[\w-]{32})\.[\w-]{43}$/

/**
 * Reads a credential, as the application would. Returns why there is none. `secret`: what SESSION_SECRET says: one, or
 * several separated by commas or line breaks, the present one first.
 */
export function presentedBy (
  sample: Sample, cookieNames: readonly string[], secret: string | undefined
): Presented | Refusal {
  const cookies = cookieNames.map((name) => cookieValues(sample.cookie ?? '', name))
  if (isBearer(sample.authorization)) {
    const token = fromBearer(bearerOf(sample.authorization) ?? '')
    if (token !== null) return { kind: 'bearer', token, signedBy: undefined }
  } else if (cookies.every(({ length }) => length <= 1)) {
    for (const [value = ''] of cookies) {
      const token = SIGNED.exec(value)?.[1]
      if (token !== undefined) return { kind: 'cookie', token, signedBy: signerOf(value, secret) }
    }
  }
  const rules = { cookieNames, cookieForms: ['fastify-user-sessions'] as const, bearer: true }
  return noCredential(sample, rules)
}

/** Returns which secret has signed a value. `undefined` where there is none to check with. */
function signerOf (value: string, text = ''): number | null | undefined {
  const secrets = text.split(/[,\n]/).map((each) => each.trim()).filter((each) => each !== '')
  if (secrets.length === 0) return undefined
  const hasSigned = (secret: string): boolean => new SignedTokens([secret]).unsign(value) !== null
  const index = secrets.findIndex(hasSigned)
  if (index >= 0) return index + 1
  // One secret may have commas of its own.
  return hasSigned(text) ? 1 : null
}
