import { Type } from '@sinclair/typebox'
import type { Static } from '@sinclair/typebox'

/** The body of a login, where `authRoutes` is given no schema of another. */
export interface DefaultCredentials {
  /** The user's name: 1 to 256 characters. */
  username: string
  /** The password: 1 to 1,024 characters. */
  password: string
  /** `true`, or `'on'` as a form's checkbox sends it: the long timeouts. `false`: until the browser closes. */
  remember?: boolean | 'on'
}

/** Schema of `DefaultCredentials`. `types/types.test.ts` does not compile where the two differ. */
export const DefaultCredentials = Type.Object({
  username: Type.String({ minLength: 1, maxLength: 256, description: 'Who wants to sign in.' }),
  password: Type.String({ minLength: 1, maxLength: 1024, description: 'What proves it.' }),
  remember: Type.Optional(Type.Union([Type.Boolean(), Type.Literal('on')], {
    description: 'true, or on as a form\'s checkbox sends it: stay signed in for long; false: until the browser closes.'
  }))
}, { additionalProperties: false, description: 'What a login sends.' })

/** Schema of a user in replies, where `authRoutes` is given no other. */
export const DefaultUser = Type.Object({
  id: Type.String({ description: 'The user\'s id.' })
}, { description: 'Who is signed in.' })

const instant = (description: string) => Type.Integer({ description: `${description} Milliseconds since 1970.` })

const sessionMembers = {
  id: Type.String({ description: 'The public handle of the session; proves nothing.' }),
  label: Type.Union([Type.String(), Type.Null()], { description: 'Its name for people, if it was given one.' }),
  createdAt: instant('When it began.'),
  authenticatedAt: instant('When the user last proved who they are.'),
  lastSeenAt: instant('When it was last used, give or take the touch interval.'),
  expiresAt: instant('When it ends if it is not used again.'),
  endsAt: instant('When it ends however much it is used.'),
  remembered: Type.Boolean({ description: 'false: the cookie ends when the browser closes.' }),
  methods: Type.Array(Type.String({ description: 'The name of a method.' }), {
    description: 'How the user proved who they are, such as pwd and otp.'
  }),
  actor: Type.Union([Type.String(), Type.Null()], { description: 'Who acts as the user. null: the user.' }),
  deviceBound: Type.Boolean({ description: 'Whether it is bound to the device that it began on.' })
}

/** Schema of the session in the replies of `authRoutes`. */
export const SessionView = Type.Object(sessionMembers, { description: 'One signed-in session.' })

const left = (description: string) => Type.Optional(Type.Integer({ minimum: 0, description }))

/** Schema of what is left of a session. */
export const RemainingReply = Type.Object({
  authenticated: Type.Boolean({ description: 'Whether somebody is signed in. If not, there is nothing else here.' }),
  remainingMs: left('How many milliseconds the session lives if it is not used again.'),
  longestMs: left('How many it lives however much it is used. With as many in remainingMs, no use extends it.'),
  expiresAt: Type.Optional(instant('When it ends if it is not used again.')),
  endsAt: Type.Optional(instant('When it ends however much it is used.'))
}, { description: 'How long the session lives, by the clock of the server, whatever that of the browser says.' })
export type RemainingReply = Static<typeof RemainingReply>

/** Schema of one session in the list of `sessionRoutes`. */
export const ListedSession = Type.Object({
  ...sessionMembers,
  kind: Type.String({ description: 'What carries it: cookie or bearer.' }),
  device: Type.Union([Type.String(), Type.Null()], {
    description: 'The device it began on, such as Firefox 131 on Windows.'
  }),
  ip: Type.Union([Type.String(), Type.Null()], { description: 'The address it began from.' }),
  current: Type.Boolean({ description: 'Whether it is the session that asks.' })
}, { description: 'One of the caller\'s sessions.' })

const orNull = (description: string) => Type.Union([Type.String(), Type.Null()], { description })

/** Schema of a session as `adminRoutes` shows it. */
export const AdminSession = Type.Object({
  ...sessionMembers,
  userId: Type.String({ description: 'Whose session it is.' }),
  kind: Type.String({ description: 'What carries it: cookie or bearer.' }),
  device: orNull('The device it began on, such as Firefox 131 on Windows.'),
  ip: orNull('The address it began from.'),
  meta: Type.Union([Type.Record(Type.String(), Type.Any()), Type.Null()], {
    description: 'The notes of the application about it.'
  })
}, { description: 'One session.' })

