import { Type } from '@sinclair/typebox'
import type { Static, TObject, TSchema } from '@sinclair/typebox'
import type { Migrate } from '../session/data-schema.ts'
import type { ExpressStore } from '../store/foreign-store.ts'
import type { RedisTarget } from '../store/open.ts'
import type { SessionStore } from '../session/store.ts'

// The one place that says what options there are: the type, the defaults, the check and the README's table.

/** TypeBox members that may be absent or `undefined`, also under exactOptionalPropertyTypes. */
const optional = <T extends TSchema>(schema: T) => Type.Optional(Type.Union([schema, Type.Undefined()], pick(schema)))
const pick = ({ description, default: value, expects }: TSchema) => ({ ...description !== undefined && { description }, ...value !== undefined && { default: value }, ...expects !== undefined && { expects } })

const Duration = (options: { description?: string, default?: string } = {}) => Type.Union([Type.Number(), Type.String()], { ...options, expects: 'milliseconds or a string such as \'30m\'' })

const CookieOptions = Type.Object({
  secure: optional(Type.Boolean({ default: true, description: 'Sent over https only. Set it to `false` for plain http in development; behind a TLS proxy set Fastify\'s `trustProxy` instead.' })),
  sameSite: optional(Type.Union([Type.Literal('lax'), Type.Literal('strict'), Type.Literal('none')], { default: 'lax', description: 'Which requests from other sites carry it. `none` needs `secure`.' })),
  httpOnly: optional(Type.Boolean({ default: true, description: 'Hidden from the page\'s scripts.' })),
  path: optional(Type.String({ default: '/', description: 'Sent for this path and below.' })),
  domain: optional(Type.String({ description: 'Sent to this domain and all below it. Absent: to this host only, which is safer.' })),
  partitioned: optional(Type.Boolean({ default: false, description: 'Kept apart per embedding site (CHIPS). Needs `secure`.' })),
  maxAge: optional(Type.Union([Duration(), Type.Literal(false)], { description: 'How long the browser keeps it at most. Default: as long as the session may last; `false`: until the browser closes.' }))
}, { additionalProperties: false, description: 'Attributes of the session cookie, see below.' })

const RememberOptions = Type.Object({
  idleTimeout: optional(Duration({ default: '30d' })),
  absoluteTimeout: optional(Duration({ default: '90d' }))
}, { additionalProperties: false, description: 'The timeouts of `login({ remember: true })`. Default `{ idleTimeout: \'30d\', absoluteTimeout: \'90d\' }`.' })

const EncryptionOptions = Type.Object({
  keys: Type.Array(Type.String(), { minItems: 1, description: 'Secrets of 32 characters or more. The first encrypts, all decrypt; without the one it is under, a session has ended.' }),
  acceptPlain: optional(Type.Boolean({ default: false, description: 'Also reads what was stored before there was encryption: for the time it takes those sessions to end.' }))
}, { additionalProperties: false, description: 'Session data is encrypted at rest, see below.' })

const NearCacheOptions = Type.Object({
  maxEntries: optional(Type.Integer({ minimum: 1, maximum: 10_000_000, default: 10_000, expects: 'an integer from 1 to 10000000' })),
  maxStale: optional(Duration({ default: '5s' }))
}, { additionalProperties: false })

/** How many sessions a user may have, by default, where the store knows which those are. */
export const MAX_SESSIONS_PER_USER = 1_000

/** How many logins may fail within which time, by default. */
export const ATTEMPTS = { network: { max: 100, within: '15m' }, accountNetwork: { max: 10, within: '15m' }, account: { max: 50, within: '30d' } }

const Limit = ({ max, within }: { max: number, within: string }, description: string) => Type.Optional(Type.Union([
  Type.Object({
    max: optional(Type.Integer({ minimum: 1, maximum: 1000, default: max, expects: 'an integer from 1 to 1000' })),
    within: optional(Duration({ default: within }))
  }, { additionalProperties: false, default: { max, within } }),
  Type.Literal(false),
  Type.Undefined()
], { description }))

/** Limits on failed logins. */
export const AttemptOptions = Type.Object({
  network: Limit(ATTEMPTS.network, 'From one network.'),
  accountNetwork: Limit(ATTEMPTS.accountNetwork, 'Of one account from one network.'),
  account: Limit(ATTEMPTS.account, 'Of one account, from all networks that it did not sign in from in the last 30 days.')
}, { additionalProperties: false, description: 'Limits on failed logins, for `app.attemptLogin` and, unless they say otherwise, `authRoutes`: [below](#failed-logins). `false`: none.' })
export type AttemptOptions = Static<typeof AttemptOptions>
export const AttemptsOption = Type.Optional(Type.Union([AttemptOptions, Type.Literal(false), Type.Undefined()], { description: AttemptOptions.description ?? '' }))

const DecoratorOptions = Type.Object({
  authenticate: optional(Type.String({ default: 'authenticate' })),
  login: optional(Type.String({ default: 'login' })),
  logout: optional(Type.String({ default: 'logout' })),
  attemptLogin: optional(Type.String({ default: 'attemptLogin' })),
  requireRecentLogin: optional(Type.String({ default: 'requireRecentLogin' })),
  sessions: optional(Type.String({ default: 'sessions' })),
  auth: optional(Type.String({ default: 'auth' })),
  requireAuth: optional(Type.String({ default: 'requireAuth' }))
}, { additionalProperties: false, description: 'Other names for `authenticate`, `login`, `logout`, `attemptLogin`, `requireRecentLogin`, `sessions` (instance), `auth` and `requireAuth` (request), where the application already has these.' })

