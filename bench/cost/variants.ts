import type { OursOptions } from './apps/ours.ts'
import type { FastifySessionOptions } from './apps/fastify-session.ts'

/** What is asked for: `GET /me`, `GET /public` or `POST /note`, which changes the session. */
export type Path = '/me' | '/public' | '/note'

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
  path?: Path
  /** In turn, in place of one `path`. */
  mix?: readonly Path[]
  /** Whose sessions it is asked with: made once for all that have one name. `null`: none. */
  sessions: string | null
  /** Sent where there is no session. */
  header?: string
  /** Its sessions are known to this one process. */
  inMemory?: true
  /** The least Node that a peer needs. Where this one is older, it runs in the one of bench/package.json. */
  node?: number
  /** How many times the CPU of raw Fastify it is to cost at most. */
  goal?: number
  /** It keeps sessions for some seconds: each is asked for once more before its turn. */
  forgets?: true
  /** Part of the quick run. */
  quick?: true
  /** Watched by bench:guard. */
  guarded?: true
  /** Measured by bench:outside unless it is told what to measure. */
  outside?: true
}

/** What everything is compared with. */
export const RAW: Variant = { name: 'raw', says: 'Fastify 5, no session', of: 'nobody', app: 'raw', sessions: null, quick: true }

const ours = (variant: Omit<Variant<OursOptions>, 'of' | 'app'>): Variant => ({ ...variant, of: 'us', app: 'ours' })
const fastifySession = (variant: Omit<Variant<FastifySessionOptions>, 'of' | 'app'>): Variant => ({ ...variant, of: 'others', app: 'fastify-session' })

/** What `mixed` is asked. */
export const MIX: readonly Path[] = [...Array.from({ length: 8 }, (): Path => '/me'), '/note', '/public']

export const VARIANTS: readonly Variant[] = [
  { name: 'cookie', says: 'Fastify 5 + @fastify/cookie', of: 'nobody', app: 'raw', options: { cookie: true }, sessions: 'ours', outside: true },

  ours({ name: 'near', says: '`request.auth`, near-cache', options: { nearCache: true }, sessions: 'ours', forgets: true, goal: 1.5, quick: true, guarded: true, outside: true }),
  ours({ name: 'strict', says: '`request.auth`', options: {}, sessions: 'ours', goal: 2.3, quick: true, guarded: true, outside: true }),
  ours({ name: 'near-metrics', says: '`request.auth`, near-cache, with metrics', options: { nearCache: true, metrics: true }, sessions: 'ours', forgets: true }),
  ours({ name: 'strict-metrics', says: '`request.auth`, with metrics', options: { metrics: true }, sessions: 'ours' }),
  ours({ name: 'near-bound', says: '`request.auth` of a session that is bound to a device, near-cache', options: { nearCache: true, bound: true }, sessions: 'bound', forgets: true, goal: 1.6 }),
  ours({ name: 'strict-bound', says: '`request.auth` of a session that is bound to a device', options: { bound: true }, sessions: 'bound', goal: 2.4 }),
  ours({ name: 'session', says: '`request.session`', options: { via: 'session' }, sessions: 'ours', goal: 3, quick: true, guarded: true, outside: true }),
  ours({ name: 'bearer', says: '`request.auth`, bearer token', options: { bearer: true }, sessions: 'bearer', goal: 2.3, quick: true, guarded: true }),
  ours({ name: 'anonymous', says: 'nobody signed in, no cookie', options: {}, path: '/public', sessions: null, goal: 1.15, quick: true, guarded: true, outside: true }),
  ours({ name: 'foreign', says: 'nobody signed in, cookies of others', options: {}, path: '/public', sessions: null, header: 'Cookie: theme=dark; _ga=GA1.1.1234567890.1234567890\r\n', outside: true }),
  ours({ name: 'write', says: '`request.session` changed and saved, near-cache', options: { nearCache: true }, path: '/note', sessions: 'written' }),
  ours({ name: 'mixed', says: 'near-cache, in ten requests one change and one of nobody', options: { nearCache: true }, mix: MIX, sessions: 'written', forgets: true }),
  ours({ name: 'memory', says: '`request.auth`, `MemoryStore`', options: { store: 'memory' }, sessions: 'memory', inMemory: true, guarded: true }),
  ours({ name: 'near-session', says: '`request.session`, near-cache', options: { nearCache: true, via: 'session' }, sessions: 'ours', forgets: true }),
  ours({ name: 'near-thrashing', says: '`request.auth`, near-cache for a tenth of the sessions', options: { nearCache: { maxEntries: 1_000 } }, sessions: 'ours', forgets: true }),

  fastifySession({ name: 'usual', says: '@fastify/session + connect-redis 8, defaults', options: {}, sessions: 'connect-redis', quick: true, outside: true }),
  fastifySession({ name: 'usual-pipelined', says: '… with autopipelining', options: { pipelining: true }, sessions: 'connect-redis' }),
  fastifySession({ name: 'usual-still', says: '… with rolling off (never slides)', options: { rolling: false }, sessions: 'connect-redis' }),
  fastifySession({ name: 'usual-still-pipelined', says: '… with rolling off and autopipelining', options: { rolling: false, pipelining: true }, sessions: 'connect-redis', outside: true }),
  fastifySession({ name: 'usual-memory', says: '@fastify/session, its MemoryStore', options: { store: 'memory' }, sessions: 'usual-memory', inMemory: true }),
  { name: 'express', says: 'Express 5 + express-session + connect-redis 10', of: 'others', app: 'express-session', sessions: 'express' },
  { name: 'better-auth', says: 'better-auth 1.7, sessions in Redis', of: 'others', app: 'better-auth', options: { cookieCache: false }, sessions: 'better-auth' },
  { name: 'better-auth-cached', says: 'better-auth 1.7, its cookie cache (not revocable)', of: 'others', app: 'better-auth', options: { cookieCache: true }, sessions: 'better-auth-cached' },
  { name: 'secure-session', says: '@fastify/secure-session (not revocable)', of: 'others', app: 'secure-session', sessions: 'secure-session', outside: true },
  { name: 'iron-session', says: 'iron-session 9 on Node 24 (not revocable)', of: 'others', app: 'iron-session', node: 22, sessions: 'iron-session' }
]

/** Who is signed in by the session of this number. All names are of one length, so that all replies are. */
export function userOf (number: number): string {
  return `user-${String(number).padStart(5, '0')}`
}

/** The whole body of every reply; `null`: of one that knows no user. */
export function bodyOf (user: string | null): { userId: string } {
  return { userId: user ?? userOf(0) }
}
