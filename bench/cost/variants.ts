import type { OursOptions } from './apps/ours.ts'
import type { FastifySessionOptions } from './apps/fastify-session.ts'

/** One way to answer `GET /me`. */
export interface Variant<Options = unknown> {
  /** In results, and on the command line. */
  name: string
  /** In the table and the plot. */
  says: string
  of: 'nobody' | 'us' | 'others'
  /** The file in apps/ that starts its server. */
  app: string
  options?: Options
  /** Default `/me`. */
  path?: '/me' | '/public'
  /** Whose sessions it is asked with: made once for all that have one name. `null`: none. */
  sessions: string | null
  /** How many times the CPU of raw Fastify it is to cost at most. */
  goal?: number
  /** It keeps sessions for some seconds: each is asked for once more before its turn. */
  forgets?: true
  /** Part of the quick run. */
  quick?: true
  /** Watched by bench:guard. */
  guarded?: true
}

/** What everything is compared with. */
export const RAW: Variant = { name: 'raw', says: 'Fastify 5, no session', of: 'nobody', app: 'raw', sessions: null, quick: true }

const ours = (variant: Omit<Variant<OursOptions>, 'of' | 'app'>): Variant => ({ ...variant, of: 'us', app: 'ours' })
const fastifySession = (variant: Omit<Variant<FastifySessionOptions>, 'of' | 'app'>): Variant => ({ ...variant, of: 'others', app: 'fastify-session' })

export const VARIANTS: readonly Variant[] = [
  { name: 'cookie', says: 'Fastify 5 + @fastify/cookie', of: 'nobody', app: 'raw', options: { cookie: true }, sessions: 'ours' },

  ours({ name: 'near', says: '`request.auth`, near-cache', options: { nearCache: true }, sessions: 'ours', forgets: true, goal: 1.5, quick: true, guarded: true }),
  ours({ name: 'strict', says: '`request.auth`', options: {}, sessions: 'ours', goal: 2.3, quick: true, guarded: true }),
  ours({ name: 'session', says: '`request.session`', options: { via: 'session' }, sessions: 'ours', goal: 3, quick: true, guarded: true }),
  ours({ name: 'bearer', says: '`request.auth`, bearer token', options: { bearer: true }, sessions: 'bearer', goal: 2.3, quick: true, guarded: true }),
  ours({ name: 'anonymous', says: 'nobody signed in, no cookie', options: {}, path: '/public', sessions: null, goal: 1.15, quick: true, guarded: true }),
  ours({ name: 'memory', says: '`request.auth`, `MemoryStore`', options: { store: 'memory' }, sessions: 'memory', guarded: true }),
  ours({ name: 'near-session', says: '`request.session`, near-cache', options: { nearCache: true, via: 'session' }, sessions: 'ours', forgets: true }),
  ours({ name: 'near-thrashing', says: '`request.auth`, near-cache for a tenth of the sessions', options: { nearCache: { maxEntries: 1_000 } }, sessions: 'ours', forgets: true }),

  fastifySession({ name: 'usual', says: '@fastify/session + connect-redis 8, defaults', options: {}, sessions: 'connect-redis', quick: true }),
  fastifySession({ name: 'usual-pipelined', says: '… with autopipelining', options: { pipelining: true }, sessions: 'connect-redis' }),
  fastifySession({ name: 'usual-still', says: '… with rolling off (never slides)', options: { rolling: false }, sessions: 'connect-redis' }),
  fastifySession({ name: 'usual-still-pipelined', says: '… with rolling off and autopipelining', options: { rolling: false, pipelining: true }, sessions: 'connect-redis' }),
  fastifySession({ name: 'usual-memory', says: '@fastify/session, its MemoryStore', options: { store: 'memory' }, sessions: 'usual-memory' }),
  { name: 'express', says: 'Express 5 + express-session + connect-redis 10', of: 'others', app: 'express-session', sessions: 'express' },
  { name: 'better-auth', says: 'better-auth 1.3, sessions in Redis', of: 'others', app: 'better-auth', options: { cookieCache: false }, sessions: 'better-auth' },
  { name: 'better-auth-cached', says: 'better-auth 1.3, its cookie cache (not revocable)', of: 'others', app: 'better-auth', options: { cookieCache: true }, sessions: 'better-auth-cached' },
  { name: 'secure-session', says: '@fastify/secure-session (not revocable)', of: 'others', app: 'secure-session', sessions: 'secure-session' },
  { name: 'iron-session', says: 'iron-session 8 (not revocable)', of: 'others', app: 'iron-session', sessions: 'iron-session' }
]

/** Who is signed in by the session of this number. All names are of one length, so that all replies are. */
export function userOf (number: number): string {
  return `user-${String(number).padStart(5, '0')}`
}

/** The whole body of every reply; `null`: of one that knows no user. */
export function bodyOf (user: string | null): { userId: string } {
  return { userId: user ?? userOf(0) }
}
