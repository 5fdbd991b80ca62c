import { assertMembers, isShortText } from './arguments.ts'
import type { SessionRecord } from './record.ts'

/** A session at an OpenID Connect provider. */
export interface IdpSession {
  /** The provider: `iss` of its tokens, 1 to 512 characters. */
  readonly issuer: string
  /** The session there: `sid` of its tokens, 1 to 512 characters. */
  readonly sid: string
}

/** Most characters of an issuer and of a `sid`. As JSON both fit into the first line of a stored session. */
const MOST_CHARACTERS = 512

/**
 * Returns the text by which a session at a provider is stored and found: the same for the same session.
 * @throws TypeError for anything that is none
 */
export function idpText (idp: IdpSession, name = 'idp'): string {
  assertMembers(idp, name, ['issuer', 'sid'])
  const { issuer, sid } = idp
  return JSON.stringify([checkedText(issuer, `${name}.issuer`), checkedText(sid, `${name}.sid`)])
}

/** Returns the session at a provider that a session belongs to, frozen, or `null`. */
export function idpOf ({ idp }: SessionRecord): IdpSession | null {
  if (idp === null) return null
  const [issuer, sid] = partsOf(idp)
  return typeof issuer === 'string' && typeof sid === 'string' ? Object.freeze({ issuer, sid }) : null
}

function checkedText (text: unknown, name: string): string {
  // Of a control character JSON makes six.
  if (isShortText(text, MOST_CHARACTERS)) return text
  throw new TypeError(`${name} must be a text of 1 to ${MOST_CHARACTERS} characters without control characters`)
}

function partsOf (text: string): unknown[] {
  try {
    const parts: unknown = JSON.parse(text)
    return Array.isArray(parts) ? parts : []
  } catch {
    return []
  }
}
