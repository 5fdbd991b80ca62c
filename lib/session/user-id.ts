import { isUserIdText, USER_ID_LENGTH } from './record.ts'

/** Whether a value can be the id of a user: a well-formed string of 1 to 255 characters, a finite number or a bigint. */
export function isUserId (id: unknown): id is string | number | bigint {
  if (typeof id === 'number') return Number.isFinite(id)
  if (typeof id === 'bigint') return String(id).length <= USER_ID_LENGTH
  return typeof id === 'string' && isUserIdText(id)
}

type Data = Record<string, unknown>

/** Where data names its user. `null`: in `userId`, else in `user.id`. */
export type UserIdFrom = ((data: Data) => unknown) | null

/**
 * What data names its user by, whatever that is. It is looked for in the data as it is stored: in JSON, a document of
 * a database may have no `id`, and an ObjectId is a text. `before`: the data as it was; where its `userId` named
 * somebody, nothing else does now: taking it out signs out, whoever is in `user`.
 * @throws what `userIdFrom` throws, and what `JSON.stringify` does
 */
export function namedIn (data: Data, userIdFrom: UserIdFrom, before: Data = {}): unknown {
  if (userIdFrom !== null) return userIdFrom(storedView(data))
  if (data.userId != null || isUserId(before.userId)) return data.userId
  const { id } = (stored(data.user) ?? {}) as { id?: unknown }
  return isUserId(id) ? id : undefined
}

/** The data as it is stored, each member of it once it is looked at. */
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

/** Whom data names, or `null`. */
export function userOf (data: Data, userIdFrom: UserIdFrom, before?: Data): string | null {
  const id = namedIn(data, userIdFrom, before)
  return isUserId(id) ? String(id) : null
}

/** Whom data names, or `null`, also where the application's `userIdFrom` throws. */
export function userOrNull (...args: Parameters<typeof userOf>): string | null {
  try {
    return userOf(...args)
  } catch {
    return null
  }
}

/**
 * Data of one user without what names another. By default `userId` names the user, and `user` is another's only
 * where it is `previous`' own: it may have an id of its own kind.
 */
export function ofUser (data: Data, { userId, previous, userIdFrom }: { userId: string, previous: string | null, userIdFrom: UserIdFrom }): Data {
  const isOthers = (named: string | null): boolean => named !== null && named !== userId && (userIdFrom !== null || named === previous)
  const kept = Object.fromEntries(Object.entries(data).filter(([key, value]) => !isOthers(userOrNull({ [key]: value }, userIdFrom))))
  // What names somebody only together goes together.
  for (const key of Object.keys(kept)) {
    const named = userOrNull(kept, userIdFrom)
    if (!isOthers(named)) break
    const { [key]: value, ...others } = kept
    if (userOrNull(others, userIdFrom) !== named) delete kept[key]
  }
  return kept
}

/** Members that elsewhere say that somebody is signed in, in the ways they are written. */
const FLAG = /^(is)?(auth|authenticated|logged|logged_?in|signed_?in)$/i

/** Members that elsewhere say who is signed in. */
const NAME = /^(user_?id|uid|user_?name)$/i

/** The member that makes data look signed in while it names nobody, or `undefined`. */
export function looksSignedIn (data: Data): string | undefined {
  if (data.user != null) return 'user'
  if ((data.passport as { user?: unknown } | undefined)?.user != null) return 'passport'
  const keys = Object.keys(data)
  return keys.find((key) => FLAG.test(key) && data[key] === true) ?? keys.find((key) => NAME.test(key) && isUserId(data[key]))
}

/**
 * The id of a user as sessions are listed and compared by it: `String(id)`.
 * @throws TypeError for what can be no id; of an object with a string form of its own it says `String(id)`
 */
export function userIdText (id: unknown, name: string): string {
  if (isUserId(id)) return String(id)
  const advice = hasOwnText(id) ? '; pass String(id) where an id is of another kind' : ''
  throw new TypeError(`${name} must be a string of 1 to ${USER_ID_LENGTH} characters, a number or a bigint${advice}`)
}

/** Whether an object says for itself what it is as a string, as an ObjectId of MongoDB does. */
function hasOwnText (id: unknown): boolean {
  if (typeof id !== 'object' || id === null || Array.isArray(id)) return false
  try {
    const { toString } = id as { toString?: unknown }
    return typeof toString === 'function' && toString !== Object.prototype.toString
  } catch {
    return false
  }
}