/** The options of `sessionPlugin`. */
export const SessionOptions = Type.Object({
  secret: Type.Unsafe<string | readonly string[] | undefined>(Type.Union([Type.String(), Type.Array(Type.String()), Type.Undefined()], { description: '**Required.** Signs the cookie. An array rotates: the first signs and has 32 characters or more, all verify, so that a rotation signs nobody out.' })),
  redis: optional(Type.Unsafe<RedisTarget>(Type.Any({ description: 'A `redis://` or `rediss://` URL, ioredis options, `{ cluster: [{ host, port }], tls?, username?, password? }`, or your ioredis `Redis` or `Cluster`. Of a client only the options are read; it stays yours to use and to close.' }))),
  store: optional(Type.Unsafe<SessionStore | ExpressStore>(Type.Any({ description: 'Instead of `redis`: a `MemoryStore` or `RedisStore`, or any express-session compatible store. Neither: memory, with a warning; refused with `NODE_ENV=production`.' }))),
  keyPrefix: optional(Type.String({ default: 'sess:', description: 'What session keys in Redis begin with. Two registrations on one Redis need prefixes that do not overlap.' })),
  cookieName: optional(Type.Union([Type.String(), Type.Array(Type.String())], { description: 'Default `__Host-sid` when the cookie is `secure`, has path `/` and no `domain`; else `sid`. An array renames: the first is written, all are read.' })),
  cookie: optional(CookieOptions),
  idleTimeout: optional(Duration({ default: '30m', description: 'Ends a session that nobody uses.' })),
  absoluteTimeout: optional(Duration({ default: '7d', description: 'Ends a session however busy it is.' })),
  remember: optional(RememberOptions),
  assurance: optional(Type.Union([Type.Literal('aal2'), Type.Literal('aal3')], { description: 'Refuses sessions longer than NIST SP 800-63B-4 allows at that level: 24 hours, and one without use (`aal2`), or 12 hours and 15 minutes (`aal3`). Default timeouts that are longer become that.' })),
  touchAfter: optional(Type.Union([Duration(), Type.Literal(false)], { description: 'An unchanged session is extended at most this often, so it ends up to this much before its idle timeout. Default: a tenth of the idle timeout; `false`: never extended.' })),
  bearer: optional(Type.Boolean({ default: false, description: 'Also accepts `Authorization: Bearer`, for mobile and service clients; `authRoutes` then has `POST /token`.' })),
  maxSessionsPerUser: Type.Optional(Type.Union([Type.Integer({ minimum: 1 }), Type.Literal(false), Type.Undefined()], {
    default: MAX_SESSIONS_PER_USER,
    expects: 'an integer of 1 or more, or false',
    description: 'How many sessions a user may have at a time; bearer tokens do not count. `false`: any number, which is the default with a `store` in the way of express-session. Where the limit was lowered, each sign-in ends 100 at the most.'
  })),
  onLimit: optional(Type.Union([Type.Literal('evict-oldest'), Type.Literal('reject')], { default: 'evict-oldest', description: 'What a sign-in over that limit does: it ends the user\'s oldest session, or is refused with 409 `ERR_SESSION_LIMIT_REACHED`.' })),
  userIdFrom: optional(Type.Unsafe<(data: Record<string, unknown>) => unknown>(Type.Any({ description: 'Where the data of `request.session` names its user. Default: `data.userId`, else `data.user.id` where that is a string, a number or a bigint. A value that appears or changes there is a sign-in. One that disappears is a sign-out. It is given the data as it is stored: as JSON has it.' }))),
  sessionSchema: optional(Type.Unsafe<TObject>(Type.Any({ description: 'A TypeBox object schema of the data in `request.session`. What is stored and does not fit any more is dropped when the session is used, key by key, with a log line.' }))),
  migrate: optional(Type.Unsafe<Migrate>(Type.Any({ description: 'Given the whole data in place of that, where something does not fit: returns it in today\'s shape.' }))),
  maxDataSize: optional(Type.Integer({ minimum: 1024, maximum: 16_777_216, default: 65_536, expects: 'an integer from 1024 to 16777216', description: 'How many bytes the data of one session may have, as JSON in UTF-8. A change that would make it larger is refused with 413 `ERR_SESSION_DATA_TOO_LARGE`, and the session stays as it was. One that is larger already is read, and may shrink.' })),
  expressSession: optional(Type.Union([Type.Literal('share'), Type.Literal('adopt')], { description: 'Beside an Express app with express-session and connect-redis. `share`: one Redis, one cookie, one layout for both. `adopt`: its sessions become ours on first use, and nobody is signed out.' })),
  nearCache: Type.Optional(Type.Union([Type.Boolean(), NearCacheOptions, Type.Undefined()], { default: false, description: 'Answers sessions that were read a moment ago from this process\'s memory, and forgets each when Redis tells that it has changed: [below](#near-cache). `true`: `{ maxEntries: 10000, maxStale: \'5s\' }`.' })),
  durability: optional(Type.Union([Type.Literal('default'), Type.Literal('replicated')], { default: 'default', description: '`replicated`: signing in and out is confirmed by all replicas that follow, one at least (`WAIT`), or answered 503, so that the failure of the master does not undo it.' })),
  encryption: optional(EncryptionOptions),
  origins: optional(Type.Array(Type.String(), { description: 'Origins such as `https://app.example.com` whose pages may send unsafe requests, besides those of the request\'s own protocol and host. `[]` adds none, as leaving it out does.' })),
  csrf: optional(Type.Boolean({ default: true, description: 'Refuses unsafe requests from other sites that carry the session cookie, sign in or sign out. A route is exempt with `config: { session: { csrf: false } }`.' })),
  attempts: AttemptsOption,
  decorators: optional(DecoratorOptions)
}, { additionalProperties: false })
export type SessionOptions = Static<typeof SessionOptions>
