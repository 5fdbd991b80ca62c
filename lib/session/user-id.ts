import { isObject } from './arguments.ts'
import { isUserIdText, USER_ID_LENGTH } from './record.ts'

/** Whether a value can be a user's id: a well-formed string of 1 to 255 characters, a finite number or a bigint. */
export function isUserId (id: unknown): id is string | number | bigint {
  if (typeof id === 'number') return Number.isFinite(id)
  if (typeof id === 'bigint') return String(id).length <= USER_ID_LENGTH
  return typeof id === 'string' && isUserIdText(id)
}

type Data = Record<string, unknown>

/** Reads the user's id from data. `null`: from `userId`, else from `user.id`. */
export type UserIdFrom = ((data: Data) => unknown) | null

/**
 * Returns the value that names the user in data. It is read from the data as it is stored: in JSON, a document of a
 * database may have no `id`, and an ObjectId is a text. `before` is the data as it was: where its `userId` named
 * somebody, only `userId` counts now. Taking it out signs out, whoever is in `user`.
 * @throws the errors of `userIdFrom` and of `JSON.stringify`; TypeError for a promise
 */
export function namedIn (data: Data, userIdFrom: UserIdFrom, before: Data = {}): unknown {
  if (userIdFrom !== null) return idFrom(userIdFrom(storedView(data)))
  if (data.userId != null || isUserId(before.userId)) return data.userId
  const { id } = (stored(data.user) ?? {}) as { id?: unknown }
  return isUserId(id) ? id : undefined
}

/** Returns what `userIdFrom` has returned. A promise names nobody, now or later. @throws TypeError for one */
function idFrom (returned: unknown): unknown {
  if (!(returned instanceof Promise)) return returned
  // Nobody awaits it: its rejection must not end the process.
  returned.catch(() => {})
  throw new TypeError('userIdFrom must return the user\'s id, and no promise: it cannot be an async function')
}

/** Returns the data as it is stored. Each member is converted when it is read. */
function storedView (data: Data): Data {
  const view: Data = {}
  for (const key of Object.keys(data)) {
    Object.defineProperty(view, key, { get: () => stored(data[key]), enumerable: true })
  }
  return view
}

function stored (value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  const text = JSON.stringify(value) as string | undefined
  return text === undefined ? undefined : JSON.parse(text)
}

/** Returns the id of the user that data names, or `null`. */
export function userOf (data: Data, userIdFrom: UserIdFrom, before?: Data): string | null {
  const id = namedIn(data, userIdFrom, before)
  return isUserId(id) ? String(id) : null
}

/** Returns the id of the user that data names, or `null`, also where the application's `userIdFrom` throws. */
export function userOrNull (...args: Parameters<typeof userOf>): string | null {
  try {
    return userOf(...args)
  } catch {
    return null
  }
}

/** Returns what data says of its user by itself: by default `userId`, with a bigint as text. */
export function userMember (id: string | number | bigint, userIdFrom: UserIdFrom): Data {
  return userIdFrom === null ? { userId: typeof id === 'bigint' ? String(id) : id } : {}
}

/** A user who signs in, and who was signed in before. */
interface Users {
  userId: string
  previous: string | null
  userIdFrom: UserIdFrom
}

/**
 * Returns data of one user without members that name somebody else. By default `userId` names the user, and `user` is
 * somebody else's only where it is that of `previous`: it may have an id of its own kind.
 */
export function ofUser (data: Data, { userId, previous, userIdFrom }: Users): Data {
  const isOthers = (named: string | null): boolean => {
    return named !== null && named !== userId && (userIdFrom !== null || named === previous)
  }
  const kept = Object.fromEntries(Object.entries(data).filter(([key, value]) => {
    return !isOthers(userOrNull({ [key]: value }, userIdFrom))
  }))
  // Members that name somebody only together go together.
  for (const key of Object.keys(kept)) {
    const named = userOrNull(kept, userIdFrom)
    if (!isOthers(named)) break
    const { [key]: value, ...others } = kept
    if (userOrNull(others, userIdFrom) !== named) delete kept[key]
  }
  return kept
}

/**
 * Checks data that the application gives to a session of its own accord: nothing of it may be somebody else's. `id`:
 * the argument that names the user.
 * @throws TypeError for data that `ofUser` would take something out of; the errors of `userIdFrom`
 */
export function assertOfUser (data: Data, users: Users, id: string): void {
  // Where that cannot be told, nobody is signed in.
  if (users.userIdFrom !== null) userOf(data, users.userIdFrom)
  const isAll = Object.keys(ofUser(data, users)).length === Object.keys(data).length
  if (!isAll) throw new TypeError(`data must not name another user than ${id}`)
}

/** Names of members that, in other libraries, say that somebody is signed in. */
const FLAG = /^(is)?(auth|authenticated|logged|logged_?in|signed_?in)$/i

/** Names of members that, in other libraries, say who is signed in. */
const NAME = /^((auth|current|logged(_?in)?|session)_?)?user(_?(id|name|data|info))?$|^uid$/i

/** Names of the users of applications that have several kinds. */
const KIND = /^(admin|account|customer|employee|member|student|teacher)(_?(id|user))?$/i

function isSomebody (value: unknown): boolean {
  return isUserId(value) || (typeof value === 'object' && value !== null)
}

/** Whether a value is a user of a kind. Without an id it may be what a visitor has typed in, as in a guest checkout. */
function isKind (value: unknown): boolean {
  return value === true || isUserId(value) || (isObject(value) && ('id' in value || '_id' in value))
}

/** Returns the member that makes data look signed in while it names nobody, or `undefined`. */
export function looksSignedIn (data: Data): string | undefined {
  if (data.user != null) return 'user'
  if ((data.passport as { user?: unknown } | undefined)?.user != null) return 'passport'
  const keys = Object.keys(data)
  const flag = keys.find((key) => FLAG.test(key) && data[key] === true)
  return flag ?? keys.find((key) => (NAME.test(key) && isSomebody(data[key])) || (KIND.test(key) && isKind(data[key])))
}

/**
 * Returns the id of a user as text, as sessions are listed and compared by it.
 * @throws TypeError for a value that can be no id; for an object with a text of its own it advises `String(id)`
 */
export function userIdText (id: unknown, name: string): string {
  if (isUserId(id)) return String(id)
  const advice = hasOwnText(id) ? '; pass String(id) where an id is of another kind' : ''
  throw new TypeError(`${name} must be a string of 1 to ${USER_ID_LENGTH} characters, a number or a bigint${advice}`)
}

/** Whether an object has a `toString` of its own, as an ObjectId of MongoDB does. */
function hasOwnText (id: unknown): boolean {
  if (typeof id !== 'object' || id === null || Array.isArray(id)) return false
  try {
    const { toString } = id as { toString?: unknown }
    return typeof toString === 'function' && toString !== Object.prototype.toString
  } catch {
    return false
  }
}