/** Schema of the reply of `GET /stats`. */
export const LiveCountsReply = Type.Object({
  signedIn: Type.Integer({ description: 'Sessions of users.' }),
  anonymous: Type.Integer({ description: 'Sessions of visitors who are not signed in.' }),
  users: Type.Integer({ description: 'Users who are signed in.' }),
  complete: Type.Boolean({ description: 'false: the store is large, and there are at least as many.' }),
  countedAt: instant('When they were counted.')
}, { description: 'How many sessions live.' })

/** Schema of the path parameters of `DELETE /:id`. */
export const SessionParams = Type.Object({
  id: Type.String({ description: 'The public handle of the session.' })
}, { description: 'Which session.' })

/** Schema of the query of `GET /`. */
export const PageQuery = Type.Object({
  limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'How many sessions, at the most.' }),
  before: Type.Optional(Type.String({
    pattern: '^\\d{1,15}\\.[\\w-]{1,1400}$',
    description: 'Only those that come after this one: its createdAt, a dot and its id, as the header Link has it.'
  }))
}, { description: 'Which page.' })
export type PageQuery = Static<typeof PageQuery>

const UserId = Type.String({ minLength: 1, maxLength: 255, description: 'The user.' })
const Reason = Type.Optional(Type.String({
  maxLength: 64, description: 'Why, in a word of yours. Events show it as statedReason.'
}))

/** Schema of the query of `GET /sessions`. */
export const UserPageQuery = Type.Object({ userId: UserId, ...PageQuery.properties }, { description: 'Which page.' })
export type UserPageQuery = Static<typeof UserPageQuery>

/** Schemas of what goes along with the end of one session: a query, and a body that may be missing. */
export const EndOne = {
  querystring: Type.Object({ reason: Reason }, { description: 'Why.' }),
  body: Type.Union([Type.Object({ reason: Reason }), Type.Null()], { description: 'Why.' })
}

/** Schemas of what goes along with the end of all sessions of a user. */
export const EndAll = {
  querystring: Type.Object({ userId: UserId, reason: Reason }, { description: 'Whose, and why.' }),
  body: Type.Object({ userId: UserId, reason: Reason }, { description: 'Whose, and why.' })
}

/** Schema of the reply while the sessions of `DELETE /` still end. */
export const PendingReply = Type.Object({
  revoked: Type.Integer({ description: 'How many sessions were ended so far.' }),
  pending: Type.Boolean({ description: 'true: the others are being ended, which takes a while.' })
}, { description: 'There are very many: they are being ended.' })

/** Schema of the reply when they have ended. */
export const RevokedReply = Type.Object({
  revoked: Type.Integer({ description: 'How many sessions were ended.' })
}, { description: 'All other sessions have ended.' })

/** Schema of the reply when all of a user have ended. */
export const AllRevokedReply = Type.Object(RevokedReply.properties, { description: 'All of them have ended.' })

const errorMembers = {
  statusCode: Type.Optional(Type.Integer({ description: 'The HTTP status.' })),
  code: Type.Optional(Type.String({ description: 'What to match on, such as ERR_SESSION_INVALID_CREDENTIALS.' })),
  error: Type.Optional(Type.String({ description: 'The name of the HTTP status.' })),
  message: Type.Optional(Type.String({ description: 'What happened, for people.' }))
}

/** Makes the schema of errors of one status. Lenient: an application may have an error handler of its own. */
export function errorReply (description: string) {
  return Type.Object(errorMembers, { additionalProperties: true, description })
}

/** Schema of the error that a page of another site gets. */
export const OtherSite = errorReply('`ERR_SESSION_CSRF_REJECTED`: a page of another site asks.')
/** Schema of the error that a page of another site gets, or who acts as the user. */
export const NotAllowed = errorReply(
  '`ERR_SESSION_CSRF_REJECTED`: a page of another site asks. `ERR_SESSION_IMPERSONATED`: somebody acts as the user.'
)
/** Schema of the error while the store does not answer. */
export const Unavailable = errorReply('`ERR_SESSION_STORE_UNAVAILABLE`: the store does not answer.')
/** Schema of the error for a request without a session. */
export const Nobody = errorReply('`ERR_SESSION_UNAUTHENTICATED`: nobody is signed in.')
/** Schema of the error for a request without a session, or without a recent login. */
export const NotRecent = errorReply(
  '`ERR_SESSION_UNAUTHENTICATED`: nobody is signed in. `ERR_SESSION_REAUTH_REQUIRED`: the login is too long ago.'
)

/** Schema of a bearer token. */
export const Token = Type.String({ description: 'What the client sends as Authorization: Bearer. Proves the session.' })

/** Schema of a reply without a body. */
export const NoContent = Type.Null({ description: 'Done; no body.' })
/** Schema of a redirect. */
export const Redirect = Type.Null({
  description: 'For a form, where redirects are configured: go to that page. Of a failure it has error in its query.'
})
