import fastifySession from '@fastify/session'
import type { FastifySessionObject } from '@fastify/session'
import type { FastifyInstance } from 'fastify'
import { errors } from '../errors.ts'
import type { Data } from '../session/changes.ts'
import { RESERVED_NAMES } from '../session/data.ts'
import type { SessionRecord } from '../session/record.ts'
import type { PluginContext } from './context.ts'
import { cookieLife } from './cookie.ts'
import type { CookieLife } from './cookie.ts'

/** The request that a session object belongs to. It does what the object's methods mean. */
export interface SessionOwner {
  /** The stored session, and whether this request began it. */
  readonly stored: { readonly record: SessionRecord | null, readonly isNew: boolean }
  /** The public id. It changes when the session is saved under a new one. */
  readonly sessionId: string
  /** Whether assigning `userId` signs in; `false` where the application keeps the user elsewhere. */
  readonly ownsUserId: boolean
  /** @throws ERR_SESSION_UNSUPPORTED where nobody can sign in */
  assertCanSignIn (): void
  /** Has the request count as use, also where its route says otherwise. */
  use (): void
  /** Notes that a member of this object was assigned, maybe to the same value. */
  noteAssigned (session: FastifySessionObject, key: string): void
  save (session: FastifySessionObject): Promise<void>
  reload (session: FastifySessionObject): Promise<void>
  regenerate (session: FastifySessionObject, keys: readonly string[]): Promise<void>
  destroy (session: FastifySessionObject): Promise<void>
  isModified (session: FastifySessionObject): boolean
  isSaved (session: FastifySessionObject): boolean
  /** Returns the promise of a method, or calls back with its result if there is a callback. */
  answer (method: Method, work: Promise<void>, callback: Callback | undefined): Promise<void> | undefined
}

/** Methods of a session object that take time. */
export type Method = 'save' | 'reload' | 'regenerate' | 'destroy'

export type Callback = (error?: unknown) => unknown

/** Key of the secret of @fastify/csrf-protection, which is never carried over a sign-in (CVE-2023-29020). */
export const CSRF_SECRET = '_csrf'

/** Members of a session object besides the data. */
interface Internals {
  readonly owner: SessionOwner
  /** The proxy that the route holds: assignments to it are noticed. */
  readonly session: FastifySessionObject
  /** The object behind the proxy, which holds the data. */
  readonly target: Data
  /** The cookie's attributes, and the proxy by which they are shown. */
  cookie: { readonly own: FastifySessionObject['cookie'], readonly shown: FastifySessionObject['cookie'] } | null
}

const kInternals = Symbol('fastify-user-sessions.internals')
type WithInternals = FastifySessionObject & { readonly [kInternals]: Internals }

/** Builds the session object of a request. */
export type BuildSession = (data: Data, owner: SessionOwner) => FastifySessionObject

/**
 * Registers @fastify/session and returns what builds session objects: with its prototype and its cookie, but this
 * package's own. Their methods keep its promises, their names cannot be overwritten by data, their ids are public
 * handles, assignments are noticed, and JSON of them is the data alone. Data under reserved names is left out.
 */
export async function sessionObjects (app: FastifyInstance, context: PluginContext): Promise<BuildSession> {
  const prototype = prototypeOver(await registerFastifySession(app, context), context)
  return (data, owner) => {
    const target = Object.create(prototype) as Data
    for (const key of Object.keys(data)) if (!RESERVED_NAMES.has(key)) target[key] = data[key]
    const session = new Proxy(target, noticingAssignments) as unknown as FastifySessionObject
    // Not enumerable: what is spread, logged or sent is the data.
    Object.defineProperty(target, kInternals, { value: { owner, session, target, cookie: null } satisfies Internals })
    return session
  }
}

/** Changes the session itself, also where a proxy of it, or what inherits from it, is assigned to. */
const noticingAssignments: ProxyHandler<Data> = {
  set (target, key, value: unknown) {
    const { owner, session } = (target as unknown as WithInternals)[kInternals]
    if (key === 'userId' && owner.ownsUserId && value != null) owner.assertCanSignIn()
    const isSet = Reflect.set(target, key, owner.ownsUserId ? withTextId(key, value) : value)
    if (isSet && typeof key === 'string') owner.noteAssigned(session, key)
    return isSet
  }
}

/** Returns a member of the data, with a bigint that is the user's id as text: JSON has none. */
function withTextId (key: string | symbol, value: unknown): unknown {
  if (key === 'userId' && typeof value === 'bigint') return String(value)
  const id = key === 'user' ? (value as { id?: unknown } | null | undefined)?.id : undefined
  return typeof id === 'bigint' ? { ...value as object, id: String(id) } : value
}

/** Returns the application's data in a session object. Its values are not copied. */
export function dataOf (session: FastifySessionObject): Data {
  const { target } = (session as WithInternals)[kInternals]
  const data: Data = {}
  for (const key of Object.keys(target)) if (!RESERVED_NAMES.has(key)) data[key] = target[key]
  return data
}

/** Removes a member of a session object, unless the application has frozen that. */
export function removeMember (session: FastifySessionObject, key: string): void {
  Reflect.deleteProperty((session as WithInternals)[kInternals].target, key)
}

