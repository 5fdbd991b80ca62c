// What all pages share: how they are sent, what forms may hold, and whose they are.
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Html } from './html.ts'
import { findUser } from './users.ts'
import type { User } from './users.ts'

const POLICY = [
  "default-src 'none'", "style-src 'self'", "script-src 'self'", "connect-src 'self'", "img-src 'self'",
  "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"
]

export const HEADERS = {
  'content-security-policy': POLICY.join('; '),
  'x-content-type-options': 'nosniff',
  // Not `no-referrer`: forms would say `Origin: null`, and the session plugin would take them for another site's.
  'referrer-policy': 'same-origin',
  // Pages about a person: the back button shows none of them after signing out.
  'cache-control': 'no-store'
}

/** Sends a page. */
export function show (reply: FastifyReply, page: Html, status = 200): FastifyReply {
  return reply.code(status).headers(HEADERS).type('text/html; charset=utf-8').send(page.text)
}

/** Makes the schema of a form. All fields are required but those that are named. */
export function form (fields: Record<string, object>, optional: string[] = []): { body: object } {
  const required = Object.keys(fields).filter((name) => !optional.includes(name))
  return { body: { type: 'object', properties: fields, required } }
}

/** Makes the schema of a field. */
export function text (maxLength: number): object {
  return { type: 'string', minLength: 1, maxLength }
}

/** Returns the cookies of the session, as the browser has sent them. */
export function sessionCookies ({ headers }: FastifyRequest): string[] {
  return (headers.cookie ?? '').split('; ').filter((cookie) => /^(__Host-)?sid(-bound)?=/.test(cookie))
}

/** Returns who is signed in. */
export function userOf (request: FastifyRequest): User {
  const user = findUser(request.requireAuth().userId)
  if (user === undefined) throw new Error('a session of a user who is no more')
  return user
}
