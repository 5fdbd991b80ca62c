import { Type } from '@sinclair/typebox'
import type { TSchema, TUndefined } from '@sinclair/typebox'
import type { SecurityLogEntry } from '../session/security-log.ts'
import type { SessionOptions } from './types.ts'

/*
 * The check at boot. `types.ts` says what the options mean; `types/types.test.ts` does not compile where the two
 * differ. `expects` is what an error says that a value must be, where the schema alone does not say it well.
 */

/** Makes a member that may be absent or `undefined`, also under exactOptionalPropertyTypes. */
function optional<Schemas extends TSchema[]> (...schemas: Schemas) {
  return Type.Optional(Type.Union<[...Schemas, TUndefined]>([...schemas, Type.Undefined()]))
}

/** Makes a member of which TypeBox checks nothing: `resolve.ts` does. */
const unchecked = <T>() => Type.Optional(Type.Unsafe<T>(Type.Any()))

const integer = (minimum: number, maximum: number) =>
  Type.Integer({ minimum, maximum, expects: `an integer from ${minimum} to ${maximum}` })

const Duration = Type.Union([Type.Number(), Type.String()], { expects: 'milliseconds or a string such as \'30m\'' })

/** The schema of an object that has no other members than these. */
const closed = <Members extends Record<string, TSchema>>(members: Members) =>
  Type.Object(members, { additionalProperties: false })

const AttemptLimit = closed({ max: optional(integer(1, 1000)), within: optional(Duration) })

const SecurityLogWriter = Type.Function(
  [Type.Unsafe<SecurityLogEntry>(Type.Any())], Type.Unknown(), { expects: 'a function' }
)

const Required = Type.Function([Type.String()], Type.Boolean(), { expects: 'a function' })

/** Schema of the `attempts` option, which `authRoutes` has as well. */
export const AttemptsSchema = closed({
  attempts: optional(closed({
    network: optional(AttemptLimit, Type.Literal(false)),
    accountNetwork: optional(AttemptLimit, Type.Literal(false)),
    account: optional(AttemptLimit, Type.Literal(false))
  }), Type.Literal(false))
})

/** Schema of all options. */
export const SessionOptionsSchema = closed({
  // `resolve.ts` has more to say of it.
  secret: Type.Unsafe<SessionOptions['secret']>(Type.Any()),
  redis: unchecked<SessionOptions['redis']>(),
  store: unchecked<SessionOptions['store']>(),
  keyPrefix: optional(Type.String()),
  cookieName: optional(Type.String(), Type.Array(Type.String())),
  cookie: optional(closed({
    secure: optional(Type.Boolean()),
    sameSite: optional(Type.Literal('lax'), Type.Literal('strict'), Type.Literal('none')),
    httpOnly: optional(Type.Boolean()),
    path: optional(Type.String()),
    domain: optional(Type.String()),
    partitioned: optional(Type.Boolean()),
    maxAge: optional(Duration, Type.Literal(false))
  })),
  idleTimeout: optional(Duration),
  absoluteTimeout: optional(Duration),
  remember: optional(closed({ idleTimeout: optional(Duration), absoluteTimeout: optional(Duration) })),
  assurance: optional(Type.Literal('aal2'), Type.Literal('aal3')),
  touchAfter: optional(Duration, Type.Literal(false)),
  bearer: optional(Type.Boolean()),
  maxSessionsPerUser: optional(
    Type.Union([Type.Integer({ minimum: 1 }), Type.Literal(false)], { expects: 'an integer of 1 or more, or false' })
  ),
  onLimit: optional(Type.Literal('evict-oldest'), Type.Literal('reject')),
  userIdFrom: unchecked<SessionOptions['userIdFrom']>(),
  sessionSchema: unchecked<SessionOptions['sessionSchema']>(),
  migrate: unchecked<SessionOptions['migrate']>(),
  maxDataSize: optional(integer(1_024, 16_777_216)),
  knownDevices: optional(Duration),
  adopt: optional(Type.Literal('express-session'), Type.Literal('@fastify/session')),
  expressSession: optional(Type.Literal('share'), Type.Literal('adopt')),
  nearCache: optional(Type.Boolean(), closed({
    maxEntries: optional(integer(1, 10_000_000)),
    maxStale: optional(Duration),
    invalidate: optional(Type.Literal('all'), Type.Literal('ends'))
  })),
  endedFor: optional(Duration),
  deviceBound: optional(Type.Boolean(), closed({
    maxAge: optional(Duration),
    required: optional(Type.Boolean(), Required),
    grace: optional(Duration),
    onMismatch: optional(Type.Literal('refuse'), Type.Literal('revoke')),
    bindExisting: optional(Type.Boolean()),
    ask: optional(Type.Boolean()),
    path: optional(Type.String())
  })),
  forkDetection: optional(Type.Boolean(), closed({
    onFork: optional(Type.Literal('report'), Type.Literal('reauthenticate'), Type.Literal('revoke'))
  })),
  durability: optional(Type.Literal('default'), Type.Literal('replicated')),
  events: optional(Type.Literal('broadcast'), Type.Literal('sharded'), Type.Literal('both')),
  encryption: optional(closed({
    keys: Type.Array(Type.String(), { minItems: 1 }),
    acceptPlain: optional(Type.Boolean())
  })),
  origins: optional(Type.Array(Type.String())),
  csrf: optional(Type.Boolean()),
  ...AttemptsSchema.properties,
  securityLog: optional(Type.Boolean(), SecurityLogWriter, closed({
    write: optional(SecurityLogWriter),
    accounts: optional(Type.Literal('hmac'), Type.Literal('plain'))
  })),
  pages: optional(closed({ login: optional(Type.String()), home: optional(Type.String()) })),
  decorators: optional(closed({
    authenticate: optional(Type.String()),
    login: optional(Type.String()),
    logout: optional(Type.String()),
    attemptLogin: optional(Type.String()),
    requireRecentLogin: optional(Type.String()),
    requireDeviceBound: optional(Type.String()),
    authenticatePage: optional(Type.String()),
    guestOnly: optional(Type.String()),
    takeReturnPath: optional(Type.String()),
    sessions: optional(Type.String()),
    auth: optional(Type.String()),
    requireAuth: optional(Type.String())
  }))
})