/** Makes the prototype of session objects, above that of @fastify/session. */
function prototypeOver (blankSession: BlankSession, context: PluginContext): object {
  const blank = blankSession()
  const base = Object.getPrototypeOf(blank) as Record<string, unknown>
  const methods: Record<string, (this: WithInternals, ...args: never[]) => unknown> = {
    save: asyncMethod('save', (owner, session) => owner.save(session)),
    reload: asyncMethod('reload', (owner, session) => owner.reload(session)),
    destroy: asyncMethod('destroy', (owner, session) => owner.destroy(session)),
    regenerate: asyncMethod('regenerate', (owner, session, keys) => owner.regenerate(session, keys)),
    isModified () { return this[kInternals].owner.isModified(this[kInternals].session) },
    isSaved () { return this[kInternals].owner.isSaved(this[kInternals].session) },
    toJSON () { return dataOf(this) },
    // Every request is a use, written down as touchAfter says, but where its route has touch: false. @fastify/session's
    // own would set the cookie's date.
    touch () { this[kInternals].owner.use() }
  }
  const members: PropertyDescriptorMap = {
    sessionId: { get (this: WithInternals) { return this[kInternals].owner.sessionId } },
    encryptedSessionId: { get (this: WithInternals) { return this[kInternals].owner.sessionId } },
    cookie: {
      get (this: WithInternals) {
        const { owner } = this[kInternals]
        const { own, shown } = this[kInternals].cookie ??= readOnly(blankSession().cookie)
        setLife(own, cookieLife(context, owner.stored))
        return shown
      },
      set: (value: unknown) => value instanceof blank.cookie.constructor ? fixed() : refuse('cookie')
    }
  }
  const reserved = [...RESERVED_NAMES].map((name): [string, PropertyDescriptor] => {
    const get = () => name === '__proto__' ? prototype : Object.hasOwn(methods, name) ? methods[name] : base[name]
    return [name, { get, set: () => refuse(name), ...Object.hasOwn(members, name) && members[name] }]
  })
  // Of @fastify/secure-session. Data may have the name.
  const gone = { delete: { value: isGone, writable: true, configurable: true } }
  const prototype = Object.create(base, { ...gone, ...members, ...Object.fromEntries(reserved) }) as object
  return prototype
}

type Work = (owner: SessionOwner, session: FastifySessionObject, keys: readonly string[]) => Promise<void>

function asyncMethod (name: Method, work: Work) {
  return function (this: WithInternals, ...args: unknown[]): Promise<void> | undefined {
    const { owner, session } = this[kInternals]
    const keys = Array.isArray(args[0]) ? args[0] as readonly string[] : []
    // As in express-session the callback comes last, after the keys to keep.
    const callback = args.find((each) => typeof each === 'function') as Callback | undefined
    return owner.answer(name, work(owner, session, keys), callback)
  }
}

/** Sets how long a cookie lives, by this process's clock as @fastify/session's cookies do. */
function setLife (cookie: FastifySessionObject['cookie'], life: CookieLife | null): void {
  if (life === null) cookie.expires = null
  else cookie.maxAge = life.leftMs
  cookie.originalMaxAge = life?.totalMs ?? null
}

/** Shows a cookie's attributes. Changing them throws: elsewhere it lengthens a session, here it would do nothing. */
function readOnly (cookie: FastifySessionObject['cookie']): NonNullable<Internals['cookie']> {
  return { own: cookie, shown: new Proxy(cookie, { set: fixed, defineProperty: fixed, deleteProperty: fixed }) }
}

function isGone (): never {
  throw new errors.UNSUPPORTED('request.session.delete(): await request.session.destroy()')
}

function fixed (): never {
  const advice = 'give remember or timeouts to login, or timeouts and cookie to the plugin'
  throw new errors.UNSUPPORTED(`changing request.session.cookie: ${advice}`)
}

function refuse (name: string): never {
  throw new errors.RESERVED_KEY(name)
}

/** Returns a session object of @fastify/session that holds nothing. */
type BlankSession = () => FastifySessionObject

/**
 * Registers @fastify/session for its session object alone: where there are no routes, so that its hooks never run. Its
 * one public entrance, `decryptSession`, returns the object.
 */
async function registerFastifySession (app: FastifyInstance, { options }: PluginContext): Promise<BlankSession> {
  let decryptSession: FastifyInstance['decryptSession'] = () => {}
  const unused = (): never => { throw new Error('@fastify/session is not to store anything itself') }
  // Without maxAge: how long it lives is each session's own.
  const { domain, ...cookie } = options.cookie
  await app.register(async (child) => {
    await child.register(fastifySession, {
      // The cookie's signature is verified before. Here none is good: each session is a new one.
      secret: { sign: (id) => id, unsign: () => ({ valid: false, renew: false, value: null }) },
      store: { get: unused, set: unused, destroy: unused },
      idGenerator: () => 'none',
      rolling: false,
      saveUninitialized: false,
      cookie: { ...cookie, ...domain !== undefined && { domain } }
    })
    decryptSession = child.decryptSession
  })
  return () => {
    const holder: { session?: FastifySessionObject } = {}
    decryptSession('none', holder, () => {})
    return holder.session as FastifySessionObject
  }
}
