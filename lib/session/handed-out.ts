import type { Credentials } from './credentials.ts'
import type { CreatedSession } from './manager-types.ts'
import type { HeldSession } from './new-record.ts'
import { toInfo } from './record.ts'
import type { SessionInfo } from './record.ts'
import { toBearer } from './token.ts'

/** A new session with what proves it, as its client carries that. */
export function handedOut ({ record, token }: HeldSession, credentials: Credentials): CreatedSession {
  const session = toInfo(record) as SessionInfo
  const bearer = toBearer(token)
  if (record.kind === 'bearer') return { token: bearer, session, headers: { authorization: `Bearer ${bearer}` } }
  return { token: credentials.sign(token), session, headers: { cookie: credentials.cookieOf(token) } }
}
